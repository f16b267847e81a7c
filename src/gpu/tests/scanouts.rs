//! What the display is told, and which pixels it finds there.

use std::os::fd::AsFd;

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::testing::{flush_request, scanout_blob_request, wire_rect};
use super::wire::*;
use super::*;

fn shown(offset: u64, stride: u32, width: u32, height: u32) -> Shown {
    Shown { offset, stride, width, height, format: Format::B8g8r8x8 }
}

/// Resource 1 of 100 × 50 pixels.
fn with_image() -> Fixture<Recorder> {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 100, 50);
    fixture
}

#[test]
fn scanout_shows_a_part_of_a_resource() {
    let mut fixture = with_image();
    assert_eq!(fixture.set_scanout(3, 1, rect(10, 5, 20, 30)), OK);
    let expected = shown(5 * 400 + 40, 400, 20, 30);
    assert_eq!(fixture.display.take(), [Call::SetScanout(3, Some(expected))]);
    assert_eq!(fixture.set_scanout(3, 0, rect(0, 0, 0, 0)), OK);
    assert_eq!(fixture.display.take(), [Call::SetScanout(3, None)]);
    // It is off already.
    assert_eq!(fixture.set_scanout(3, 0, rect(0, 0, 0, 0)), OK);
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn scanout_memory_is_a_sealed_file() {
    let mut fixture = with_image();
    fixture.set_scanout(0, 1, rect(0, 0, 100, 50));
    let source = fixture.display.sources[0].clone().unwrap();
    let PixelMemory::Memfd(file) = source.memory else { panic!("a file") };
    assert_eq!(fstat(file.as_fd()).unwrap().st_size, 100 * 50 * 4);
    let seals = fcntl_get_seals(file.as_fd()).unwrap();
    assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL));
    assert!(!seals.contains(SealFlags::WRITE));
}

#[test]
fn scanout_rectangle_must_be_within_the_resource() {
    let mut fixture = with_image();
    for area in [
        rect(0, 0, 0, 50),
        rect(0, 0, 100, 0),
        rect(0, 0, 101, 50),
        rect(0, 0, 100, 51),
        rect(1, 0, u32::MAX, 1),
        rect(u32::MAX, u32::MAX, 1, 1),
    ] {
        assert_eq!(fixture.set_scanout(0, 1, area), RespType::ErrInvalidParameter, "{area:?}");
    }
    assert_eq!(fixture.set_scanout(0, 2, rect(0, 0, 1, 1)), RespType::ErrInvalidResourceId);
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn scanouts_are_as_many_as_configured() {
    let mut fixture =
        Fixture::with(Limits { scanouts: 2, ..Limits::default() }, Recorder::default());
    fixture.create_2d(1, BGRX, 4, 4);
    assert_eq!(fixture.set_scanout(1, 1, rect(0, 0, 4, 4)), OK);
    for scanout in [2, 15, 16, 31, 32, u32::MAX] {
        let invalid = RespType::ErrInvalidScanoutId;
        assert_eq!(fixture.set_scanout(scanout, 1, rect(0, 0, 4, 4)), invalid);
        assert_eq!(fixture.set_scanout(scanout, 0, rect(0, 0, 0, 0)), invalid);
    }
}

#[test]
fn flush_tells_each_scanout_its_damage() {
    let mut fixture = with_image();
    fixture.set_scanout(0, 1, rect(0, 0, 100, 50));
    fixture.set_scanout(1, 1, rect(50, 20, 30, 30));
    fixture.set_scanout(2, 1, rect(0, 0, 10, 10));
    fixture.display.take();
    fixture.control(&flush_request(1, rect(40, 10, 20, 20)));
    assert_eq!(
        fixture.display.take(),
        [Call::Flush(0, rect(40, 10, 20, 20)), Call::Flush(1, rect(0, 0, 10, 10))]
    );
    for area in [rect(0, 0, 0, 0), rect(100, 50, 0, 0)] {
        fixture.control(&flush_request(1, area));
    }
    for area in [rect(0, 0, 101, 50), rect(100, 0, 1, 1), rect(1, 1, u32::MAX, u32::MAX)] {
        assert_eq!(fixture.flush(1, area), RespType::ErrInvalidParameter, "{area:?}");
    }
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn flush_of_a_resource_that_is_not_shown_is_no_error() {
    let mut fixture = with_image();
    assert_eq!(fixture.flush(1, rect(0, 0, 100, 50)), OK);
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn unref_turns_its_scanouts_off_first() {
    let mut fixture = with_image();
    fixture.create_2d(2, BGRX, 4, 4);
    fixture.set_scanout(0, 1, rect(0, 0, 100, 50));
    fixture.set_scanout(4, 2, rect(0, 0, 4, 4));
    fixture.set_scanout(9, 1, rect(0, 0, 10, 10));
    fixture.display.take();
    assert_eq!(fixture.unref(1), OK);
    assert_eq!(fixture.display.take(), [Call::SetScanout(0, None), Call::SetScanout(9, None)]);
    // The id again: another resource.
    fixture.create_2d(1, BGRX, 100, 50);
    assert_eq!(fixture.flush(1, rect(0, 0, 100, 50)), OK);
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn each_resource_has_its_own_buffer_number() {
    let mut fixture = with_image();
    fixture.set_scanout(0, 1, rect(0, 0, 100, 50));
    let first = fixture.display.sources[0].as_ref().unwrap().buffer;
    fixture.unref(1);
    fixture.gpu.reset(&mut fixture.display);
    fixture.create_2d(1, BGRX, 100, 50);
    fixture.set_scanout(0, 1, rect(0, 0, 100, 50));
    assert_ne!(fixture.display.sources[0].as_ref().unwrap().buffer, first);
}

#[test]
fn other_backing_is_another_buffer() {
    let mut fixture = Fixture::default();
    let pieces = [(FREE, 64), (FREE + 4096, 64)];
    let show = scanout_blob_request(0, 1, 4, 4, 16);
    fixture.create_blob(1, 128, &pieces);
    let mut buffers = Vec::new();
    for _ in 0..2 {
        for _ in 0..2 {
            assert_eq!(fixture.run(show.as_bytes()), OK);
            buffers.push(fixture.display.sources[0].as_ref().unwrap().buffer);
        }
        assert_eq!(fixture.resource(Command::ResourceDetachBacking, 1), OK);
        assert_eq!(fixture.attach(1, &pieces), OK);
    }
    assert_eq!(buffers[0], buffers[1]);
    assert_eq!(buffers[2], buffers[3]);
    assert_ne!(buffers[0], buffers[2]);
}

/// Blob 1 of one piece holding a pattern.
fn with_blob(bytes: usize) -> (Fixture<Recorder>, Vec<u8>) {
    let mut fixture = Fixture::default();
    let image = pattern(bytes);
    fixture.write(FREE, &image);
    assert_eq!(fixture.create_blob(1, bytes as u64, &[(FREE, bytes as u32)]), OK);
    (fixture, image)
}

#[test]
fn blob_is_shown_where_it_is() {
    let (mut fixture, image) = with_blob(128 * 40);
    let mut request = scanout_blob_request(0, 1, 30, 38, 128);
    request.offsets[0] = 128.into();
    request.r = wire_rect(rect(2, 1, 20, 30));
    assert_eq!(fixture.run(request.as_bytes()), OK);
    let expected = shown(128 + 128 + 8, 128, 20, 30);
    assert_eq!(fixture.display.take(), [Call::SetScanout(0, Some(expected))]);
    let source = fixture.display.sources[0].clone().unwrap();
    let PixelMemory::Guest { address, length } = source.memory else { panic!("driver memory") };
    assert_eq!((address, length), (FREE, 128 * 40));
    assert_eq!(fixture.pixels(0), crop(&image, 128, rect(2, 2, 20, 30)));
    // No copy: what the driver writes is what is shown.
    fixture.write(FREE + 128 + 128 + 8, &[1, 2, 3, 4]);
    assert_eq!(fixture.pixels(0)[..4], [1, 2, 3, 4]);
    // Damage is counted from the frame's corner.
    assert_eq!(fixture.flush(1, rect(0, 0, 30, 38)), OK);
    assert_eq!(fixture.flush(1, rect(5, 5, 1, 1)), OK);
    assert_eq!(fixture.flush(1, rect(0, 0, 2, 38)), OK);
    assert_eq!(fixture.flush(1, rect(0, 0, u32::MAX, u32::MAX)), OK);
    assert_eq!(
        fixture.display.take(),
        [
            Call::Flush(0, rect(0, 0, 20, 30)),
            Call::Flush(0, rect(3, 4, 1, 1)),
            Call::Flush(0, rect(0, 0, 20, 30)),
        ]
    );
    assert_eq!(
        *fixture.gpu.resources.usage(),
        resource::Usage { backing_entries: 1, ..Default::default() }
    );
}

#[test]
fn blob_frame_must_be_within_the_blob() {
    let (mut fixture, _) = with_blob(400 * 50);
    let mut set = |change: &dyn Fn(&mut SetScanoutBlob)| {
        let mut request = scanout_blob_request(0, 1, 100, 50, 400);
        change(&mut request);
        fixture.run(request.as_bytes())
    };
    assert_eq!(set(&|_| ()), OK);
    let wrong: [&dyn Fn(&mut SetScanoutBlob); 19] = [
        &|request| request.format = 5.into(),
        &|request| request.width = 101.into(),
        &|request| request.width = 0.into(),
        &|request| request.height = 0.into(),
        &|request| request.height = 51.into(),
        &|request| request.strides[0] = 396.into(),
        &|request| request.strides[0] = 401.into(),
        &|request| request.strides[0] = 404.into(),
        &|request| request.strides[0] = 0.into(),
        &|request| request.strides[0] = 0xffff_fffc.into(),
        &|request| request.offsets[0] = 1.into(),
        &|request| request.offsets[0] = 4.into(),
        &|request| request.offsets[0] = 0xffff_fffc.into(),
        &|request| request.r.width = U32::ZERO,
        &|request| request.r.height = U32::ZERO,
        &|request| request.r.x = 1.into(),
        &|request| request.r.y = 1.into(),
        &|request| request.r.x = u32::MAX.into(),
        &|request| request.r.height = u32::MAX.into(),
    ];
    for (index, change) in wrong.into_iter().enumerate() {
        assert_eq!(set(change), RespType::ErrInvalidParameter, "{index}");
    }
    assert_eq!(set(&|request| request.scanout_id = 16.into()), RespType::ErrInvalidScanoutId);
    assert_eq!(set(&|request| request.resource_id = 9.into()), RespType::ErrInvalidResourceId);
    // The last row need not reach to its stride.
    assert_eq!(set(&|request| request.offsets[0] = 0.into()), OK);
    assert_eq!(
        set(&|request| {
            request.width = 99.into();
            request.r.width = 99.into();
            request.offsets[0] = 4.into();
        }),
        OK
    );
    assert_eq!(set(&|request| request.resource_id = U32::ZERO), OK);
    let calls = fixture.display.take();
    assert_eq!(calls.len(), 4);
    assert_eq!(calls.last(), Some(&Call::SetScanout(0, None)));
}

#[test]
fn images_and_blobs_have_their_own_commands() {
    let (mut fixture, _) = with_blob(4096);
    fixture.create_2d(2, BGRX, 4, 4);
    let wrong = RespType::ErrInvalidResourceId;
    assert_eq!(fixture.set_scanout(0, 1, rect(0, 0, 4, 4)), wrong);
    assert_eq!(fixture.run(scanout_blob_request(0, 2, 4, 4, 16).as_bytes()), wrong);
}

#[test]
fn detaching_a_shown_blob_turns_it_off() {
    let (mut fixture, _) = with_blob(4096);
    fixture.run(scanout_blob_request(0, 1, 4, 4, 16).as_bytes());
    fixture.display.take();
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 1), OK);
    assert_eq!(fixture.display.take(), [Call::SetScanout(0, None)]);
    let request = scanout_blob_request(0, 1, 4, 4, 16);
    assert_eq!(fixture.run(request.as_bytes()), RespType::ErrUnspec);
    // An image has its own pixels.
    fixture.create_2d(2, BGRX, 4, 4);
    fixture.attach(2, &[(FREE, 64)]);
    fixture.set_scanout(0, 2, rect(0, 0, 4, 4));
    fixture.display.take();
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 2), OK);
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn scattered_blob_is_shown_through_a_shadow() {
    let mut fixture = Fixture::default();
    let (stride, height) = (4 * 64, 48);
    let bytes = stride * height;
    let image = pattern(bytes as usize);
    // Pages from high to low, the last one not whole.
    let mut entries = Vec::new();
    for (index, page) in (1..).zip(image.chunks(1000)) {
        fixture.write(FREE + 0x10_0000 - index * 4096, page);
        entries.push((FREE + 0x10_0000 - index * 4096, page.len() as u32));
    }
    assert_eq!(fixture.create_blob(1, u64::from(bytes), &entries), OK);
    assert_eq!(fixture.gpu.resources.usage().bytes, 0);
    let mut request = scanout_blob_request(0, 1, 60, 40, stride);
    request.r = wire_rect(rect(2, 3, 50, 30));
    request.offsets[0] = 8.into();
    assert_eq!(fixture.run(request.as_bytes()), OK);
    let source = fixture.display.sources[0].clone().unwrap();
    assert!(matches!(source.memory, PixelMemory::Memfd(_)));
    assert_eq!(fixture.gpu.resources.usage().bytes, u64::from(bytes));
    let visible = rect(2 + 2, 3, 50, 30);
    assert_eq!(fixture.pixels(0), crop(&image, stride as usize, visible));

    // The driver inverts all of it, and flushes a part.
    let inverse: Vec<u8> = image.iter().map(|byte| !byte).collect();
    for (index, page) in (1..).zip(inverse.chunks(1000)) {
        fixture.write(FREE + 0x10_0000 - index * 4096, page);
    }
    assert_eq!(fixture.pixels(0), crop(&image, stride as usize, visible));
    assert_eq!(fixture.flush(1, rect(10, 10, 20, 5)), OK);
    assert_eq!(fixture.display.take().last(), Some(&Call::Flush(0, rect(8, 7, 20, 5))));
    let mut expected = image;
    for row in 10..15 {
        let range = row * stride as usize + 8 + 40..row * stride as usize + 8 + 40 + 80;
        expected[range.clone()].copy_from_slice(&inverse[range]);
    }
    assert_eq!(fixture.pixels(0), crop(&expected, stride as usize, visible));
    assert_eq!(fixture.unref(1), OK);
    assert_eq!(*fixture.gpu.resources.usage(), Default::default());
}

#[test]
fn pages_in_order_need_no_shadow() {
    let mut fixture = Fixture::default();
    let pages: Vec<_> = (0..16).map(|page| (FREE + page * 4096, 4096)).collect();
    fixture.create_blob(1, 65536, &pages);
    assert_eq!(fixture.run(scanout_blob_request(0, 1, 128, 128, 512).as_bytes()), OK);
    let source = fixture.display.sources[0].clone().unwrap();
    assert!(matches!(source.memory, PixelMemory::Guest { address: FREE, length: 65536 }));
}

#[test]
fn read_rect_gives_rows_without_gaps() {
    let (mut fixture, image) = with_blob(128 * 40);
    fixture.run(scanout_blob_request(0, 1, 30, 40, 128).as_bytes());
    let source = fixture.display.sources[0].clone().unwrap();
    let mut pixels = vec![1; 7];
    for area in [rect(0, 0, 30, 40), rect(29, 39, 1, 1), rect(3, 4, 5, 6), rect(0, 9, 30, 1)] {
        source.read_rect(&fixture.memory, area, &mut pixels).unwrap();
        assert_eq!(pixels, crop(&image, 128, area), "{area:?}");
    }
    source.read_rect(&fixture.memory, rect(5, 5, 0, 3), &mut pixels).unwrap();
    assert!(pixels.is_empty());
    for area in [rect(0, 0, 31, 1), rect(0, 0, 1, 41), rect(1, 0, u32::MAX, 1)] {
        let error = source.read_rect(&fixture.memory, area, &mut pixels).unwrap_err();
        assert!(matches!(error, ReadError::OutOfBounds));
    }
    // A source nobody should make.
    for (offset, stride) in [(u64::MAX, 128), (0, u32::MAX), (128 * 40, 128), (1 << 63, 0)] {
        let source = ScanoutSource { offset, stride, ..source.clone() };
        source.read_rect(&fixture.memory, rect(0, 0, 30, 40), &mut pixels).unwrap_err();
    }
}
