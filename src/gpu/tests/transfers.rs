//! TRANSFER_TO_HOST_2D: which bytes arrive where.

use super::*;

const WIDTH: u32 = 40;
const HEIGHT: u32 = 30;
const STRIDE: usize = WIDTH as usize * 4;
const BYTES: usize = STRIDE * HEIGHT as usize;
const ALL: Rect = Rect { x: 0, y: 0, width: WIDTH, height: HEIGHT };

/// Resource 1 on scanout 0, with a backing of a pattern in these pieces.
fn shown(lengths: &[u32]) -> (Fixture<Recorder>, Vec<u8>) {
    let mut fixture = Fixture::default();
    let image = pattern(lengths.iter().sum::<u32>() as usize);
    let mut entries = Vec::new();
    let mut done = 0;
    // From high to low addresses, so that no pieces touch.
    for (index, &length) in (1u64..).zip(lengths) {
        let addr = FREE + (16 << 20) - index * 0x2_0000;
        fixture.write(addr, &image[done..][..length as usize]);
        entries.push((addr, length));
        done += length as usize;
    }
    assert_eq!(fixture.create_2d(1, BGRX, WIDTH, HEIGHT), OK);
    assert_eq!(fixture.attach(1, &entries), OK);
    assert_eq!(fixture.set_scanout(0, 1, ALL), OK);
    (fixture, image)
}

#[test]
fn whole_frame_arrives() {
    let (mut fixture, image) = shown(&[BYTES as u32]);
    assert!(fixture.pixels(0).iter().all(|&byte| byte == 0));
    assert_eq!(fixture.transfer(1, ALL, 0), OK);
    assert_eq!(fixture.pixels(0), image);
}

#[test]
fn whole_frame_arrives_from_pieces_of_any_length() {
    let odd: Vec<u32> = (0..40).map(|index| 1 + index * 3).collect();
    let rest = BYTES as u32 - odd.iter().sum::<u32>();
    let (mut fixture, image) = shown(&[odd, vec![rest]].concat());
    assert_eq!(fixture.transfer(1, ALL, 0), OK);
    assert_eq!(fixture.pixels(0), image);
}

#[test]
fn rectangle_arrives_and_nothing_around_it() {
    for lengths in [&[BYTES as u32][..], &[777, 1, 1023, BYTES as u32 - 1801]] {
        let (mut fixture, image) = shown(lengths);
        for area in [rect(3, 4, 5, 6), rect(0, 7, WIDTH, 2), rect(39, 29, 1, 1), rect(0, 0, 1, 30)]
        {
            let before = fixture.pixels(0);
            // Where Linux says it is: the same place as in the image.
            let offset = area.y as usize * STRIDE + area.x as usize * 4;
            assert_eq!(fixture.transfer(1, area, offset as u64), OK);
            let mut expected = before;
            for row in area.y..area.y + area.height {
                let start = row as usize * STRIDE + area.x as usize * 4;
                let range = start..start + area.width as usize * 4;
                expected[range.clone()].copy_from_slice(&image[range]);
            }
            assert_eq!(fixture.pixels(0), expected, "{area:?}");
        }
    }
}

#[test]
fn offset_says_where_the_rectangle_is_in_the_backing() {
    let (mut fixture, image) = shown(&[600, BYTES as u32 - 600]);
    for offset in [0, 4, 5, 599, 600, 601] {
        let area = rect(10, 10, 8, 4);
        assert_eq!(fixture.transfer(1, area, offset), OK);
        let pixels = crop(&fixture.pixels(0), STRIDE, area);
        let expected = crop(&image[offset as usize..], STRIDE, rect(0, 0, 8, 4));
        assert_eq!(pixels, expected, "{offset}");
    }
}

#[test]
fn rectangle_must_be_within_the_resource() {
    let (mut fixture, _) = shown(&[BYTES as u32]);
    for area in [
        rect(0, 0, WIDTH + 1, 1),
        rect(0, 0, 1, HEIGHT + 1),
        rect(WIDTH, 0, 1, 1),
        rect(1, 0, u32::MAX, 1),
        rect(u32::MAX, u32::MAX, u32::MAX, u32::MAX),
        rect(u32::MAX, 0, 1, 1),
        rect(WIDTH + 1, 0, 0, 0),
    ] {
        let type_ = fixture.transfer(1, area, 0);
        assert_eq!(type_, RespType::ErrInvalidParameter, "{area:?}");
    }
    assert_eq!(fixture.transfer(1, rect(WIDTH, HEIGHT, 0, 0), u64::MAX), OK);
    assert!(fixture.pixels(0).iter().all(|&byte| byte == 0));
}

#[test]
fn backing_must_hold_all_rows() {
    let (mut fixture, image) = shown(&[STRIDE as u32 * 10 + 20]);
    for (area, offset) in [
        (ALL, 0),
        (rect(0, 0, WIDTH, 11), 0),
        (rect(0, 0, 6, 11), 0),
        (rect(0, 0, 5, 11), 4),
        (rect(0, 0, 1, 1), STRIDE as u64 * 10 + 17),
        (rect(0, 0, 1, 1), u64::MAX),
        (rect(0, 0, 1, 1), u64::MAX - 3),
        (rect(0, 0, WIDTH, HEIGHT), u64::MAX - BYTES as u64),
    ] {
        let type_ = fixture.transfer(1, area, offset);
        assert_eq!(type_, RespType::ErrInvalidParameter, "{area:?} {offset}");
    }
    assert!(fixture.pixels(0).iter().all(|&byte| byte == 0));
    // The last row need not reach to its stride.
    assert_eq!(fixture.transfer(1, rect(0, 0, 5, 11), 0), OK);
    let expected = crop(&[image, vec![0; STRIDE]].concat(), STRIDE, rect(0, 0, 5, 11));
    assert_eq!(crop(&fixture.pixels(0), STRIDE, rect(0, 0, 5, 11)), expected);
}

#[test]
fn transfer_needs_a_backing() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, WIDTH, HEIGHT);
    assert_eq!(fixture.transfer(1, ALL, 0), RespType::ErrUnspec);
}

#[test]
fn unused_resource_has_no_memory() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4096, 4096);
    fixture.attach(1, &[(FREE, 1 << 20)]);
    assert_eq!(fixture.transfer(1, rect(0, 0, 0, 0), 0), OK);
    assert_eq!(fixture.gpu.resources.usage().files, 0);
    assert_eq!(fixture.transfer(1, rect(0, 0, 1, 1), 0), OK);
    assert_eq!(fixture.gpu.resources.usage().files, 1);
}

#[test]
fn pieces_that_touch_are_one() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, WIDTH, HEIGHT);
    let pages: Vec<_> = (0..100).map(|page| (FREE + page * 4096, 4096)).collect();
    assert_eq!(fixture.attach(1, &pages), OK);
    assert_eq!(fixture.gpu.resources.usage().backing_entries, 1);
    fixture.create_2d(2, BGRX, WIDTH, HEIGHT);
    let apart = [(FREE, 10), (FREE + 10, 10), (FREE + 30, 10), (FREE, 10), (FREE + 10, 5)];
    assert_eq!(fixture.attach(2, &apart), OK);
    assert_eq!(fixture.gpu.resources.usage().backing_entries, 4);
}
