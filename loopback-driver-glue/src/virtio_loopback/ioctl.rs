//! The module's ioctls as safe functions, one line of meaning each.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use rustix::ioctl::{Getter, Ioctl, IoctlOutput, Opcode, Setter, Updater, opcode};

use super::abi::{ConfigSet, Create, Export, Outstanding, QueueFds, QueueInfo, Status};

const GROUP: u8 = 0xB6;
const GET_API_VERSION: Opcode = opcode::read::<u32>(GROUP, 0x00);
const CREATE: Opcode = opcode::read_write::<Create>(GROUP, 0x01);
const ATTACH: Opcode = opcode::none(GROUP, 0x02);
const SET_QUEUE_FDS: Opcode = opcode::write::<QueueFds>(GROUP, 0x10);
const QUEUE_INFO: Opcode = opcode::read_write::<QueueInfo>(GROUP, 0x11);
const CONFIG_SET: Opcode = opcode::write::<ConfigSet>(GROUP, 0x12);
const STATUS: Opcode = opcode::read::<Status>(GROUP, 0x13);
const GET_MEM_FD: Opcode = opcode::none(GROUP, 0x14);
const ACK: Opcode = opcode::write::<u32>(GROUP, 0x15);
const OUTSTANDING: Opcode = opcode::write::<Outstanding>(GROUP, 0x16);
const EXPORT_DMABUF: Opcode = opcode::write::<Export>(GROUP, 0x20);

pub fn get_api_version(control: impl AsFd) -> io::Result<u32> {
    // SAFETY: the opcode reads one u32, the type of the getter.
    Ok(unsafe { rustix::ioctl::ioctl(control, Getter::<GET_API_VERSION, u32>::new()) }?)
}

/// `config` is what `create.config` points to.
pub fn create(control: impl AsFd, create: &mut Create, config: &[u8]) -> io::Result<()> {
    create.config = config.as_ptr() as u64;
    create.config_len = u32::try_from(config.len()).unwrap_or(u32::MAX);
    // SAFETY: the opcode reads and writes one Create; `config` outlives the call, and the kernel
    // reads `config_len` bytes of it at most (a length that does not fit is refused).
    unsafe { rustix::ioctl::ioctl(control, Updater::<CREATE, Create>::new(create)) }?;
    Ok(())
}

pub fn attach(control: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: the opcode has no argument and returns a new file descriptor.
    Ok(unsafe { rustix::ioctl::ioctl(control, ReturnsFd::<ATTACH>) }?)
}

pub fn set_queue_fds(session: impl AsFd, fds: QueueFds) -> io::Result<()> {
    // SAFETY: the opcode reads one QueueFds.
    unsafe { rustix::ioctl::ioctl(session, Setter::<SET_QUEUE_FDS, QueueFds>::new(fds)) }?;
    Ok(())
}

pub fn queue_info(session: impl AsFd, info: &mut QueueInfo) -> io::Result<()> {
    // SAFETY: the opcode reads and writes one QueueInfo.
    unsafe { rustix::ioctl::ioctl(session, Updater::<QUEUE_INFO, QueueInfo>::new(info)) }?;
    Ok(())
}

pub fn config_set(session: impl AsFd, offset: u32, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let set = ConfigSet { offset, length, data: data.as_ptr() as u64 };
    // SAFETY: the opcode reads one ConfigSet; `data` outlives the call and has `length` bytes (a
    // length that does not fit is refused).
    unsafe { rustix::ioctl::ioctl(session, Setter::<CONFIG_SET, ConfigSet>::new(set)) }?;
    Ok(())
}

pub fn status(session: impl AsFd) -> io::Result<Status> {
    // SAFETY: the opcode writes one Status.
    Ok(unsafe { rustix::ioctl::ioctl(session, Getter::<STATUS, Status>::new()) }?)
}

pub fn get_mem_fd(session: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: the opcode has no argument and returns a new file descriptor.
    Ok(unsafe { rustix::ioctl::ioctl(session, ReturnsFd::<GET_MEM_FD>) }?)
}

pub fn acknowledge(session: impl AsFd, sequence: u32) -> io::Result<()> {
    // SAFETY: the opcode reads one u32.
    unsafe { rustix::ioctl::ioctl(session, Setter::<ACK, u32>::new(sequence)) }?;
    Ok(())
}

/// Returns for how many buffers it was done.
pub fn outstanding(session: impl AsFd, outstanding: Outstanding) -> io::Result<u32> {
    // SAFETY: the opcode reads one Outstanding and returns a number.
    Ok(unsafe { rustix::ioctl::ioctl(session, SetterReturnsCount(outstanding)) }?)
}

/// One dma-buf of all `ranges`.
pub fn export_dmabuf(
    memory: impl AsFd,
    flags: u32,
    ranges: &[super::abi::Range],
) -> io::Result<OwnedFd> {
    let export = Export {
        flags,
        num_ranges: u32::try_from(ranges.len()).unwrap_or(u32::MAX),
        ranges: ranges.as_ptr() as u64,
        reserved: [0; 2],
    };
    // SAFETY: the opcode reads one Export; `ranges` outlives the call and has `num_ranges`
    // elements (a number that does not fit is refused). It returns a new file descriptor.
    Ok(unsafe { rustix::ioctl::ioctl(memory, SetterReturnsFd::<EXPORT_DMABUF, Export>(export)) }?)
}

/// An ioctl without argument whose result is a new file descriptor.
struct ReturnsFd<const OPCODE: Opcode>;

// SAFETY: no argument is passed, and the kernel's result of these opcodes is a descriptor that
// nobody else owns.
unsafe impl<const OPCODE: Opcode> Ioctl for ReturnsFd<OPCODE> {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;
    fn opcode(&self) -> Opcode {
        OPCODE
    }
    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        std::ptr::null_mut()
    }
    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the caller passes the result of a successful call.
        Ok(unsafe { OwnedFd::from_raw_fd(out as RawFd) })
    }
}

/// `OUTSTANDING`, whose result is a number.
struct SetterReturnsCount(Outstanding);

// SAFETY: the pointer is to the structure the opcode names, which the kernel only reads.
unsafe impl Ioctl for SetterReturnsCount {
    type Output = u32;
    const IS_MUTATING: bool = false;
    fn opcode(&self) -> Opcode {
        OUTSTANDING
    }
    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        (&raw mut self.0).cast()
    }
    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<u32> {
        u32::try_from(out).map_err(|_| rustix::io::Errno::RANGE)
    }
}

/// An ioctl that reads a structure and whose result is a new file descriptor.
struct SetterReturnsFd<const OPCODE: Opcode, T>(T);

// SAFETY: the pointer is to the structure the opcode names, and the result of these opcodes is a
// descriptor that nobody else owns.
unsafe impl<const OPCODE: Opcode, T> Ioctl for SetterReturnsFd<OPCODE, T> {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;
    fn opcode(&self) -> Opcode {
        OPCODE
    }
    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        (&raw mut self.0).cast()
    }
    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the caller passes the result of a successful call.
        Ok(unsafe { OwnedFd::from_raw_fd(out as RawFd) })
    }
}
