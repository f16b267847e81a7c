//! The backend's only thread: who has something to say is served in turn.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::connection::{Connection, ConnectionError, Message};
use super::device::Device;
use super::poll::{Poll, Source, Trigger};
use crate::gpu::{self, wire};
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
    limits: gpu::Limits,
    stop: &OwnedFd,
) -> Result<(), EventLoopError> {
    let poll = Arc::new(Poll::new()?);
    let device = Device::new(limits, Arc::clone(&poll)).map_err(EventLoopError::Queues)?;
    let device = Arc::new(Mutex::new(device));
    let connection = Connection::new(stream, Arc::clone(&device))?;
    poll.add(stop.as_fd(), Source::Stop, Trigger::Level)?;
    poll.add(connection.as_fd(), Source::FrontEnd, Trigger::Level)?;
    let mut server = Server { device, connection, poll, busy: [false; wire::QUEUE_COUNT] };
    match server.run() {
        Err(EventLoopError::Connection(ConnectionError::Closed)) => Ok(()),
        other => other,
    }
}

struct Server {
    device: Arc<Mutex<Device>>,
    connection: Connection,
    poll: Arc<Poll>,
    /// Queues that had more than one turn's worth.
    busy: [bool; wire::QUEUE_COUNT],
}

impl Server {
    fn run(&mut self) -> Result<(), EventLoopError> {
        let mut ready = Vec::with_capacity(8);
        loop {
            let timeout = if self.busy.contains(&true) {
                Some(Duration::ZERO)
            } else {
                self.device().display_patience()
            };
            self.poll.wait(&mut ready, timeout)?;
            let mut asked = false;
            for event in ready.drain(..) {
                match Source::of(&event) {
                    Source::Stop => return Ok(()),
                    Source::FrontEnd => {
                        self.serve_front_end()?;
                        asked = true;
                    }
                    // The request may have taken what the display had sent; if not, it is reported
                    // again.
                    Source::Display if asked => {}
                    Source::Display => self.serve_display(),
                    Source::Queue(index) => self.mark_busy(index),
                }
            }
            if self.device().give_up_waiting() {
                self.mark_busy(wire::CONTROL_QUEUE);
            }
            self.serve_queues();
        }
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
            Message::State(file) => self.device().set_state(file),
            Message::Pixels(buffer, file) => self.device().set_pixels(buffer, file),
            Message::Repeated(ring, count) => self.device().set_repeated(ring, count),
        }
        // The request may have started a ring that has chains already.
        self.busy = [true; wire::QUEUE_COUNT];
        Ok(())
    }
}
