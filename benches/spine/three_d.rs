//! 3D commands, ours against rust-vmm's vhost-device-gpu in its mode `virglrenderer`: the same driver, the
//! same front-end, the same streams, and virglrenderer, in software where there is no GPU, behind both. The
//! two take turns, round by round.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use virtio_loopback_gpu::adapter::BackendChoice;
use virtio_loopback_gpu::driver::memory::Region;
use virtio_loopback_gpu::driver::queue::Part;
use virtio_loopback_gpu::driver::three_d::{VirglCommands, in_context, transfer_3d};
use virtio_loopback_gpu::driver::{Buffer, BufferKind, BufferSpec, GpuDriver};
use virtio_loopback_gpu::gpu::wire;
use virtio_loopback_gpu::gpu::wire::{CmdSubmit, CtrlHdr, Format, RespType, flag};
use zerocopy::IntoBytes;

use crate::common::{Device, TIMEOUT, program};
use crate::report::{Row, Samples, Target};

/// Rounds of each side and kind.
const ROUNDS: usize = 21;
/// How long one round lasts.
const ROUND: Duration = Duration::from_millis(200);
/// The context that draws.
const CONTEXT: u32 = 1;

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A stream of one small command, with a fence, so many at once.
    Submit { depth: u16 },
    /// All of a 1080p texture.
    Transfer,
}

/// Ratios, with the peer; rates, without.
pub fn run(peer: Option<&Path>) -> Vec<Row> {
    let mut ours = Contender::start("ours", |socket| {
        let mut command = Command::new(program());
        command.args(["backend", "--render=virgl", "--socket-path"]).arg(socket);
        command
    });
    let mut peer = peer.map(|peer| {
        Contender::start("vhost-device-gpu", |socket| {
            let mut command = Command::new(peer);
            command.arg("--socket-path").arg(socket).args(["--gpu-mode", "virglrenderer"]);
            command
        })
    });
    [
        ("SUBMIT_3D with a fence, depth 64", Work::Submit { depth: 64 }, 1.2),
        ("SUBMIT_3D with a fence, depth 1", Work::Submit { depth: 1 }, 1.0),
        ("TRANSFER_TO_HOST_3D, 1080p", Work::Transfer, 1.0),
    ]
    .map(|(what, work, target)| compare(what, work, target, &mut ours, peer.as_mut()))
    .into()
}

fn compare(
    what: &str,
    work: Work,
    target: f64,
    ours: &mut Contender,
    peer: Option<&mut Contender>,
) -> Row {
    ours.round(work);
    let Some(peer) = peer else {
        let rates: Samples = (0..ROUNDS).map(|_| ours.round(work)).collect();
        let details = "vhost-device-gpu is not there to compare with".into();
        return Row {
            what: what.into(),
            value: rates.median(),
            unit: "1/s",
            target: None,
            details,
        };
    };
    peer.round(work);
    let (mut one, mut other, mut ratios) =
        (Samples::default(), Samples::default(), Samples::default());
    for round in 0..ROUNDS {
        let (mine, theirs) = if round % 2 == 0 {
            let mine = ours.round(work);
            (mine, peer.round(work))
        } else {
            let theirs = peer.round(work);
            (ours.round(work), theirs)
        };
        ratios.push(mine / theirs);
        one.push(mine);
        other.push(theirs);
    }
    Row {
        what: what.into(),
        value: ratios.median(),
        unit: "x",
        target: Some(Target::AtLeast(target)),
        details: format!(
            "{:.0}/s / vhost-device-gpu {:.0}/s; {}",
            one.median(),
            other.median(),
            ratios.spread()
        ),
    }
}

/// A backend with a driver on it.
struct Contender {
    gpu: GpuDriver,
    texture: Buffer,
    slots: Region,
    /// Bytes of a SUBMIT_3D with its stream.
    length: u32,
    fence: u64,
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
        let driver = device.driver.take().expect("a driver");
        let mut gpu = GpuDriver::start(driver, u64::MAX).expect("the driver starts");
        let format = Format::B8g8r8a8;
        let spec = BufferSpec::new(BufferKind::Texture, 1920, 1080, format);
        let texture = gpu.create_buffer(spec).expect("a texture");
        gpu.create_context(CONTEXT, "bench").expect("a context");
        gpu.attach_to_context(CONTEXT, texture.resource_id()).expect("a texture of the context");
        let slots = gpu.driver().memory().allocate(64 * SLOT).expect("memory");
        // SET_STENCIL_REF: as little as a command can be.
        let mut commands = VirglCommands::new();
        commands.command(13, 0, &[0]);
        let stream = commands.words().as_bytes();
        let request = CmdSubmit {
            hdr: in_context(wire::Command::Submit3d, CONTEXT),
            size: (stream.len() as u32).into(),
            padding: 0.into(),
        };
        let bytes = [request.as_bytes(), stream].concat();
        for slot in 0..64 {
            slots.write(slot * SLOT, &bytes).expect("the slot is there");
        }
        let length = bytes.len() as u32;
        Self { gpu, texture, slots, length, fence: 0, _device: device, process, socket }
    }

    /// Commands per second.
    fn round(&mut self, work: Work) -> f64 {
        let start = Instant::now();
        let done = match work {
            Work::Submit { depth } => self.submit(depth, start),
            Work::Transfer => self.transfer(start),
        };
        done as f64 / start.elapsed().as_secs_f64()
    }

    fn transfer(&mut self, start: Instant) -> u64 {
        let command = wire::Command::TransferToHost3d;
        let request = transfer_3d(command, &self.texture, self.texture.rect());
        let mut done = 0;
        while start.elapsed() < ROUND {
            let _: CtrlHdr = self.gpu.command(&request, RespType::OkNodata).expect("a transfer");
            done += 1;
        }
        done
    }

    fn submit(&mut self, depth: u16, start: Instant) -> u64 {
        let (mut done, mut free) = (0, (0..u64::from(depth)).collect::<Vec<_>>());
        let mut slots = [0_u64; 1024];
        let queue = self.gpu.control().queue();
        while start.elapsed() < ROUND || queue.outstanding() > 0 {
            while start.elapsed() < ROUND
                && let Some(slot) = free.pop()
            {
                self.fence += 1;
                self.slots.put(slot * SLOT + 4, &flag::FENCE).expect("the slot is there");
                self.slots.put(slot * SLOT + 8, &self.fence).expect("the slot is there");
                let address = self.slots.address() + slot * SLOT;
                let request = Part { address, length: self.length };
                let length = size_of::<CtrlHdr>() as u32;
                let response = Part { address: address + RESPONSE, length };
                let token = queue.add(&[request], &[response]).expect("a free descriptor");
                slots[usize::from(token.index())] = slot;
            }
            queue.kick().expect("a kick");
            queue.wait_pending(1, TIMEOUT).expect("a queue");
            while let Some(used) = queue.take_used().expect("a queue") {
                let slot = slots[usize::from(used.token.index())];
                let answer: CtrlHdr =
                    self.slots.get(slot * SLOT + RESPONSE).expect("the slot is there");
                assert_eq!(answer.type_.get(), RespType::OkNodata.raw());
                free.push(slot);
                done += 1;
            }
        }
        done
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
