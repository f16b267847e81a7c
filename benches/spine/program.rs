//! The program as a whole: how fast it starts, what it needs when nothing happens.
//!
//! It is `virtio-loopback-gpu demo`, whose driver draws one frame and is done: what is left are
//! adapter and backend.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use virtio_loopback_gpu::driver::{BufferKind, BufferSpec, GpuDriver};
use virtio_loopback_gpu::gpu::wire::Format;

use crate::common::{Device, TIMEOUT, program};
use crate::process::Process;
use crate::report::{Row, Samples, Target};

/// Times the program is started.
const STARTS: usize = 15;
/// First frames of each kind.
const FIRST_FRAMES: usize = 10;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// From `exec` to the line on `--ready-fd`, and from the first flush to the picture.
pub fn start() -> Vec<Row> {
    // The first start finds nothing in the page cache.
    drop(Program::start());
    let times: Samples = (0..STARTS).map(|_| milliseconds(Program::start().ready_after)).collect();
    let ready = Row {
        what: "start to ready".into(),
        value: times.median(),
        unit: "ms",
        target: Some(Target::AtMost(100.0)),
        details: format!("worst {:.1} ms; {}", times.worst(), times.spread()),
    };
    let kinds = [(BufferKind::Blob, "guest blob"), (BufferKind::Classic, "classic")];
    let first = kinds.map(|(kind, name)| {
        let times: Samples = (0..FIRST_FRAMES).map(|_| milliseconds(first_frame(kind))).collect();
        Row {
            what: format!("first flush to presented, {name} 1280x720"),
            value: times.median(),
            unit: "ms",
            target: Some(Target::AtMost(20.0)),
            details: format!("worst {:.1} ms; {}", times.worst(), times.spread()),
        }
    });
    std::iter::once(ready).chain(first).collect()
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// From the first frame's first command to its picture on the display. A new device each time.
fn first_frame(kind: BufferKind) -> Duration {
    let mut device = Device::start(&["1280x720"]);
    let driver = device.driver.take().expect("a driver");
    let mut gpu = GpuDriver::start(driver, u64::MAX).expect("the driver starts");
    let spec = BufferSpec::new(kind, 1280, 720, Format::B8g8r8x8);
    let buffer = gpu.create_buffer(spec).expect("a buffer");
    buffer.fill(buffer.rect(), 0x0010_2030).expect("the buffer is there");
    let start = Instant::now();
    gpu.submit_frame(0, &buffer, true).expect("the frame is sent");
    gpu.finish().expect("the frame is answered");
    let elapsed = start.elapsed();
    // The answer to the flush comes when the display has the pixels.
    assert_eq!(device.display.statistics(0).expect("a scanout").presents, 1);
    assert_eq!(device.picture().pixel(640, 360), Some([0x10, 0x20, 0x30]));
    // The device must have let go of the rings before their memory goes.
    gpu.unbind(TIMEOUT).expect("the device is reset");
    device.stop().expect("the adapter ends");
    elapsed
}

/// Processor time of adapter and backend when nothing happens, and their memory.
pub fn rest() -> Vec<Row> {
    let program = Program::start();
    let [adapter, backend] = program.processes();
    program.wait_for_driver();
    // What the last frame has set going comes to an end.
    std::thread::sleep(Duration::from_millis(500));
    let spent = || {
        let both = [adapter, backend];
        let ticks: u64 = both.iter().map(|process| process.ticks()).sum();
        let nanoseconds: u64 = both.iter().map(|process| process.nanoseconds()).sum();
        (ticks, nanoseconds)
    };
    let before = spent();
    std::thread::sleep(IDLE);
    let after = spent();
    let idle = Row {
        what: format!("clock ticks in {} idle seconds", IDLE.as_secs()),
        value: (after.0 - before.0) as f64,
        unit: "ticks",
        target: Some(Target::AtMost(0.0)),
        details: format!("{} ns by the scheduler's count", after.1 - before.1),
    };
    let each = [adapter, backend].map(Process::memory);
    let [adapter, backend] = each.map(|memory| mebibytes(memory.total()));
    let [one, other] = each;
    let sum = one + other;
    let memory = Row {
        what: "private memory at 1280x720".into(),
        value: mebibytes(sum.total()),
        unit: "MiB",
        target: Some(Target::AtMost(16.0)),
        details: format!(
            "adapter {adapter:.2}, backend {backend:.2}; dirty {:.2}, clean {:.2}, resources {:.2}",
            mebibytes(sum.dirty),
            mebibytes(sum.clean),
            mebibytes(sum.resources)
        ),
    };
    vec![idle, memory]
}

pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// `virtio-loopback-gpu demo`, which has shown one frame or is about to.
pub struct Program {
    child: Child,
    ready_after: Duration,
    _output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it, under a name of its own.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{}-{count}", std::process::id());
        let start = Instant::now();
        let mut child = Command::new(program())
            .args(["demo", "--display", "headless", "--frames", "1", "--keep"])
            .args(["--ready-fd", "1", "--scanout", "1280x720", "--name", &name])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let ready_after = start.elapsed();
        assert_eq!(line, format!("ready {name}\n"));
        Self { child, ready_after, _output: output }
    }

    /// Adapter and backend.
    pub fn processes(&self) -> [Process; 2] {
        let adapter = Process(self.child.id());
        let backend = adapter.children();
        let [backend] = backend[..] else { panic!("one backend, not {backend:?}") };
        [adapter, backend]
    }

    /// Waits until the driver has drawn its frame: its thread ends then.
    pub fn wait_for_driver(&self) {
        let deadline = Instant::now() + TIMEOUT;
        while Process(self.child.id()).thread_names().iter().any(|name| name == "driver") {
            assert!(Instant::now() < deadline, "the driver does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.wait_for_driver();
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
