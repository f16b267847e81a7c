//! Both ends of the socket, and the bytes between them.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use zerocopy::{FromZeros, IntoBytes};

use super::message::{
    CursorPos, CursorUpdate, DmabufScanout, F_DMABUF2, F_EDID, F_MEMORY_KEEP, F_MEMORY_SCANOUT,
    FLAG_REPLY, MAX_UPDATE, MemoryScanout, Scanout, Update, request,
};
use super::{Channel, ChannelError, Client, ClientError, DecodeError, Request};
use super::{decode, payload_bound};

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn file() -> OwnedFd {
    rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
}

/// A front-end that answers the negotiation with `features`, and the client connected to it.
fn connect(features: u64) -> (Channel, Client) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let front_end = Channel::new(ours);
    let client = std::thread::spawn(|| {
        let mut client = Client::connect(theirs).unwrap();
        client.features().unwrap();
        client
    });
    assert_eq!(receive(&front_end).header.request, request::GET_PROTOCOL_FEATURES);
    reply(&front_end, request::GET_PROTOCOL_FEATURES, features.as_bytes());
    let accepted = receive(&front_end);
    assert_eq!(accepted.header.request, request::SET_PROTOCOL_FEATURES);
    let known = features & (F_EDID | F_DMABUF2 | F_MEMORY_SCANOUT | F_MEMORY_KEEP);
    assert_eq!(accepted.payload, known.to_ne_bytes());
    (front_end, client.join().unwrap())
}

fn receive(channel: &Channel) -> super::Frame {
    channel.receive(|header| payload_bound(header.request)).unwrap()
}

fn reply(channel: &Channel, number: u32, payload: &[u8]) {
    channel.send(number, FLAG_REPLY, &[payload], &[]).unwrap();
}

#[test]
fn messages_have_the_bytes_of_the_protocol() {
    let (front_end, mut client) = connect(F_EDID | F_DMABUF2);
    let mut stream = front_end.stream().try_clone().unwrap();
    let mut expect = |bytes: Vec<u8>| {
        let mut got = vec![0; bytes.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, bytes);
    };
    client.cursor_move(CursorPos { scanout_id: 1, x: 2, y: 3 }, true).unwrap();
    expect(words(&[4, 0, 12, 1, 2, 3]));
    client.cursor_move(CursorPos { scanout_id: 1, x: 2, y: 3 }, false).unwrap();
    expect(words(&[5, 0, 12, 1, 2, 3]));
    let pos = CursorPos { scanout_id: 0, x: 7, y: 8 };
    client.cursor_update(CursorUpdate { pos, hot_x: 5, hot_y: 6 }, &[0x8012_3456; 4096]).unwrap();
    let mut cursor = words(&[6, 0, 16404, 0, 7, 8, 5, 6]);
    cursor.extend(words(&[0x8012_3456; 4096]));
    expect(cursor);
    client.scanout(Scanout { scanout_id: 2, width: 640, height: 480 }).unwrap();
    expect(words(&[7, 0, 12, 2, 640, 480]));
    let update = Update { scanout_id: 2, x: 10, y: 20, width: 2, height: 1 };
    client.update(update, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    expect([words(&[8, 0, 28, 2, 10, 20, 2, 1]), vec![1, 2, 3, 4, 5, 6, 7, 8]].concat());
    client.buffer_update(update).unwrap();
    expect(words(&[10, 0, 20, 2, 10, 20, 2, 1]));
}

#[test]
fn dmabuf_scanout_goes_with_or_without_modifier() {
    let scanout = DmabufScanout {
        scanout_id: 3,
        x: 1,
        y: 2,
        width: 640,
        height: 480,
        fd_width: 800,
        fd_height: 600,
        fd_stride: 3200,
        fd_flags: 1,
        fd_drm_fourcc: 0x3432_5258,
    };
    let fields = [3, 1, 2, 640, 480, 800, 600, 3200, 1, 0x3432_5258];
    let fd = file();
    for (features, number) in [(0, 9), (F_DMABUF2, 12)] {
        let (front_end, mut client) = connect(features);
        client.dmabuf_scanout(scanout, 0x0102_0304_0506_0708, Some(fd.as_fd())).unwrap();
        let frame = receive(&front_end);
        assert_eq!((frame.header.request, frame.fds.len()), (number, 1));
        let mut expected = words(&fields);
        if number == 12 {
            expected.extend(0x0102_0304_0506_0708_u64.to_ne_bytes());
        }
        assert_eq!(frame.payload, expected);
        let request = decode(number, &frame.payload, frame.fds).unwrap();
        let Request::DmabufScanout(got, modifier, Some(_)) = request else { panic!("{request:?}") };
        assert_eq!(got, scanout);
        assert_eq!(modifier, if number == 12 { 0x0102_0304_0506_0708 } else { 0 });
    }
}

#[test]
fn replies_of_updates_do_not_stop_other_requests() {
    let (front_end, mut client) = connect(F_EDID | F_MEMORY_SCANOUT);
    let update = |scanout_id| Update { scanout_id, x: 0, y: 0, width: 1, height: 1 };
    client.buffer_update(update(4)).unwrap();
    client.buffer_update(update(5)).unwrap();
    assert!(!client.has_latched());
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            assert_eq!(receive(&front_end).header.request, request::DMABUF_UPDATE);
        }
        assert_eq!(receive(&front_end).payload, 9_u32.to_ne_bytes());
        reply(&front_end, request::DMABUF_UPDATE, &[]);
        reply(&front_end, request::DMABUF_UPDATE, &[]);
        reply(&front_end, request::GET_EDID, &[7; 1056]);
        front_end
    });
    assert_eq!(client.edid(9).unwrap(), [7; 1056]);
    assert!(client.has_latched());
    let _front_end = server.join().unwrap();
    assert!(client.has_latched());
    assert_eq!(client.collect(false).unwrap(), Some(4));
    assert_eq!(client.collect(false).unwrap(), Some(5));
    assert_eq!(client.collect(false).unwrap(), None);
    assert!(!client.has_latched());
}

#[test]
fn wrong_replies_are_errors() {
    for (number, flags, size) in [(4, FLAG_REPLY, 1056), (11, 0, 1056), (11, FLAG_REPLY, 1055)] {
        let (front_end, mut client) = connect(F_EDID);
        front_end.send(number, flags, &[&vec![0; size]], &[]).unwrap();
        let error = client.edid(0).unwrap_err();
        assert!(
            matches!(error, ClientError::Reply { expected: 11, found, size: got }
                if found == number && got == size),
            "{error:?}"
        );
    }
    let (front_end, mut client) = connect(F_EDID);
    front_end.send(11, FLAG_REPLY, &[&[0; 1057]], &[]).unwrap();
    let error = client.edid(0).unwrap_err();
    assert!(
        matches!(error, ClientError::Channel(ChannelError::Oversized { request: 11, size: 1057 })),
        "{error:?}"
    );
}

#[test]
fn a_silent_front_end_is_noticed() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    // Connecting waits for nothing: some front-ends serve this socket only later.
    let mut client = Client::connect(theirs).unwrap();
    assert_eq!(client.features().unwrap(), 0);
    let error = client.edid(3).unwrap_err();
    assert!(matches!(error, ClientError::Slow { request: 11 }), "{error:?}");
    // What comes too late is dropped, and the next answer is the right one.
    let front_end = Channel::new(ours);
    for expected in [request::GET_PROTOCOL_FEATURES, request::GET_EDID] {
        assert_eq!(receive(&front_end).header.request, expected);
    }
    reply(&front_end, request::GET_PROTOCOL_FEATURES, F_EDID.as_bytes());
    reply(&front_end, request::GET_EDID, &[1; 1056]);
    reply(&front_end, request::GET_EDID, &[2; 1056]);
    assert_eq!(client.edid(4).unwrap(), [2; 1056]);
    assert_eq!(client.features().unwrap(), 0);
    assert_eq!(client.unanswered(), 0);
}

#[test]
fn all_answers_that_are_there_are_read_at_once() {
    let (front_end, mut client) = connect(F_MEMORY_SCANOUT);
    for scanout_id in 0..5 {
        client.buffer_update(Update { scanout_id, x: 0, y: 0, width: 1, height: 1 }).unwrap();
        reply(&front_end, request::DMABUF_UPDATE, &[]);
    }
    assert_eq!(client.unanswered(), 5);
    assert_eq!(client.collect(true).unwrap(), Some(0));
    assert_eq!(client.unanswered(), 0);
    for scanout in 1..5 {
        assert_eq!(client.collect(false).unwrap(), Some(scanout));
    }
}

#[test]
fn what_nobody_asked_for_is_an_error() {
    let (front_end, mut client) = connect(F_EDID);
    front_end.send(77, FLAG_REPLY, &[], &[]).unwrap();
    let error = client.collect(true).unwrap_err();
    assert!(matches!(error, ClientError::Unasked(77)), "{error:?}");
}

#[test]
fn a_closed_socket_is_noticed() {
    let (front_end, mut client) = connect(F_EDID);
    drop(front_end);
    let error = client.display_info().unwrap_err();
    assert!(matches!(error, ClientError::Channel(ChannelError::Closed)), "{error:?}");
}

#[test]
fn oversized_requests_are_refused_before_memory_is_taken() {
    let (mut raw, theirs) = UnixStream::pair().unwrap();
    let channel = Channel::new(theirs);
    for (number, size) in [(8, MAX_UPDATE + 1), (8, u32::MAX), (1, 1), (99, 4097)] {
        raw.write_all(&words(&[number, 0, size])).unwrap();
        let error = channel.receive(|header| payload_bound(header.request)).unwrap_err();
        assert!(
            matches!(error, ChannelError::Oversized { request, size: got }
                if request == number && got == size),
            "{error:?}"
        );
    }
}

#[test]
fn frames_arrive_in_pieces() {
    let (mut raw, theirs) = UnixStream::pair().unwrap();
    let channel = Channel::new(theirs);
    let writer = std::thread::spawn(move || {
        for byte in words(&[7, 0, 12, 1, 640, 480]) {
            raw.write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        raw
    });
    let frame = receive(&channel);
    assert_eq!(frame.payload, words(&[1, 640, 480]));
    drop(writer.join().unwrap());
    assert!(matches!(channel.receive(|_| 0), Err(ChannelError::Closed)));
}

#[test]
fn more_descriptors_than_allowed_close_the_channel() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (sender, receiver) = (Channel::new(ours), Channel::new(theirs));
    let fd = file();
    let four = [fd.as_fd(); 4];
    sender.send(7, 0, &[&words(&[0, 1, 1])], &four).unwrap();
    let frame = receive(&receiver);
    assert_eq!(
        decode(7, &frame.payload, frame.fds).unwrap_err(),
        DecodeError::Descriptors { request: 7, found: 4 }
    );
    assert!(matches!(
        sender.send(7, 0, &[], &[fd.as_fd(); 5]),
        Err(ChannelError::TooManyDescriptors)
    ));
}

#[test]
fn bad_payloads_are_named() {
    let size = |request, found, expected| DecodeError::Size { request, found, expected };
    let cases = [
        (1, vec![0], size(1, 1, 0)),
        (7, vec![0; 11], size(7, 11, 12)),
        (7, words(&[16, 1, 1]), DecodeError::Scanout { request: 7, scanout: 16 }),
        (4, words(&[u32::MAX, 1, 1]), DecodeError::Scanout { request: 4, scanout: u32::MAX }),
        (6, vec![0; 16403], size(6, 16403, 16404)),
        (8, vec![0; 19], size(8, 19, 20)),
        // Fewer pixels than the rectangle has.
        (8, words(&[0, 0, 0, 2, 2, 9, 9, 9]), size(8, 32, 36)),
        // A rectangle whose size overflows 32 bits.
        (
            8,
            words(&[0, 0, 0, 0x1_0000, 0x1_0000]),
            size(8, 20, (0x1_0000_usize * 0x1_0000 * 4) + 20),
        ),
        (12, vec![0; 40], size(12, 40, 48)),
        (13, vec![], DecodeError::Unknown(13)),
    ];
    for (number, payload, error) in cases {
        assert_eq!(decode(number, &payload, Vec::new()).unwrap_err(), error, "request {number}");
    }
}

#[test]
fn memory_scanout_has_a_file_unless_it_is_the_drivers_memory() {
    let scanout = |width, buffer| MemoryScanout { width, buffer, ..MemoryScanout::new_zeroed() };
    let decode = |scanout: MemoryScanout, fds| {
        decode(request::MEMORY_SCANOUT, scanout.as_bytes(), fds).map(|_| ())
    };
    assert_eq!(decode(scanout(1, 0), vec![]), Ok(()));
    assert_eq!(decode(scanout(1, 5), vec![file()]), Ok(()));
    assert_eq!(decode(scanout(0, 0), vec![]), Ok(()));
    let wrong = |found| Err(DecodeError::Descriptors { request: request::MEMORY_SCANOUT, found });
    assert_eq!(decode(scanout(1, 5), vec![]), wrong(0));
    assert_eq!(decode(scanout(1, 0), vec![file()]), wrong(1));
    assert_eq!(decode(scanout(0, 5), vec![file()]), wrong(1));
}
