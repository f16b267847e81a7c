//! Broken chains, and drivers that want too much.

use zerocopy::IntoBytes;

use super::testing::descriptor::{INDIRECT, NEXT, WRITE};
use super::testing::{
    MEMORY, QueueId, blob_request, header, resource_request, scanout_blob_request, with_entries,
};
use super::wire::*;
use super::*;

const REQUEST: u64 = FREE;
const RESPONSE: u64 = FREE + 0x1000;
const TABLE: u64 = FREE + 0x2000;

/// A device with resource 1 and a request in memory to destroy it.
fn with_request() -> Fixture<Recorder> {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4, 4);
    fixture.write(REQUEST, resource_request(Command::ResourceUnref, 1).as_bytes());
    fixture
}

#[track_caller]
fn assert_not_executed(mut fixture: Fixture<Recorder>, completion: Completion) {
    assert_eq!(completion, Completion::default());
    assert_eq!(fixture.unref(1), OK);
}

#[test]
fn chain_in_a_loop_is_given_back() {
    let mut fixture = with_request();
    fixture.put_descriptor(0, REQUEST, 32, NEXT, 1);
    fixture.put_descriptor(1, RESPONSE, 24, NEXT | WRITE, 1);
    let completion = fixture.submit_chain(QueueId::Control, 0);
    assert_not_executed(fixture, completion);
}

#[test]
fn chain_that_leaves_its_table_is_given_back() {
    for next in [256, 257, u16::MAX] {
        let mut fixture = with_request();
        fixture.put_descriptor(0, REQUEST, 32, NEXT, 1);
        fixture.put_descriptor(1, RESPONSE, 24, NEXT | WRITE, next);
        let completion = fixture.submit_chain(QueueId::Control, 0);
        assert_not_executed(fixture, completion);
    }
}

#[test]
fn chain_of_more_than_4_gib_is_given_back() {
    let mut fixture = with_request();
    fixture.put_descriptor(0, REQUEST, 32, NEXT, 1);
    fixture.put_descriptor(1, RESPONSE, u32::MAX, WRITE, 0);
    let completion = fixture.submit_chain(QueueId::Control, 0);
    assert_not_executed(fixture, completion);
}

#[test]
fn chain_that_reads_after_writing_is_given_back() {
    let mut fixture = with_request();
    fixture.put_descriptor(0, RESPONSE, 24, NEXT | WRITE, 1);
    fixture.put_descriptor(1, REQUEST, 32, 0, 0);
    let completion = fixture.submit_chain(QueueId::Control, 0);
    assert_not_executed(fixture, completion);
}

#[test]
fn request_outside_of_memory_has_no_type() {
    for addr in [MEMORY, MEMORY - 8, u64::MAX, u64::MAX - 31] {
        let mut fixture = with_request();
        fixture.put_descriptor(0, addr, 32, NEXT, 1);
        fixture.put_descriptor(1, RESPONSE, 24, WRITE, 0);
        assert_eq!(fixture.submit_chain(QueueId::Control, 0).written, 24);
        assert_eq!(fixture.unref(1), OK);
    }
}

#[test]
fn response_outside_of_memory_is_not_written() {
    for addr in [MEMORY, MEMORY - 8, u64::MAX, u64::MAX - 23] {
        let mut fixture = with_request();
        fixture.put_descriptor(0, REQUEST, 32, NEXT, 1);
        fixture.put_descriptor(1, addr, 24, WRITE, 0);
        assert_eq!(fixture.submit_chain(QueueId::Control, 0).written, 0);
        assert_eq!(fixture.unref(1), RespType::ErrInvalidResourceId);
    }
}

#[test]
fn chain_without_a_request_has_no_type() {
    let mut fixture = with_request();
    fixture.put_descriptor(0, RESPONSE, 24, WRITE, 0);
    assert_eq!(fixture.submit_chain(QueueId::Control, 0).written, 24);
    assert_eq!(fixture.unref(1), OK);
}

#[test]
fn indirect_table_is_a_chain() {
    let mut fixture = with_request();
    fixture.put_descriptor_at(TABLE, 0, REQUEST, 32, NEXT, 1);
    fixture.put_descriptor_at(TABLE, 1, RESPONSE, 24, WRITE, 0);
    fixture.put_descriptor(0, TABLE, 32, INDIRECT, 0);
    assert_eq!(fixture.submit_chain(QueueId::Control, 0).written, 24);
    assert_eq!(fixture.unref(1), RespType::ErrInvalidResourceId);
}

#[test]
fn broken_indirect_tables_are_given_back() {
    // (first entry, table length)
    for (entry, length) in [
        ((REQUEST, 32, NEXT, 1), 0),
        ((REQUEST, 32, NEXT, 1), 31),
        // Its second entry is beyond the table.
        ((REQUEST, 32, NEXT, 1), 16),
        ((REQUEST, 32, NEXT, 2), 32),
        // A table in a table.
        ((TABLE, 32, INDIRECT, 0), 32),
        ((TABLE, 32, INDIRECT | NEXT, 1), 32),
    ] {
        let mut fixture = with_request();
        let (addr, len, flags, next) = entry;
        fixture.put_descriptor_at(TABLE, 0, addr, len, flags, next);
        fixture.put_descriptor_at(TABLE, 1, RESPONSE, 24, WRITE, 0);
        fixture.put_descriptor(0, TABLE, length, INDIRECT, 0);
        let completion = fixture.submit_chain(QueueId::Control, 0);
        assert_not_executed(fixture, completion);
    }
}

#[test]
fn resources_are_limited() {
    let limits = Limits { resources: 3, ..Limits::default() };
    let mut fixture = Fixture::with(limits, Recorder::default());
    assert_eq!(fixture.create_2d(1, BGRX, 1, 1), OK);
    assert_eq!(fixture.create_2d(2, BGRX, 1, 1), OK);
    assert_eq!(fixture.create_blob(3, 64, &[(FREE, 64)]), OK);
    assert_eq!(fixture.create_2d(4, BGRX, 1, 1), RespType::ErrOutOfMemory);
    assert_eq!(fixture.create_blob(4, 64, &[(FREE, 64)]), RespType::ErrOutOfMemory);
    assert_eq!(fixture.unref(2), OK);
    assert_eq!(fixture.create_2d(4, BGRX, 1, 1), OK);
}

#[test]
fn bytes_are_limited() {
    let limits = Limits { bytes: 4000, ..Limits::default() };
    let mut fixture = Fixture::with(limits, Recorder::default());
    assert_eq!(fixture.create_2d(1, BGRX, 10, 101), RespType::ErrOutOfMemory);
    assert_eq!(fixture.create_2d(1, BGRX, 10, 90), OK);
    assert_eq!(fixture.create_2d(2, BGRX, 10, 10), OK);
    assert_eq!(fixture.create_2d(3, BGRX, 1, 1), RespType::ErrOutOfMemory);
    // Blobs are the driver's bytes, until one needs a shadow.
    let pieces = [(FREE + 0x1000, 8192), (FREE + 0x8000, 8192)];
    assert_eq!(fixture.create_blob(4, 16384, &pieces), OK);
    let show = scanout_blob_request(0, 4, 64, 64, 256);
    assert_eq!(fixture.run(show.as_bytes()), RespType::ErrOutOfMemory);
    fixture.unref(1);
    fixture.unref(2);
    assert_eq!(fixture.run(show.as_bytes()), RespType::ErrOutOfMemory);
    assert_eq!(fixture.create_blob(5, 3600, &[(FREE, 1000), (FREE + 0x8000, 2600)]), OK);
    assert_eq!(fixture.run(scanout_blob_request(0, 5, 30, 30, 120).as_bytes()), OK);
    assert_eq!(fixture.create_2d(1, BGRX, 10, 11), RespType::ErrOutOfMemory);
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 5), OK);
    assert_eq!(fixture.create_2d(1, BGRX, 10, 100), OK);
    fixture.verify();
}

#[test]
fn files_are_limited() {
    let limits = Limits { files: 2, ..Limits::default() };
    let mut fixture = Fixture::with(limits, Recorder::default());
    for id in 1..=3 {
        assert_eq!(fixture.create_2d(id, BGRX, 4, 4), OK);
        assert_eq!(fixture.attach(id, &[(FREE, 64)]), OK);
    }
    let all = rect(0, 0, 4, 4);
    assert_eq!(fixture.transfer(1, all, 0), OK);
    assert_eq!(fixture.set_scanout(0, 2, all), OK);
    assert_eq!(fixture.transfer(3, all, 0), RespType::ErrOutOfMemory);
    assert_eq!(fixture.set_scanout(0, 3, all), RespType::ErrOutOfMemory);
    let pieces = [(FREE, 100), (FREE + 200, 100)];
    assert_eq!(fixture.create_blob(4, 200, &pieces), OK);
    let show = scanout_blob_request(0, 4, 4, 4, 16);
    assert_eq!(fixture.run(show.as_bytes()), RespType::ErrOutOfMemory);
    assert_eq!(fixture.gpu.resources.usage().bytes, 3 * 64);
    assert_eq!(fixture.unref(1), OK);
    assert_eq!(fixture.run(show.as_bytes()), OK);
    fixture.verify();
}

#[test]
fn width_and_height_are_limited() {
    let mut fixture = Fixture::default();
    assert_eq!(fixture.create_2d(1, BGRX, 16385, 1), RespType::ErrOutOfMemory);
    assert_eq!(fixture.create_2d(1, BGRX, 1, 16385), RespType::ErrOutOfMemory);
    assert_eq!(fixture.create_2d(1, BGRX, 16384, 1), OK);
    assert_eq!(fixture.create_2d(2, BGRX, 1, 16384), OK);
    fixture.create_blob(3, 1 << 20, &[(FREE, 1 << 20)]);
    let show = scanout_blob_request(0, 3, 1, 16385, 4);
    assert_eq!(fixture.run(show.as_bytes()), RespType::ErrOutOfMemory);
}

#[test]
fn backing_entries_are_limited_before_they_are_read() {
    let limits = Limits { backing_entries: 4, total_backing_entries: 6, ..Limits::default() };
    let mut fixture = Fixture::with(limits, Recorder::default());
    let apart = |count: u64| (0..count).map(|index| (FREE + index * 100, 50)).collect::<Vec<_>>();
    fixture.create_2d(1, BGRX, 4, 4);
    fixture.create_2d(2, BGRX, 4, 4);
    assert_eq!(fixture.attach(1, &apart(5)), RespType::ErrOutOfMemory);
    assert_eq!(fixture.attach(1, &apart(4)), OK);
    assert_eq!(fixture.attach(2, &apart(3)), RespType::ErrOutOfMemory);
    assert_eq!(fixture.create_blob(3, 64, &apart(3)), RespType::ErrOutOfMemory);
    assert_eq!(fixture.attach(2, &apart(2)), OK);
    assert_eq!(fixture.unref(1), OK);
    assert_eq!(fixture.create_blob(3, 64, &apart(4)), OK);
    fixture.verify();
}

#[test]
fn entries_that_do_not_come_are_not_waited_for() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4, 4);
    let mut request = ResourceAttachBacking {
        hdr: header(Command::ResourceAttachBacking),
        resource_id: 1.into(),
        nr_entries: 3.into(),
    };
    let two = [(FREE, 64), (FREE + 128, 64)];
    assert_eq!(fixture.run(&with_entries(&request, &two)), RespType::ErrInvalidParameter);
    request.nr_entries = (1 << 18).into();
    assert_eq!(fixture.run(&with_entries(&request, &two)), RespType::ErrInvalidParameter);
    for count in [(1 << 18) + 1, u32::MAX] {
        request.nr_entries = count.into();
        assert_eq!(fixture.run(&with_entries(&request, &two)), RespType::ErrOutOfMemory);
        let blob = with_entries(&blob_request(2, 128, count), &two);
        assert_eq!(fixture.run(&blob), RespType::ErrOutOfMemory);
    }
    fixture.verify();
}
