//! Memory of the kind a resource has, to copy to and from.

use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// A mapped memfd.
pub struct CopyTarget {
    base: NonNull<u8>,
    length: usize,
}

impl CopyTarget {
    /// `length` bytes.
    pub fn new(length: usize) -> Self {
        Self::shared(length).0
    }

    /// `length` bytes, and their file for who reads them: it cannot shrink, and nobody else shall
    /// write it.
    pub fn shared(length: usize) -> (Self, OwnedFd) {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("bench", flags).expect("a memfd");
        rustix::fs::ftruncate(&file, length as u64).expect("memory");
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).expect("a memfd can be sealed");
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so no existing mapping is replaced.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), length, prot, MapFlags::SHARED, &file, 0)
        };
        let base = NonNull::new(base.expect("a mapping").cast()).expect("not at address 0");
        (Self { base, length }, file)
    }

    /// All of it.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is `length` bytes long as long as `self` lives, and its file cannot
        // shrink. Who has the file does not write it, and reads it through no reference, so this is
        // the only one.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.length) }
    }
}

impl Drop for CopyTarget {
    fn drop(&mut self) {
        // SAFETY: `new` mapped this range, and no slice of it outlives `self`.
        unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.length) }.expect("mapped");
    }
}
