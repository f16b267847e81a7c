//! Replies on the display socket, in the order of the requests.
//!
//! A display may answer an update from the thread of its windows, so giving a reply never waits:
//! what the socket does not take at once is kept, and sent by the thread that serves the socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use zerocopy::IntoBytes;

use crate::sync::lock;
use crate::vhost_gpu::message::{FLAG_REPLY, Header};

/// How long a backend may take no reply at all while there are some.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Replies that may wait for the display: more than it lets updates wait.
const MAX_WAITING: usize = 32 * 1024;
/// Bytes of replies that may wait for the backend to read.
const MAX_UNSENT: usize = 1 << 20;

/// Why [`Replies::wait_for_request`] ends without a request.
#[derive(Debug)]
pub enum Stuck {
    /// The backend does not take its replies.
    NotReading,
    /// The system refused.
    Io(io::Error),
}

/// The replies owed to one backend.
pub struct Replies {
    state: Mutex<State>,
    /// Readable when the serving thread has something to send.
    wake: OwnedFd,
}

struct State {
    stream: UnixStream,
    /// Ticket of the first entry of `waiting`.
    first: u64,
    /// Request numbers, and the payload once it is known.
    waiting: VecDeque<(u32, Option<Vec<u8>>)>,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    /// Since when it takes nothing.
    full_since: Option<Instant>,
    /// The backend is given up.
    stuck: bool,
}

impl Replies {
    /// Replies for the backend behind `stream`.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let state = State {
            stream,
            first: 0,
            waiting: VecDeque::new(),
            unsent: Vec::new(),
            full_since: None,
            stuck: false,
        };
        Ok(Self { state: Mutex::new(state), wake })
    }

    /// Keeps the place of a reply.
    pub fn open(&self, request: u32) -> u64 {
        let mut state = lock(&self.state);
        if state.waiting.len() >= MAX_WAITING {
            state.give_up();
        }
        state.waiting.push_back((request, None));
        state.first + state.waiting.len() as u64 - 1
    }

    /// Sets the payload of a reply; it goes out with its predecessors. Never waits.
    pub fn fill(&self, ticket: u64, payload: Vec<u8>) {
        let state = &mut *lock(&self.state);
        let index = ticket.checked_sub(state.first).and_then(|index| usize::try_from(index).ok());
        if let Some((_, slot)) = index.and_then(|index| state.waiting.get_mut(index)) {
            *slot = Some(payload);
        }
        let was_full = state.full_since.is_some();
        while let Some((request, Some(payload))) = state.waiting.front() {
            let header = Header {
                request: *request,
                flags: FLAG_REPLY,
                size: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            };
            state.unsent.extend(header.as_bytes());
            state.unsent.extend(payload);
            state.waiting.pop_front();
            state.first += 1;
        }
        state.send();
        if state.full_since.is_some() && !was_full {
            // Fails when it is readable already.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// Whether the backend was given up.
    pub fn are_stuck(&self) -> bool {
        lock(&self.state).stuck
    }

    /// Waits until there is something to receive from the backend, and sends replies meanwhile.
    pub fn wait_for_request(&self, stream: &UnixStream) -> Result<(), Stuck> {
        loop {
            let full_since = {
                let state = lock(&self.state);
                if state.stuck {
                    return Err(Stuck::NotReading);
                }
                state.full_since
            };
            let left = full_since.map(|since| SEND_TIMEOUT.saturating_sub(since.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Stuck::NotReading);
            }
            let for_room = if full_since.is_some() { PollFlags::OUT } else { PollFlags::empty() };
            let mut fds = [
                PollFd::new(stream, PollFlags::IN | for_room),
                PollFd::new(&self.wake, PollFlags::IN),
            ];
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut fds, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Stuck::Io(errno.into())),
            }
            let [socket, wake] = fds.map(|fd| fd.revents());
            if !wake.is_empty() {
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            }
            if socket.contains(PollFlags::OUT) {
                lock(&self.state).send();
            }
            if socket.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                return Ok(());
            }
        }
    }
}

impl State {
    /// Sends what the socket takes.
    fn send(&mut self) {
        let mut sent = 0;
        while let Some(rest) = self.unsent.get(sent..).filter(|rest| !rest.is_empty()) {
            match send(&self.stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => {
                    sent += length;
                    self.full_since = None;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.full_since.get_or_insert_with(Instant::now);
                    break;
                }
                Err(errno) => {
                    // The serving thread sees the end of the connection itself.
                    log::debug!("replies to the GPU backend were not sent: {errno}");
                    sent = self.unsent.len();
                    self.full_since = None;
                }
            }
        }
        self.unsent.drain(..sent.min(self.unsent.len()));
        if self.unsent.len() > MAX_UNSENT {
            self.give_up();
        }
    }

    /// Hangs up, so that the serving thread ends, and no reply is sent out of order.
    fn give_up(&mut self) {
        self.stuck = true;
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn giving_a_reply_never_waits_and_none_is_lost() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let replies = Replies::new(ours.try_clone().unwrap()).unwrap();
        let begun = Instant::now();
        for number in 0..20_000 {
            let ticket = replies.open(number);
            replies.fill(ticket, vec![0; 4]);
        }
        assert!(lock(&replies.state).full_since.is_some(), "the socket is not full");
        assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
        std::thread::scope(|scope| {
            scope.spawn(|| replies.wait_for_request(&ours));
            for number in 0..20_000_u32 {
                let mut frame = [0; 16];
                theirs.read_exact(&mut frame).unwrap();
                assert_eq!(frame.as_bytes(), [number, FLAG_REPLY, 4, 0].as_bytes());
            }
            drop(theirs);
        });
    }
}
