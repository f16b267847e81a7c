//! The backend's only thread: who has something to say is served in turn.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::event::epoll::Event;

use super::Settings;
use super::connection::{Connection, ConnectionError, Message};
use super::device::Device;
use super::display::DmaBufs;
use super::fences::Signals;
use super::poll::{Poll, Source, Trigger};
use crate::gpu::{Renderer, wire};
use crate::sync::lock;

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum EventLoopError {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The rings cannot be made.
    #[error("cannot set up the virtqueues")]
    Queues(#[source] virtio_queue::Error),
    /// The system refused.
    #[error("waiting for events failed")]
    Io(#[from] io::Error),
}

/// Serves the front-end behind `stream` until it hangs up or `stop` is readable.
pub fn serve(
    stream: UnixStream,
    renderer: Renderer,
    signals: Arc<Signals>,
    dma_bufs: DmaBufs,
    settings: Settings,
    stop: &OwnedFd,
) -> Result<(), EventLoopError> {
    let mut server = Server::new(stream, renderer, signals, settings, stop)?;
    server.device().set_dma_bufs(dma_bufs);
    match server.run() {
        Err(EventLoopError::Connection(ConnectionError::Closed)) => Ok(()),
        other => other,
    }
}

/// The loop and what it serves.
pub(super) struct Server {
    device: Arc<Mutex<Device>>,
    connection: Connection,
    poll: Arc<Poll>,
    /// What the renderer reports at.
    _renderer: Option<OwnedFd>,
    /// Queues that had more than one turn's worth.
    busy: [bool; wire::QUEUE_COUNT],
}

impl Server {
    /// A loop that has served nothing yet.
    pub(super) fn new(
        stream: UnixStream,
        renderer: Renderer,
        signals: Arc<Signals>,
        settings: Settings,
        stop: &OwnedFd,
    ) -> Result<Self, EventLoopError> {
        let poll = Arc::new(Poll::new()?);
        poll.add(signals.as_fd(), Source::Fences, Trigger::Edge)?;
        let wakes = renderer.poll_descriptor();
        if let Some(fd) = &wakes {
            poll.add(fd.as_fd(), Source::Renderer, Trigger::Level)?;
        }
        let device = Device::new(settings, renderer, signals, Arc::clone(&poll));
        let device = device.map_err(EventLoopError::Queues)?;
        // The loop's thread is the only one, but the `vhost` crate wants these.
        #[cfg_attr(
            feature = "virgl",
            expect(clippy::arc_with_non_send_sync, reason = "a renderer stays on its thread")
        )]
        let device = Arc::new(Mutex::new(device));
        let connection = Connection::new(stream, Arc::clone(&device))?;
        poll.add(stop.as_fd(), Source::Stop, Trigger::Level)?;
        poll.add(connection.as_fd(), Source::FrontEnd, Trigger::Level)?;
        let busy = [false; wire::QUEUE_COUNT];
        Ok(Self { device, connection, poll, _renderer: wakes, busy })
    }

    fn run(&mut self) -> Result<(), EventLoopError> {
        let mut ready = Vec::with_capacity(8);
        while self.turn(&mut ready, None)? {}
        Ok(())
    }

    /// Waits for something to do, no longer than `most`, and does it. `ready` is room for events, and
    /// empty afterwards. False: the program shall end.
    pub(super) fn turn(
        &mut self,
        ready: &mut Vec<Event>,
        most: Option<Duration>,
    ) -> Result<bool, EventLoopError> {
        let own = match self.is_busy() {
            true => Some(Duration::ZERO),
            false => self.device().display_patience(),
        };
        self.poll.wait(ready, own.into_iter().chain(most).min())?;
        let mut asked = false;
        for event in ready.drain(..) {
            match Source::of(&event) {
                Source::Stop => return Ok(false),
                Source::FrontEnd => {
                    self.serve_front_end()?;
                    asked = true;
                }
                // The request may have taken what the display had sent; if not, it is reported
                // again.
                Source::Display if asked => {}
                Source::Display => self.serve_display(),
                Source::Fences => {
                    self.device().collect_signals();
                    // A queue whose entries all waited may go on.
                    self.mark_busy(wire::CONTROL_QUEUE);
                }
                Source::Renderer => self.device().poll_renderer(),
                Source::Queue(index) => self.mark_busy(index),
            }
        }
        if self.device().give_up_waiting() {
            self.mark_busy(wire::CONTROL_QUEUE);
        }
        self.serve_queues();
        Ok(true)
    }

    /// Whether a queue has more to do than the last turn had time for.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.contains(&true)
    }

    /// Whether anybody has something to say.
    #[cfg(fuzzing)]
    pub(super) fn has_events(&self) -> bool {
        self.poll.has_events()
    }

    fn mark_busy(&mut self, index: u16) {
        if let Some(busy) = self.busy.get_mut(usize::from(index)) {
            *busy = true;
        }
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        lock(&self.device)
    }

    fn serve_queues(&mut self) {
        let mut device = lock(&self.device);
        for (index, busy) in (0_u16..).zip(&mut self.busy) {
            if *busy {
                *busy = device.process_queue(index);
            }
        }
        if device.has_answers() {
            device.collect_updates(false);
            drop(device);
            self.mark_busy(wire::CONTROL_QUEUE);
        }
    }

    fn serve_display(&mut self) {
        self.device().collect_updates(true);
        // A queue whose entries all waited for the display may go on.
        self.mark_busy(wire::CONTROL_QUEUE);
    }

    fn serve_front_end(&mut self) -> Result<(), EventLoopError> {
        match self.connection.handle()? {
            Message::Handled => {}
            Message::DisplaySocket(stream) => self.device().connect_display(stream),
            Message::RequestSocket(stream) => self.device().connect_region(stream),
            Message::State(file) => self.device().set_state(file),
            Message::Pixels(buffer, file) => self.device().set_pixels(buffer, file),
            Message::Repeated(ring, count) => self.device().set_repeated(ring, count),
        }
        // The request may have started a ring that has chains already.
        self.busy = [true; wire::QUEUE_COUNT];
        Ok(())
    }
}
