//! dma-bufs as textures of SDL's, where that draws by GL on EGL: `EGL_EXT_image_dma_buf_import` and
//! `GL_OES_EGL_image`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::os::fd::AsRawFd;

use sdl2::pixels::PixelFormatEnum;
use sdl2::render::{BlendMode, ScaleMode, Texture, WindowCanvas};
use sdl2::sys;

use crate::Frame;

/// An `EGLDisplay`, `EGLContext`, `EGLImageKHR` or `EGLClientBuffer` of `EGL/egl.h` and `eglext.h`.
type Handle = *mut c_void;

type GetCurrentDisplay = unsafe extern "C" fn() -> Handle;
type QueryString = unsafe extern "C" fn(Handle, c_int) -> *const c_char;
type CreateImage = unsafe extern "C" fn(Handle, Handle, c_uint, Handle, *const c_int) -> Handle;
type DestroyImage = unsafe extern "C" fn(Handle, Handle) -> c_uint;
type ImageTargetTexture = unsafe extern "C" fn(c_uint, Handle);
type GetError = unsafe extern "C" fn() -> c_uint;
type GetString = unsafe extern "C" fn(c_uint) -> *const c_char;
type Finish = unsafe extern "C" fn();

// EGL/egl.h and EGL/eglext.h.
const EGL_EXTENSIONS: c_int = 0x3055;
const EGL_HEIGHT: c_int = 0x3056;
const EGL_WIDTH: c_int = 0x3057;
const EGL_NONE: c_int = 0x3038;
const EGL_LINUX_DMA_BUF_EXT: c_uint = 0x3270;
const EGL_LINUX_DRM_FOURCC_EXT: c_int = 0x3271;
const EGL_DMA_BUF_PLANE0_FD_EXT: c_int = 0x3272;
const EGL_DMA_BUF_PLANE0_OFFSET_EXT: c_int = 0x3273;
const EGL_DMA_BUF_PLANE0_PITCH_EXT: c_int = 0x3274;
const EGL_DMA_BUF_PLANE0_MODIFIER_LO_EXT: c_int = 0x3443;
const EGL_DMA_BUF_PLANE0_MODIFIER_HI_EXT: c_int = 0x3444;
// GL/gl.h.
const GL_TEXTURE_2D: c_uint = 0x0DE1;
const GL_EXTENSIONS: c_uint = 0x1F03;
const GL_NO_ERROR: c_uint = 0;

/// Errors of GL's that may be left from others before one is ours.
const MAX_OLD_ERRORS: usize = 16;

/// What a window's GL can import with.
pub(in crate::sdl) struct Importer {
    display: Handle,
    has_modifiers: bool,
    create_image: CreateImage,
    destroy_image: DestroyImage,
    image_target_texture: ImageTargetTexture,
    get_error: GetError,
    finish: Finish,
}

/// The function of this name and type, from what SDL draws with.
macro_rules! function {
    ($canvas:expr, $name:literal, $type:ty) => {{
        let address = $canvas.window().subsystem().gl_get_proc_address($name);
        if address.is_null() {
            return None;
        }
        // SAFETY: the address is that of the function of this name, which the headers of EGL and GL
        // declare with this type; their calling convention on Unix is C's.
        unsafe { std::mem::transmute::<*const (), $type>(address) }
    }};
}

impl Importer {
    /// None where SDL does not draw by GL on EGL, or that cannot import.
    ///
    /// To be called when the canvas has just been made: its context is current then.
    pub(in crate::sdl) fn new(canvas: &WindowCanvas) -> Option<Importer> {
        let is_gl = canvas.info().name.starts_with("opengl");
        // On X11 it is GLX, which has addresses even for names that it does not know.
        if !is_gl || canvas.window().subsystem().current_video_driver() == "x11" {
            return None;
        }
        let get_display = function!(canvas, "eglGetCurrentDisplay", GetCurrentDisplay);
        let query_string = function!(canvas, "eglQueryString", QueryString);
        let get_string = function!(canvas, "glGetString", GetString);
        // SAFETY: it takes nothing, and needs no context.
        let display = unsafe { get_display() };
        if display.is_null() {
            return None;
        }
        // SAFETY: the display is that of the current context, and so an initialised one.
        let of_egl = words(unsafe { query_string(display, EGL_EXTENSIONS) });
        // SAFETY: the canvas' context is current, as the caller says.
        let of_gl = words(unsafe { get_string(GL_EXTENSIONS) });
        let has = |list: &[String], name: &str| list.iter().any(|known| known == name);
        let can_import = has(&of_egl, "EGL_EXT_image_dma_buf_import")
            && has(&of_egl, "EGL_KHR_image_base")
            && has(&of_gl, "GL_OES_EGL_image");
        if !can_import {
            return None;
        }
        Some(Importer {
            display,
            has_modifiers: has(&of_egl, "EGL_EXT_image_dma_buf_import_modifiers"),
            create_image: function!(canvas, "eglCreateImageKHR", CreateImage),
            destroy_image: function!(canvas, "eglDestroyImageKHR", DestroyImage),
            image_target_texture: function!(
                canvas,
                "glEGLImageTargetTexture2DOES",
                ImageTargetTexture
            ),
            get_error: function!(canvas, "glGetError", GetError),
            finish: function!(canvas, "glFinish", Finish),
        })
    }

    /// A texture that is the frame's dma-buf, in memory order. None if the frame is in none, or EGL
    /// does not take it.
    pub(in crate::sdl) fn import(&self, canvas: &WindowCanvas, frame: &Frame) -> Option<Texture> {
        let attributes = self.attributes(frame)?;
        // The order of SDL's that it draws as GL has it, without shuffling colours.
        let layout = frame.layout();
        let mut texture = canvas
            .create_texture_static(PixelFormatEnum::ABGR8888, layout.width, layout.height)
            .ok()?;
        texture.set_blend_mode(BlendMode::None);
        texture.set_scale_mode(ScaleMode::Nearest);
        let null = std::ptr::null_mut();
        // SAFETY: the display is initialised for as long as SDL has its window system. The context
        // and the buffer are EGL_NO_CONTEXT and null, as the extension asks, and the list ends in
        // EGL_NONE. EGL takes a reference of its own to the dma-buf.
        let image = unsafe {
            (self.create_image)(
                self.display,
                null,
                EGL_LINUX_DMA_BUF_EXT,
                null,
                attributes.as_ptr(),
            )
        };
        if image.is_null() {
            super::destroy(texture, canvas);
            return None;
        }
        let is_bound = self.put(&mut texture, image);
        // SAFETY: the image is one of this display's, and not used again; a texture that it was put
        // into keeps its pixels.
        unsafe { (self.destroy_image)(self.display, image) };
        if !is_bound {
            super::destroy(texture, canvas);
            return None;
        }
        Some(texture)
    }

    /// The attributes of `eglCreateImageKHR` for the frame's dma-buf.
    fn attributes(&self, frame: &Frame) -> Option<Vec<c_int>> {
        let layout = frame.layout();
        let (fd, start, modifier) = frame.memory().dma_buf()?;
        let int = |value: u32| c_int::try_from(value).ok();
        let offset = c_int::try_from(start.checked_add(layout.offset)?).ok()?;
        let mut attributes = vec![
            EGL_WIDTH,
            int(layout.width)?,
            EGL_HEIGHT,
            int(layout.height)?,
            EGL_LINUX_DRM_FOURCC_EXT,
            int(layout.format.fourcc())?,
            EGL_DMA_BUF_PLANE0_FD_EXT,
            fd.as_raw_fd(),
            EGL_DMA_BUF_PLANE0_OFFSET_EXT,
            offset,
            EGL_DMA_BUF_PLANE0_PITCH_EXT,
            int(layout.stride)?,
        ];
        if let (Some(modifier), true) = (modifier, self.has_modifiers) {
            let [low, high] = [modifier, modifier >> 32].map(|half| half as u32);
            attributes.extend([EGL_DMA_BUF_PLANE0_MODIFIER_LO_EXT, low.cast_signed()]);
            attributes.extend([EGL_DMA_BUF_PLANE0_MODIFIER_HI_EXT, high.cast_signed()]);
        }
        attributes.push(EGL_NONE);
        Some(attributes)
    }

    /// Makes the image the texture's pixels.
    fn put(&self, texture: &mut Texture, image: Handle) -> bool {
        let null = std::ptr::null_mut();
        // SAFETY: the texture is one of a live renderer's; SDL makes that one's context current.
        if unsafe { sys::SDL_GL_BindTexture(texture.raw(), null, null) } != 0 {
            return false;
        }
        for _ in 0..MAX_OLD_ERRORS {
            // SAFETY: a context is current, by the call above.
            if unsafe { (self.get_error)() } == GL_NO_ERROR {
                break;
            }
        }
        // SAFETY: a context is current and the texture bound to GL_TEXTURE_2D, by the call above,
        // and the image exists.
        unsafe { (self.image_target_texture)(GL_TEXTURE_2D, image) };
        // SAFETY: as above.
        let is_put = unsafe { (self.get_error)() } == GL_NO_ERROR;
        // SAFETY: the texture is alive.
        unsafe { sys::SDL_GL_UnbindTexture(texture.raw()) };
        is_put
    }

    /// Waits until everything drawn so far with the canvas has been drawn.
    pub(in crate::sdl) fn finish(&self, canvas: &WindowCanvas) {
        // SAFETY: the renderer is alive, for it is the canvas'. SDL makes its context current to
        // give GL what it has gathered.
        unsafe { sys::SDL_RenderFlush(canvas.raw()) };
        // SAFETY: a context is current, by the call above.
        unsafe { (self.finish)() };
    }
}

/// The words of a list of extensions.
fn words(list: *const c_char) -> Vec<String> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: not null, and so a static string ending in NUL, as both eglQueryString and glGetString
    // give it.
    let list = unsafe { CStr::from_ptr(list) };
    list.to_string_lossy().split_whitespace().map(str::to_owned).collect()
}
