//! Shows the test card on every scanout: page flips between two buffers, and a moving cursor.

use std::thread;
use std::time::{Duration, Instant};

use zerocopy::little_endian::U32;

use super::TestCard;
use crate::driver::buffer::{Buffer, BufferKind, BufferSpec};
use crate::driver::error::DriverError;
use crate::driver::gpu::GpuDriver;
use crate::gpu::Rect;
use crate::gpu::wire::{CURSOR_SIZE, Format, RespDisplayInfo, RespType};

/// How long displays may hang.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait until they are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How to show the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayerOptions {
    /// How the buffers are made.
    pub kind: BufferKind,
    /// Frames per second, at most; `None`: as fast as the device is.
    pub rate: Option<u32>,
    /// Whether a cursor moves over the first scanout.
    pub cursor: bool,
}

/// What [`CardPlayer::play`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// Frames shown on each scanout.
    pub frames: u64,
    /// How long that took.
    pub elapsed: Duration,
}

/// The card on one scanout.
#[derive(Debug)]
struct Head {
    scanout: u32,
    card: TestCard,
    front: Buffer,
    back: Buffer,
}

impl Head {
    fn mode(&self) -> (u32, u32, u32) {
        (self.scanout, self.card.width(), self.card.height())
    }
}

/// Shows the test card.
#[derive(Debug)]
pub struct CardPlayer {
    gpu: GpuDriver,
    options: PlayerOptions,
    heads: Vec<Head>,
    cursor: Option<Buffer>,
    frame: u64,
}

impl CardPlayer {
    /// Makes buffers for every scanout that is enabled, in its preferred size. Nothing is shown yet.
    pub fn new(gpu: GpuDriver, options: PlayerOptions) -> Result<Self, DriverError> {
        let mut player = Self { gpu, options, heads: Vec::new(), cursor: None, frame: 0 };
        let modes = player.modes()?;
        player.make_heads(&modes)?;
        if options.cursor {
            player.cursor = Some(player.make_cursor()?);
        }
        Ok(player)
    }

    /// What the device says of its displays, which it cannot while they hang: it is asked again then.
    fn display_info(&mut self) -> Result<RespDisplayInfo, DriverError> {
        let since = Instant::now();
        loop {
            match self.gpu.display_info() {
                Err(DriverError::Response { response: RespType::ErrUnspec, .. })
                    if since.elapsed() < PATIENCE =>
                {
                    thread::sleep(ASK_AGAIN);
                }
                Err(DriverError::Response { response: RespType::ErrUnspec, .. }) => {
                    return Err(DriverError::DisplayHangs { patience: PATIENCE });
                }
                answered => return answered,
            }
        }
    }

    /// Scanouts that are enabled, with their preferred width and height.
    fn modes(&mut self) -> Result<Vec<(u32, u32, u32)>, DriverError> {
        let info = self.display_info()?;
        let modes = (0..).zip(&info.pmodes).filter(|(_, mode)| mode.enabled.get() != 0);
        let sizes = modes.map(|(scanout, mode)| (scanout, mode.r.width.get(), mode.r.height.get()));
        Ok(sizes.filter(|(_, width, height)| *width > 0 && *height > 0).collect())
    }

    fn make_heads(&mut self, modes: &[(u32, u32, u32)]) -> Result<(), DriverError> {
        for &(scanout, width, height) in modes {
            let spec = BufferSpec::new(self.options.kind, width, height, Format::B8g8r8x8);
            let (front, back) = (self.gpu.create_buffer(spec)?, self.gpu.create_buffer(spec)?);
            self.heads.push(Head { scanout, card: TestCard::new(width, height), front, back });
        }
        if self.heads.is_empty() { Err(DriverError::NoScanout) } else { Ok(()) }
    }

    /// An arrow whose tip is its top left pixel.
    fn make_cursor(&mut self) -> Result<Buffer, DriverError> {
        const LENGTH: u32 = 24;
        let format = Format::B8g8r8a8;
        let spec = BufferSpec::new(self.options.kind, CURSOR_SIZE, CURSOR_SIZE, format);
        let buffer = self.gpu.create_buffer(spec)?;
        for y in 0..LENGTH {
            let width = y.min(LENGTH - y) + 1;
            let edge = |x: u32| x == 0 || x + 1 >= width;
            let colour = |x: u32| if edge(x) { 0xff00_0000 } else { 0xffff_ffff };
            let row: Vec<_> = (0..width).map(|x| U32::new(colour(x))).collect();
            buffer.write_pixels(0, y, &row)?;
        }
        self.gpu.transfer_to_host_2d(buffer.resource_id(), buffer.rect(), 0)?;
        Ok(buffer)
    }

    /// The driver underneath.
    pub fn gpu(&mut self) -> &mut GpuDriver {
        &mut self.gpu
    }

    /// Number of the next frame.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// The cards and their scanouts.
    pub fn cards(&self) -> impl Iterator<Item = (u32, &TestCard)> {
        self.heads.iter().map(|head| (head.scanout, &head.card))
    }

    /// Draws the next frame, shows it on all scanouts, and waits until the device has it. Returns
    /// the frame's number.
    pub fn present(&mut self) -> Result<u64, DriverError> {
        let frame = self.frame;
        for head in &mut self.heads {
            head.card.draw(frame, &head.back)?;
            self.gpu.submit_frame(head.scanout, &head.back, true)?;
            std::mem::swap(&mut head.front, &mut head.back);
        }
        self.gpu.finish()?;
        if let (Some(cursor), Some(head)) = (&self.cursor, self.heads.first()) {
            let at = head.card.cursor_at(frame);
            match frame {
                0 => self.gpu.update_cursor(head.scanout, at, cursor.resource_id(), (0, 0))?,
                _ => self.gpu.move_cursor(head.scanout, at)?,
            }
        }
        self.frame += 1;
        Ok(frame)
    }

    /// Shows frames until there have been `frames` of them, or `stop` says so. Follows the displays
    /// when the device changes them.
    pub fn play(
        &mut self,
        frames: Option<u64>,
        mut stop: impl FnMut() -> bool,
    ) -> Result<Played, DriverError> {
        let start = Instant::now();
        let mut shown = 0;
        while frames.is_none_or(|frames| shown < frames) && !stop() {
            if self.gpu.wait_display_change(Duration::ZERO)? {
                self.follow_displays()?;
            }
            self.present()?;
            shown += 1;
            if let Some(rate) = self.options.rate.filter(|rate| *rate > 0) {
                let due = start + Duration::from_secs_f64(shown as f64 / f64::from(rate));
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Ok(Played { frames: shown, elapsed: start.elapsed() })
    }

    /// Makes the buffers anew if the displays are different now. The old ones go after the new ones
    /// are shown, as in a modeset.
    fn follow_displays(&mut self) -> Result<(), DriverError> {
        let modes = self.modes()?;
        let shown = self.heads.iter().map(Head::mode);
        if modes.is_empty() || shown.eq(modes.iter().copied()) {
            return Ok(());
        }
        let old = std::mem::take(&mut self.heads);
        self.make_heads(&modes)?;
        self.present()?;
        for head in old {
            if modes.iter().all(|(scanout, ..)| *scanout != head.scanout) {
                self.gpu.set_scanout(head.scanout, 0, Rect::default())?;
            }
            self.gpu.destroy_buffer(head.front)?;
            self.gpu.destroy_buffer(head.back)?;
        }
        Ok(())
    }

    /// The driver, without a word to the device about what it still shows.
    pub fn into_gpu(self) -> GpuDriver {
        self.gpu
    }

    /// Turns the scanouts off and takes everything from the device.
    pub fn close(mut self) -> Result<GpuDriver, DriverError> {
        if let (Some(cursor), Some(head)) = (self.cursor.take(), self.heads.first()) {
            self.gpu.update_cursor(head.scanout, (0, 0), 0, (0, 0))?;
            self.gpu.destroy_buffer(cursor)?;
        }
        for head in self.heads {
            self.gpu.set_scanout(head.scanout, 0, Rect::default())?;
            self.gpu.destroy_buffer(head.front)?;
            self.gpu.destroy_buffer(head.back)?;
        }
        Ok(self.gpu)
    }
}
