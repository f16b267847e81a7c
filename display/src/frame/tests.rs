use super::*;
use crate::PixelBuffer;

fn layout() -> FrameLayout {
    FrameLayout::packed(4, 3, PixelFormat::Xrgb8888)
}

fn memory(len: u64) -> Arc<PixelMemory> {
    PixelBuffer::new(len).unwrap().memory().clone()
}

#[test]
fn bounds_are_exact() {
    let layout = FrameLayout { offset: 8, stride: 20, ..layout() };
    // 8 + 2 rows of 20 bytes + 4 pixels.
    let end = 8 + 2 * 20 + 16;
    assert_eq!(layout.end(), Ok(Some(end)));
    Frame::new(memory(end), layout).unwrap();
    let error = Frame::new(memory(end - 1), layout).unwrap_err();
    assert_eq!(error, FrameError::OutOfRange { size: end - 1 });
}

#[test]
fn limits_are_typed_errors() {
    let error = |layout| Frame::new(memory(4096), layout).unwrap_err();
    for (width, height) in [(0, 1), (1, 0), (MAX_DIMENSION + 1, 1), (1, u32::MAX)] {
        let layout = FrameLayout { width, height, stride: u32::MAX - 3, ..layout() };
        assert_eq!(error(layout), FrameError::Dimensions { width, height });
    }
    for stride in [0, 12, 1 << 31, u32::MAX - 3] {
        let layout = FrameLayout { stride, ..layout() };
        assert_eq!(error(layout), FrameError::Stride { stride, width: 4 });
    }
    for (offset, stride) in [(2, 16), (0, 17)] {
        let unaligned = FrameLayout { offset, stride, ..layout() };
        assert_eq!(error(unaligned), FrameError::Unaligned { offset, stride });
    }
    for far in [
        FrameLayout { offset: u64::MAX - 3, ..layout() },
        FrameLayout { stride: i32::MAX as u32 - 3, ..layout() },
        FrameLayout::packed(MAX_DIMENSION, MAX_DIMENSION, PixelFormat::Xrgb8888),
    ] {
        assert_eq!(error(far), FrameError::OutOfRange { size: 4096 });
    }
}

#[test]
fn picture_follows_format_stride_and_offset() {
    let [r, g, b] = [0x11, 0x22, 0x33];
    for (format, bytes) in [
        (PixelFormat::Xrgb8888, [b, g, r, 0xff]),
        (PixelFormat::Argb8888, [b, g, r, 0]),
        (PixelFormat::Xbgr8888, [r, g, b, 0xff]),
        (PixelFormat::Abgr8888, [r, g, b, 0]),
        (PixelFormat::Bgrx8888, [0xff, r, g, b]),
        (PixelFormat::Bgra8888, [0, r, g, b]),
        (PixelFormat::Rgbx8888, [0xff, b, g, r]),
        (PixelFormat::Rgba8888, [0, b, g, r]),
    ] {
        let buffer = PixelBuffer::new(4096).unwrap();
        // Column 1 of row 2.
        buffer.write(12 + 2 * 24 + 4, &bytes).unwrap();
        // Between the rows: belongs to no pixel.
        buffer.write(12 + 16, &[0xee; 8]).unwrap();
        let layout = FrameLayout { offset: 12, stride: 24, format, ..layout() };
        let frame = Frame::new(buffer.memory().clone(), layout).unwrap();
        let picture = frame.picture().unwrap();
        let mut expected = vec![0; 4 * 3 * 3];
        expected[(2 * 4 + 1) * 3..][..3].copy_from_slice(&[r, g, b]);
        assert_eq!(picture.as_rgb(), expected, "{format}");
        assert_eq!(picture.pixel(1, 2), Some([r, g, b]));
    }
}

#[test]
fn bottom_left_origin_turns_rows_around() {
    let buffer = PixelBuffer::new(48).unwrap();
    buffer.write(0, &[0xff; 4]).unwrap();
    let layout = FrameLayout { origin: Origin::BottomLeft, ..layout() };
    let frame = Frame::new(buffer.memory().clone(), layout).unwrap();
    assert_eq!(frame.picture().unwrap().pixel(0, 2), Some([255; 3]));
    assert_eq!(frame.in_memory_order(Rect::new(1, 2, 3, 1)), Rect::new(1, 0, 3, 1));
    assert_eq!(frame.in_memory_order(layout.bounds()), layout.bounds());
}
