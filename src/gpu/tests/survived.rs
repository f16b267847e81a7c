//! What has gone wrong in other virtio-gpu devices, tried on this one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use vm_memory::{Bytes, GuestAddress};
use zerocopy::IntoBytes;

use super::testing::{
    QueueId, UNTOUCHED, cursor_request, descriptor, flush_request, header, scanout_blob_request,
    wire_rect,
};
use super::wire::*;
use super::*;

/// Bytes of anonymous memory this process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// What other tests of this process may need meanwhile. Each loop would leak more.
const NOISE: usize = 32 << 20;

/// Pieces that do not touch, so that none are joined.
fn apart(count: u64) -> Vec<(u64, u32)> {
    (0..count).map(|index| (FREE + index * 8192, 4096)).collect()
}

#[test]
fn cve_2016_7994_failed_creates_leak_nothing() {
    let mut fixture = Fixture::default();
    for round in 0..100_000 {
        let (format, width) = if round % 2 == 0 { (0, 64) } else { (BGRX, u32::MAX) };
        assert_ne!(fixture.create_2d(1, format, width, 64), OK);
    }
    assert_eq!(*fixture.gpu.resources.usage(), Default::default());
    fixture.verify();
}

#[test]
fn cve_2016_9845_cve_2021_3545_capset_info_shows_no_stale_bytes() {
    let mut fixture = Fixture::default();
    for index in [0, 1, u32::MAX] {
        let request = GetCapsetInfo {
            hdr: header(Command::GetCapsetInfo),
            capset_index: index.into(),
            padding: 0.into(),
        };
        let answer = fixture.submit_split(QueueId::Control, request.as_bytes(), &[], 40);
        let mut expected = vec![0; 24];
        expected[..2].copy_from_slice(&[0x05, 0x12]);
        assert_eq!(answer.bytes(), expected);
        assert!(answer.buffer[24..].iter().all(|&byte| byte == UNTOUCHED));
    }
}

#[test]
fn cve_2016_9846_refused_cursors_leak_nothing() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 64, 65);
    fixture.create_2d(2, BGRX, 64, 64);
    let before = resident();
    for _ in 0..4_000 {
        assert_ne!(fixture.cursor(&cursor_request(0, 1, 0, 0)), OK);
        assert_eq!(fixture.cursor(&cursor_request(0, 2, 0, 0)), OK);
        fixture.display.take();
    }
    assert!(resident() < before + NOISE);
}

#[test]
fn cve_2016_9908_cve_2016_10028_cve_2021_3546_capsets_that_are_not_there() {
    let mut fixture = Fixture::default();
    for (id, version) in [(0, 0), (1, 0), (2, u32::MAX), (u32::MAX, 1)] {
        let request = GetCapset {
            hdr: header(Command::GetCapset),
            capset_id: id.into(),
            capset_version: version.into(),
        };
        assert_eq!(fixture.run(request.as_bytes()), RespType::ErrInvalidParameter);
        // A response smaller than a capset would be.
        for room in [0, 1, 23] {
            let answer = fixture.submit_split(QueueId::Control, request.as_bytes(), &[], room);
            assert_eq!(answer.completion.written, 0);
            assert!(answer.buffer.iter().all(|&byte| byte == UNTOUCHED));
        }
    }
}

#[test]
fn cve_2016_9912_cve_2017_5857_cve_2021_3544_unref_returns_the_backing() {
    let mut fixture = Fixture::default();
    let entries = apart(32);
    let before = resident();
    for _ in 0..100_000 {
        fixture.create_2d(1, BGRX, 64, 64);
        assert_eq!(fixture.attach(1, &entries), OK);
        assert_eq!(fixture.unref(1), OK);
    }
    assert_eq!(*fixture.gpu.resources.usage(), Default::default());
    assert!(resident() < before + NOISE);
}

#[test]
fn used_resources_return_memory_and_files() {
    let mut fixture = Fixture::default();
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (before, open) = (resident(), files());
    for _ in 0..5_000 {
        fixture.create_2d(1, BGRX, 64, 64);
        fixture.attach(1, &[(FREE, 16384)]);
        assert_eq!(fixture.transfer(1, rect(0, 0, 64, 64), 0), OK);
        assert_eq!(fixture.set_scanout(0, 1, rect(0, 0, 64, 64)), OK);
        assert_eq!(fixture.unref(1), OK);
        fixture.display.take();
    }
    assert_eq!(*fixture.gpu.resources.usage(), Default::default());
    assert!(resident() < before + NOISE);
    // Other tests hold a few.
    assert!(files() < open + 200);
}

#[test]
fn cve_2016_10029_scanouts_that_are_not_there() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 64, 64);
    fixture.create_blob(2, 16384, &[(FREE, 16384)]);
    for scanout in [16, 17, 22, 32, 63, 64, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let invalid = RespType::ErrInvalidScanoutId;
        assert_eq!(fixture.set_scanout(scanout, 1, rect(0, 0, 4, 4)), invalid);
        let blob = scanout_blob_request(scanout, 2, 4, 4, 16);
        assert_eq!(fixture.run(blob.as_bytes()), invalid);
        let edid =
            GetEdid { hdr: header(Command::GetEdid), scanout: scanout.into(), padding: 0.into() };
        assert_eq!(fixture.run(edid.as_bytes()), invalid);
        assert_eq!(fixture.cursor(&cursor_request(scanout, 1, 0, 0)), invalid);
        assert_eq!(fixture.cursor(&cursor_request(scanout, 0, 0, 0)), invalid);
        let mut request = cursor_request(scanout, 1, 0, 0);
        request.hdr = header(Command::MoveCursor);
        assert_eq!(fixture.cursor(&request), invalid);
    }
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn cve_2017_5552_cve_2017_5578_second_attach_leaks_nothing() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 64, 64);
    let entries = apart(64);
    fixture.attach(1, &entries);
    let before = resident();
    for _ in 0..100_000 {
        assert_eq!(fixture.attach(1, &entries), RespType::ErrUnspec);
    }
    assert_eq!(fixture.gpu.resources.usage().backing_entries, 64);
    assert!(resident() < before + NOISE);
}

#[test]
fn cve_2021_3544_failed_attach_leaks_nothing() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 64, 64);
    let mut entries = apart(64);
    entries.push((u64::MAX, 16));
    let before = resident();
    for _ in 0..20_000 {
        assert_eq!(fixture.attach(1, &entries), RespType::ErrInvalidParameter);
        assert_eq!(fixture.create_blob(2, 64, &entries), RespType::ErrInvalidParameter);
    }
    assert_eq!(fixture.gpu.resources.usage().backing_entries, 0);
    assert!(resident() < before + NOISE);
}

#[test]
fn cve_2017_9060_many_set_scanouts_leak_nothing() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 64, 64);
    fixture.create_blob(2, 16384, &apart(4));
    let before = resident();
    for round in 0..50_000 {
        assert_eq!(fixture.set_scanout(round % 16, 1, rect(0, 0, 64, 64)), OK);
        let blob = scanout_blob_request(round % 16, 2, 8, 8, 32);
        assert_eq!(fixture.run(blob.as_bytes()), OK);
        fixture.display.take();
    }
    assert_eq!(fixture.gpu.resources.usage().files, 2);
    assert!(resident() < before + NOISE);
}

#[test]
fn qemu_383_scanouts_are_not_counted_by_what_a_driver_writes() {
    // The number is the device's; a driver has no way to give one. The last scanout works.
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 64, 64);
    assert_eq!(fixture.set_scanout(15, 1, rect(0, 0, 64, 64)), OK);
    assert_eq!(fixture.unref(1), OK);
    assert_eq!(fixture.display.take().last(), Some(&Call::SetScanout(15, None)));
}

#[test]
fn cve_2024_3446_device_may_be_pointed_at_its_own_rings() {
    let mut fixture = Fixture::default();
    // The descriptor table, the rings and the request itself are the pixels.
    fixture.create_2d(1, BGRX, 256, 256);
    assert_eq!(fixture.attach(1, &[(0, 0x4_0000)]), OK);
    assert_eq!(fixture.transfer(1, rect(0, 0, 256, 256), 0), OK);
    // The response overwrites the request and the descriptors it came by.
    let request = flush_request(1, rect(0, 0, 256, 256));
    fixture.write(FREE, request.as_bytes());
    fixture.put_descriptor(0, FREE, 48, descriptor::NEXT, 1);
    fixture.put_descriptor(1, FREE, 24, descriptor::WRITE | descriptor::NEXT, 2);
    fixture.put_descriptor(2, 0, 24, descriptor::WRITE, 0);
    assert_eq!(fixture.submit_chain(QueueId::Control, 0).written, 24);
    fixture.put_descriptor(1, 0, 24, descriptor::WRITE, 0);
    fixture.put_descriptor(0, FREE, 48, descriptor::NEXT, 1);
    assert_eq!(fixture.submit_chain(QueueId::Control, 0).written, 24);
    assert_eq!(fixture.unref(1), OK);
}

#[test]
fn morphuzz_reset_between_any_two_commands() {
    let mut fixture = Fixture::default();
    for reset_before in 0..7 {
        for step in 0..7 {
            if step == reset_before {
                fixture.gpu.reset(&mut fixture.display);
                assert_eq!(*fixture.gpu.resources.usage(), Default::default());
            }
            match step {
                0 => fixture.create_2d(1, BGRX, 64, 64),
                1 => fixture.attach(1, &[(FREE, 16384)]),
                2 => fixture.set_scanout(0, 1, rect(0, 0, 64, 64)),
                3 => fixture.transfer(1, rect(0, 0, 64, 64), 0),
                4 => fixture.cursor(&cursor_request(0, 1, 0, 0)),
                5 => fixture.flush(1, rect(0, 0, 64, 64)),
                _ => fixture.unref(1),
            };
            fixture.verify();
        }
    }
}

#[test]
fn cve_2026_3886_sizes_that_overflow_32_bits() {
    let mut fixture = Fixture::default();
    for &format in Format::ALL {
        for (width, height) in [
            (0x1_0000, 0x1_0000),
            (0x8000, 0x8001),
            (0x4000_0000, 1),
            (0x4000_0001, 1),
            (1, 0x4000_0001),
            (u32::MAX, u32::MAX),
            (0x8000_0000, 2),
            (0x2000_0001, 8),
        ] {
            let type_ = fixture.create_2d(1, format.raw(), width, height);
            assert_eq!(type_, RespType::ErrOutOfMemory, "{width} x {height}");
        }
    }
    // The same without a limit of the dimension: the number of bytes is 64 bits and checked.
    let limits = Limits { dimension: u32::MAX, bytes: u64::MAX, ..Limits::default() };
    let mut fixture = Fixture::with(limits, Recorder::default());
    assert_eq!(fixture.create_2d(1, BGRX, u32::MAX, u32::MAX), RespType::ErrOutOfMemory);
    assert_eq!(fixture.create_2d(1, BGRX, 0x8000_0000, 0x8000_0000), RespType::ErrOutOfMemory);
    // Rows of more than 32 bits, for which no message has room.
    assert_eq!(fixture.create_2d(1, BGRX, 0x4000_0000, 1), RespType::ErrOutOfMemory);
    assert_eq!(fixture.create_2d(1, BGRX, 0x3fff_ffff, u32::MAX), OK);
    fixture.verify();
}

#[test]
fn qemu_3871_blob_offsets_that_overflow_32_bits() {
    let mut fixture = Fixture::default();
    fixture.create_blob(1, 4096, &[(FREE, 4096)]);
    for (offset, stride, x, y) in [
        (0xffff_ff00, 256, 0, 0),
        (0xffff_fffc, 0xffff_fffc, 1, 1),
        (0, 0x8000_0000, 0, 2),
        (0x8000_0000, 0x4000_0000, 0, 2),
        (0xffff_0000, 4096, 0, 16),
        (4, 0xffff_fffc, 0, 1),
    ] {
        let mut request = scanout_blob_request(0, 1, 4, 32, stride);
        request.offsets[0] = offset.into();
        request.r = wire_rect(rect(x, y, 1, 1));
        let type_ = fixture.run(request.as_bytes());
        assert_eq!(type_, RespType::ErrInvalidParameter, "{offset:#x} {stride:#x}");
    }
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn qemu_4112_backing_shorter_than_the_blob() {
    let mut fixture = Fixture::default();
    assert_eq!(fixture.create_blob(1, 16384, &[(FREE, 1)]), RespType::ErrInvalidParameter);
    assert_eq!(fixture.create_blob(1, 16384, &[(FREE, 16383)]), RespType::ErrInvalidParameter);
    assert_eq!(fixture.create_blob(1, u64::MAX, &apart(64)), RespType::ErrInvalidParameter);
    let blob = scanout_blob_request(0, 1, 64, 64, 256);
    assert_eq!(fixture.run(blob.as_bytes()), RespType::ErrInvalidResourceId);
}

#[test]
fn qemu_850_backing_of_many_entries() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4096, 4096);
    // 64 MiB of the same two pages, by turns so that none touch.
    let entries: Vec<_> = (0..16_384).map(|index| (FREE + (index % 2) * 8192, 4096)).collect();
    assert_eq!(fixture.attach(1, &entries), OK);
    fixture.write(FREE + 8192 + 4092, &[1, 2, 3, 4]);
    assert_eq!(fixture.set_scanout(0, 1, rect(4095, 4095, 1, 1)), OK);
    assert_eq!(fixture.transfer(1, rect(0, 0, 4096, 4096), 0), OK);
    assert_eq!(fixture.pixels(0), [1, 2, 3, 4]);
}

#[test]
fn cve_2021_4206_cve_2021_4207_request_is_read_once() {
    let mut fixture = Fixture::default();
    let memory = fixture.memory.clone();
    fixture.create_2d(1, BGRX, 64, 64);
    fixture.attach(1, &[(FREE, 16384)]);
    fixture.set_scanout(0, 1, rect(0, 0, 64, 64));
    let transfer = TransferToHost2d {
        hdr: header(Command::TransferToHost2d),
        r: wire_rect(rect(0, 0, 64, 64)),
        resource_id: 1.into(),
        ..TransferToHost2d::default()
    };
    let place = FREE + 0x10_0000;
    fixture.write(place, transfer.as_bytes());
    fixture.put_descriptor(0, place, 56, descriptor::NEXT, 1);
    fixture.put_descriptor(1, FREE + 0x20_0000, 24, descriptor::WRITE, 0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Rectangle and offset, between valid and far outside.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for field in (24..48).step_by(4) {
                    let addr = GuestAddress(place + field);
                    memory.write_obj(0xffff_fff0u32, addr).unwrap();
                    memory.write_obj(if field < 32 { 0u32 } else { 64 }, addr).unwrap();
                }
            }
        });
        for _ in 0..20_000 {
            assert_eq!(fixture.submit_chain(QueueId::Control, 0).written, 24);
        }
        done.store(true, Ordering::Relaxed);
    });
    fixture.verify();
}
