//! Round trips per second over the control queue, ours against rust-vmm's vhost-device-gpu.
//!
//! The same driver, the same front-end, the same command: TRANSFER_TO_HOST_2D of one pixel. Ours
//! does it; the peer's mode `null` does nothing at all, which is in the peer's favour. The two take
//! turns, round by round.
//!
//! Driver and backend are kept on one processor or on two: which it is decides more than anything
//! else how long a round trip takes, and left to itself the scheduler puts one contender here and
//! the other there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use virtio_loopback_gpu::adapter::BackendChoice;
use virtio_loopback_gpu::driver::memory::Region;
use virtio_loopback_gpu::driver::queue::{Part, Queue};
use virtio_loopback_gpu::gpu::wire::{
    self, CtrlHdr, Format, MemEntry, ResourceAttachBacking, ResourceCreate2d, TransferToHost2d,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::common::{Device, TIMEOUT, program};
use crate::process::Process;
use crate::processor::Processor;
use crate::report::{Row, Samples, Target};

/// Rounds of each side and depth. Many short ones: what else the machine does then falls on both
/// sides of a pair, or on few pairs.
const ROUNDS: usize = 41;
/// How long one round lasts.
const ROUND: Duration = Duration::from_millis(100);

/// Ratios at depth 64 and 1.
pub fn run(peer: Option<&Path>) -> Vec<Row> {
    let mut ours = Contender::start("ours", |socket| {
        let mut command = Command::new(program());
        command.arg("backend").arg("--socket-path").arg(socket);
        command
    });
    let mut peer = peer.map(|peer| {
        Contender::start("vhost-device-gpu", |socket| {
            let mut command = Command::new(peer);
            command.arg("--socket-path").arg(socket).args(["--gpu-mode", "null"]);
            command
        })
    });
    let driver = Processor::first();
    let mut rows = Vec::new();
    let places = [(Some(driver), "one processor"), (Processor::other(), "two processors")];
    for (backend, name) in places {
        let Some(backend) = backend else { continue };
        ours.pin(backend);
        if let Some(peer) = &peer {
            peer.pin(backend);
        }
        for (depth, target) in [(64, 1.5), (1, 1.0)] {
            let what = format!("control queue, depth {depth}, {name}");
            let compare = || compare(what, depth, target, &mut ours, peer.as_mut());
            rows.push(driver.run(compare));
        }
    }
    rows
}

fn compare(
    what: String,
    depth: u16,
    target: f64,
    ours: &mut Contender,
    peer: Option<&mut Contender>,
) -> Row {
    ours.round(depth);
    let Some(peer) = peer else {
        let rates: Samples = (0..ROUNDS).map(|_| ours.round(depth).rate).collect();
        let details = "vhost-device-gpu is not there to compare with".into();
        return Row { what, value: rates.median(), unit: "1/s", target: None, details };
    };
    peer.round(depth);
    let mut rounds = <[(Samples, Samples); 2]>::default();
    let mut ratios = Samples::default();
    for round in 0..ROUNDS {
        let (one, other) = if round % 2 == 0 {
            let one = ours.round(depth);
            (one, peer.round(depth))
        } else {
            let other = peer.round(depth);
            (ours.round(depth), other)
        };
        ratios.push(one.rate / other.rate);
        for (samples, round) in rounds.iter_mut().zip([one, other]) {
            samples.0.push(round.rate);
            samples.1.push(round.backend_time * 1e6);
        }
    }
    let [one, other] =
        rounds.map(|(rates, times)| format!("{:.0}/s ({:.2} us)", rates.median(), times.median()));
    Row {
        what,
        value: ratios.median(),
        unit: "x",
        target: Some(Target::AtLeast(target)),
        details: format!("{one} / vhost-device-gpu {other}; {}", ratios.spread()),
    }
}

/// What one round gave.
struct Round {
    /// Round trips per second.
    rate: f64,
    /// Seconds of processor time the backend needed for each.
    backend_time: f64,
}

/// A backend with a driver on it.
struct Contender {
    name: &'static str,
    queue: Queue,
    commands: Region,
    _device: Device,
    process: Child,
    socket: PathBuf,
}

/// Bytes of a request and of a response, each in a slot of its own.
const SLOT: u64 = 256;
const RESPONSE: u64 = 128;

impl Contender {
    fn start(name: &'static str, command: impl FnOnce(&Path) -> Command) -> Self {
        let socket = std::env::temp_dir().join(format!("bench-{}-{name}", std::process::id()));
        let process = command(&socket).spawn().expect("the backend starts");
        let deadline = Instant::now() + TIMEOUT;
        while !socket.exists() {
            assert!(Instant::now() < deadline, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut device = Device::with_backend(&["640x480"], BackendChoice::Socket(socket.clone()));
        let mut driver = device.driver.take().expect("a driver");
        driver.start(1 << 28 | 1 << 29).expect("the driver starts");
        let queue = driver.take_queue(wire::CONTROL_QUEUE).expect("a queue");
        let commands = driver.memory().allocate(64 * SLOT).expect("memory");
        let pixels = driver.memory().allocate(4096).expect("memory");
        device.driver = Some(driver);
        let mut contender = Self { name, queue, commands, _device: device, process, socket };
        contender.make_resource(&pixels);
        // The pages of the resource stay allocated as long as the driver's memory does.
        std::mem::forget(pixels);
        contender
    }

    /// Keeps the backend on a processor.
    fn pin(&self, processor: Processor) {
        Process(self.process.id()).pin(processor);
    }

    fn make_resource(&mut self, pixels: &Region) {
        let header = |command: wire::Command| CtrlHdr {
            type_: command.raw().into(),
            ..CtrlHdr::new_zeroed()
        };
        self.submit_one(&ResourceCreate2d {
            hdr: header(wire::Command::ResourceCreate2d),
            resource_id: 1.into(),
            format: Format::B8g8r8x8.raw().into(),
            width: 16.into(),
            height: 16.into(),
        });
        let attach = ResourceAttachBacking {
            hdr: header(wire::Command::ResourceAttachBacking),
            resource_id: 1.into(),
            nr_entries: 1.into(),
        };
        let entry =
            MemEntry { addr: pixels.address().into(), length: 4096.into(), padding: 0.into() };
        let bytes = [attach.as_bytes(), entry.as_bytes()].concat();
        self.submit_bytes(&bytes);
        let transfer = TransferToHost2d {
            hdr: header(wire::Command::TransferToHost2d),
            r: wire::WireRect { width: 1.into(), height: 1.into(), ..Default::default() },
            offset: 0.into(),
            resource_id: 1.into(),
            padding: 0.into(),
        };
        for slot in 0..64 {
            self.commands.put(slot * SLOT, &transfer).expect("the slot is there");
        }
    }

    fn submit_one(&mut self, command: &(impl IntoBytes + Immutable)) {
        self.submit_bytes(command.as_bytes());
    }

    fn submit_bytes(&mut self, bytes: &[u8]) {
        self.commands.write(0, bytes).expect("the slot is there");
        self.add(0, bytes.len() as u32);
        self.queue.kick().expect("a kick");
        let used = self.queue.wait_used(TIMEOUT).expect("a queue");
        assert!(used.is_some(), "{} does not answer", self.name);
        let answer: CtrlHdr = self.commands.get(RESPONSE).expect("the slot is there");
        assert_eq!(answer.type_.get(), wire::RespType::OkNodata.raw(), "{}", self.name);
    }

    /// Returns the index of the chain.
    fn add(&mut self, slot: u64, length: u32) -> u16 {
        let address = self.commands.address() + slot * SLOT;
        let request = Part { address, length };
        let response = Part { address: address + RESPONSE, length: size_of::<CtrlHdr>() as u32 };
        self.queue.add(&[request], &[response]).expect("a free descriptor").index()
    }

    /// As many round trips as there are time for, with `depth` commands under way.
    fn round(&mut self, depth: u16) -> Round {
        let backend = Process(self.process.id());
        let before = backend.nanoseconds();
        let length = size_of::<TransferToHost2d>() as u32;
        let start = Instant::now();
        let mut done = 0_u64;
        let mut free: Vec<u64> = (0..u64::from(depth)).collect();
        let mut slots = [0_u64; 1024];
        while start.elapsed() < ROUND {
            while let Some(slot) = free.pop() {
                let head = self.add(slot, length);
                slots[usize::from(head)] = slot;
            }
            self.queue.kick().expect("a kick");
            self.queue.wait_pending(1, TIMEOUT).expect("a queue");
            while let Some(used) = self.queue.take_used().expect("a queue") {
                free.push(slots[usize::from(used.token.index())]);
                done += 1;
            }
        }
        let rate = done as f64 / start.elapsed().as_secs_f64();
        let backend_time = (backend.nanoseconds() - before) as f64 / 1e9 / done as f64;
        while self.queue.outstanding() > 0 {
            self.queue.wait_used(TIMEOUT).expect("a queue").expect("an answer");
        }
        Round { rate, backend_time }
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
