use super::*;

#[test]
fn fit_keeps_the_aspect_and_centres() {
    assert_eq!(fit((1280, 720), (1280, 720)), Rect::new(0, 0, 1280, 720));
    assert_eq!(fit((640, 360), (1280, 720)), Rect::new(0, 0, 1280, 720));
    assert_eq!(fit((1280, 720), (1280, 1024)), Rect::new(0, 152, 1280, 720));
    assert_eq!(fit((100, 100), (300, 200)), Rect::new(50, 0, 200, 200));
    assert_eq!(fit((16384, 1), (100, 100)), Rect::new(0, 49, 100, 1));
    assert_eq!(fit((16384, 16384), (0, 0)), Rect::new(0, 0, 1, 1));
}

#[test]
fn cursor_scales_with_the_picture() {
    let doubled = Rect::new(10, 20, 200, 100);
    let at = |x, y| {
        let rect = place_cursor((64, 64, x, y), doubled, (100, 50))?;
        Some((rect.x(), rect.y(), rect.width(), rect.height()))
    };
    assert_eq!(at(0, 0), Some((10, 20, 128, 128)));
    assert_eq!(at(-63, 49), Some((-116, 118, 128, 128)));
    assert_eq!(at(-64, 0), None);
    assert_eq!(at(0, 50), None);
    assert_eq!(at(i32::MIN, i32::MAX), None);
}

#[test]
fn straight_undoes_premultiplication() {
    assert_eq!(straight([10, 20, 30, 255]), [10, 20, 30, 255]);
    assert_eq!(straight([64, 0, 128, 128]), [128, 0, 255, 128]);
    assert_eq!(straight([9, 9, 9, 0]), [0, 0, 0, 0]);
    // Not a premultiplied colour: saturates.
    assert_eq!(straight([255, 200, 0, 10]), [255, 255, 0, 10]);
}
