//! What a frame costs: the classic 2D path against memcpy, and a guest blob at two sizes.

use std::time::Instant;

use virtio_loopback_gpu::driver::{Buffer, BufferKind, BufferSpec, GpuDriver};
use virtio_loopback_gpu::gpu::wire::Format;

use crate::common::{Device, TIMEOUT};
use crate::copy_target::CopyTarget;
use crate::process::Process;
use crate::processor::Processor;
use crate::report::{Row, Samples, Target};

/// Frames of the classic path at each size; as many copies.
const CLASSIC_FRAMES: usize = 100;
/// Frames of a guest blob at each size, and of a round.
const BLOB_FRAMES: u32 = 2000;
const BLOB_ROUND: u32 = 50;

/// A device with a driver, and buffers to flip between.
struct Session {
    gpu: GpuDriver,
    device: Device,
    buffers: Vec<Buffer>,
    shown: u64,
}

impl Session {
    fn start(kind: BufferKind, buffers: usize, (width, height): (u32, u32)) -> Self {
        let mut device = Device::start(&[&format!("{width}x{height}")]);
        let driver = device.driver.take().expect("a driver");
        let mut gpu = GpuDriver::start(driver, u64::MAX).expect("the driver starts");
        let spec = BufferSpec::new(kind, width, height, Format::B8g8r8x8);
        let buffers = (0..buffers).map(|_| gpu.create_buffer(spec).expect("a buffer")).collect();
        let mut session = Self { gpu, device, buffers, shown: 0 };
        // All pages are there, all mappings are warm, and what arrives is what was drawn.
        for colour in [0x0010_2030, 0x00aa_bbcc] {
            for index in 0..session.buffers.len() {
                let buffer = &session.buffers[index];
                buffer.fill(buffer.rect(), colour).expect("the buffer is there");
                session.frame();
                session.check(colour);
            }
        }
        session
    }

    /// What Linux' driver sends for a frame, until the device has answered.
    fn frame(&mut self) {
        let buffer = &self.buffers[self.shown as usize % self.buffers.len()];
        let flip = self.shown == 0 || self.buffers.len() > 1;
        self.gpu.submit_frame(0, buffer, flip).expect("the frame is sent");
        self.gpu.finish().expect("the frame is answered");
        self.shown += 1;
    }

    /// Ends it in order: the device must have let go of the rings before their memory goes.
    fn stop(self) {
        self.gpu.unbind(TIMEOUT).expect("the device is reset");
        self.device.stop().expect("the adapter ends");
    }

    fn check(&self, colour: u32) {
        let [_, r, g, b] = colour.to_be_bytes();
        let picture = self.device.picture();
        for (x, y) in
            [(0, 0), (picture.width() / 2, 7), (picture.width() - 1, picture.height() - 1)]
        {
            assert_eq!(picture.pixel(x, y), Some([r, g, b]), "at {x}, {y}");
        }
        let figures = self.device.display.statistics(0).expect("a scanout");
        assert_eq!(figures.presents, self.shown, "a frame was not presented");
    }
}

/// TRANSFER_TO_HOST_2D and RESOURCE_FLUSH of full frames against memcpy of the same bytes.
pub fn classic() -> Vec<Row> {
    Processor::first().run(|| [(1920, 1080), (3840, 2160)].map(classic_at).into())
}

/// The memcpy is from the same memory, mapped as the driver has it, to a memfd like the resource's.
/// Copy and frame take turns, and each goes first every other time: both find the source equally
/// warm.
fn classic_at((width, height): (u32, u32)) -> Row {
    let mut session = Session::start(BufferKind::Classic, 1, (width, height));
    let entry = session.buffers[0].entries().next().expect("a piece");
    let bytes = u64::from(width) * u64::from(height) * 4;
    let memory = session.gpu.driver().memory().clone();
    let mut target = CopyTarget::new(bytes as usize);
    let mut copy = || {
        let start = Instant::now();
        memory.read(entry.addr.get(), target.bytes()).expect("the buffer is there");
        start.elapsed().as_secs_f64()
    };
    let mut frame = || {
        let start = Instant::now();
        session.frame();
        start.elapsed().as_secs_f64()
    };
    copy();
    let (mut copies, mut frames, mut ratios) = <(Samples, Samples, Samples)>::default();
    for round in 0..CLASSIC_FRAMES {
        let (copied, shown) = if round % 2 == 0 {
            let copied = copy();
            (copied, frame())
        } else {
            let shown = frame();
            (copy(), shown)
        };
        copies.push(copied);
        frames.push(shown);
        ratios.push(copied / shown);
    }
    session.stop();
    let rate = |seconds: f64| bytes as f64 / seconds / 1e9;
    Row {
        what: format!("classic 2D frame {width}x{height}, bytes/s / memcpy"),
        value: ratios.median(),
        unit: "x",
        target: Some(Target::AtLeast(0.8)),
        details: format!(
            "{:.2} GB/s against {:.2} GB/s; {}",
            rate(frames.median()),
            rate(copies.median()),
            ratios.spread()
        ),
    }
}

/// Processor time of adapter and backend for a page flip between guest blobs, large against small.
pub fn blob() -> Vec<Row> {
    vec![Processor::first().run(blob_sizes)]
}

fn blob_sizes() -> Row {
    let sizes = [(640, 480), (3840, 2160)];
    let mut sessions = sizes.map(|size| Session::start(BufferKind::Blob, 2, size));
    let (mut times, mut ratios) = (<[Samples; 2]>::default(), Samples::default());
    for round in 0..BLOB_FRAMES / BLOB_ROUND {
        let mut spent = [0.0; 2];
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for index in order {
            spent[index] = sessions[index].processor_time(BLOB_ROUND);
            times[index].push(spent[index] * 1e6);
        }
        ratios.push(spent[1] / spent[0]);
    }
    sessions.into_iter().for_each(Session::stop);
    let [small, large] = times.map(|times| times.median());
    Row {
        what: "guest blob frame, processor time 3840x2160 / 640x480".into(),
        value: ratios.median(),
        unit: "x",
        target: Some(Target::AtMost(1.2)),
        details: format!(
            "{large:.1} us against {small:.1} us, {BLOB_FRAMES} frames each; {}",
            ratios.spread()
        ),
    }
}

impl Session {
    /// Seconds of processor time that adapter and backend spend per frame. The adapter is this
    /// process without the calling thread, which is the driver.
    fn processor_time(&mut self, frames: u32) -> f64 {
        let backend = Process(self.device.backend_id.expect("a child"));
        let spent = || Process::current().nanoseconds() + backend.nanoseconds();
        let before = spent();
        for _ in 0..frames {
            self.frame();
        }
        (spent() - before) as f64 / 1e9 / f64::from(frames)
    }
}
