//! A keeper on a thread, and the adapters that come to it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::keeper::{self, KeeperError};
use super::socket::{Received, receive_within, send};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn socket() -> OwnedFd {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap()
}

struct TestKeeper {
    address: SocketAddrUnix,
    thread: JoinHandle<Result<(), KeeperError>>,
    _directory: tempfile::TempDir,
}

impl TestKeeper {
    fn start(keep: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddrUnix::new(directory.path().join("keep")).unwrap();
        let listener = socket();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 4).unwrap();
        let thread = std::thread::spawn(move || keeper::serve(&listener, keep));
        Self { address, thread, _directory: directory }
    }

    fn owner(&self) -> OwnedFd {
        let socket = socket();
        rustix::net::connect(&socket, &self.address).unwrap();
        socket
    }

    fn ends_within(self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while !self.thread.is_finished() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.thread.join().unwrap().unwrap();
        true
    }
}

fn next(socket: &OwnedFd) -> Received {
    receive_within(socket, SECOND).unwrap().expect("it does not hang up")
}

/// What a keeper has, as (name, first bytes of the file).
fn contents(socket: &OwnedFd) -> Vec<(String, String)> {
    let (count, process) = message::parse_greeting(&next(socket).0).unwrap();
    assert_eq!(process, std::process::id());
    let one = |_| {
        let (name, fd) = next(socket);
        (name, text(fd.unwrap()))
    };
    (0..count).map(one).collect()
}

fn file(content: &str) -> OwnedFd {
    let fd = rustix::fs::memfd_create("kept", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(content.as_bytes()).unwrap();
    file.into()
}

fn text(fd: OwnedFd) -> String {
    let mut file = File::from(fd);
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn pair(name: &str, content: &str) -> (String, String) {
    (name.to_owned(), content.to_owned())
}

#[test]
fn what_one_owner_leaves_the_next_one_finds() {
    let keeper = TestKeeper::start(10 * SECOND);
    let first = keeper.owner();
    assert_eq!(contents(&first), []);
    for (name, content) in [("a", "1"), ("b", "2"), ("c", "3"), ("a", "4")] {
        send(&first, &format!("FDSTORE=1\nFDNAME={name}\n"), Some(file(content).as_fd())).unwrap();
    }
    send(&first, "FDSTOREREMOVE=1\nFDNAME=b\n", None).unwrap();
    send(&first, "FDSTOREREMOVE=1\nFDNAME=never\n", None).unwrap();
    drop(first);
    let second = keeper.owner();
    assert_eq!(contents(&second), [pair("a", "4"), pair("c", "3")]);
    // They are copies: the third one finds them, too.
    drop(second);
    let third = keeper.owner();
    assert_eq!(contents(&third), [pair("a", "4"), pair("c", "3")]);
    for name in ["a", "c"] {
        send(&third, &format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), None).unwrap();
    }
    drop(third);
    assert!(keeper.ends_within(5 * SECOND), "there is nothing to be kept");
}

#[test]
fn a_barrier_is_passed_when_all_before_it_is_done() {
    let keeper = TestKeeper::start(10 * SECOND);
    let owner = keeper.owner();
    contents(&owner);
    let (kept, keepsake) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    send(&owner, "FDSTORE=1\nFDNAME=pipe\n", Some(keepsake.as_fd())).unwrap();
    drop(keepsake);
    let hangs_up = |fd: &OwnedFd, ms| {
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        let time = Timespec::try_from(Duration::from_millis(ms)).unwrap();
        poll(&mut fds, Some(&time)).unwrap() == 1
    };
    let barrier = |owner: &OwnedFd| {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        send(owner, "BARRIER=1\n", Some(theirs.as_fd())).unwrap();
        drop(theirs);
        assert!(hangs_up(&ours, 5000));
    };
    barrier(&owner);
    assert!(!hangs_up(&kept, 0), "it is kept");
    send(&owner, "FDSTOREREMOVE=1\nFDNAME=pipe\n", None).unwrap();
    barrier(&owner);
    assert!(hangs_up(&kept, 0), "it is closed when the barrier is passed");
}

#[test]
fn nonsense_changes_nothing_and_leaks_nothing() {
    let keeper = TestKeeper::start(10 * SECOND);
    let owner = keeper.owner();
    contents(&owner);
    let (kept, keepsake) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    for text in ["nonsense", "FDSTORE=1\n", "FDSTORE=1\nFDNAME=a:b\n", "READY=1\n", "\u{0}"] {
        send(&owner, text, Some(keepsake.as_fd())).unwrap();
    }
    // Without a descriptor there is nothing to be kept.
    send(&owner, "FDSTORE=1\nFDNAME=a\n", None).unwrap();
    drop((owner, keepsake));
    // Whatever came along is closed, and with nothing left the keeper ends.
    let mut fds = [PollFd::new(&kept, PollFlags::IN)];
    let time = Timespec::try_from(5 * SECOND).unwrap();
    assert_eq!(poll(&mut fds, Some(&time)).unwrap(), 1);
    assert!(keeper.ends_within(5 * SECOND));
}

#[test]
fn it_has_only_so_many_descriptors() {
    let keeper = TestKeeper::start(10 * SECOND);
    let owner = keeper.owner();
    contents(&owner);
    let (first, other) = (file("first"), file("other"));
    for number in 0..1030 {
        let text = format!("FDSTORE=1\nFDNAME={number:04}\n");
        send(&owner, &text, Some(first.as_fd())).unwrap();
    }
    // In place of one that is there.
    send(&owner, "FDSTORE=1\nFDNAME=0007\n", Some(other.as_fd())).unwrap();
    drop(owner);
    let owner = keeper.owner();
    let contents = contents(&owner);
    assert_eq!(contents.len(), 1024);
    assert_eq!(contents[7], pair("0007", "other"));
    assert_eq!(contents[1023], pair("1023", "first"));
}

#[test]
fn nobody_is_waited_for_without_end() {
    // Neither for the first owner …
    let begun = Instant::now();
    assert!(TestKeeper::start(SECOND / 4).ends_within(5 * SECOND));
    assert!(begun.elapsed() >= SECOND / 4);
    // … nor for another one.
    let keeper = TestKeeper::start(SECOND / 2);
    let owner = keeper.owner();
    send(&owner, "FDSTORE=1\nFDNAME=a\n", Some(file("a").as_fd())).unwrap();
    std::thread::sleep(SECOND);
    assert!(!keeper.thread.is_finished(), "it has an owner");
    let begun = Instant::now();
    drop(owner);
    assert!(keeper.ends_within(5 * SECOND));
    assert!(begun.elapsed() >= SECOND / 2);
}

#[test]
fn who_does_not_read_is_not_waited_for_without_end() {
    let (ours, _theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let begun = Instant::now();
    let text = "x".repeat(1000);
    let error = (0..10_000).find_map(|_| send(&ours, &text, None).err());
    assert_eq!(error, Some(Errno::TIMEDOUT));
    assert!(begun.elapsed() < 5 * SECOND, "{:?}", begun.elapsed());
}

#[test]
fn only_the_devices_own_descriptors_are_taken() {
    let given = ["cluster/device", "cluster/pixels-7", "cluster2/device", "device", "other"];
    let given = Left::new(given.map(|name| (name.to_owned(), file(name))));
    let mut left = given.of_device("cluster");
    assert_eq!(left.names().collect::<Vec<_>>(), ["device", "pixels-7"]);
    assert_eq!(text(left.take("device").unwrap()), "cluster/device");
    assert!(left.take("device").is_none());
}
