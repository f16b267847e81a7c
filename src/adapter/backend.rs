//! One backend: its process, the connection to it, and the display socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use loopback_driver_glue::MemoryWindow;
use rustix::pipe::PipeFlags;
use virtio_loopback_display::DisplayHandle;

use super::backend_process::{BackendChoice, BackendProcess};
use super::device::{AdapterError, Options, Shared};
use super::display_server::{DisplayServer, DisplayServerError};
use super::event_loop::{Ends, EventLoopError};
use super::front_end::{FrontEnd, FrontEndError};
use super::kept::Kept;
use super::quirks::{BackendProgram, Quirks};
use super::scanouts::ScanoutMemory;
use crate::one_line;
use crate::sync::lock;

/// A connected backend. Dropping it ends a child.
pub struct Backend {
    pub front_end: FrontEnd,
    /// What is done for it.
    pub quirks: Quirks,
    process: BackendProcess,
    socket: UnixStream,
    display: Option<DisplaySocket>,
}

/// The thread that serves the display socket, and its end of the socket.
struct DisplaySocket {
    thread: JoinHandle<Result<(), DisplayServerError>>,
    socket: UnixStream,
    /// Hangs up when the thread ends.
    ended: OwnedFd,
}

impl DisplaySocket {
    /// Ends the thread, whatever the backend does, and says how it ended. What the backend had sent
    /// before has been served then.
    fn stop(self) -> Result<(), DisplayServerError> {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        // A thread that panicked has told so itself.
        self.thread.join().unwrap_or(Ok(()))
    }
}

impl Backend {
    /// Starts a backend, or connects to one, and agrees with it on features. `started` is told the
    /// process id of a child before it has answered anything.
    pub fn connect(
        options: &Options,
        stop: &OwnedFd,
        started: impl FnOnce(Option<u32>),
    ) -> Result<Self, AdapterError> {
        let (mut process, stream) =
            BackendProcess::start(&options.backend, options.cgroup.as_ref())?;
        started(process.id());
        let program = match (&options.backend, options.program) {
            (BackendChoice::Child { .. }, _) => BackendProgram::Ours,
            (BackendChoice::Socket(_), Some(program)) => program,
            (BackendChoice::Socket(_), None) => BackendProgram::behind(&stream),
        };
        let socket = stream.try_clone()?;
        let stop = stop.try_clone()?;
        let connected = match process.id() {
            Some(_) => FrontEnd::connect_started(stream, stop),
            None => FrontEnd::connect(stream, stop),
        };
        let front_end = match connected {
            Ok(front_end) => front_end,
            Err(error) if error.is_interrupted() => return Err(AdapterError::Stopped),
            // A child that lives has done something else wrong.
            Err(error) => {
                return Err(process
                    .status()
                    .map_or_else(|| error.into(), AdapterError::BackendNotReady));
            }
        };
        match process.id() {
            Some(pid) => log::info!("GPU backend: pid {pid}"),
            None => log::info!("GPU backend: connected to {program}"),
        }
        let quirks = program.quirks();
        Ok(Self { front_end, quirks, process, socket, display: None })
    }

    /// Why a backend that was just connected failed at `error`.
    pub fn why_not_ready(&mut self, error: FrontEndError) -> AdapterError {
        self.process.status().map_or_else(|| error.into(), AdapterError::BackendNotReady)
    }

    /// Has the backend go on from what an earlier one has left, and leave its own there.
    pub fn hand_over(&mut self, kept: &Mutex<Kept>) -> Result<(), FrontEndError> {
        let kept = lock(kept);
        let state = kept.state_for_backend()?;
        self.front_end.set_state(state.as_fd())?;
        for (buffer, file) in kept.pixels() {
            self.front_end.restore_memory(buffer, file)?;
        }
        Ok(())
    }

    /// Serves the backend's display socket from now on. What it wants kept goes to `kept`.
    pub fn serve_display(
        &mut self,
        options: &Options,
        display: DisplayHandle,
        window: MemoryWindow<'_>,
        kept: Option<Arc<Mutex<Kept>>>,
        shared: &Arc<Mutex<Shared>>,
    ) -> Result<(), AdapterError> {
        let takes_dma_bufs = display.takes_dma_bufs();
        let mut memory = ScanoutMemory::new(window).map_err(AdapterError::Memory)?;
        if takes_dma_bufs {
            memory.export_from(window);
        }
        let (ours, theirs) = UnixStream::pair()?;
        let socket = ours.try_clone()?;
        let mut server = DisplayServer::new(ours, display, memory, options.monitors.clone())?;
        if self.quirks.whole_edid {
            server.answer_whole_edids();
        }
        if let Some(kept) = kept {
            server.keep_in(kept);
        }
        let shared = Arc::clone(shared);
        server.after_hangs(move || {
            if let Err(error) = Shared::monitors_changed(&shared) {
                log::warn!("the driver is not told to ask for its monitors: {}", one_line(&error));
            }
        });
        let (ended, ending) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let serve = move || {
            // Closed when the thread ends, which the event loop sees.
            let _ending = ending;
            server.run()
        };
        let thread = std::thread::Builder::new().name("display-socket".into()).spawn(serve)?;
        self.display = Some(DisplaySocket { thread, socket, ended });
        Ok(self.front_end.set_display_socket(&theirs)?)
    }

    /// What the event loop needs at a time: whom it talks to, and what ends that.
    pub fn parts<'a>(&'a mut self, stop: &'a OwnedFd) -> (&'a mut FrontEnd, Ends<'a>) {
        let display = self.display.as_ref().map(|display| &display.ended);
        (&mut self.front_end, Ends { backend: &self.socket, display, stop })
    }

    /// Why the event loop ended with `error`, in terms of what became of the backend.
    pub fn why(&mut self, error: EventLoopError) -> AdapterError {
        match error {
            EventLoopError::BackendGone => self.why_gone(),
            EventLoopError::BackendHangs => AdapterError::BackendHangs,
            EventLoopError::BackendStuck { queue } => AdapterError::BackendStuck { queue },
            EventLoopError::DisplayEnded => match self.display.take().map(DisplaySocket::stop) {
                Some(Err(error)) => error.into(),
                _ => AdapterError::DisplayClosed,
            },
            // A request that failed because the backend died is not what a user wants to read of.
            EventLoopError::FrontEnd(error) if !error.is_timeout() => match self.process.status() {
                Some(status) => AdapterError::BackendGone(status.to_string()),
                None => error.into(),
            },
            EventLoopError::FrontEnd(error) => error.into(),
            other => other.into(),
        }
    }

    fn why_gone(&mut self) -> AdapterError {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let status = self.process.status();
        if let Some(Err(error)) = self.display.take().map(DisplaySocket::stop) {
            return error.into();
        }
        AdapterError::BackendGone(
            status.map_or_else(|| self.closed_by_itself(), |status| status.to_string()),
        )
    }

    /// What a user is told of a backend that hung up.
    fn closed_by_itself(&self) -> String {
        let mut text = "it closed the connection".to_owned();
        if self.quirks.serves_once {
            text += &format!("; {} serves one and has to be started again", self.quirks.program);
        }
        text
    }

    /// Ends a backend that failed, at once: a child is killed. Afterwards it uses nothing any more,
    /// and all that it had told the display is done.
    pub fn abandon(mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.process.kill();
        self.stop_display();
    }

    fn stop_display(&mut self) {
        if let Some(Err(error)) = self.display.take().map(DisplaySocket::stop) {
            log::warn!("{}", one_line(&error));
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // The backend first: it must not look at rings that are taken away.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.process.end();
        self.stop_display();
    }
}
