//! System calls that no crate here offers.

use std::io;

/// `close_range(2)`, which kernels have from 5.9 on.
pub(super) fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the call takes three numbers. `close_inherited` is called before anything in the
    // process owns a descriptor, so none is closed under its owner.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel has seccomp filters that can end a process.
pub(super) fn has_seccomp_filters() -> bool {
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the kernel reads four bytes from the pointer, which is to a `u32` that lives.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    result == 0
}

/// Version of the kernel's Landlock, if it has one that is on.
pub(super) fn landlock_abi() -> Option<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
    const VERSION: u32 = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: with this flag the call takes no pointer and no size, and makes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(result).ok().filter(|version| *version > 0)
}
