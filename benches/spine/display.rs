//! What showing a frame costs: a window without GL, whose texture the processor fills.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use virtio_loopback_display::{
    DisplayHandle, DisplayKind, Frame, FrameLayout, Options, PixelFormat, PixelMemory, Presenter,
    Rect, RendererChoice,
};

use crate::common::TIMEOUT;
use crate::copy_target::CopyTarget;
use crate::processor::Processor;
use crate::report::{Row, Samples, Target};

const SIZE: (u32, u32) = (1920, 1080);
/// Frames that are uploaded; as many copies.
const FRAMES: usize = 100;
/// Updates of parts of a frame.
const PARTS: u64 = 500;

/// A window's upload of full frames against memcpy of the same bytes, and what it uploads of parts.
pub fn run() -> Vec<Row> {
    Processor::first().run(in_window)
}

/// Windows belong to the thread that opens them, so the measuring is another's.
fn in_window() -> Vec<Row> {
    let mut options = Options::new(DisplayKind::Sdl, "bench");
    options.sdl.renderer = RendererChoice::Software;
    // SDL's own window system, without a screen: what follows the upload is not measured.
    options.sdl.video_driver = Some("dummy".into());
    // However large that says its screen is.
    options.sdl.size = Some(SIZE);
    let (presenter, display) = Presenter::open(options, |_| {}).expect("SDL's dummy driver");
    let quit = Quit(display.clone());
    let thread = std::thread::spawn(move || {
        let Quit(display) = &quit;
        let mut window = Window::open(display);
        vec![window.upload(), window.parts()]
    });
    presenter.run().expect("the window is shown");
    thread.join().expect("the measuring does not fail")
}

/// Ends the presenter when the measuring has ended, however it did.
struct Quit(DisplayHandle);

impl Drop for Quit {
    fn drop(&mut self) {
        self.0.quit();
    }
}

/// A window that shows a frame of [`SIZE`].
struct Window<'a> {
    display: &'a DisplayHandle,
    layout: FrameLayout,
    pixels: CopyTarget,
}

impl<'a> Window<'a> {
    fn open(display: &'a DisplayHandle) -> Self {
        let layout = FrameLayout::packed(SIZE.0, SIZE.1, PixelFormat::Xrgb8888);
        let length = u64::from(layout.stride) * u64::from(layout.height);
        let (mut pixels, file) = CopyTarget::shared(length as usize);
        for (pixel, number) in pixels.bytes().chunks_exact_mut(4).zip(0u32..) {
            pixel.copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_le_bytes());
        }
        let memory = PixelMemory::map(std::os::fd::AsFd::as_fd(&file), 0, length);
        let memory = Arc::new(memory.expect("the memory can be mapped"));
        let frame = Frame::new(memory, layout).expect("the frame is in the memory");
        display.set_scanout(0, Some(frame)).expect("there is a scanout 0");
        let mut window = Self { display, layout, pixels };
        window.flush(layout.bounds());
        window.check();
        window
    }

    /// Seconds until pixels have been uploaded. Returns when they have been shown, too.
    fn flush(&self, damage: Rect) -> f64 {
        let presents = || self.display.statistics(0).map_or(0, |figures| figures.presents);
        let before = presents();
        let (done, uploaded) = mpsc::channel();
        let start = Instant::now();
        let done = move || done.send(()).expect("somebody waits");
        self.display.flush(0, damage, done).expect("there is a frame");
        uploaded.recv_timeout(TIMEOUT).expect("the pixels are read");
        let seconds = start.elapsed().as_secs_f64();
        while presents() == before {
            assert!(start.elapsed() < TIMEOUT, "the pixels are not shown");
            std::thread::sleep(Duration::from_micros(200));
        }
        seconds
    }

    /// Every pixel is shown.
    fn check(&mut self) {
        let picture = self.display.screenshot(0).expect("there is a picture");
        assert_eq!((picture.width(), picture.height()), SIZE);
        let shown = picture.as_rgb().chunks_exact(3);
        for (number, (pixel, shown)) in self.pixels.bytes().chunks_exact(4).zip(shown).enumerate() {
            assert_eq!([pixel[2], pixel[1], pixel[0]], shown, "pixel {number}");
        }
    }

    /// Copy and upload take turns, and each goes first every other time: both find the source
    /// equally warm.
    fn upload(&mut self) -> Row {
        let bytes = self.pixels.bytes().len();
        let mut target = vec![0; bytes];
        let (mut copies, mut uploads, mut ratios) = <(Samples, Samples, Samples)>::default();
        for round in 0..FRAMES {
            let mut copied = 0.0;
            let mut copy = |pixels: &mut CopyTarget| {
                let start = Instant::now();
                target.copy_from_slice(pixels.bytes());
                std::hint::black_box(&target);
                copied = start.elapsed().as_secs_f64();
            };
            let uploaded = if round % 2 == 0 {
                copy(&mut self.pixels);
                self.flush(self.layout.bounds())
            } else {
                let uploaded = self.flush(self.layout.bounds());
                copy(&mut self.pixels);
                uploaded
            };
            copies.push(copied);
            uploads.push(uploaded);
            ratios.push(copied / uploaded);
        }
        let rate = |seconds: f64| bytes as f64 / seconds / 1e9;
        Row {
            what: format!("window without GL, {}x{} upload / memcpy", SIZE.0, SIZE.1),
            value: ratios.median(),
            unit: "x",
            target: Some(Target::AtLeast(0.8)),
            details: format!(
                "{:.2} GB/s against {:.2} GB/s; {}",
                rate(uploads.median()),
                rate(copies.median()),
                ratios.spread()
            ),
        }
    }

    /// Parts of the frame change, one after the other, anywhere and in any size.
    fn parts(&mut self) -> Row {
        let figures = |window: &Self| {
            let figures = window.display.statistics(0).expect("a scanout");
            (figures.copied_bytes, figures.damaged_bytes)
        };
        let before = figures(self);
        let mut expected = 0;
        for part in 0..PARTS {
            let part = random_part(part);
            self.paint(part);
            expected += u64::from(part.width) * u64::from(part.height) * 4;
            self.flush(part);
        }
        let after = figures(self);
        let (copied, damaged) = (after.0 - before.0, after.1 - before.1);
        assert_eq!(damaged, expected, "bytes of the damage");
        self.check();
        Row {
            what: format!("window without GL, {PARTS} updates: bytes too many or too few"),
            value: copied.abs_diff(damaged) as f64,
            unit: "B",
            target: Some(Target::AtMost(0.0)),
            details: format!("{copied} copied, {damaged} damaged"),
        }
    }

    fn paint(&mut self, part: Rect) {
        let stride = self.layout.stride as usize;
        for y in part.y..part.y + part.height {
            let start = y as usize * stride + part.x as usize * 4;
            let row = &mut self.pixels.bytes()[start..][..part.width as usize * 4];
            row.iter_mut().for_each(|byte| *byte = byte.wrapping_add(41));
        }
    }
}

/// The same ones in each run.
fn random_part(seed: u64) -> Rect {
    let mut state = seed;
    let mut below = |bound: u32| {
        // Constants of PCG's generator of 64 bits.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 % bound
    };
    below(2);
    let (x, y) = (below(SIZE.0), below(SIZE.1));
    Rect::new(x, y, 1 + below(SIZE.0 - x), 1 + below(SIZE.1 - y))
}
