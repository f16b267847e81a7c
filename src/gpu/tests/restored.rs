//! A device that goes on where another has ended, from a file that may hold anything.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use zerocopy::IntoBytes;

use super::testing::{
    QueueId, cursor_request, flush_request, header, resource_request, scanout_blob_request,
};
use super::wire::*;
use super::*;

const LIMITS: Limits = Limits {
    scanouts: 2,
    resources: 8,
    bytes: 1 << 20,
    files: 4,
    dimension: 512,
    backing_entries: 6,
    total_backing_entries: 12,
    command: 4096,
    contexts: 1,
};

/// A device with an empty state file.
fn fixture() -> (Fixture<Recorder>, File) {
    let mut fixture = Fixture::with(LIMITS, Recorder::default());
    let file = StateFile::create(&LIMITS).unwrap();
    let restored = fixture.restore(file.try_clone().unwrap(), HashMap::new());
    assert_eq!(restored, Restored::default());
    (fixture, file)
}

/// Another device in the place of the first.
fn restart(fixture: &mut Fixture<Recorder>, file: &File) -> Restored {
    let pixels = fixture.display.pixels();
    let restored = fixture.restore(file.try_clone().unwrap(), pixels);
    fixture.verify();
    restored
}

fn uuid(fixture: &mut Fixture<Recorder>, id: u32) -> [u8; 16] {
    let request = resource_request(Command::ResourceAssignUuid, id);
    fixture.control(&request).as_::<RespResourceUuid>().uuid
}

/// One of each: an image that is shown, a blob in two pieces that is shown, a cursor.
fn fill(fixture: &mut Fixture<Recorder>) {
    fixture.write(FREE, &pattern(1 << 16));
    assert_eq!(fixture.create_2d(1, BGRX, 16, 8), OK);
    assert_eq!(fixture.attach(1, &[(FREE + 64, 300), (FREE + 8192, 300)]), OK);
    assert_eq!(fixture.transfer(1, rect(0, 0, 16, 8), 0), OK);
    assert_eq!(fixture.set_scanout(0, 1, rect(2, 1, 12, 6)), OK);
    assert_eq!(fixture.create_blob(2, 4096, &[(FREE, 2048), (FREE + 4096, 2048)]), OK);
    let show = scanout_blob_request(1, 2, 16, 16, 128);
    assert_eq!(fixture.run(show.as_bytes()), OK);
    assert_eq!(fixture.create_blob(3, 64 * 64 * 4, &[(FREE, 64 * 64 * 4)]), OK);
    assert_eq!(fixture.transfer(3, rect(0, 0, 32, 40), 0), OK);
    assert_eq!(fixture.cursor(&cursor_request(1, 3, 5, 6)), OK);
    // Has no backing any more.
    assert_eq!(fixture.create_2d(4, BGRX, 4, 4), OK);
    assert_eq!(fixture.attach(4, &[(FREE, 64)]), OK);
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 4), OK);
}

#[test]
fn a_restored_device_has_all_and_shows_the_same_pixels() {
    let (mut fixture, file) = fixture();
    fill(&mut fixture);
    let name = uuid(&mut fixture, 2);
    let (contents, pixels) = (fixture.contents(), [0, 1].map(|scanout| fixture.pixels(scanout)));
    for _ in 0..3 {
        let restored = restart(&mut fixture, &file);
        assert_eq!(restored, Restored { resources: 4, scanouts: 2, dropped: 0 });
        assert_eq!(fixture.contents(), contents);
        let mut display = mem::take(&mut fixture.display);
        display.sources = Default::default();
        fixture.gpu.show_again(&mut display);
        fixture.display = display;
        assert_eq!([0, 1].map(|scanout| fixture.pixels(scanout)), pixels);
        assert_eq!(uuid(&mut fixture, 2), name);
    }
    // The cursor is known to be visible.
    let mut request = cursor_request(1, 0, 7, 8);
    request.hdr = header(Command::MoveCursor);
    fixture.display.take();
    assert_eq!(fixture.cursor(&request), OK);
    assert_eq!(fixture.display.take(), [Call::CursorMove(1, 7, 8)]);
    // Numbers of memory are not used twice, and places in the file are.
    for round in 0..100 {
        assert_eq!(fixture.create_blob(5, 4096, &[(FREE + round * 8192, 4096)]), OK);
        restart(&mut fixture, &file);
        assert_eq!(fixture.unref(5), OK);
    }
    assert_eq!(fixture.contents(), {
        restart(&mut fixture, &file);
        fixture.contents()
    });
}

#[test]
fn a_reset_leaves_nothing_to_be_restored() {
    let (mut fixture, file) = fixture();
    fill(&mut fixture);
    fixture.gpu.reset(&mut fixture.display);
    assert_eq!(restart(&mut fixture, &file), Restored::default());
    fill(&mut fixture);
    assert_eq!(restart(&mut fixture, &file).resources, 4);
}

#[test]
fn what_is_executed_again_changes_nothing() {
    let (mut fixture, file) = fixture();
    fill(&mut fixture);
    let contents = fixture.contents();
    restart(&mut fixture, &file);
    fixture.again = true;
    assert_eq!(fixture.create_2d(1, BGRX, 16, 8), OK);
    assert_eq!(fixture.attach(1, &[(FREE + 64, 300), (FREE + 8192, 300)]), OK);
    assert_eq!(fixture.transfer(1, rect(0, 0, 16, 8), 0), OK);
    assert_eq!(fixture.set_scanout(0, 1, rect(2, 1, 12, 6)), OK);
    assert_eq!(fixture.create_blob(2, 4096, &[(FREE, 2048), (FREE + 4096, 2048)]), OK);
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 4), OK);
    assert_eq!(fixture.contents(), contents);
    // What has gone since.
    assert_eq!(fixture.unref(7), OK);
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 7), OK);
    assert_eq!(fixture.run(flush_request(7, rect(0, 0, 1, 1)).as_bytes()), OK);
    assert_eq!(fixture.transfer(7, rect(0, 0, 1, 1), 0), OK);
    assert_eq!(fixture.set_scanout(0, 7, rect(0, 0, 1, 1)), OK);
    assert_eq!(fixture.contents(), contents);
    // Another one with the same number, which comes later in the same commands.
    assert_eq!(fixture.create_2d(1, BGRX, 8, 8), OK);
    assert_eq!(fixture.attach(2, &[(FREE + 16384, 4096)]), RespType::OkNodata);
    fixture.verify();
    fixture.again = false;
    assert_eq!(fixture.create_2d(1, BGRX, 8, 8), RespType::ErrInvalidResourceId);
    assert_eq!(fixture.unref(7), RespType::ErrInvalidResourceId);
    let contents = fixture.contents();
    restart(&mut fixture, &file);
    assert_eq!(fixture.contents(), contents);
}

/// A command that is held back behind another one that the display has not answered.
fn run_and_hold(fixture: &mut Fixture<Recorder>, request: &[u8]) -> RespType {
    let answer = fixture.submit_split(QueueId::Control, request, &[], 24);
    // All chains of the fixture begin with the first descriptor.
    fixture.gpu.hold_back(0, &answer.completion);
    RespType::from_raw(answer.as_::<CtrlHdr>().type_.get()).unwrap()
}

fn create_request() -> ResourceCreate2d {
    ResourceCreate2d {
        hdr: header(Command::ResourceCreate2d),
        resource_id: 5.into(),
        format: BGRX.into(),
        width: 16.into(),
        height: 16.into(),
    }
}

fn transfer_request() -> TransferToHost2d {
    TransferToHost2d {
        hdr: header(Command::TransferToHost2d),
        r: WireRect { x: 0.into(), y: 0.into(), width: 16.into(), height: 8.into() },
        offset: 0.into(),
        resource_id: 1.into(),
        padding: 0.into(),
    }
}

/// As a device does that gets the chains of another one again.
fn run_again(fixture: &mut Fixture<Recorder>, request: &[u8]) -> RespType {
    fixture.again = true;
    let type_ = fixture.run(request);
    fixture.again = false;
    fixture.gpu.give_back(0);
    type_
}

#[test]
fn what_was_held_back_is_not_executed_again_behind_what_was_returned() {
    let (mut fixture, file) = fixture();
    let create = create_request();
    // Fenced behind a flush, so held. The two that follow have no fence, and go back at once.
    assert_eq!(run_and_hold(&mut fixture, create.as_bytes()), OK);
    assert_eq!(fixture.attach(5, &[(FREE, 1024)]), OK);
    assert_eq!(fixture.unref(5), OK);
    assert_eq!(restart(&mut fixture, &file), Restored::default());
    assert_eq!(run_again(&mut fixture, create.as_bytes()), OK);
    assert_eq!(fixture.gpu.resources.iter().count(), 0);
    // The driver may use the number for another one, which the same must not take away.
    assert_eq!(run_and_hold(&mut fixture, create.as_bytes()), OK);
    assert_eq!(fixture.unref(5), OK);
    assert_eq!(fixture.create_blob(5, 4096, &[(FREE, 4096)]), OK);
    let contents = fixture.contents();
    restart(&mut fixture, &file);
    assert_eq!(run_again(&mut fixture, create.as_bytes()), OK);
    assert_eq!(fixture.contents(), contents);
    // What failed has failed, even if it would succeed by now.
    assert_eq!(run_and_hold(&mut fixture, create.as_bytes()), RespType::ErrInvalidResourceId);
    assert_eq!(fixture.unref(5), OK);
    restart(&mut fixture, &file);
    assert_eq!(run_again(&mut fixture, create.as_bytes()), RespType::ErrInvalidResourceId);
    assert_eq!(fixture.gpu.resources.iter().count(), 0);
    // Once given back it is forgotten: what comes then is another command.
    assert_eq!(run_again(&mut fixture, create.as_bytes()), OK);
    assert_eq!(fixture.gpu.resources.iter().count(), 1);
}

#[test]
fn pixels_are_those_of_a_transfer_that_was_held_back() {
    let (mut fixture, file) = fixture();
    fill(&mut fixture);
    let transfer = transfer_request();
    assert_eq!(run_and_hold(&mut fixture, transfer.as_bytes()), OK);
    let pixels = fixture.pixels(0);
    // Other pages, with other pixels that nobody has transferred yet.
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 1), OK);
    assert_eq!(fixture.attach(1, &[(FREE + 32768, 1024)]), OK);
    restart(&mut fixture, &file);
    assert_eq!(run_again(&mut fixture, transfer.as_bytes()), OK);
    let mut display = mem::take(&mut fixture.display);
    fixture.gpu.show_again(&mut display);
    fixture.display = display;
    assert_eq!(fixture.pixels(0), pixels);
    // A flush is executed again: nobody has seen its frame. So is what has an answer of its own.
    fixture.display.take();
    let flush = flush_request(1, rect(0, 0, 16, 8));
    assert_eq!(run_and_hold(&mut fixture, flush.as_bytes()), OK);
    restart(&mut fixture, &file);
    assert_eq!(run_again(&mut fixture, flush.as_bytes()), OK);
    let flushed =
        fixture.display.take().iter().filter(|call| matches!(call, Call::Flush(..))).count();
    assert_eq!(flushed, 2);
}

#[test]
fn counters_go_on_and_show_what_is_held_now() {
    let (mut fixture, file) = fixture();
    let read = |kind| Counters::read(&file).unwrap().of(kind);
    fill(&mut fixture);
    assert_eq!(read(LimitKind::Resources), Counter { used: 4, peak: 4, refused: 0 });
    // Two images, and a shadow of a blob in two pieces.
    assert_eq!(read(LimitKind::Bytes).used, 16 * 8 * 4 + 4 * 4 * 4 + 4096);
    assert_eq!(read(LimitKind::Files).used, 2);
    assert_eq!(read(LimitKind::TotalBackingEntries).used, 2 + 2 + 1);
    assert_eq!(read(LimitKind::BackingEntries), Counter { used: 0, peak: 2, refused: 0 });
    assert_eq!(fixture.unref(4), OK);
    let eight: Vec<_> = (0..7).map(|index| (FREE + index * 8192, 64)).collect();
    assert_eq!(fixture.create_blob(9, 64, &eight), RespType::ErrOutOfMemory);
    assert_eq!(read(LimitKind::BackingEntries).refused, 1);
    fixture.gpu.served(0, 7, 3);
    restart(&mut fixture, &file);
    assert_eq!(read(LimitKind::Resources), Counter { used: 3, peak: 4, refused: 0 });
    assert_eq!(read(LimitKind::BackingEntries), Counter { used: 0, peak: 2, refused: 1 });
    assert_eq!(Counters::read(&file).unwrap().queues[0], QueueCounter { taken: 7, peak: 3 });
    for id in 1..=3 {
        assert_eq!(fixture.unref(id), OK);
    }
    for kind in [LimitKind::Resources, LimitKind::Bytes, LimitKind::Files] {
        assert_eq!(read(kind).used, 0, "{kind}");
    }
    assert_eq!(read(LimitKind::TotalBackingEntries), Counter { used: 0, peak: 6, refused: 0 });
    // Into the file of a device that begins anew.
    let other = StateFile::create(&LIMITS).unwrap();
    let counters = Counters::read(&file).unwrap();
    counters.carry_over(&other).unwrap();
    Counters::set_taken(&other, 1, 9).unwrap();
    let carried = Counters::read(&other).unwrap();
    assert_eq!(carried.of(LimitKind::Resources), Counter { used: 0, peak: 4, refused: 0 });
    assert_eq!(carried.queues, [(0, 3), (9, 0)].map(|(taken, peak)| QueueCounter { taken, peak }));
}

/// Steele, Lea, Flood: splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A random command, mostly one that succeeds.
fn step(fixture: &mut Fixture<Recorder>, seed: &mut u64) {
    let id = (random(seed) % 9) as u32;
    let addr = FREE + random(seed) % 4 * 8192;
    let entries: Vec<_> =
        (0..1 + random(seed) % 4).map(|index| (addr + index * 12_288, 4096)).collect();
    let scanout = (random(seed) % 2) as u32;
    match random(seed) % 10 {
        0 => drop(fixture.create_2d(id, BGRX, 16 + id, 8)),
        1 => drop(fixture.create_blob(id, 4096, &entries)),
        2 => drop(fixture.attach(id, &entries)),
        3 => drop(fixture.resource(Command::ResourceDetachBacking, id)),
        4 => drop(fixture.unref(id)),
        5 => drop(fixture.transfer(id, rect(0, 0, 8, 8), 0)),
        6 => drop(fixture.set_scanout(scanout, id, rect(1, 1, 8, 4))),
        7 => drop(fixture.run(scanout_blob_request(scanout, id, 16, 8, 64).as_bytes())),
        8 => drop(fixture.cursor(&cursor_request(scanout, id, 1, 2))),
        _ => {
            let request = resource_request(Command::ResourceAssignUuid, id);
            drop(fixture.submit_split(QueueId::Control, request.as_bytes(), &[], 64));
        }
    }
}

#[test]
fn whatever_a_driver_has_done_is_restored() {
    let (mut fixture, file) = fixture();
    let mut seed = 1;
    for _ in 0..4000 {
        step(&mut fixture, &mut seed);
        if random(&mut seed).is_multiple_of(3) {
            let contents = fixture.contents();
            assert_eq!(restart(&mut fixture, &file).dropped, 0);
            assert_eq!(fixture.contents(), contents);
        }
    }
}

#[test]
fn nothing_in_the_file_is_believed() {
    let mut seed = 2;
    let (mut restored, mut dropped) = (0, 0);
    for _ in 0..400 {
        let (mut fixture, file) = fixture();
        fill(&mut fixture);
        // The header but for magic and version, scanouts, resources, pieces.
        let places = [(12, 20), (64, 96), (4096, 4 * 64), (4096 + 8 * 64, 6 * 24)];
        for _ in 0..1 + random(&mut seed) % 4 {
            let (start, length) = places[random(&mut seed) as usize % places.len()];
            let value = match random(&mut seed) % 4 {
                0 => random(&mut seed),
                1 => u64::MAX,
                2 => random(&mut seed) % 8,
                _ => 0,
            };
            let offset = start + random(&mut seed) % (length / 4) * 4;
            let bytes =
                &value.to_ne_bytes()[..if random(&mut seed).is_multiple_of(2) { 4 } else { 8 }];
            file.write_all_at(bytes, offset).unwrap();
        }
        let outcome = restart(&mut fixture, &file);
        restored += outcome.resources;
        dropped += outcome.dropped;
        for _ in 0..20 {
            step(&mut fixture, &mut seed);
            fixture.verify();
        }
    }
    // The test is about neither of them alone.
    assert!(restored > 400 && dropped > 100, "{restored} restored, {dropped} dropped");
}

#[test]
fn serial_numbers_that_would_run_out_are_not_gone_on_with() {
    let (mut fixture, file) = fixture();
    fill(&mut fixture);
    // Found by fuzzing: the device's own records did not survive its restart.
    file.write_all_at(&(u64::MAX - 7).to_ne_bytes(), 16).unwrap();
    assert_eq!(restart(&mut fixture, &file), Restored { dropped: 6, ..Restored::default() });
    fill(&mut fixture);
    let contents = fixture.contents();
    assert_eq!(restart(&mut fixture, &file).dropped, 0);
    assert_eq!(fixture.contents(), contents);
}

#[test]
fn pixels_of_another_size_or_that_could_shrink_are_not_mapped() {
    let (mut fixture, file) = fixture();
    fill(&mut fixture);
    let pixels = |name, bytes: u64, seals| {
        let flags = rustix::fs::MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create(name, flags).unwrap());
        file.set_len(bytes).unwrap();
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        file
    };
    use rustix::fs::SealFlags;
    let all = SealFlags::SHRINK | SealFlags::GROW;
    let buffer = *fixture.display.kept.keys().next().unwrap();
    for wrong in [
        pixels("short", 511, all),
        pixels("long", 513, all),
        pixels("shrinks", 512, SealFlags::GROW),
        File::open("/dev/zero").unwrap(),
    ] {
        let restored = fixture.restore(file.try_clone().unwrap(), HashMap::from([(buffer, wrong)]));
        assert_eq!((restored.resources, restored.scanouts), (4, 2));
        fixture.verify();
        let mut display = mem::take(&mut fixture.display);
        fixture.gpu.show_again(&mut display);
        fixture.display = display;
        assert!(fixture.pixels(0).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_state_file_that_could_shrink_or_is_too_short_is_refused() {
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(StateFile::open(file, &LIMITS), Err(StateError::Unsealed)));
    let file = StateFile::create(&LIMITS).unwrap();
    let more = Limits { resources: 9, ..LIMITS };
    assert!(matches!(StateFile::open(file, &more), Err(StateError::Size { .. })));
}
