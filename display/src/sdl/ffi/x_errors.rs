//! Xlib's errors. By default each ends the process.

use std::ffi::{c_int, c_uchar, c_ulong, c_void};
use std::sync::OnceLock;

use sdl2::sys;

/// `XErrorEvent` (`X11/Xlib.h`).
#[repr(C)]
struct ErrorEvent {
    kind: c_int,
    display: *mut c_void,
    resource: c_ulong,
    serial: c_ulong,
    error_code: c_uchar,
    request_code: c_uchar,
    minor_code: c_uchar,
}

/// `XErrorHandler`.
type Handler = unsafe extern "C" fn(*mut c_void, *mut ErrorEvent) -> c_int;
/// `XSetErrorHandler`.
type SetHandler = unsafe extern "C" fn(Option<Handler>) -> Option<Handler>;

/// `BadWindow` (`X11/X.h`).
const BAD_WINDOW: c_uchar = 3;
/// `X_SendEvent` (`X11/Xproto.h`).
const SEND_EVENT: c_uchar = 25;

static BEFORE: OnceLock<Option<Handler>> = OnceLock::new();

/// Has Xlib pass over messages to windows that are gone. SDL wakes its event loop by one, over a second
/// connection, and whoever flushes may be later than the end of the window.
pub(in super::super) fn pass_over_lost_windows() {
    if BEFORE.get().is_some() {
        return;
    }
    // SAFETY: both names end with a NUL. The library is the one that SDL uses for X11 and stays loaded.
    let set = unsafe {
        let library = sys::SDL_LoadObject(c"libX11.so.6".as_ptr());
        if library.is_null() {
            return;
        }
        sys::SDL_LoadFunction(library, c"XSetErrorHandler".as_ptr())
    };
    if set.is_null() {
        return;
    }
    // SAFETY: a function of this name in libX11 has this type.
    let set = unsafe { std::mem::transmute::<*mut c_void, SetHandler>(set) };
    // SAFETY: the handler may be called by Xlib at any time from now on; it needs nothing that ends.
    let before = unsafe { set(Some(handle)) };
    let _ = BEFORE.set(before);
}

/// # Safety
///
/// Called by Xlib, with an event of its own.
unsafe extern "C" fn handle(display: *mut c_void, event: *mut ErrorEvent) -> c_int {
    // SAFETY: Xlib's pointer, good for this call.
    let error = unsafe { &*event };
    if (error.error_code, error.request_code) == (BAD_WINDOW, SEND_EVENT) {
        return 0;
    }
    match BEFORE.get().copied().flatten() {
        // SAFETY: it was Xlib's handler before, called as Xlib would.
        Some(before) => unsafe { before(display, event) },
        None => 0,
    }
}
