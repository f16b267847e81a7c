//! What an adapter writes down of a device that may outlive it, for the next one.

use std::fs::File;
use std::io::{self, Read as _, Seek, SeekFrom, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use loopback_driver_glue::DeviceConfig;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::gpu::{Limits, STATE_VERSION};

/// Bytes of the number at the beginning; what the device is follows, as JSON.
const START: u64 = size_of::<u64>() as u64;
/// Bytes a record may have.
const MAX_RECORD: u64 = 64 * 1024;

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// As the transport was told.
    pub config: DeviceConfig,
    /// Of its backends.
    pub limits: Limits,
    /// How they write the state down.
    pub state_version: u32,
}

/// A small file: what the device is, and which of its drivers the state is about.
#[derive(Debug)]
pub struct Record(File);

impl Record {
    /// The record of a new device, whose backend has these limits.
    pub fn create(config: &DeviceConfig, limits: &Limits) -> io::Result<Self> {
        let (config, limits) = (config.clone(), limits.clone());
        let about = About { config, limits, state_version: STATE_VERSION };
        let file = rustix::fs::memfd_create("virtio-loopback-record", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(&0_u64.to_ne_bytes())?;
        file.write_all(&serde_json::to_vec(&about)?)?;
        Ok(Self(file))
    }

    /// Reads one that another process has left.
    pub fn open(file: OwnedFd) -> io::Result<(Self, About)> {
        let mut file = File::from(file);
        let mut text = String::new();
        file.seek(SeekFrom::Start(START))?;
        (&file).take(MAX_RECORD).read_to_string(&mut text)?;
        let about = serde_json::from_str(&text)?;
        Ok((Self(file), about))
    }

    /// The file.
    pub fn as_file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Notes which start of a driver the state is about from now on (see
    /// [`DriverStarts`](loopback_driver_glue::DriverStarts)). Done before the backend learns of that
    /// driver, and at once: a process that is killed has written all of it or nothing.
    pub fn set_start(&self, count: u64) -> io::Result<()> {
        self.0.write_all_at(&count.to_ne_bytes(), 0)
    }

    /// Which start of a driver the state is about; 0: none.
    pub fn start(&self) -> io::Result<u64> {
        let mut bytes = [0; START as usize];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> DeviceConfig {
        DeviceConfig {
            name: "cluster".into(),
            device_id: 16,
            vendor_id: 0x1af4,
            features: 1 << 63 | 1 << 32,
            queue_sizes: vec![1024, 64],
            config: vec![0, 255, 1],
            keep_ms: 30_000,
            bounce_max: 1 << 30,
            export_max: 0,
        }
    }

    #[test]
    fn another_process_reads_what_was_written() {
        let limits = Limits { bytes: 7 << 20, ..Limits::default() };
        let record = Record::create(&config(), &limits).unwrap();
        assert_eq!(record.start().unwrap(), 0);
        record.set_start(3).unwrap();
        let copy = record.as_file().try_clone_to_owned().unwrap();
        let (read, about) = Record::open(copy).unwrap();
        let written = About { config: config(), limits, state_version: STATE_VERSION };
        assert_eq!((read.start().unwrap(), about), (3, written));
        read.set_start(u64::MAX).unwrap();
        assert_eq!(record.start().unwrap(), u64::MAX);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for content in ["", "12345678", "12345678{}", "12345678{\"name\":\"cluster\"}"] {
            let file = rustix::fs::memfd_create("record", MemfdFlags::CLOEXEC).unwrap();
            File::from(file.try_clone().unwrap()).write_all(content.as_bytes()).unwrap();
            assert!(Record::open(file).is_err(), "{content:?}");
        }
    }
}
