//! What a scanout shows once nobody draws it any more.
//!
//! Every mode set switches a scanout off first, so that nothing happens before [`HOLD`] has passed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::handle::Inner;
use crate::{DisplayError, Frame, FrameLayout, MAX_SCANOUTS, Picture, PixelBuffer, PixelFormat};

/// How long a scanout may be off within a mode set.
const HOLD: Duration = Duration::from_millis(100);

/// What a scanout shows once nobody draws it any more.
#[derive(Debug, Clone, Default)]
pub struct LossPolicy {
    /// Instead of its last picture.
    pub show: LossPicture,
    /// For how long the last picture stays.
    pub after: Duration,
}

/// A picture instead of the last one.
#[derive(Debug, Clone, Default)]
pub enum LossPicture {
    /// None: the last picture stays.
    #[default]
    Hold,
    /// Nothing.
    Black,
    /// This one, scaled to fit, on black.
    Image(Arc<Picture>),
}

/// Tells the thread that waits what became of a scanout.
#[derive(Clone)]
pub(crate) struct LossWatch(Option<Sender<Notice>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    Lost(u32),
    AllLost,
    Live(u32),
}

impl LossWatch {
    /// Watches the scanouts of a display, on a thread that ends with the display's last handle.
    pub(crate) fn start(policy: LossPolicy, display: Inner) -> Result<LossWatch, DisplayError> {
        if let LossPicture::Hold = policy.show {
            return Ok(LossWatch(None));
        }
        let (sender, receiver) = mpsc::channel();
        let watch = move || {
            let waiting = Waiting { after: policy.after.max(HOLD), due: BTreeMap::new() };
            waiting.run(&receiver, |scanout| stand_in(&display, scanout, &policy.show));
        };
        let spawned = thread::Builder::new().name("loss".into()).spawn(watch);
        spawned.map_err(DisplayError::Thread)?;
        Ok(LossWatch(Some(sender)))
    }

    pub(crate) fn lost(&self, scanout: u32) {
        self.send(Notice::Lost(scanout));
    }

    pub(crate) fn all_lost(&self) {
        self.send(Notice::AllLost);
    }

    pub(crate) fn live(&self, scanout: u32) {
        self.send(Notice::Live(scanout));
    }

    fn send(&self, notice: Notice) {
        if let Some(sender) = &self.0 {
            // The thread ends after the last sender, so there is one.
            let _ = sender.send(notice);
        }
    }
}

/// Scanouts that nobody draws, and when their last picture has stayed long enough.
struct Waiting {
    after: Duration,
    due: BTreeMap<u32, Instant>,
}

impl Waiting {
    fn run(mut self, notices: &Receiver<Notice>, show: impl Fn(u32)) {
        loop {
            let next = self.due.values().min();
            let notice = match next.map(|due| due.saturating_duration_since(Instant::now())) {
                // What has been said already counts first: it may be live again.
                Some(Duration::ZERO) => notices.try_recv().map_err(|error| match error {
                    mpsc::TryRecvError::Empty => RecvTimeoutError::Timeout,
                    mpsc::TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
                Some(left) => notices.recv_timeout(left),
                None => notices.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match notice {
                Ok(notice) => self.note(notice, Instant::now()),
                Err(RecvTimeoutError::Timeout) => {
                    self.take_due(Instant::now()).into_iter().for_each(&show);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn note(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Lost(scanout) => {
                self.due.insert(scanout, now + self.after);
            }
            Notice::AllLost => {
                for scanout in 0..MAX_SCANOUTS {
                    self.due.entry(scanout).or_insert(now + self.after);
                }
            }
            Notice::Live(scanout) => {
                self.due.remove(&scanout);
            }
        }
    }

    fn take_due(&mut self, now: Instant) -> Vec<u32> {
        let is_due = |(scanout, due): (&u32, &Instant)| (*due <= now).then_some(*scanout);
        let due: Vec<u32> = self.due.iter().filter_map(is_due).collect();
        self.due.retain(|scanout, _| !due.contains(scanout));
        due
    }
}

/// Shows what the policy says, in the size of the last frame.
fn stand_in(display: &Inner, scanout: u32, show: &LossPicture) {
    let Some(figures) = display.statistics(scanout) else { return };
    let image = match show {
        LossPicture::Image(image) => Some(image.as_ref()),
        LossPicture::Black | LossPicture::Hold => None,
    };
    let shown = frame(figures.width, figures.height, image)
        .and_then(|frame| display.stand_in(scanout, frame));
    match shown {
        Ok(()) | Err(DisplayError::Closed) => {}
        Err(error) => log::error!("scanout {scanout} keeps its last picture: {error}"),
    }
}

/// A frame of this size that the picture fills as far as its shape allows; a black one without.
pub(crate) fn frame(
    width: u32,
    height: u32,
    image: Option<&Picture>,
) -> Result<Frame, DisplayError> {
    let layout = FrameLayout::packed(width, height, PixelFormat::Xrgb8888);
    let pixels = PixelBuffer::new(u64::from(width) * u64::from(height) * 4)?;
    if let Some(image) = image {
        pixels.write(0, &scaled(image, width, height))?;
    }
    Ok(Frame::new(Arc::clone(pixels.memory()), layout)?)
}

/// B, G, R, X of each pixel of an area that the picture fills as far as its shape allows.
fn scaled(picture: &Picture, width: u32, height: u32) -> Vec<u8> {
    let (from, to) = ((picture.width(), picture.height()), (width, height));
    // Pixels of the picture per pixel of the area, as a fraction: the larger one of both directions.
    let is_wider = u64::from(from.0) * u64::from(to.1) >= u64::from(from.1) * u64::from(to.0);
    let (over, under) = if is_wider { (from.0, to.0) } else { (from.1, to.1) };
    let (over, under) = (i64::from(over), i64::from(under.max(1)));
    // From the middles of both, in halves of pixels.
    let source = |at: u32, from: u32, to: u32| {
        let halves = 2 * i64::from(at) + 1 - i64::from(to);
        let at = (halves * over + i64::from(from) * under).div_euclid(2 * under);
        u32::try_from(at).ok()
    };
    let columns: Vec<Option<u32>> = (0..width).map(|x| source(x, from.0, to.0)).collect();
    let mut bytes = Vec::with_capacity(width as usize * height as usize * 4);
    for y in 0..height {
        let row = source(y, from.1, to.1);
        for column in &columns {
            let pixel = column.zip(row).and_then(|(x, y)| picture.pixel(x, y));
            let [r, g, b] = pixel.unwrap_or_default();
            bytes.extend([b, g, r, 0xff]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DisplayKind, Options, Presenter, Signal};

    /// Red, green; blue, white.
    fn image() -> Picture {
        let rgb = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3]];
        Picture::from_rgb(2, 2, rgb.concat())
    }

    fn rows(bytes: &[u8], width: usize) -> Vec<String> {
        let (pixels, _) = bytes.as_chunks::<4>();
        let letter = |pixel: &[u8; 4]| match pixel {
            [0, 0, 255, 255] => 'r',
            [0, 255, 0, 255] => 'g',
            [255, 0, 0, 255] => 'b',
            [255, 255, 255, 255] => 'w',
            [0, 0, 0, 255] => '.',
            _ => '?',
        };
        pixels.chunks(width).map(|row| row.iter().map(letter).collect()).collect()
    }

    #[test]
    fn images_fill_as_far_as_their_shape_allows() {
        assert_eq!(rows(&scaled(&image(), 2, 2), 2), ["rg", "bw"]);
        assert_eq!(
            rows(&scaled(&image(), 8, 4), 8),
            ["..rrgg..", "..rrgg..", "..bbww..", "..bbww.."]
        );
        assert_eq!(rows(&scaled(&image(), 2, 6), 2), ["..", "..", "rg", "bw", "..", ".."]);
        assert_eq!(rows(&scaled(&image(), 1, 1), 1), ["w"]);
        let wide =
            Picture::from_rgb(4, 1, [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3]].concat());
        assert_eq!(rows(&scaled(&wide, 4, 3), 4), ["....", "rgbw", "...."]);
    }

    #[test]
    fn a_scanout_that_is_live_again_is_not_due() {
        let start = Instant::now();
        let mut waiting = Waiting { after: HOLD, due: BTreeMap::new() };
        waiting.note(Notice::Lost(1), start);
        assert_eq!(waiting.take_due(start + HOLD / 2), []);
        waiting.note(Notice::Live(1), start + HOLD / 2);
        assert_eq!(waiting.take_due(start + HOLD), []);
        // The second time counts from then.
        waiting.note(Notice::Lost(1), start + HOLD);
        assert_eq!(waiting.take_due(start + HOLD), []);
        assert_eq!(waiting.take_due(start + 2 * HOLD), [1]);
        assert_eq!(waiting.take_due(start + 3 * HOLD), []);
        // A scanout that was off before its source was lost does not wait longer.
        waiting.note(Notice::Lost(2), start);
        waiting.note(Notice::AllLost, start + HOLD / 2);
        assert_eq!(waiting.take_due(start + HOLD), [2]);
    }

    /// A headless display with this policy, and a red frame of 6x2 on scanout 0.
    fn display(show: LossPicture) -> (Presenter, crate::DisplayHandle) {
        let policy = LossPolicy { show, after: Duration::ZERO };
        let options = Options { loss: policy, ..Options::new(DisplayKind::Headless, "loss") };
        let (presenter, display) = Presenter::open(options, |_| {}).unwrap();
        red(&display);
        (presenter, display)
    }

    fn red(display: &crate::DisplayHandle) {
        let pixels = PixelBuffer::new(6 * 2 * 4).unwrap();
        pixels.write(0, &[0, 0, 255, 0].repeat(12)).unwrap();
        let layout = FrameLayout::packed(6, 2, PixelFormat::Xrgb8888);
        let frame = Frame::new(Arc::clone(pixels.memory()), layout).unwrap();
        display.set_scanout(0, Some(frame)).unwrap();
        display.flush(0, layout.bounds(), || {}).unwrap();
    }

    /// What the scanout shows when that changes, or after a second.
    fn shown(display: &crate::DisplayHandle, until: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let start = Instant::now();
        loop {
            let picture = display.screenshot(0).unwrap();
            if until(picture.as_rgb()) || start.elapsed() > Duration::from_secs(1) {
                return picture.as_rgb().to_vec();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn black_comes_after_the_hold_and_goes_with_the_next_frame() {
        let (_presenter, display) = display(LossPicture::Black);
        let red_pixels = [255, 0, 0].repeat(12);
        let begun = Instant::now();
        display.set_scanout(0, None).unwrap();
        assert_eq!(shown(&display, |_| true), red_pixels);
        assert_eq!(shown(&display, |rgb| rgb != red_pixels), [0; 36]);
        assert!(begun.elapsed() >= HOLD, "{:?}", begun.elapsed());
        // It is off all the same.
        assert_eq!(display.statistics(0).unwrap().signal, Signal::Off);
        red(&display);
        assert_eq!(shown(&display, |_| true), red_pixels);
        display.source_lost();
        assert_eq!(shown(&display, |rgb| rgb != red_pixels), [0; 36]);
        assert_eq!(display.statistics(0).unwrap().signal, Signal::Lost);
    }

    #[test]
    fn a_mode_set_shows_nothing_of_it() {
        let (_presenter, display) = display(LossPicture::Black);
        for _ in 0..5 {
            display.set_scanout(0, None).unwrap();
            thread::sleep(HOLD / 2);
            red(&display);
        }
        thread::sleep(2 * HOLD);
        assert_eq!(shown(&display, |_| true), [255, 0, 0].repeat(12));
    }

    #[test]
    fn an_image_has_the_size_of_the_last_frame() {
        let (_presenter, display) = display(LossPicture::Image(Arc::new(image())));
        display.set_scanout(0, None).unwrap();
        let expected = [
            [[0; 3]; 2].concat(),
            vec![255, 0, 0, 0, 255, 0],
            [[0; 3]; 4].concat(),
            vec![0, 0, 255, 255, 255, 255],
            [[0; 3]; 2].concat(),
        ];
        assert_eq!(shown(&display, |rgb| rgb[0] == 0), expected.concat());
    }

    #[test]
    fn the_last_picture_stays_without_a_policy() {
        let (_presenter, display) = display(LossPicture::Hold);
        display.set_scanout(0, None).unwrap();
        thread::sleep(2 * HOLD);
        assert_eq!(shown(&display, |_| true), [255, 0, 0].repeat(12));
    }
}
