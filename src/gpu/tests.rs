//! The device as its driver and its display see it.

mod commands;
mod cursors;
mod faults;
mod random;
mod restored;
mod scanouts;
mod survived;
mod transfers;

use super::testing::{Call, FREE, Fixture, Recorder, Shown};
use super::*;

const OK: RespType = RespType::OkNodata;

/// Frames are of this format unless a test is about formats.
const BGRX: u32 = wire::Format::B8g8r8x8 as u32;

fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect { x, y, width, height }
}

/// Bytes that differ from each other nearly everywhere.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// The pixels of a rectangle in an image of 4-byte pixels.
fn crop(image: &[u8], stride: usize, rect: Rect) -> Vec<u8> {
    let rows = image.chunks(stride).skip(rect.y as usize).take(rect.height as usize);
    rows.flat_map(|row| &row[rect.x as usize * 4..][..rect.width as usize * 4]).copied().collect()
}
