//! An animated test card: what a frame shows is a function of its number, so a picture of it can be
//! compared pixel by pixel.
//!
//! From the top: colour bars with a bouncing square, a gradient with a sweeping line, and a field
//! with the size and the frame's number. A border of one pixel, its corners in four colours, shows
//! cropping, mirroring and wrong strides.

mod font;
mod player;
#[cfg(test)]
mod tests;

pub use player::{CardPlayer, Played, PlayerOptions};

use zerocopy::little_endian::U32;

use super::buffer::Buffer;
use super::error::DriverError;

/// The bars, 0xRRGGBB, from the left.
pub const BARS: [u32; 8] =
    [0xffffff, 0xffff00, 0x00ffff, 0x00ff00, 0xff00ff, 0xff0000, 0x0000ff, 0x000000];
/// The corners: top left, top right, bottom left, bottom right.
pub const CORNERS: [u32; 4] = [0xff0000, 0x00ff00, 0x0000ff, 0xffff00];
/// The border between them.
pub const BORDER: u32 = 0xffffff;
/// The bouncing square.
pub const SQUARE: u32 = 0xff8000;
/// The sweeping line.
pub const SWEEP: u32 = 0xff0080;
/// The field with the text, and the text.
pub const FIELD: u32 = 0x102030;
/// The text.
pub const TEXT: u32 = 0xf0f0f0;

/// Pixels per frame that things move.
const SQUARE_STEP: (u64, u64) = (7, 5);
const SWEEP_STEP: u64 = 4;

/// A test card of one size.
#[derive(Debug, Clone)]
pub struct TestCard {
    width: u32,
    height: u32,
    /// A row of each band, without what moves.
    bars: Vec<U32>,
    gradient: Vec<U32>,
    field: Vec<U32>,
    /// The row that is being drawn.
    row: Vec<U32>,
}

/// What differs between frames.
struct Scene {
    square: (u32, u32),
    sweep: u32,
    lines: [String; 2],
}

impl TestCard {
    /// A card of `width` × `height` pixels.
    pub fn new(width: u32, height: u32) -> Self {
        let row = |colour: &dyn Fn(u32) -> u32| (0..width).map(|x| U32::new(colour(x))).collect();
        let bar = |x| u64::from(x) * BARS.len() as u64 / u64::from(width);
        let grey = |x| u64::from(x) * 255 / u64::from(width - 1).max(1);
        Self {
            width,
            height,
            bars: row(&|x| BARS.get(bar(x) as usize).copied().unwrap_or_default()),
            gradient: row(&|x| grey(x) as u32 * 0x010101),
            field: row(&|_| FIELD),
            row: vec![U32::ZERO; width as usize],
        }
    }

    /// Pixels of a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// First row below the bars.
    pub fn bars_end(&self) -> u32 {
        (u64::from(self.height) * 5 / 8) as u32
    }

    /// First row below the gradient.
    pub fn gradient_end(&self) -> u32 {
        (u64::from(self.height) * 6 / 8) as u32
    }

    /// Pixels of a side of the square.
    pub fn square_side(&self) -> u32 {
        (self.height / 6).min(self.width / 6)
    }

    /// Left and top of the square.
    pub fn square_at(&self, frame: u64) -> (u32, u32) {
        let side = self.square_side();
        (
            bounce(frame * SQUARE_STEP.0, self.width - side),
            bounce(frame * SQUARE_STEP.1, self.bars_end().saturating_sub(side)),
        )
    }

    /// Column of the sweeping line.
    pub fn sweep_at(&self, frame: u64) -> u32 {
        (frame * SWEEP_STEP % u64::from(self.width.max(1))) as u32
    }

    /// Where the cursor is in a frame.
    pub fn cursor_at(&self, frame: u64) -> (u32, u32) {
        let (right, bottom) = (self.width.saturating_sub(1), self.height.saturating_sub(1));
        (bounce(frame * 5, right), bounce(frame * 3, bottom))
    }

    /// The lines of text.
    pub fn text(&self, frame: u64) -> [String; 2] {
        [format!("VIRTIO-GPU {}X{}", self.width, self.height), format!("FRAME {frame:06}")]
    }

    /// Pixels of a dot of the text.
    pub fn text_scale(&self) -> u32 {
        let field = self.height - self.gradient_end();
        // Two lines with a blank row above, between and below, and the longest line with margins.
        (field / (2 * font::HEIGHT + 6)).min(self.width / (font::ADVANCE * 24)).max(1)
    }

    /// Draws a frame into a buffer of the card's size.
    pub fn draw(&mut self, frame: u64, buffer: &Buffer) -> Result<(), DriverError> {
        let scene = self.scene(frame);
        let mut row = std::mem::take(&mut self.row);
        let result = (0..self.height).try_for_each(|y| {
            self.draw_row(&scene, y, &mut row);
            buffer.write_pixels(0, y, &row)
        });
        self.row = row;
        result
    }

    /// The rows of a frame, 0x00RRGGBB.
    pub fn image(&self, frame: u64) -> Vec<u32> {
        let scene = self.scene(frame);
        let mut row = self.row.clone();
        let rows = (0..self.height).flat_map(|y| {
            self.draw_row(&scene, y, &mut row);
            row.iter().map(|pixel| pixel.get()).collect::<Vec<_>>()
        });
        rows.collect()
    }

    fn scene(&self, frame: u64) -> Scene {
        Scene {
            square: self.square_at(frame),
            sweep: self.sweep_at(frame),
            lines: self.text(frame),
        }
    }

    fn draw_row(&self, scene: &Scene, y: u32, row: &mut [U32]) {
        if y < self.bars_end() {
            row.copy_from_slice(&self.bars);
            let ((left, top), side) = (scene.square, self.square_side());
            if (top..top + side).contains(&y) {
                fill(row, left, side, SQUARE);
            }
        } else if y < self.gradient_end() {
            row.copy_from_slice(&self.gradient);
            fill(row, scene.sweep, 1, SWEEP);
        } else {
            row.copy_from_slice(&self.field);
            self.draw_text(scene, y - self.gradient_end(), row);
        }
        self.draw_border(y, row);
    }

    /// Row `y` of the field.
    fn draw_text(&self, scene: &Scene, y: u32, row: &mut [U32]) {
        let scale = self.text_scale();
        let line_height = font::HEIGHT + 2;
        let Some(dot_row) = (y / scale).checked_sub(2) else { return };
        let Some(line) = scene.lines.get((dot_row / line_height) as usize) else { return };
        let dots_of = |letter| font::row(letter, dot_row % line_height);
        for (letter, left) in
            line.chars().zip((3 * scale..).step_by((font::ADVANCE * scale) as usize))
        {
            let dots = dots_of(letter);
            (0..font::WIDTH)
                .filter(|dot| dots & (1 << (font::WIDTH - 1 - dot)) != 0)
                .for_each(|dot| fill(row, left + dot * scale, scale, TEXT));
        }
    }

    fn draw_border(&self, y: u32, row: &mut [U32]) {
        let [top_left, top_right, bottom_left, bottom_right] = CORNERS;
        let (left, right) = match y {
            0 => (top_left, top_right),
            _ if y == self.height - 1 => (bottom_left, bottom_right),
            _ => (BORDER, BORDER),
        };
        if y == 0 || y == self.height - 1 {
            fill(row, 0, self.width, BORDER);
        }
        fill(row, 0, 1, left);
        fill(row, self.width - 1, 1, right);
    }
}

/// Colours `count` pixels from `x` on, as far as the row goes.
fn fill(row: &mut [U32], x: u32, count: u32, colour: u32) {
    let pixels = row.iter_mut().skip(x as usize).take(count as usize);
    pixels.for_each(|pixel| *pixel = U32::new(colour));
}

/// Where something is after `way` pixels that turns round at 0 and at `limit`.
fn bounce(way: u64, limit: u32) -> u32 {
    let limit = u64::from(limit);
    let at = way % (2 * limit).max(1);
    at.min(2 * limit - at) as u32
}
