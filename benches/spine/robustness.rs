//! What happens when things go wrong, and with many devices at once.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use virtio_loopback_gpu::adapter::{BackendChoice, RestartPolicy, Shared};
use virtio_loopback_gpu::driver::card::{CardPlayer, PlayerOptions};
use virtio_loopback_gpu::driver::{BufferKind, GpuDriver};
use virtio_loopback_gpu::sync::lock;

use crate::common::{Device, TIMEOUT, program};
use crate::process::{Memory, Process};
use crate::program::{Program, mebibytes, milliseconds};
use crate::report::{Row, Samples, Target};

/// Times a backend is killed, for each kind of buffer.
const KILLS: u64 = 20;
/// Devices at once.
const DEVICES: usize = 16;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// After this the adapters no longer ask their backends whether they are there.
const SETTLED: Duration = Duration::from_secs(4);
/// Frames that each of the devices shows.
const FRAMES: u32 = 60;

/// All of it.
pub fn run() -> Vec<Row> {
    let kinds = [(BufferKind::Blob, "guest blob"), (BufferKind::Classic, "classic")];
    let mut rows: Vec<_> = kinds.iter().map(|(kind, name)| killed(*kind, name)).collect();
    rows.extend(many_at_rest());
    rows.push(many_drawing());
    rows
}

/// From the death of a backend to frames that were begun after it.
fn killed(kind: BufferKind, name: &str) -> Row {
    let restarts = RestartPolicy { most: usize::MAX, ..RestartPolicy::default() };
    let restarts = RestartPolicy { delay: Duration::ZERO, ..restarts };
    let backend = BackendChoice::Child { program: program(), arguments: Vec::new() };
    let mut device = Device::with_restarts(&["1280x720"], backend, restarts);
    let driver = device.driver.take().expect("a driver");
    let gpu = GpuDriver::start(driver, u64::MAX).expect("the driver starts");
    let options = PlayerOptions { kind, rate: None, cursor: false };
    let mut player = CardPlayer::new(gpu, options).expect("buffers");
    let frames = AtomicU64::new(0);
    let times: Samples = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            (1..=KILLS).map(|count| milliseconds(kill(&device.shared, &frames, count))).collect()
        });
        while !killer.is_finished() {
            player.present().expect("a frame");
            frames.fetch_add(1, Ordering::SeqCst);
        }
        killer.join().expect("the killer ends")
    });
    player.close().expect("the resources are there");
    device.stop().expect("the adapter ends");
    Row {
        what: format!("backend killed to new frames, {name} 1280x720"),
        value: times.worst(),
        unit: "ms",
        target: Some(Target::AtMost(500.0)),
        details: format!("the worst of {KILLS}; median {:.1} ms", times.median()),
    }
}

/// Kills the backend in the middle of drawing; returns how long there were no new frames.
fn kill(shared: &Mutex<Shared>, frames: &AtomicU64, count: u64) -> Duration {
    // Different moments of a frame.
    std::thread::sleep(Duration::from_micros(20_000 + count * 1_700 % 16_000));
    let pid = lock(shared).backend_id.and_then(|id| Pid::from_raw(id.cast_signed()));
    let (begun, before) = (Instant::now(), frames.load(Ordering::SeqCst));
    kill_process(pid.expect("a backend"), Signal::KILL).expect("it is ours");
    while frames.load(Ordering::SeqCst) < before + 2 || lock(shared).restarts < count {
        assert!(begun.elapsed() < TIMEOUT, "there are no new frames");
        std::thread::sleep(Duration::from_micros(100));
    }
    begun.elapsed()
}

/// What many devices need when nothing happens.
fn many_at_rest() -> Vec<Row> {
    let programs: Vec<_> = (0..DEVICES).map(|_| Program::start()).collect();
    let processes: Vec<[Process; 2]> = programs.iter().map(Program::processes).collect();
    programs.iter().for_each(Program::wait_for_driver);
    std::thread::sleep(SETTLED);
    let spent = || {
        let all = processes.iter().flatten();
        let all = all.map(|process| (process.ticks(), process.nanoseconds()));
        all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let before = spent();
    std::thread::sleep(IDLE);
    let after = spent();
    let ticks = Row {
        what: format!("clock ticks of {DEVICES} devices in {} idle seconds", IDLE.as_secs()),
        value: (after.0 - before.0) as f64,
        unit: "ticks",
        target: Some(Target::AtMost(0.0)),
        details: format!("{} ns by the scheduler's count", after.1 - before.1),
    };
    // All but the first: what they share is there already.
    let others = processes.iter().skip(1).flatten().map(|process| process.memory());
    let sum = others.fold(Memory::default(), |sum, memory| sum + memory);
    let each = |bytes: u64| mebibytes(bytes) / (DEVICES - 1) as f64;
    let memory = Row {
        what: "private memory of one more device at 1280x720".into(),
        value: each(sum.total()),
        unit: "MiB",
        target: Some(Target::AtMost(8.0)),
        details: format!(
            "adapter and backend; dirty {:.2}, clean {:.2}, resources {:.2}",
            each(sum.dirty),
            each(sum.clean),
            each(sum.resources)
        ),
    };
    vec![ticks, memory]
}

/// Devices that show all their frames, all drawing at once.
fn many_drawing() -> Row {
    let begun = Instant::now();
    let start = |index: usize| {
        let name = format!("bench-{}-{index}", std::process::id());
        Command::new(program())
            .args(["demo", "--display", "headless", "--scanout", "640x360", "--rate", "20"])
            .args(["--frames", &FRAMES.to_string(), "--name", &name])
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts")
    };
    let devices: Vec<_> = (0..DEVICES).map(start).collect();
    let ended = devices.into_iter().map(|mut device| device.wait().expect("it was started"));
    let good = ended.filter(|status| status.success()).count();
    Row {
        what: format!("of {DEVICES} devices at once, with all {FRAMES} frames"),
        value: good as f64,
        unit: "",
        target: Some(Target::AtLeast(DEVICES as f64)),
        details: format!("20 frames/s asked for; {:.1} s in all", begun.elapsed().as_secs_f64()),
    }
}
