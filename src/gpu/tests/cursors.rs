//! The cursor queue.

use zerocopy::IntoBytes;

use super::testing::{QueueId, cursor_request, header};
use super::wire::*;
use super::*;

const ARGB: u32 = Format::B8g8r8a8 as u32;
const BYTES: usize = 64 * 64 * 4;

/// Words of little-endian ARGB pixels.
fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|pixel| u32::from_le_bytes(*pixel)).collect()
}

fn move_request(scanout: u32, x: i32, y: i32) -> UpdateCursor {
    UpdateCursor { hdr: header(Command::MoveCursor), ..cursor_request(scanout, 0, x, y) }
}

/// Resource 1 holding a pattern of this size.
fn with_image(width: u32, height: u32, format: u32) -> (Fixture<Recorder>, Vec<u8>) {
    let mut fixture = Fixture::default();
    let bytes = pattern((width * height * 4) as usize);
    fixture.write(FREE, &bytes);
    assert_eq!(fixture.create_2d(1, format, width, height), OK);
    assert_eq!(fixture.attach(1, &[(FREE, bytes.len() as u32)]), OK);
    assert_eq!(fixture.transfer(1, Rect::of_size(width, height), 0), OK);
    (fixture, bytes)
}

#[test]
fn image_of_a_classic_resource_is_shown() {
    let (mut fixture, bytes) = with_image(64, 64, ARGB);
    assert_eq!(fixture.cursor(&cursor_request(2, 1, 30, -5)), OK);
    assert_eq!(fixture.display.take(), [Call::CursorUpdate(2, 30, -5)]);
    let image = fixture.display.cursor.clone().unwrap();
    assert_eq!((image.hot_x, image.hot_y), (1, 2));
    assert_eq!(image.pixels.to_vec(), words(&bytes));
}

#[test]
fn formats_are_converted_and_have_alpha() {
    let (mut fixture, bytes) = with_image(64, 64, Format::R8g8b8x8.raw());
    assert_eq!(fixture.cursor(&cursor_request(0, 1, 0, 0)), OK);
    let image = fixture.display.cursor.clone().unwrap();
    // Whatever the format is called: Linux' dumb buffers have none that says so.
    let [r, g, b, a] = *bytes.as_chunks::<4>().0.last().unwrap();
    assert_eq!(image.pixels[64 * 64 - 1], u32::from_be_bytes([a, r, g, b]));
}

#[test]
fn smaller_image_is_at_the_top_left() {
    let (mut fixture, _) = with_image(64, 64, ARGB);
    fixture.cursor(&cursor_request(0, 1, 0, 0));
    let bytes = pattern(10 * 3 * 4);
    fixture.create_2d(2, ARGB, 10, 3);
    fixture.attach(2, &[(FREE, 120)]);
    fixture.transfer(2, rect(0, 0, 10, 3), 0);
    assert_eq!(fixture.cursor(&cursor_request(0, 2, 0, 0)), OK);
    let mut expected = vec![0; 64 * 64];
    for (row, pixels) in words(&bytes).chunks(10).enumerate() {
        expected[row * 64..row * 64 + 10].copy_from_slice(pixels);
    }
    assert_eq!(fixture.display.cursor.clone().unwrap().pixels.to_vec(), expected);
}

#[test]
fn larger_image_is_refused_and_the_old_one_stays() {
    let (mut fixture, _) = with_image(65, 64, ARGB);
    fixture.create_2d(2, ARGB, 64, 65);
    for id in [1, 2] {
        let type_ = fixture.cursor(&cursor_request(0, id, 0, 0));
        assert_eq!(type_, RespType::ErrInvalidParameter);
    }
    assert_eq!(fixture.cursor(&cursor_request(0, 3, 0, 0)), RespType::ErrInvalidResourceId);
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn image_never_written_is_transparent() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, ARGB, 64, 64);
    assert_eq!(fixture.cursor(&cursor_request(0, 1, 0, 0)), OK);
    assert_eq!(fixture.display.cursor.clone().unwrap().pixels, [0; 64 * 64]);
    assert_eq!(fixture.gpu.resources.usage().files, 0);
}

#[test]
fn hot_spot_stays_within_the_image() {
    let (mut fixture, _) = with_image(64, 64, ARGB);
    let mut request = cursor_request(0, 1, 0, 0);
    request.hot_x = 64.into();
    request.hot_y = u32::MAX.into();
    assert_eq!(fixture.cursor(&request), OK);
    let image = fixture.display.cursor.clone().unwrap();
    assert_eq!((image.hot_x, image.hot_y), (63, 63));
}

#[test]
fn blob_has_the_size_of_its_last_transfer() {
    let mut fixture = Fixture::default();
    let bytes = pattern(BYTES);
    fixture.write(FREE, &bytes);
    assert_eq!(fixture.create_blob(1, BYTES as u64, &[(FREE, BYTES as u32)]), OK);
    // Without one, the size a cursor has.
    assert_eq!(fixture.cursor(&cursor_request(0, 1, 0, 0)), OK);
    assert_eq!(fixture.display.cursor.clone().unwrap().pixels.to_vec(), words(&bytes));
    assert_eq!(fixture.transfer(1, rect(0, 0, 32, 48), 0), OK);
    assert_eq!(fixture.cursor(&cursor_request(0, 1, 0, 0)), OK);
    let mut expected = vec![0; 64 * 64];
    for (row, pixels) in words(&bytes).chunks(32).take(48).enumerate() {
        expected[row * 64..row * 64 + 32].copy_from_slice(pixels);
    }
    assert_eq!(fixture.display.cursor.clone().unwrap().pixels.to_vec(), expected);
    fixture.display.take();
    for (width, height) in [(0, 1), (1, 0), (65, 1), (1, 65), (u32::MAX, u32::MAX)] {
        assert_eq!(fixture.transfer(1, rect(0, 0, width, height), 0), OK);
        let type_ = fixture.cursor(&cursor_request(0, 1, 0, 0));
        assert_eq!(type_, RespType::ErrInvalidParameter);
    }
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn blob_must_hold_its_cursor() {
    let mut fixture = Fixture::default();
    // The backing is longer than the blob, and in two pieces.
    let half = BYTES as u32 / 2;
    let pieces = [(FREE, half), (FREE + 0x2_0000, half)];
    assert_eq!(fixture.create_blob(1, BYTES as u64 - 1, &pieces), OK);
    let refused = RespType::ErrInvalidParameter;
    assert_eq!(fixture.cursor(&cursor_request(0, 1, 0, 0)), refused);
    fixture.transfer(1, rect(0, 0, 64, 63), 0);
    assert_eq!(fixture.cursor(&cursor_request(0, 1, 0, 0)), OK);
    fixture.resource(Command::ResourceDetachBacking, 1);
    assert_eq!(fixture.cursor(&cursor_request(0, 1, 0, 0)), refused);
}

#[test]
fn moves_keep_the_cursor_as_visible_as_it_is() {
    let (mut fixture, _) = with_image(64, 64, ARGB);
    assert_eq!(fixture.cursor(&move_request(0, 1, 1)), OK);
    assert_eq!(fixture.cursor(&cursor_request(0, 1, 2, 2)), OK);
    assert_eq!(fixture.cursor(&move_request(0, 3, -3)), OK);
    assert_eq!(fixture.cursor(&move_request(1, 4, 4)), OK);
    assert_eq!(fixture.cursor(&cursor_request(0, 0, 5, 5)), OK);
    assert_eq!(fixture.cursor(&move_request(0, 6, 6)), OK);
    assert_eq!(
        fixture.display.take(),
        [
            Call::CursorHide(0, 1, 1),
            Call::CursorUpdate(0, 2, 2),
            Call::CursorMove(0, 3, -3),
            Call::CursorHide(1, 4, 4),
            Call::CursorHide(0, 5, 5),
            Call::CursorHide(0, 6, 6),
        ]
    );
}

#[test]
fn cursor_outlives_its_resource() {
    let (mut fixture, _) = with_image(64, 64, ARGB);
    fixture.cursor(&cursor_request(0, 1, 0, 0));
    fixture.unref(1);
    fixture.display.take();
    assert_eq!(fixture.cursor(&move_request(0, 1, 1)), OK);
    assert_eq!(fixture.display.take(), [Call::CursorMove(0, 1, 1)]);
}

#[test]
fn linux_sends_no_room_for_a_response() {
    let (mut fixture, _) = with_image(64, 64, ARGB);
    let request = cursor_request(0, 1, 0, 0);
    let answer = fixture.submit_split(QueueId::Cursor, request.as_bytes(), &[], 0);
    assert_eq!((answer.completion.written, answer.completion.fence), (0, None));
    assert_eq!(fixture.display.take(), [Call::CursorUpdate(0, 0, 0)]);
}

#[test]
fn queue_takes_cursor_commands_only() {
    let mut fixture = Fixture::default();
    for type_ in (0..0x400).chain([0x1100, u32::MAX]) {
        if type_ == Command::UpdateCursor.raw() || type_ == Command::MoveCursor.raw() {
            continue;
        }
        let mut request = cursor_request(0, 0, 0, 0);
        request.hdr.type_ = type_.into();
        assert_eq!(fixture.cursor(&request), RespType::ErrUnspec, "{type_:#x}");
    }
    for cut in 0..56 {
        let request = cursor_request(0, 0, 0, 0);
        let bytes = &request.as_bytes()[..cut];
        let answer = fixture.submit_split(QueueId::Cursor, bytes, &[], 24);
        assert!(answer.as_::<CtrlHdr>().type_.get() >= RespType::ErrUnspec.raw());
    }
    assert_eq!(fixture.display.take(), []);
}
