//! The front-end's side of the GPU socket: requests of the backend become calls of the display.
//!
//! It has a thread of its own. A backend may wait for a reply here while the adapter waits for a
//! reply of the backend on the vhost-user socket, so the two must never be the same thread.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use virtio_loopback_display::{CursorImage, DisplayError, DisplayHandle, Frame, Rect};
use zerocopy::IntoBytes;

use super::kept::Kept;
use super::monitors::Monitors;
use super::replies::{Replies, Stuck};
use super::scanouts::{ScanoutError, ScanoutMemory};
use crate::one_line;
use crate::sync::lock;
use crate::vhost_gpu::message::{
    CursorPos, CursorUpdate, DmabufScanout, F_DMABUF2, F_EDID, F_MEMORY_KEEP, F_MEMORY_SCANOUT,
    Header, MAX_SCANOUTS, MemoryScanout, Scanout, Update, request,
};
use crate::vhost_gpu::{Channel, ChannelError, REPLY_TIMEOUT, Request, decode, payload_bound};

/// How long all of a request may take to come, once it has begun.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests in a row that make no sense before the backend is given up.
const MAX_BAD_REQUESTS: u32 = 64;
/// Complaints about a backend that are written out.
const MAX_COMPLAINTS: u32 = 16;

/// Why the display socket is no longer served.
#[derive(Debug, thiserror::Error)]
pub enum DisplayServerError {
    /// The socket failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The backend sends nonsense only.
    #[error("the GPU backend sent {MAX_BAD_REQUESTS} broken display messages in a row")]
    Nonsense,
    /// The backend does not take replies.
    #[error("the GPU backend does not read the replies it asked for")]
    NotReading,
}

impl From<Stuck> for DisplayServerError {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::NotReading => Self::NotReading,
            Stuck::Io(source) => Self::Channel(ChannelError::Io(source)),
        }
    }
}

/// Serves one backend's display socket.
pub struct DisplayServer {
    channel: Channel,
    replies: Arc<Replies>,
    display: DisplayHandle,
    memory: ScanoutMemory,
    monitors: Monitors,
    complaints: u32,
    /// The backend takes EDIDs of full size only.
    whole_edids: bool,
    /// For the backend that takes this one's place.
    kept: Option<Arc<Mutex<Kept>>>,
    /// The display took so long that a backend like ours no longer waits for its answers, and tells the
    /// driver of the monitors that it knew.
    late: Arc<AtomicBool>,
    /// Has the driver ask for its monitors.
    ask_again: Option<Box<dyn Fn() + Send>>,
}

impl DisplayServer {
    /// A server for the backend behind `stream`.
    pub fn new(
        stream: UnixStream,
        display: DisplayHandle,
        memory: ScanoutMemory,
        monitors: Monitors,
    ) -> std::io::Result<Self> {
        let replies = Arc::new(Replies::new(stream.try_clone()?)?);
        let channel = Channel::new(stream);
        let (complaints, whole_edids, kept) = (0, false, None);
        let (late, ask_again) = (Arc::default(), None);
        Ok(Self {
            channel,
            replies,
            display,
            memory,
            monitors,
            complaints,
            whole_edids,
            kept,
            late,
            ask_again,
        })
    }

    /// Calls `ask_again` when the display is back after a hang in which the driver may have been told of
    /// monitors that are others now.
    pub fn after_hangs(&mut self, ask_again: impl Fn() + Send + 'static) {
        self.ask_again = Some(Box::new(ask_again));
    }

    /// Keeps what the backend asks for in `kept`.
    pub fn keep_in(&mut self, kept: Arc<Mutex<Kept>>) {
        self.kept = Some(kept);
    }

    /// Says of every EDID that it has as many bytes as there is room for, as QEMU does.
    pub fn answer_whole_edids(&mut self) {
        self.whole_edids = true;
    }

    /// Serves until the backend hangs up. The last frames stay on the display.
    pub fn run(mut self) -> Result<(), DisplayServerError> {
        let mut bad = 0;
        loop {
            self.replies.wait_for_request(self.channel.stream())?;
            let bound = |header: &Header| payload_bound(header.request);
            let frame = match self.channel.receive_within(MESSAGE_TIMEOUT, bound) {
                Ok(frame) => frame,
                Err(_) if self.replies.are_stuck() => return Err(DisplayServerError::NotReading),
                Err(ChannelError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            match decode(frame.header.request, &frame.payload, frame.fds) {
                Ok(request) => {
                    bad = 0;
                    let was_late = self.late.swap(false, Ordering::Relaxed);
                    let begun = Instant::now();
                    self.handle(request);
                    if begun.elapsed() >= REPLY_TIMEOUT {
                        self.late.store(true, Ordering::Relaxed);
                    } else if let (true, Some(ask_again)) = (was_late, &self.ask_again) {
                        ask_again();
                    }
                }
                Err(error) => {
                    self.complain(&format_args!("message is passed over: {}", one_line(&error)));
                    self.answer_broken(frame.header.request);
                    bad += 1;
                    if bad == MAX_BAD_REQUESTS {
                        return Err(DisplayServerError::Nonsense);
                    }
                }
            }
        }
    }

    /// The reply to a request that makes no sense, without which its sender might wait for ever.
    /// QEMU does the same but for `GET_EDID` of a wrong scanout, which it leaves unanswered.
    fn answer_broken(&self, number: u32) {
        match number {
            request::GET_PROTOCOL_FEATURES => self.protocol_features(),
            request::GET_DISPLAY_INFO => self.display_info(),
            // One without an EDID.
            request::GET_EDID => self.edid(MAX_SCANOUTS),
            request::DMABUF_UPDATE => self.reply(request::DMABUF_UPDATE, &[]),
            _ => {}
        }
    }

    fn handle(&mut self, request: Request) {
        let result = match request {
            Request::GetProtocolFeatures => {
                self.protocol_features();
                Ok(())
            }
            // Offered features are used or not; nothing here depends on which.
            Request::SetProtocolFeatures(_) => Ok(()),
            Request::GetDisplayInfo => {
                self.display_info();
                Ok(())
            }
            Request::GetEdid(scanout) => {
                self.edid(scanout);
                Ok(())
            }
            Request::CursorPos(pos) => self.cursor_move(pos, true),
            Request::CursorHide(pos) => self.cursor_move(pos, false),
            Request::CursorUpdate(update, pixels) => self.cursor_update(update, &pixels),
            Request::Scanout(scanout) => self.scanout(&scanout),
            Request::Update(update, pixels) => self.update(update, &pixels),
            Request::DmabufScanout(scanout, modifier, fd) => {
                self.dmabuf_scanout(&scanout, modifier, fd)
            }
            Request::DmabufUpdate(update) => self.buffer_update(update),
            Request::MemoryScanout(scanout, fd) => self.memory_scanout(&scanout, fd),
            Request::MemoryRelease(buffer) => {
                self.memory.release(buffer);
                if let Some(kept) = &self.kept {
                    lock(kept).release(buffer);
                }
                Ok(())
            }
            Request::MemoryKeep(keep, file) => {
                if let Some(kept) = &self.kept {
                    lock(kept).keep(keep.buffer, file);
                }
                Ok(())
            }
        };
        match result {
            // The device ends or has no picture: nothing a user could do anything about.
            Ok(()) | Err(ScanoutError::Display(DisplayError::Closed)) => {}
            Err(error) => {
                self.complain(&format_args!("picture cannot be shown: {}", one_line(&error)));
            }
        }
    }

    /// Reports what the backend did wrong, unless it does nothing else.
    fn complain(&mut self, what: &dyn fmt::Display) {
        self.complaints = self.complaints.saturating_add(1);
        match self.complaints {
            ..MAX_COMPLAINTS => log::warn!("the GPU backend's {what}"),
            MAX_COMPLAINTS => log::warn!("the GPU backend's {what}; no more of this is reported"),
            _ => log::debug!("the GPU backend's {what}"),
        }
    }

    fn protocol_features(&self) {
        let keeps = if self.kept.is_some() { F_MEMORY_KEEP } else { 0 };
        let features = F_EDID | F_DMABUF2 | F_MEMORY_SCANOUT | keeps;
        self.reply(request::GET_PROTOCOL_FEATURES, features.as_bytes());
    }

    fn display_info(&self) {
        self.reply(request::GET_DISPLAY_INFO, self.monitors.display_info().as_bytes());
    }

    fn edid(&self, scanout: u32) {
        let mut reply = self.monitors.edid(scanout);
        if self.whole_edids {
            // Zeros follow; an EDID's own bytes tell where it ends.
            reply.size = (reply.edid.len() as u32).into();
        }
        self.reply(request::GET_EDID, reply.as_bytes());
    }

    fn cursor_move(&self, pos: CursorPos, visible: bool) -> Result<(), ScanoutError> {
        let (x, y) = (pos.x.cast_signed(), pos.y.cast_signed());
        Ok(self.display.move_cursor(pos.scanout_id, x, y, visible)?)
    }

    fn cursor_update(&self, update: CursorUpdate, pixels: &[u32]) -> Result<(), ScanoutError> {
        let image = CursorImage::new(64, 64, pixels.as_bytes(), update.hot_x, update.hot_y)
            .map_err(DisplayError::from)?;
        self.display.set_cursor(update.pos.scanout_id, image)?;
        self.cursor_move(update.pos, true)
    }

    fn scanout(&mut self, scanout: &Scanout) -> Result<(), ScanoutError> {
        if scanout.width == 0 || scanout.height == 0 {
            self.memory.drop_copy(scanout.scanout_id);
            return Ok(self.display.set_scanout(scanout.scanout_id, None)?);
        }
        let frame = self.memory.copied_frame(scanout);
        self.show(scanout.scanout_id, frame)
    }

    fn update(&self, update: Update, pixels: &[u8]) -> Result<(), ScanoutError> {
        self.memory.write(&update, pixels)?;
        Ok(self.display.flush(update.scanout_id, rect(&update), || {})?)
    }

    fn dmabuf_scanout(
        &mut self,
        scanout: &DmabufScanout,
        modifier: u64,
        fd: Option<std::os::fd::OwnedFd>,
    ) -> Result<(), ScanoutError> {
        let Some(fd) = fd else {
            self.memory.forget_dma_bufs();
            return Ok(self.display.set_scanout(scanout.scanout_id, None)?);
        };
        let frame = self.memory.dmabuf_frame(scanout, modifier, &fd);
        self.show(scanout.scanout_id, frame)
    }

    fn memory_scanout(
        &mut self,
        scanout: &MemoryScanout,
        fd: Option<std::os::fd::OwnedFd>,
    ) -> Result<(), ScanoutError> {
        if scanout.width == 0 {
            self.memory.forget_dma_bufs();
            let result = self.display.set_scanout(scanout.scanout_id, None);
            self.reply(request::MEMORY_SCANOUT, &[]);
            return Ok(result?);
        }
        let frame = self.memory.memory_frame(scanout, fd);
        self.show(scanout.scanout_id, frame)
    }

    /// Shows a frame. One that cannot be shown ends the one before all the same: the backend
    /// counts that as replaced, and its memory may become something else.
    fn show(&self, scanout: u32, frame: Result<Frame, ScanoutError>) -> Result<(), ScanoutError> {
        match frame {
            Ok(frame) => Ok(self.display.set_scanout(scanout, Some(frame))?),
            Err(error) => {
                self.display.set_scanout(scanout, None)?;
                Err(error)
            }
        }
    }

    fn buffer_update(&self, update: Update) -> Result<(), ScanoutError> {
        let ticket = self.replies.open(request::DMABUF_UPDATE);
        let (replies, late) = (Arc::clone(&self.replies), Arc::clone(&self.late));
        let begun = Instant::now();
        let done = move || {
            if begun.elapsed() >= REPLY_TIMEOUT {
                late.store(true, Ordering::Relaxed);
            }
            replies.fill(ticket, Vec::new());
        };
        Ok(self.display.flush(update.scanout_id, rect(&update), done)?)
    }

    fn reply(&self, number: u32, payload: &[u8]) {
        let ticket = self.replies.open(number);
        self.replies.fill(ticket, payload.to_vec());
    }
}

fn rect(update: &Update) -> Rect {
    Rect::new(update.x, update.y, update.width, update.height)
}

#[cfg(test)]
mod tests;
