//! Memory of the kind a resource has, to copy to.

use std::ptr::NonNull;

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};

/// A mapped memfd that nobody else knows.
pub struct CopyTarget {
    base: NonNull<u8>,
    length: usize,
}

impl CopyTarget {
    /// `length` bytes.
    pub fn new(length: usize) -> Self {
        let file = rustix::fs::memfd_create("bench", MemfdFlags::CLOEXEC).expect("a memfd");
        rustix::fs::ftruncate(&file, length as u64).expect("memory");
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so no existing mapping is replaced.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), length, prot, MapFlags::SHARED, &file, 0)
        };
        let base = NonNull::new(base.expect("a mapping").cast()).expect("not at address 0");
        Self { base, length }
    }

    /// All of it.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is `length` bytes long as long as `self` lives; its file was closed in
        // `new` and given to nobody, so this is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.length) }
    }
}

impl Drop for CopyTarget {
    fn drop(&mut self) {
        // SAFETY: `new` mapped this range, and no slice of it outlives `self`.
        unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.length) }.expect("mapped");
    }
}
