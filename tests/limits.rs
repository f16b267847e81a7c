//! Each limit of a device, by its name on the command line: what goes beyond it is refused or waits,
//! nothing changes by that, and what was given back can be had again.

#[allow(dead_code, reason = "not all of it is used here")]
mod common;

use std::time::{Duration, Instant};

use common::{Device, TIMEOUT, program};
use virtio_loopback_gpu::adapter::{BackendChoice, Monitors, Options, RestartPolicy};
use virtio_loopback_gpu::driver::memory::Region;
use virtio_loopback_gpu::driver::queue::QueueError;
use virtio_loopback_gpu::driver::{BlobFrame, DriverError, GpuDriver, Payload, Submission, header};
use virtio_loopback_gpu::gpu::wire::{Command, Format, MemEntry, RespDisplayInfo, RespType};
use virtio_loopback_gpu::gpu::{Counter, Counters, LimitKind, Rect};
use virtio_loopback_gpu::limits::DeviceLimits;
use virtio_loopback_gpu::sync::lock;

const FORMAT: Format = Format::B8g8r8x8;

/// A device with limits, and its driver.
struct Bench {
    device: Device,
    gpu: GpuDriver,
    memory: Region,
}

impl Bench {
    fn start(texts: &[&str]) -> Self {
        let mut limits = DeviceLimits::default();
        texts.iter().for_each(|text| limits.set(text.parse().unwrap()));
        let arguments = limits.backend_arguments();
        let options = Options {
            keep: Duration::ZERO,
            name: "limits".into(),
            monitors: Monitors::new(vec!["64x48".parse().unwrap()], 1),
            backend: BackendChoice::Child { program: program(), arguments },
            restarts: RestartPolicy { most: 0, ..RestartPolicy::default() },
            limits,
            program: None,
            cgroup: None,
        };
        let mut device = Device::with_options(&options, None);
        let mut gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX).unwrap();
        gpu.set_timeout(TIMEOUT);
        let memory = gpu.driver().memory().allocate(1 << 20).unwrap();
        Self { device, gpu, memory }
    }

    fn counters(&self) -> Counters {
        lock(&self.device.shared).counters().unwrap()
    }

    #[track_caller]
    fn assert_counted(&self, kind: LimitKind, used: u64, peak: u64, refused: u64) {
        assert_eq!(self.counters().of(kind), Counter { used, peak, refused }, "{kind}");
    }

    /// Pieces of the driver's memory that do not touch.
    fn entries(&self, count: u64) -> Vec<MemEntry> {
        let entry = |index: u64| MemEntry {
            addr: (self.memory.address() + index * 8192).into(),
            length: 4096.into(),
            padding: 0.into(),
        };
        (0..count).map(entry).collect()
    }

    fn create(&mut self, id: u32, width: u32, height: u32) -> Result<(), DriverError> {
        self.gpu.create_2d(id, FORMAT, width, height)
    }

    /// The device goes on: a resource that was not there before is made, filled, shown and taken away.
    fn stop(mut self) {
        let all = Rect { x: 0, y: 0, width: 8, height: 8 };
        self.create(1000, 8, 8).unwrap();
        let entries = self.entries(1);
        self.gpu.attach_backing(1000, &entries).unwrap();
        self.memory.write(0, &[0x40, 0x30, 0x20, 0].repeat(64)).unwrap();
        self.gpu.transfer_to_host_2d(1000, all, 0).unwrap();
        self.gpu.set_scanout(0, 1000, all).unwrap();
        self.gpu.flush(1000, all).unwrap();
        let picture = self.device.picture();
        assert!(picture.as_rgb().as_chunks().0.iter().all(|pixel| *pixel == [0x20, 0x30, 0x40]));
        self.gpu.unref(1000).unwrap();
        let Counters { limits, .. } = self.counters();
        assert!(limits.iter().all(|counter| counter.used == 0), "{limits:?}");
        self.gpu.unbind(TIMEOUT).unwrap();
        self.device.stop().unwrap();
    }
}

#[track_caller]
fn assert_out_of_memory<T: std::fmt::Debug>(result: Result<T, DriverError>) {
    match result.unwrap_err() {
        DriverError::Response { response, .. } => assert_eq!(response, RespType::ErrOutOfMemory),
        other => panic!("{other}"),
    }
}

#[test]
fn resources() {
    let mut bench = Bench::start(&["resources=3"]);
    let entries = bench.entries(1);
    bench.create(1, 4, 4).unwrap();
    bench.gpu.create_blob(2, 4096, &entries).unwrap();
    bench.create(3, 4, 4).unwrap();
    assert_out_of_memory(bench.create(4, 4, 4));
    assert_out_of_memory(bench.gpu.create_blob(4, 4096, &entries));
    bench.assert_counted(LimitKind::Resources, 3, 3, 2);
    bench.gpu.unref(2).unwrap();
    bench.assert_counted(LimitKind::Resources, 2, 3, 2);
    bench.create(4, 4, 4).unwrap();
    for id in [1, 3, 4] {
        bench.gpu.unref(id).unwrap();
    }
    bench.assert_counted(LimitKind::Resources, 0, 3, 2);
    bench.stop();
}

#[test]
fn bytes() {
    let mut bench = Bench::start(&["bytes=64K"]);
    bench.create(1, 128, 64).unwrap();
    bench.create(2, 64, 127).unwrap();
    assert_out_of_memory(bench.create(3, 65, 1));
    bench.create(3, 64, 1).unwrap();
    bench.assert_counted(LimitKind::Bytes, 65536, 65536, 1);
    // A blob in pieces is shown through a shadow, which are bytes as well.
    let entries = bench.entries(2);
    bench.gpu.create_blob(4, 8192, &entries).unwrap();
    let frame =
        BlobFrame { resource_id: 4, width: 32, height: 32, format: FORMAT, stride: 128, offset: 0 };
    let all = Rect { x: 0, y: 0, width: 32, height: 32 };
    assert_out_of_memory(bench.gpu.set_scanout_blob(0, &frame, all));
    bench.gpu.unref(1).unwrap();
    bench.assert_counted(LimitKind::Bytes, 32768, 65536, 2);
    bench.gpu.set_scanout_blob(0, &frame, all).unwrap();
    bench.assert_counted(LimitKind::Bytes, 32768 + 8192, 65536, 2);
    for id in 2..=4 {
        bench.gpu.unref(id).unwrap();
    }
    bench.assert_counted(LimitKind::Bytes, 0, 65536, 2);
    bench.stop();
}

#[test]
fn files() {
    let mut bench = Bench::start(&["files=2"]);
    let (entries, all) = (bench.entries(1), Rect { x: 0, y: 0, width: 8, height: 8 });
    for id in 1..=3 {
        bench.create(id, 8, 8).unwrap();
        bench.gpu.attach_backing(id, &entries).unwrap();
    }
    bench.gpu.transfer_to_host_2d(1, all, 0).unwrap();
    bench.gpu.set_scanout(0, 2, all).unwrap();
    assert_out_of_memory(bench.gpu.transfer_to_host_2d(3, all, 0));
    assert_out_of_memory(bench.gpu.set_scanout(0, 3, all));
    bench.assert_counted(LimitKind::Files, 2, 2, 2);
    bench.gpu.unref(1).unwrap();
    bench.gpu.transfer_to_host_2d(3, all, 0).unwrap();
    for id in 2..=3 {
        bench.gpu.unref(id).unwrap();
    }
    bench.assert_counted(LimitKind::Files, 0, 2, 2);
    bench.stop();
}

#[test]
fn dimension() {
    let mut bench = Bench::start(&["dimension=100"]);
    assert_out_of_memory(bench.create(1, 101, 1));
    assert_out_of_memory(bench.create(1, 1, 101));
    bench.create(1, 100, 2).unwrap();
    bench.assert_counted(LimitKind::Dimension, 0, 100, 2);
    bench.gpu.unref(1).unwrap();
    bench.stop();
}

#[test]
fn entries_and_total_entries() {
    let mut bench = Bench::start(&["entries=4", "total_entries=6"]);
    for id in 1..=2 {
        bench.create(id, 4, 4).unwrap();
    }
    let entries = bench.entries(5);
    assert_out_of_memory(bench.gpu.attach_backing(1, &entries));
    bench.assert_counted(LimitKind::BackingEntries, 0, 0, 1);
    bench.gpu.attach_backing(1, &entries[..4]).unwrap();
    bench.assert_counted(LimitKind::BackingEntries, 0, 4, 1);
    assert_out_of_memory(bench.gpu.attach_backing(2, &entries[..3]));
    assert_out_of_memory(bench.gpu.create_blob(3, 4096, &entries[..3]));
    bench.assert_counted(LimitKind::TotalBackingEntries, 4, 4, 2);
    bench.gpu.attach_backing(2, &entries[..2]).unwrap();
    bench.assert_counted(LimitKind::TotalBackingEntries, 6, 6, 2);
    bench.gpu.detach_backing(1).unwrap();
    bench.assert_counted(LimitKind::TotalBackingEntries, 2, 6, 2);
    bench.gpu.create_blob(3, 4096, &entries[..4]).unwrap();
    for id in 1..=3 {
        bench.gpu.unref(id).unwrap();
    }
    bench.assert_counted(LimitKind::TotalBackingEntries, 0, 6, 2);
    bench.stop();
}

#[test]
fn command() {
    let mut bench = Bench::start(&["command=4K"]);
    let request = header(Command::GetDisplayInfo);
    let mut ask = |more: u32, wanted| {
        let payload = bench.gpu.driver().memory().allocate(8192).unwrap();
        let response = size_of::<RespDisplayInfo>() as u32;
        let payload = Some(Payload::Request(payload, more));
        let submission = Submission { response, fence: None, payload };
        let ticket = bench.gpu.control().submit(&request, submission).unwrap();
        bench.gpu.control().kick().unwrap();
        let completion = bench.gpu.control().wait(TIMEOUT).unwrap().unwrap();
        assert_eq!(completion.ticket, ticket);
        assert_eq!(RespType::from_raw(completion.header.unwrap().type_.get()), Some(wanted));
    };
    ask(4096 - 24, RespType::OkDisplayInfo);
    ask(4096 - 23, RespType::ErrOutOfMemory);
    ask(8192, RespType::ErrOutOfMemory);
    bench.assert_counted(LimitKind::Command, 0, 4096, 2);
    bench.stop();
}

#[test]
fn outstanding() {
    let mut bench = Bench::start(&["outstanding=16"]);
    assert_eq!(bench.gpu.control().queue().info().size, 16);
    assert_eq!(bench.gpu.cursor().queue().info().size, 64);
    // It sleeps until it is kicked.
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..16 {
        let submission = Submission { response: 24, fence: None, payload: None };
        bench.gpu.control().submit(&header(Command::ResourceFlush), submission).unwrap();
    }
    assert_eq!(lock(&bench.device.shared).commands(), Some(16));
    let submission = Submission { response: 24, fence: None, payload: None };
    let error = bench.gpu.control().submit(&header(Command::ResourceFlush), submission);
    assert!(matches!(error, Err(DriverError::Queue(QueueError::Full { .. }))), "{error:?}");
    bench.gpu.control().kick().unwrap();
    for _ in 0..16 {
        bench.gpu.control().wait(TIMEOUT).unwrap().unwrap();
    }
    assert_eq!(lock(&bench.device.shared).commands(), Some(0));
    // Written when the batch is done, of which its answers do not wait.
    let deadline = Instant::now() + TIMEOUT;
    while bench.counters().queues[0].peak != 16 {
        assert!(Instant::now() < deadline, "{:?}", bench.counters());
        std::thread::sleep(Duration::from_millis(1));
    }
    bench.stop();
}

#[test]
fn a_replaced_backend_has_the_same_limits_and_counts_on() {
    let mut limits = DeviceLimits::default();
    limits.set("resources=3".parse().unwrap());
    let arguments = limits.backend_arguments();
    let options = Options {
        keep: Duration::ZERO,
        name: "limits".into(),
        monitors: Monitors::new(vec!["64x48".parse().unwrap()], 1),
        backend: BackendChoice::Child { program: program(), arguments },
        restarts: RestartPolicy { delay: Duration::ZERO, ..RestartPolicy::default() },
        limits,
        program: None,
        cgroup: None,
    };
    let mut device = Device::with_options(&options, None);
    let mut gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX).unwrap();
    gpu.set_timeout(TIMEOUT);
    for round in 1..=3 {
        for id in 1..=3 {
            gpu.create_2d(id, FORMAT, 4, 4).unwrap();
        }
        assert_out_of_memory(gpu.create_2d(4, FORMAT, 4, 4));
        let pid = lock(&device.shared).backend_id.unwrap() as i32;
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_out_of_memory(gpu.create_2d(4, FORMAT, 4, 4));
        let counted = lock(&device.shared).counters().unwrap().of(LimitKind::Resources);
        assert_eq!(counted, Counter { used: 3, peak: 3, refused: 2 * round });
        for id in 1..=3 {
            gpu.unref(id).unwrap();
        }
    }
    assert_eq!(lock(&device.shared).restarts, 3);
    device.stop().unwrap();
}
