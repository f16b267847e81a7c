//! Where events come in from other threads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use virtio_loopback_display::InputEvent;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::codes::{EV_SYN, SYN_REPORT};
use super::overview::Overview;
use super::wire::Event;
use crate::sync::lock;

/// Messages that wait for the thread at most. It takes them at once unless the machine is overloaded.
const MOST: usize = 4096;
/// How long the thread may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What a window says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Something happened in the window of a scanout.
    Event {
        /// Whose.
        scanout: u32,
        /// What.
        event: Event,
    },
    /// What is held in the window of this scanout, or of all, goes up.
    Release(Option<u32>),
}

#[derive(Debug, Default)]
struct Inbox {
    messages: VecDeque<Message>,
    /// Who wants to know what there is.
    asked: Vec<SyncSender<Overview>>,
    /// Something did not fit; until the next report nothing is taken.
    overflowed: bool,
    /// The thread has gone.
    closed: bool,
    /// It shall end.
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: EventFd,
}

/// Takes the events of windows for the devices of their scanouts. Clones lead to the same devices.
///
/// Nothing here waits, so a presenter's thread may call it. Before [`InputService`] is started, and
/// after it has ended, events go nowhere.
///
/// [`InputService`]: super::InputService
#[derive(Debug, Clone)]
pub struct Router(Arc<Shared>);

/// What came in.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub messages: VecDeque<Message>,
    pub asked: Vec<SyncSender<Overview>>,
    pub stop: bool,
}

impl Router {
    /// A router that leads nowhere yet.
    ///
    /// # Errors
    ///
    /// The system has no eventfd.
    pub fn new() -> io::Result<Self> {
        let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let inbox = Inbox { closed: true, ..Inbox::default() };
        Ok(Self(Arc::new(Shared { inbox: Mutex::new(inbox), wake })))
    }

    /// Sends an event of a window on. Positions are in pixels of the scanout's frame; events up to an
    /// `EV_SYN`/`SYN_REPORT` are one frame.
    pub fn send(&self, event: InputEvent) {
        let InputEvent { scanout, kind, code, value } = event;
        self.put(Message::Event { scanout, event: Event::new(kind, code, value) });
    }

    /// The window of a scanout has lost the focus, or all have: keys, buttons and contacts go up.
    pub fn release(&self, scanout: Option<u32>) {
        self.put(Message::Release(scanout));
    }

    /// Asks what there is, and waits for the answer. `None`: there are no input devices, or not yet, or
    /// not any more; or the thread does not answer.
    #[must_use]
    pub fn ask(&self) -> Option<Overview> {
        let (sender, answer) = sync_channel(1);
        {
            let mut inbox = lock(&self.0.inbox);
            if inbox.closed {
                return None;
            }
            inbox.asked.push(sender);
        }
        self.wake();
        answer.recv_timeout(ANSWER_TIME).ok()
    }

    fn put(&self, message: Message) {
        let mut inbox = lock(&self.0.inbox);
        if inbox.closed {
            return;
        }
        if inbox.messages.len() >= MOST {
            inbox.overflowed = true;
        }
        if inbox.overflowed {
            let ends = |event: Event| (event.kind, event.code) == (EV_SYN, SYN_REPORT);
            let goes_on = matches!(message, Message::Event { event, .. } if ends(event));
            if inbox.messages.len() >= MOST || !goes_on {
                return;
            }
            // What is lost may be that a key went up.
            inbox.overflowed = false;
            inbox.messages.push_back(Message::Release(None));
        } else {
            inbox.messages.push_back(message);
        }
        drop(inbox);
        self.wake();
    }

    fn wake(&self) {
        // It is full only when the thread has been woken already.
        if let Err(error) = self.0.wake.write(1)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            log::warn!("the input thread cannot be woken: {error}");
        }
    }

    /// Becomes readable when there is something to take.
    pub(super) fn fd(&self) -> RawFd {
        self.0.wake.as_raw_fd()
    }

    /// Somebody takes messages from now on.
    pub(super) fn open(&self) {
        lock(&self.0.inbox).closed = false;
    }

    /// Nobody does any more.
    pub(super) fn close(&self) {
        let mut inbox = lock(&self.0.inbox);
        inbox.closed = true;
        inbox.messages.clear();
        inbox.asked.clear();
    }

    /// The thread shall end.
    pub(super) fn stop(&self) {
        lock(&self.0.inbox).stop = true;
        self.wake();
    }

    pub(super) fn take(&self) -> Mail {
        // Not readable any more, whatever comes next.
        if let Err(error) = self.0.wake.read()
            && error.kind() != io::ErrorKind::WouldBlock
        {
            log::warn!("the input thread's eventfd cannot be read: {error}");
        }
        let mut inbox = lock(&self.0.inbox);
        let inbox = &mut *inbox;
        let messages = std::mem::take(&mut inbox.messages);
        Mail { messages, asked: std::mem::take(&mut inbox.asked), stop: inbox.stop }
    }
}

#[cfg(test)]
mod tests;
