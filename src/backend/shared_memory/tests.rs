use std::os::fd::AsFd;
use std::thread;
use std::time::Instant;

use super::*;

fn pair() -> (Region, Channel) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Region::new(ours), Channel::new(theirs))
}

#[test]
fn nothing_is_offered_or_agreed_on_without_a_size() {
    let mut none = SharedMemory::new(0);
    assert!(none.features().is_empty());
    none.set_features(u64::MAX);
    assert!(!none.is_agreed());
    assert_eq!({ none.config().nregions }, 0);
}

#[test]
fn the_region_is_number_1_and_needs_all_it_needs() {
    let mut shared = SharedMemory::new(1 << 20);
    let config = shared.config();
    assert_eq!({ config.nregions }, 1);
    let sizes = config.memory_sizes;
    assert_eq!(sizes[..3], [0, 1 << 20, 0]);
    // REPLY_ACK, BACKEND_REQ, BACKEND_SEND_FD, SHMEM: vhost-user.rst.
    let needed = [3, 5, 10, 22];
    assert_eq!(shared.features().bits(), needed.iter().map(|bit| 1 << bit).sum::<u64>());
    for missing in needed {
        shared.set_features(!(1 << missing));
        assert!(!shared.is_agreed(), "without {missing}");
    }
    shared.set_features(u64::MAX);
    assert!(shared.is_agreed());
}

#[test]
fn messages_are_those_of_the_specification() {
    let (mut region, front_end) = pair();
    let asked = thread::spawn(move || {
        let mut frames = Vec::new();
        for status in [0_u64, 0, 7] {
            let frame = front_end.receive(|_| 64).unwrap();
            let number = frame.header.request;
            frames.push(frame);
            front_end.send(number, 5, &[&status.to_ne_bytes()], &[]).unwrap();
        }
        frames
    });
    let file = std::io::stderr();
    region.map(file.as_fd(), 0x3000, 0x2000).unwrap();
    region.unmap(0x3000, 0x2000).unwrap();
    assert_eq!(region.map(file.as_fd(), 0, 0x1000), Err(HostVisibleError::Refused));
    let frames = asked.join().unwrap();
    let numbers: Vec<_> = frames
        .iter()
        .map(|frame| (frame.header.request, frame.header.flags, frame.fds.len()))
        .collect();
    assert_eq!(numbers, [(9, 9, 1), (10, 9, 0), (9, 9, 1)]);
    let words = |frame: usize| {
        let (words, []) = frames[frame].payload.as_chunks::<8>() else { panic!("half a word") };
        words.iter().map(|word| u64::from_ne_bytes(*word)).collect::<Vec<_>>()
    };
    let shmid = u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(words(0), [shmid, 0, 0x3000, 0x2000, 1]);
    assert_eq!(words(1), [shmid, 0, 0x3000, 0x2000, 0]);
}

#[test]
fn a_front_end_that_is_silent_or_talks_nonsense_is_not_asked_again() {
    let file = std::io::stderr();
    for answer in [None, Some((9, 1)), Some((10, 5)), Some((9, 5))] {
        let (mut region, front_end) = pair();
        if let Some((number, flags)) = answer {
            // The last one is right, but for its length.
            front_end.send(number, flags, &[&[0; 4]], &[]).unwrap();
        }
        let start = Instant::now();
        assert_eq!(region.map(file.as_fd(), 0, 0x1000), Err(HostVisibleError::Lost));
        assert!(start.elapsed() < PATIENCE * 3, "{answer:?}");
        let again = Instant::now();
        assert_eq!(region.map(file.as_fd(), 0, 0x1000), Err(HostVisibleError::Lost));
        assert!(again.elapsed() < PATIENCE / 2, "{answer:?}");
    }
    let (mut region, front_end) = pair();
    drop(front_end);
    assert_eq!(region.map(file.as_fd(), 0, 0x1000), Err(HostVisibleError::Lost));
}
