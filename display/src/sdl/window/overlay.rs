//! Figures over the picture: how often and how fast it changes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use font8x8::legacy::BASIC_LEGACY;
use sdl2::pixels::PixelFormatEnum;
use sdl2::render::{BlendMode, Texture, WindowCanvas};

use super::{ffi, sdl_error};
use crate::statistics::Rates;
use crate::{DisplayError, Rect};

/// Least time between two changes of the figures, so that they can be read.
const PERIOD: Duration = Duration::from_millis(250);

/// Presents in the graph, each two columns wide, a pixel a millisecond high.
const BARS: usize = 96;
const BAR_WIDTH: usize = 2;
const GRAPH_HEIGHT: usize = 40;

/// Pixels of a character, whose font has 8 by 8, and of a line.
const CHARACTER_WIDTH: usize = 8;
const LINE_HEIGHT: usize = 10;
const BORDER: usize = 4;

/// B, G, R, A.
type Pixel = [u8; 4];

const BACKGROUND: Pixel = [0, 0, 0, 176];
const TEXT: Pixel = [255, 255, 255, 255];
/// A present within two refreshes of a screen of 60 Hz after the one before.
const BAR: Pixel = [64, 220, 64, 255];
const LATE_BAR: Pixel = [48, 96, 255, 255];

/// What the last frame took.
#[derive(Debug, Default)]
pub(super) struct Timing {
    /// To copy the damage.
    pub(super) upload: Duration,
    /// To draw and present it.
    pub(super) present: Duration,
    /// That were copied.
    pub(super) bytes: u64,
    /// How many rectangles that was, and what is around all of them.
    pub(super) rects: usize,
    pub(super) around: Rect,
    last_present: Option<Instant>,
    /// Milliseconds between the last presents, the oldest first.
    intervals: VecDeque<usize>,
}

impl Timing {
    /// A new picture was presented.
    pub(super) fn presented(&mut self, now: Instant) {
        if let Some(last) = self.last_present.replace(now) {
            let millis = now.saturating_duration_since(last).as_millis();
            if self.intervals.len() == BARS {
                self.intervals.pop_front();
            }
            self.intervals.push_back(usize::try_from(millis).unwrap_or(usize::MAX));
        }
    }

    /// The figures in words.
    fn lines(&self, rates: Rates, view: &str) -> [String; 5] {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let Rect { x, y, width, height } = self.around;
        let plural = if self.rects == 1 { "" } else { "s" };
        [
            format!("FPS {:6.1}   UPS {:6.1}", rates.presents, rates.updates),
            format!("upload {:6.2} ms {:9} B", millis(self.upload), self.bytes),
            format!("present {:5.2} ms", millis(self.present)),
            format!("damage {width}x{height}+{x}+{y}, {} rect{plural}", self.rects),
            view.to_owned(),
        ]
    }
}

/// A window's overlay, while it is shown.
#[derive(Default)]
pub(super) struct Overlay {
    texture: Option<Texture>,
    /// In pixels of the overlay.
    size: (u32, u32),
    changed: Option<Instant>,
}

impl Overlay {
    /// True if the figures on it are old.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.changed.is_none_or(|time| now.saturating_duration_since(time) >= PERIOD)
    }

    /// Writes the figures anew.
    pub(super) fn write(
        &mut self,
        canvas: &WindowCanvas,
        timing: &Timing,
        rates: Rates,
        view: &str,
    ) -> Result<(), DisplayError> {
        self.changed = Some(Instant::now());
        let raster = Raster::new(&timing.lines(rates, view), &timing.intervals);
        let size = raster.size();
        self.destroy(canvas);
        let mut texture = canvas
            .create_texture_static(PixelFormatEnum::ARGB8888, size.0, size.1)
            .map_err(sdl_error("create an overlay"))?;
        texture.set_blend_mode(BlendMode::Blend);
        texture
            .update(None, raster.pixels.as_flattened(), raster.width * 4)
            .map_err(sdl_error("write an overlay"))?;
        self.texture = Some(texture);
        self.size = size;
        Ok(())
    }

    /// At the top left, each of its pixels `scale` by `scale`.
    pub(super) fn draw(&self, canvas: &mut WindowCanvas, scale: u32) -> Result<(), DisplayError> {
        let Some(texture) = &self.texture else { return Ok(()) };
        let target = sdl2::rect::Rect::new(0, 0, self.size.0 * scale, self.size.1 * scale);
        canvas.copy(texture, None, target).map_err(sdl_error("draw an overlay"))
    }

    pub(super) fn destroy(&mut self, canvas: &WindowCanvas) {
        if let Some(texture) = self.texture.take() {
            ffi::destroy(texture, canvas);
        }
    }
}

/// The overlay's pixels.
struct Raster {
    width: usize,
    pixels: Vec<Pixel>,
}

impl Raster {
    fn new(lines: &[String], intervals: &VecDeque<usize>) -> Raster {
        let longest = lines.iter().map(String::len).max().unwrap_or(0);
        let width = (longest * CHARACTER_WIDTH).max(BARS * BAR_WIDTH) + 2 * BORDER;
        let height = lines.len() * LINE_HEIGHT + GRAPH_HEIGHT + 3 * BORDER;
        let mut raster = Raster { width, pixels: vec![BACKGROUND; width * height] };
        for (row, line) in lines.iter().enumerate() {
            raster.text(line, BORDER, BORDER + row * LINE_HEIGHT);
        }
        let base = height - BORDER;
        for (column, &millis) in intervals.iter().enumerate() {
            let colour = if millis <= 33 { BAR } else { LATE_BAR };
            let x = BORDER + column * BAR_WIDTH;
            for y in base - millis.clamp(1, GRAPH_HEIGHT)..base {
                raster.set(x, y, colour);
            }
        }
        raster
    }

    fn size(&self) -> (u32, u32) {
        let height = self.pixels.len().checked_div(self.width).unwrap_or(0);
        (u32::try_from(self.width).unwrap_or(0), u32::try_from(height).unwrap_or(0))
    }

    fn text(&mut self, text: &str, x: usize, y: usize) {
        for (column, byte) in text.bytes().enumerate() {
            let Some(glyph) = BASIC_LEGACY.get(usize::from(byte)) else { continue };
            for (row, bits) in glyph.iter().enumerate() {
                // The lowest bit is at the left.
                for bit in (0..CHARACTER_WIDTH).filter(|bit| bits >> bit & 1 != 0) {
                    self.set(x + column * CHARACTER_WIDTH + bit, y + row, TEXT);
                }
            }
        }
    }

    fn set(&mut self, x: usize, y: usize, colour: Pixel) {
        if x < self.width
            && let Some(pixel) = self.pixels.get_mut(y * self.width + x)
        {
            *pixel = colour;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_in_words() {
        let timing = Timing {
            upload: Duration::from_micros(1234),
            present: Duration::from_micros(560),
            bytes: 3_686_400,
            rects: 1,
            around: Rect::new(10, 20, 1280, 720),
            ..Timing::default()
        };
        let rates = Rates { presents: 59.94, updates: 120.0 };
        assert_eq!(
            timing.lines(rates, "fit"),
            [
                "FPS   59.9   UPS  120.0",
                "upload   1.23 ms   3686400 B",
                "present  0.56 ms",
                "damage 1280x720+10+20, 1 rect",
                "fit",
            ]
        );
    }

    #[test]
    fn text_and_bars_have_their_pixels() {
        let raster = Raster::new(&["I".into()], &VecDeque::from([0, 16, 1000]));
        let (width, height) = raster.size();
        assert_eq!((width, height), (96 * 2 + 8, 10 + 40 + 12));
        let at = |x: usize, y: usize| raster.pixels[y * raster.width + x];
        assert_eq!(at(0, 0), BACKGROUND);
        let row = |y: usize| -> String {
            (BORDER..BORDER + 8).map(|x| if at(x, y) == TEXT { '#' } else { '.' }).collect()
        };
        // The font's I: serifs at the top.
        assert_eq!(row(BORDER), ".####...");
        assert_eq!(row(BORDER + 1), "..##....");
        let base = height as usize - BORDER;
        let bar = |index: usize| {
            let x = BORDER + index * BAR_WIDTH;
            (0..base).filter(|&y| at(x, y) == BAR || at(x, y) == LATE_BAR).count()
        };
        assert_eq!([bar(0), bar(1), bar(2), bar(3)], [1, 16, 40, 0]);
        assert_eq!(at(BORDER + 2 * BAR_WIDTH, base - 1), LATE_BAR);
    }

    #[test]
    fn intervals_are_bounded() {
        let mut timing = Timing::default();
        let start = Instant::now();
        for i in 0..1000 {
            timing.presented(start + Duration::from_millis(i * 7));
        }
        assert_eq!(timing.intervals.len(), BARS);
        assert!(timing.intervals.iter().all(|&millis| millis == 7));
    }
}
