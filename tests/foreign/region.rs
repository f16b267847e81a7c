//! A front-end's shared memory region for host-visible blobs, as a VMM would have it: files that the
//! backend sends are mapped into it, and whoever looks at it sees their bytes.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::net::{Shutdown, shutdown};
use vhost::vhost_user::message::{VhostUserMMap, VhostUserProtocolFeatures};
use vhost::vhost_user::{Error, FrontendReqHandler, HandlerResult, VhostUserFrontendReqHandlerMut};

/// What has to be agreed on for it, besides REPLY_ACK.
pub const REGION_FEATURES: VhostUserProtocolFeatures = VhostUserProtocolFeatures::SHMEM
    .union(VhostUserProtocolFeatures::BACKEND_REQ)
    .union(VhostUserProtocolFeatures::BACKEND_SEND_FD);

/// How requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// They are done.
    Serve,
    /// They fail.
    Refuse,
    /// Not at all, until that changes.
    Silent,
}

/// The region: addresses without memory, but for the ranges that are mapped.
pub struct Region {
    base: usize,
    size: usize,
    /// Lengths by offset.
    mapped: BTreeMap<u64, u64>,
    pub manners: Manners,
    /// Requests that came.
    pub requests: usize,
}

impl Region {
    fn new(size: usize) -> Self {
        // SAFETY: anywhere that is free.
        let base =
            unsafe { mmap_anonymous(null_mut(), size, ProtFlags::empty(), MapFlags::PRIVATE) };
        let (mapped, manners) = (BTreeMap::new(), Manners::Serve);
        Self { base: base.unwrap() as usize, size, mapped, manners, requests: 0 }
    }

    /// Ranges that are mapped.
    pub fn mapped(&self) -> Vec<(u64, u64)> {
        self.mapped.iter().map(|(offset, length)| (*offset, *length)).collect()
    }

    fn at(&self, offset: u64, length: usize) -> *mut u8 {
        let end = offset + length as u64;
        let range = self.mapped.range(..=offset).next_back();
        let inside = range.is_some_and(|(start, length)| end <= start + length);
        assert!(inside, "{offset:#x} to {end:#x} is not mapped");
        (self.base + offset as usize) as *mut u8
    }

    /// Bytes of what is mapped there.
    pub fn read<const N: usize>(&self, offset: u64) -> [u8; N] {
        // SAFETY: it is mapped, and stays so as long as `self` is borrowed. Other processes write, too.
        unsafe { self.at(offset, N).cast::<[u8; N]>().read_volatile() }
    }

    /// Writes to what is mapped there.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let at = self.at(offset, bytes.len());
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: as above, and `at` has checked the length.
            unsafe { at.add(index).write_volatile(*byte) };
        }
    }

    fn answer(&mut self) -> HandlerResult<()> {
        self.requests += 1;
        match self.manners {
            Manners::Serve => Ok(()),
            _ => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        }
    }

    fn address(&self, request: &VhostUserMMap) -> (*mut c_void, usize) {
        let (offset, length) = (request.shm_offset as usize, request.len as usize);
        assert_eq!(
            (request.shmid, { request.fd_offset }, offset % 4096, length % 4096),
            (1, 0, 0, 0)
        );
        assert!(offset + length <= self.size, "{offset:#x} + {length:#x} is outside");
        ((self.base + offset) as *mut c_void, length)
    }
}

impl VhostUserFrontendReqHandlerMut for Region {
    fn shmem_map(&mut self, request: &VhostUserMMap, fd: &dyn AsRawFd) -> HandlerResult<u64> {
        self.answer()?;
        let (address, length) = self.address(request);
        let (start, end) = (request.shm_offset, request.shm_offset + request.len);
        let other = self.mapped.range(..end).next_back();
        assert!(other.is_none_or(|(at, length)| at + length <= start), "a mapping overlaps");
        assert_eq!({ request.flags }, 1);
        // SAFETY: the descriptor is open as long as the request is.
        let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        let (access, how) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
        // SAFETY: the range is within the region, which is ours, and nothing is there.
        unsafe { mmap(address, length, access, how, fd, 0) }?;
        self.mapped.insert(start, request.len);
        Ok(0)
    }

    fn shmem_unmap(&mut self, request: &VhostUserMMap) -> HandlerResult<u64> {
        self.answer()?;
        let (address, length) = self.address(request);
        assert_eq!(self.mapped.remove(&{ request.shm_offset }), Some(length as u64));
        let how = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: the range is within the region, and nobody looks at it without being told that it is
        // mapped.
        unsafe { mmap_anonymous(address, length, ProtFlags::empty(), how) }?;
        Ok(0)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody can look at it any more.
        unsafe { munmap(self.base as *mut c_void, self.size) }.unwrap();
    }
}

/// A region, and the thread that serves a backend's requests for it.
pub struct RegionServer {
    region: Arc<Mutex<Region>>,
    size: u64,
    socket: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl RegionServer {
    /// A region of so many bytes.
    pub fn start(size: u64) -> Self {
        let region = Arc::new(Mutex::new(Region::new(size as usize)));
        let mut handler = FrontendReqHandler::new(Arc::clone(&region)).unwrap();
        handler.set_reply_ack_flag(true);
        // SAFETY: the handler has it open.
        let socket = unsafe { BorrowedFd::borrow_raw(handler.get_tx_raw_fd()) };
        let socket = socket.try_clone_to_owned().unwrap();
        let served = Arc::clone(&region);
        let thread = std::thread::spawn(move || {
            loop {
                while served.lock().unwrap().manners == Manners::Silent {
                    std::thread::sleep(Duration::from_millis(5));
                }
                match handler.handle_request() {
                    Ok(_) | Err(Error::ReqHandlerError(_)) => {}
                    Err(_) => break,
                }
            }
        });
        Self { region, size, socket, thread: Some(thread) }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The backend's end of the socket.
    pub fn socket(&self) -> OwnedFd {
        self.socket.try_clone().unwrap()
    }

    /// The region. Requests wait meanwhile.
    pub fn region(&self) -> std::sync::MutexGuard<'_, Region> {
        self.region.lock().unwrap()
    }
}

impl Drop for RegionServer {
    fn drop(&mut self) {
        if let Ok(mut region) = self.region.lock() {
            region.manners = Manners::Refuse;
        }
        shutdown(&self.socket, Shutdown::Both).unwrap();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the region was asked for nonsense");
    }
}
