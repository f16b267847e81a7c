use std::sync::Weak;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::{
    DisplayHandle, DisplayKind, FrameLayout, Options, PixelBuffer, PixelFormat, PixelMemory,
    Presenter,
};

const RED: [u8; 4] = [0, 0, 255, 0];
const GREEN: [u8; 4] = [0, 255, 0, 0];

fn open() -> (Presenter, DisplayHandle) {
    Presenter::open(Options::new(DisplayKind::Headless, "test"), |_| {}).unwrap()
}

/// A frame of `XR24` pixels, all of them `pixel`.
fn frame(width: u32, height: u32, pixel: [u8; 4]) -> (PixelBuffer, Frame) {
    let layout = FrameLayout::packed(width, height, PixelFormat::Xrgb8888);
    let buffer = PixelBuffer::new(layout.end().unwrap().unwrap()).unwrap();
    buffer.write(0, &pixel.repeat((width * height) as usize)).unwrap();
    let frame = Frame::new(buffer.memory().clone(), layout).unwrap();
    (buffer, frame)
}

/// Flushes and says whether `done` ran before the call returned.
fn flush(display: &DisplayHandle, scanout: u32, damage: Rect) -> (bool, Result<(), DisplayError>) {
    let (sender, receiver) = mpsc::channel();
    let result = display.flush(scanout, damage, move || sender.send(()).unwrap());
    (receiver.try_recv().is_ok(), result)
}

#[test]
fn shows_the_frame_as_it_is_now() {
    let (_presenter, display) = open();
    assert!(matches!(display.screenshot(0), Err(DisplayError::NoPicture(0))));
    assert_eq!(display.statistics(0), None);

    let (buffer, frame) = frame(8, 4, RED);
    display.set_scanout(0, Some(frame)).unwrap();
    assert_eq!(display.screenshot(0).unwrap().pixel(7, 3), Some([255, 0, 0]));
    buffer.write(4, &GREEN).unwrap();
    let (done, result) = flush(&display, 0, Rect::new(1, 0, 1, 1));
    result.unwrap();
    assert!(done);
    let picture = display.screenshot(0).unwrap();
    assert_eq!((picture.width(), picture.height()), (8, 4));
    assert_eq!(picture.pixel(1, 0), Some([0, 255, 0]));
    assert_eq!(picture.pixel(0, 0), Some([255, 0, 0]));
}

#[test]
fn flushes_copy_nothing_and_are_counted() {
    let (_presenter, display) = open();
    let (_buffer, frame) = frame(8, 4, RED);
    display.set_scanout(3, Some(frame)).unwrap();
    for _ in 0..10 {
        flush(&display, 3, Rect::new(0, 0, u32::MAX, u32::MAX)).1.unwrap();
    }
    // Wholly outside: nothing to show.
    let (done, result) = flush(&display, 3, Rect::new(8, 0, 1, 1));
    result.unwrap();
    assert!(done);
    let statistics = display.statistics(3).unwrap();
    assert_eq!((statistics.updates, statistics.presents), (10, 10));
    assert_eq!((statistics.width, statistics.height), (8, 4));
    assert_eq!((statistics.format, statistics.signal), (PixelFormat::Xrgb8888, Signal::Live));
    assert!(statistics.frames_per_second > 0.0);
    assert!(statistics.last_present_age.unwrap().as_secs() < 10);
}

#[test]
fn done_runs_on_every_path() {
    let (presenter, display) = open();
    let everything = Rect::new(0, 0, 9, 9);
    for (scanout, expected) in [(0, "scanout 0 has no picture"), (16, "scanout 16 does not exist")]
    {
        let (done, result) = flush(&display, scanout, everything);
        assert!(done);
        assert!(result.unwrap_err().to_string().starts_with(expected));
    }
    drop(presenter);
    let (done, result) = flush(&display, 0, everything);
    assert!(done && matches!(result, Err(DisplayError::Closed)));
}

#[test]
fn the_last_picture_outlives_its_memory() {
    let (_presenter, display) = open();
    let show = |scanout, pixel| -> Weak<PixelMemory> {
        let (buffer, frame) = frame(2, 2, pixel);
        display.set_scanout(scanout, Some(frame)).unwrap();
        Arc::downgrade(buffer.memory())
    };
    let memory = show(0, RED);
    assert!(memory.upgrade().is_some(), "a frame on show keeps its memory");
    display.set_scanout(0, None).unwrap();
    assert!(memory.upgrade().is_none(), "an ended frame must release its memory");
    assert_eq!(display.screenshot(0).unwrap().pixel(1, 1), Some([255, 0, 0]));
    assert_eq!(display.statistics(0).unwrap().signal, Signal::Off);
    assert!(matches!(flush(&display, 0, Rect::new(0, 0, 1, 1)).1, Err(DisplayError::NoPicture(0))));

    let memory = show(0, GREEN);
    let other = show(1, RED);
    display.source_lost();
    assert!(memory.upgrade().is_none() && other.upgrade().is_none());
    assert_eq!(display.screenshot(0).unwrap().pixel(0, 0), Some([0, 255, 0]));
    assert_eq!(display.screenshot(1).unwrap().pixel(0, 0), Some([255, 0, 0]));
    assert_eq!(display.statistics(1).unwrap().signal, Signal::Lost);

    show(0, RED);
    assert_eq!(display.statistics(0).unwrap().signal, Signal::Live);
}

#[test]
fn quit_ends_run_and_keeps_the_last_picture() {
    let (presenter, display) = open();
    let (buffer, picture) = frame(2, 2, RED);
    let memory = Arc::downgrade(buffer.memory());
    display.set_scanout(0, Some(picture)).unwrap();
    drop(buffer);
    let quitter = display.clone();
    let thread = thread::spawn(move || quitter.quit());
    presenter.run().unwrap();
    thread.join().unwrap();
    assert!(memory.upgrade().is_none());
    assert_eq!(display.screenshot(0).unwrap().pixel(0, 0), Some([255, 0, 0]));
    let (_buffer, late) = frame(2, 2, GREEN);
    assert!(matches!(display.set_scanout(0, Some(late)), Err(DisplayError::Closed)));
}

/// 2x2: opaque white, half red premultiplied; transparent, opaque blue.
fn cursor() -> CursorImage {
    let pixels = [[255; 4], [0, 0, 128, 128], [0; 4], [255, 0, 0, 255]];
    CursorImage::new(2, 2, pixels.as_flattened(), 1, 1).unwrap()
}

#[test]
fn cursor_blends_over_the_frame_only_when_visible() {
    let (_presenter, display) = open();
    let (_buffer, picture) = frame(4, 4, GREEN);
    display.set_scanout(0, Some(picture)).unwrap();
    display.set_cursor(0, cursor()).unwrap();
    let plain = display.screenshot(0).unwrap();
    assert_eq!(plain.as_rgb(), [0, 255, 0].repeat(16));

    display.move_cursor(0, 1, 2, true).unwrap();
    let picture = display.screenshot(0).unwrap();
    assert_eq!(picture.pixel(1, 2), Some([255, 255, 255]));
    assert_eq!(picture.pixel(2, 2), Some([128, 127, 0]));
    assert_eq!(picture.pixel(1, 3), Some([0, 255, 0]));
    assert_eq!(picture.pixel(2, 3), Some([0, 0, 255]));
    assert_eq!(picture.pixel(0, 2), Some([0, 255, 0]));

    display.move_cursor(0, 1, 2, false).unwrap();
    assert_eq!(display.screenshot(0).unwrap(), plain);
}

#[test]
fn cursor_is_clipped_at_every_edge() {
    let (_presenter, display) = open();
    let (_buffer, picture) = frame(4, 4, GREEN);
    display.set_scanout(0, Some(picture)).unwrap();
    display.set_cursor(0, cursor()).unwrap();
    let at = |x, y, pixel: (u32, u32)| {
        display.move_cursor(0, x, y, true).unwrap();
        let picture = display.screenshot(0).unwrap();
        let (pixels, _) = picture.as_rgb().as_chunks::<3>();
        let changed = pixels.iter().filter(|&&pixel| pixel != [0, 255, 0]).count();
        (picture.pixel(pixel.0, pixel.1).unwrap(), changed)
    };
    assert_eq!(at(-1, -1, (0, 0)), ([0, 0, 255], 1));
    assert_eq!(at(3, 3, (3, 3)), ([255, 255, 255], 1));
    assert_eq!(at(3, -1, (3, 0)), ([0, 255, 0], 0));
    assert_eq!(at(-1, 3, (0, 3)), ([128, 127, 0], 1));
    for (x, y) in [(-2, 0), (4, 0), (0, 4), (i32::MAX, i32::MAX), (i32::MIN, i32::MIN)] {
        assert_eq!(at(x, y, (0, 0)).1, 0, "({x}, {y})");
    }
}

#[test]
fn cursor_bytes_are_checked() {
    for (width, height, len) in [(0, 1, 0), (1, 0, 0), (257, 1, 257 * 4), (64, 64, 64 * 64)] {
        assert!(CursorImage::new(width, height, &vec![0; len], 0, 0).is_err());
    }
    let cursor = CursorImage::new(64, 64, &vec![0; 64 * 64 * 4], u32::MAX, 3).unwrap();
    assert_eq!(cursor.hot_spot(), (u32::MAX, 3));
}

#[test]
fn handles_are_shared_by_threads() {
    let (_presenter, display) = open();
    let (_buffer, picture) = frame(64, 64, RED);
    thread::scope(|scope| {
        for id in 0..MAX_SCANOUTS {
            let (display, picture) = (display.clone(), picture.clone());
            scope.spawn(move || {
                for round in 0..100 {
                    let source = (round % 7 != 6).then(|| picture.clone());
                    display.set_scanout(id, source).unwrap();
                    let _ = display.flush(id, picture.layout().bounds(), || {});
                    assert!(display.screenshot(id).is_ok());
                }
            });
        }
    });
    assert_eq!(display.statistics(15).unwrap().updates, 86);
}
