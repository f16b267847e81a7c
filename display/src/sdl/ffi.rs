//! SDL calls that the binding cannot express.

mod import;
mod x_errors;

use std::ffi::{CStr, c_char, c_int, c_uint};

use sdl2::render::{Texture, WindowCanvas};
use sdl2::sys;

use crate::{Frame, MemoryError, PixelFormat, Rect};

pub(super) use self::import::Importer;
pub(super) use self::x_errors::pass_over_lost_windows;

/// Why pixels did not reach a texture.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("cannot update a texture: {0}")]
    Sdl(String),
    #[error("{0:?} is not inside the texture")]
    OutOfRange(Rect),
}

/// Copies `rect`, in memory order, from the frame's memory into the same place of `texture`.
pub(super) fn upload(texture: &mut Texture, frame: &Frame, rect: Rect) -> Result<(), UploadError> {
    let out_of_range = || UploadError::OutOfRange(rect);
    let query = texture.query();
    let inside = Rect::new(0, 0, query.width, query.height).contains(&rect)
        && frame.layout().bounds().contains(&rect);
    let is_32_bit = query.format.byte_size_per_pixel() == PixelFormat::BYTES_PER_PIXEL as usize;
    if !inside || !is_32_bit || rect.is_empty() {
        return Err(out_of_range());
    }
    let int = |value: u32| c_int::try_from(value).map_err(|_| out_of_range());
    let area = sys::SDL_Rect {
        x: int(rect.x)?,
        y: int(rect.y)?,
        w: int(rect.width)?,
        h: int(rect.height)?,
    };
    let pitch = int(frame.layout().stride)?;
    let result = frame.with_pixels(rect, |pixels| {
        // SAFETY: the texture belongs to a live renderer, for both are fields of the same Window.
        // `area` is inside it (checked above). with_pixels answers for all bytes of `rect`'s rows,
        // `pitch` apart, being readable during the call; SDL only copies them, 4 bytes a pixel
        // (checked above), so that their changing meanwhile cannot do more than tear the picture.
        unsafe { sys::SDL_UpdateTexture(texture.raw(), &raw const area, pixels.cast(), pitch) }
    })?;
    if result == 0 { Ok(()) } else { Err(UploadError::Sdl(sdl2::get_error())) }
}

/// Frees a texture, which the binding does only together with its renderer.
pub(super) fn destroy(texture: Texture, canvas: &WindowCanvas) {
    debug_assert!(!canvas.raw().is_null());
    // SAFETY: the renderer that made the texture is alive, for the caller passes it, and the
    // texture is taken by value, so it is not used again.
    unsafe { texture.destroy() };
}

/// What GL calls the device that draws for `canvas`, if it draws by GL.
pub(super) fn gl_renderer(canvas: &WindowCanvas) -> Option<String> {
    /// `GL_RENDERER` (`GL/gl.h`).
    const GL_RENDERER: c_uint = 0x1F01;
    type GetString = unsafe extern "C" fn(c_uint) -> *const c_char;

    if !canvas.info().name.starts_with("opengl") {
        return None;
    }
    let address = canvas.window().subsystem().gl_get_proc_address("glGetString");
    if address.is_null() {
        return None;
    }
    // SAFETY: the address is that of glGetString, whose C type is `const GLubyte *(GLenum)`; the
    // calling convention of GL on Unix is C's.
    let get_string = unsafe { std::mem::transmute::<*const (), GetString>(address) };
    // SAFETY: SDL has made the renderer's context current on this thread when it created it, and
    // the caller asks before any other renderer exists. glGetString then returns null or a static
    // string ending in NUL.
    let name = unsafe { get_string(GL_RENDERER) };
    if name.is_null() {
        return None;
    }
    // SAFETY: not null, and so a static string ending in NUL, see above.
    Some(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}
