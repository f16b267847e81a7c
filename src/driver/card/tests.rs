use std::sync::{Arc, Mutex};

use super::*;
use crate::driver::BufferKind;
use crate::driver::test_device::{GpuModel, Shown};
use crate::gpu::wire::CURSOR_SIZE;

fn options(kind: BufferKind) -> PlayerOptions {
    PlayerOptions { kind, rate: None, cursor: true }
}

fn frame_of(shown: &Arc<Mutex<Shown>>, scanout: u32) -> (u32, Vec<u32>) {
    shown.lock().unwrap().frames[&scanout].clone()
}

#[test]
fn a_display_that_hangs_for_a_while_is_asked_again() {
    let (gpu, _device, shown) = GpuModel::start(&[(64, 48)]);
    shown.lock().unwrap().silent = 3;
    let player = CardPlayer::new(gpu, options(BufferKind::Classic)).unwrap();
    assert_eq!(player.cards().count(), 1);
    assert_eq!(shown.lock().unwrap().silent, 0);
}

#[test]
fn a_card_has_its_parts_in_place() {
    let card = TestCard::new(320, 240);
    let image = card.image(9);
    let at = |x: u32, y: u32| image[(y * 320 + x) as usize];
    assert_eq!(image.len(), 320 * 240);
    assert_eq!([at(0, 0), at(319, 0), at(0, 239), at(319, 239)], CORNERS);
    for along in 1..239 {
        assert_eq!([at(0, along), at(319, along), at(along, 0), at(along, 239)], [BORDER; 4]);
    }
    // 150 rows of bars, each 40 pixels wide; the square of frame 9 is at (63, 45), 40 pixels wide.
    assert_eq!((card.bars_end(), card.gradient_end()), (150, 180));
    for (bar, x) in BARS.iter().zip((20..).step_by(40)) {
        assert_eq!(at(x, 148), *bar);
    }
    assert_eq!(at(39, 20), 0xffffff);
    assert_eq!(at(40, 20), 0xffff00);
    assert_eq!((card.square_at(9), card.square_side()), ((63, 45), 40));
    assert_eq!([at(63, 45), at(102, 84)], [SQUARE; 2]);
    assert_eq!([at(62, 45), at(63, 44), at(103, 84), at(102, 85)].map(|c| c == SQUARE), [false; 4]);
    // The gradient is black to white, the line at 4 pixels a frame.
    assert_eq!([at(1, 160), at(160, 160), at(318, 160)], [0, 0x7f7f7f, 0xfefefe]);
    assert_eq!([at(35, 160), at(36, 160), at(37, 160)], [0x1b1b1b, SWEEP, 0x1d1d1d]);
    assert_eq!(at(2, 181), FIELD);
}

#[test]
fn the_text_is_legible() {
    let card = TestCard::new(320, 240);
    assert_eq!(card.text(123), ["VIRTIO-GPU 320X240", "FRAME 000123"]);
    let image = card.image(123);
    // The field begins at row 180; dots are 2 pixels wide, the text begins 3 dots in, 2 dots down;
    // the second line is 9 dots below the first.
    assert_eq!(card.text_scale(), 2);
    let line: Vec<String> = (0..7)
        .map(|row| {
            let y = 180 + 2 * (2 + 9 + row);
            let dot = |dot: u32| image[(y * 320 + 2 * (3 + dot)) as usize] == TEXT;
            (0..12 * 6).map(|x| if dot(x) { '#' } else { ' ' }).collect()
        })
        .collect();
    #[rustfmt::skip]
    assert_eq!(line, [
        "##### ####   ###  #   # #####        ###   ###   ###    #    ###  ##### ",
        "#     #   # #   # ## ## #           #   # #   # #   #  ##   #   #    #  ",
        "#     #   # #   # # # # #           #  ## #  ## #  ##   #       #   #   ",
        "####  ####  ##### # # # ####        # # # # # # # # #   #     ##     #  ",
        "#     # #   #   # #   # #           ##  # ##  # ##  #   #    #        # ",
        "#     #  #  #   # #   # #           #   # #   # #   #   #   #     #   # ",
        "#     #   # #   # #   # #####        ###   ###   ###   ###  #####  ###  ",
    ]);
}

#[test]
fn every_letter_of_the_text_has_a_glyph() {
    let dots = |letter| (0..font::HEIGHT).map(|y| font::row(letter, y)).collect::<Vec<_>>();
    let letters: std::collections::BTreeSet<_> =
        "VIRTIO-GPU X FRAME 0123456789".chars().filter(|letter| *letter != ' ').collect();
    let glyphs: std::collections::BTreeSet<_> = letters.iter().map(|l| dots(*l)).collect();
    assert_eq!(glyphs.len(), letters.len(), "two letters look alike");
    assert!(!glyphs.contains(&vec![0; 7]));
    assert_eq!(font::row('A', 7), 0);
}

#[test]
fn frames_differ_and_repeat_themselves() {
    let card = TestCard::new(200, 100);
    let frames: Vec<_> = (0..50).map(|frame| card.image(frame)).collect();
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(*frame, card.image(index as u64));
        assert!(frames[..index].iter().all(|other| other != frame), "frame {index}");
    }
}

#[test]
fn cards_of_any_size_can_be_drawn() {
    for (width, height) in [(1, 1), (1, 50), (50, 1), (2, 2), (3, 7), (16, 9), (31, 64)] {
        let card = TestCard::new(width, height);
        for frame in [0, 1, 77, u64::from(u32::MAX)] {
            let image = card.image(frame);
            assert_eq!(image.len(), (width * height) as usize);
            assert!(CORNERS.contains(image.last().unwrap()), "{width}x{height}");
        }
    }
    assert!(TestCard::new(0, 0).image(5).is_empty());
}

#[test]
fn things_turn_round_at_their_limits() {
    let way: Vec<_> = (0..10).map(|way| bounce(way, 4)).collect();
    assert_eq!(way, [0, 1, 2, 3, 4, 3, 2, 1, 0, 1]);
    assert_eq!(bounce(77, 0), 0);
}

#[test]
fn the_device_shows_every_frame_as_it_was_drawn() {
    for kind in [BufferKind::Classic, BufferKind::Blob] {
        let (gpu, device, shown) = GpuModel::start(&[(97, 63), (160, 120)]);
        let mut player = CardPlayer::new(gpu, options(kind)).unwrap();
        for frame in 0..20 {
            assert_eq!(player.present().unwrap(), frame);
            for (scanout, card) in player.cards() {
                assert_eq!(frame_of(&shown, scanout), (card.width(), card.image(frame)));
            }
            let at = TestCard::new(97, 63).cursor_at(frame);
            let shown = shown.lock().unwrap();
            let (0, position, image) = shown.cursor.as_ref().unwrap() else { panic!() };
            assert_eq!((position.x as u32, position.y as u32), at);
            // The tip, the outline and the inside of the arrow, and nothing beside it.
            let pixel = |x, y| image.pixels[(y * CURSOR_SIZE + x) as usize];
            let pixels = [pixel(0, 0), pixel(0, 12), pixel(1, 12), pixel(12, 12), pixel(13, 12)];
            assert_eq!(pixels, [0xff000000, 0xff000000, 0xffffffff, 0xff000000, 0]);
        }
        assert_eq!(shown.lock().unwrap().flushes, 40);
        let mut gpu = player.close().unwrap();
        assert!(shown.lock().unwrap().frames.is_empty() && shown.lock().unwrap().cursor.is_none());
        assert_eq!(gpu.control().outstanding(), 0);
        drop(gpu);
        device.join();
    }
}

#[test]
fn playing_follows_the_displays_and_the_clock() {
    let (gpu, device, shown) = GpuModel::start(&[(64, 48)]);
    let kind = gpu.preferred_kind();
    let mut player =
        CardPlayer::new(gpu, PlayerOptions { rate: Some(100), ..options(kind) }).unwrap();
    let played = player.play(Some(11), || false).unwrap();
    assert_eq!(played.frames, 11);
    assert!(played.elapsed.as_millis() >= 109, "{played:?}");
    assert_eq!(frame_of(&shown, 0).0, 64);

    let free = player.gpu().driver().memory().free_bytes();
    shown.lock().unwrap().modes = vec![(80, 60), (32, 32)];
    device.set_config(0, &1u32.to_le_bytes());
    let mut left = 100;
    let two = || shown.lock().unwrap().frames.len() == 2;
    player
        .play(None, || {
            two() || {
                left -= 1;
                left == 0
            }
        })
        .unwrap();
    let last = player.frame() - 1;
    assert_eq!(frame_of(&shown, 0), (80, TestCard::new(80, 60).image(last)));
    assert_eq!(frame_of(&shown, 1), (32, TestCard::new(32, 32).image(last)));

    shown.lock().unwrap().modes = vec![(64, 48)];
    device.set_config(0, &1u32.to_le_bytes());
    let mut left = 100;
    let one = || shown.lock().unwrap().frames.len() == 1;
    player
        .play(None, || {
            one() || {
                left -= 1;
                left == 0
            }
        })
        .unwrap();
    let last = player.frame() - 1;
    assert_eq!(frame_of(&shown, 0), (64, TestCard::new(64, 48).image(last)));
    assert_eq!(player.gpu().driver().memory().free_bytes(), free);
    drop(player);
    device.join();
}

#[test]
fn without_a_display_there_is_nothing_to_show_on() {
    let (gpu, device, _) = GpuModel::start(&[]);
    let error = CardPlayer::new(gpu, options(BufferKind::Classic)).unwrap_err();
    assert!(matches!(error, DriverError::NoScanout));
    device.join();
}
