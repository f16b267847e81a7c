//! The display as the device model sees it, over the GPU socket.
//!
//! A front-end that knows `MEMORY_SCANOUT` maps the pixels itself and a frame costs no copy. Any
//! other gets the pixels in `UPDATE` messages. Without a front-end the device goes on unseen.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Instant;

use zerocopy::FromBytes;

use super::memory::Memory;
use super::poll::{Poll, Source, Trigger};
use crate::file_size::file_size;
use crate::gpu::wire::{self, DisplayOne, MAX_SCANOUTS, RESOURCE_FLAG_Y_0_TOP};
use crate::gpu::{
    self, CURSOR_PIXELS, CursorBitmap, CursorPosition, Display, DisplayQueryError, DmaBuf,
    PixelMemory, Rect, ScanoutSource,
};
use crate::one_line;
use crate::vhost_gpu::message::{
    CursorPos, CursorUpdate, DmabufScanout, F_EDID, F_MEMORY_SCANOUT, MAX_SENT_PIXELS, MemoryKeep,
    MemoryScanout, Scanout, Update,
};
use crate::vhost_gpu::{ChannelError, Client, ClientError, REPLY_TIMEOUT};

/// Answers the display may owe before the control queue waits for it. Far fewer than make either
/// side's socket buffer full, whatever a chain adds.
const MAX_UNANSWERED: usize = 64;

/// DRM format modifier of pixels that lie row by row.
const MODIFIER_LINEAR: u64 = 0;

/// Whether scanouts of textures go to the display as dma-bufs, where the renderer can make them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DmaBufs {
    /// To displays that say that they can show them: of the protocols that there are, none can but ours,
    /// those that can be mapped.
    #[default]
    Auto,
    /// To every display. One that cannot show them stays black.
    On,
    /// Never: they are copied.
    Off,
}

/// The connection to the display, or none.
#[derive(Debug)]
pub struct DisplayClient {
    client: Option<Client>,
    dma_bufs: DmaBufs,
    /// Waits for the client's socket.
    poll: Arc<Poll>,
    memory: Arc<Memory>,
    /// Updates sent since [`DisplayClient::take_updates`] that will be answered.
    updates: usize,
    /// Which scanouts are shown through `MEMORY_SCANOUT`.
    mapped: [bool; MAX_SCANOUTS],
    /// Which scanouts the front-end was told to show at all.
    shown: [bool; MAX_SCANOUTS],
    /// The front-end hangs: it is told nothing until it answers again.
    stalled: bool,
    /// Since when it hangs, as the user was told; it may have answered in between, if only to hang
    /// again.
    hangs_since: Option<Instant>,
    /// What it last said of its monitors: a driver whose question is answered with an error takes them
    /// all for unplugged (`virtio_gpu_cmd_get_display_info_cb` of the kernel's `virtgpu_vq.c`).
    display_info: Option<[DisplayOne; MAX_SCANOUTS]>,
    edids: HashMap<u32, Vec<u8>>,
    /// What is to be seen of the driver's cursors, by scanout.
    cursors: HashMap<u32, Cursor>,
    /// Files the front-end has mapped or keeps, by their number there, as long as a resource has
    /// them.
    files: HashMap<u64, Weak<File>>,
    /// Rows on their way into an `UPDATE`.
    rows: Vec<u8>,
}

impl DisplayClient {
    /// No display yet. The socket of one is added to `poll` as long as it is there.
    #[must_use]
    pub fn new(poll: Arc<Poll>) -> Self {
        Self {
            client: None,
            dma_bufs: DmaBufs::default(),
            poll,
            memory: Arc::default(),
            updates: 0,
            mapped: [false; MAX_SCANOUTS],
            shown: [false; MAX_SCANOUTS],
            stalled: false,
            hangs_since: None,
            display_info: None,
            edids: HashMap::new(),
            cursors: HashMap::new(),
            files: HashMap::new(),
            rows: Vec::new(),
        }
    }

    /// Which scanouts may be dma-bufs.
    pub fn set_dma_bufs(&mut self, dma_bufs: DmaBufs) {
        self.dma_bufs = dma_bufs;
    }

    /// Talks to the display behind `stream` from now on.
    pub fn connect(&mut self, stream: UnixStream) {
        self.disconnect();
        self.mapped = [false; MAX_SCANOUTS];
        self.shown = [false; MAX_SCANOUTS];
        self.stalled = false;
        self.hangs_since = None;
        self.display_info = None;
        self.edids.clear();
        self.files.clear();
        match Client::connect(stream) {
            Ok(client) => match self.poll.add(client.as_fd(), Source::Display, Trigger::Level) {
                Ok(()) => self.client = Some(client),
                Err(error) => log::error!("the display socket cannot be waited for: {error}"),
            },
            Err(error) => log::error!("{}", one_line(&error)),
        }
    }

    /// Lets go of the display.
    fn disconnect(&mut self) {
        if let Some(client) = self.client.take() {
            // Somebody else may hold the socket, too: closing it alone would not take it out.
            self.poll.remove(client.as_fd());
        }
    }

    /// The socket, to see whether it has something.
    #[cfg(fuzzing)]
    #[must_use]
    pub fn socket(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.client.as_ref().map(AsFd::as_fd)
    }

    /// Whether there is a display.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// Whether updates have been answered that [`DisplayClient::collect`] has not told of.
    #[must_use]
    pub fn has_latched(&self) -> bool {
        self.client.as_ref().is_some_and(Client::has_latched)
    }

    /// The driver's memory, which scanouts may lie in.
    pub fn set_memory(&mut self, memory: Arc<Memory>) {
        self.memory = memory;
    }

    /// How many of the updates sent since the last call will be answered.
    pub fn take_updates(&mut self) -> usize {
        std::mem::take(&mut self.updates)
    }

    /// How many updates have been answered. `readable`: the socket has something.
    pub fn collect(&mut self, readable: bool) -> usize {
        let mut latched = 0;
        let mut readable = readable;
        while let Some(Some(_)) = self.call(|client| client.collect(std::mem::take(&mut readable)))
        {
            latched += 1;
        }
        if latched > 0 {
            self.answered();
        }
        latched
    }

    /// Tells the front-end nothing until it answers again.
    pub fn stall(&mut self) {
        self.stalled = true;
        if self.hangs_since.is_none() {
            self.hangs_since = Some(Instant::now());
            let seconds = REPLY_TIMEOUT.as_secs();
            log::warn!(
                "the display has not answered for {seconds} s: frames are dropped until it does"
            );
        }
    }

    /// The front-end has done something that it was asked to after it hung, if it did.
    fn answered(&mut self) {
        if self.stalled {
            return;
        }
        if let Some(since) = self.hangs_since.take() {
            let seconds = (since.elapsed() + REPLY_TIMEOUT).as_secs_f64();
            log::warn!("the display answers again, after {seconds:.1} s");
        }
    }

    /// Whether the front-end hangs.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled && self.is_connected()
    }

    /// Whether a front-end that hung has caught up: it owes no reply and takes requests. Its scanouts
    /// are off then, and have to be shown again.
    pub fn recover(&mut self) -> bool {
        let owes = self.client.as_ref().is_none_or(|client| client.unanswered() > 0);
        if !self.stalled || owes || self.call(|client| client.takes_requests()) != Some(true) {
            return false;
        }
        self.stalled = false;
        let shown = self.shown;
        for (scanout, _) in (0..).zip(shown).filter(|(_, shown)| *shown) {
            self.set_scanout(scanout, None);
        }
        // Otherwise it still has to show that it takes what is shown again.
        if !shown.contains(&true) || !self.has(F_MEMORY_SCANOUT) {
            self.answered();
        }
        !self.stalled
    }

    /// Tells a front-end that has missed something about the cursors.
    pub fn show_cursors(&mut self) {
        let cursors = std::mem::take(&mut self.cursors);
        for Cursor { update, pixels, visible } in cursors.values() {
            let _ = self.with_client(|client| client.cursor_update(*update, pixels));
            if !visible {
                let _ = self.with_client(|client| client.cursor_move(update.pos, false));
            }
        }
        self.cursors = cursors;
    }

    /// Lets the front-end forget the files of resources that are no more.
    pub fn release_files(&mut self) {
        // A front-end that hangs is told when it answers again.
        if self.files.is_empty() || self.stalled {
            return;
        }
        let mut files = std::mem::take(&mut self.files);
        for (buffer, _) in files.extract_if(|_, file| file.strong_count() == 0) {
            let _ = self.call(|client| client.memory_release(buffer));
        }
        self.files = files;
    }

    /// As [`DisplayClient::call`], but a front-end that hangs is not called.
    fn with_client<T>(
        &mut self,
        call: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Option<T> {
        if self.stalled { None } else { self.call(call) }
    }

    /// Runs `call` with the client; a client that failed is dropped and the display with it.
    fn call<T>(&mut self, call: impl FnOnce(&mut Client) -> Result<T, ClientError>) -> Option<T> {
        match call(self.client.as_mut()?) {
            Ok(value) => Some(value),
            // A display that hangs for a while costs an answer, not the display.
            Err(ClientError::Slow { .. } | ClientError::Full { .. }) => {
                self.stall();
                None
            }
            Err(error) => {
                match &error {
                    // As all displays do in the end.
                    ClientError::Channel(ChannelError::Closed) => log::info!("the display closed"),
                    error => log::error!("the display is lost: {}", one_line(error)),
                }
                self.disconnect();
                None
            }
        }
    }

    fn has(&mut self, feature: u64) -> bool {
        self.with_client(Client::features).is_some_and(|features| features & feature != 0)
    }

    /// Whether the display owes so many answers that it gets no more to do.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let owed = self.client.as_ref().map_or(0, Client::unanswered);
        owed >= MAX_UNANSWERED && !self.stalled
    }

    /// A scanout that is in a dma-buf.
    fn show_dma_buf(
        &mut self,
        scanout_id: u32,
        dma_buf: &DmaBuf,
        source: &ScanoutSource,
    ) -> Option<()> {
        // The texture's own offset is 0.
        let stride = u64::from(dma_buf.stride.max(1));
        let (y, x) = (source.offset / stride, source.offset % stride / 4);
        let message = DmabufScanout {
            scanout_id,
            x: x as u32,
            y: u32::try_from(y).ok()?,
            width: source.width,
            height: source.height,
            fd_width: dma_buf.width,
            fd_height: dma_buf.height,
            fd_stride: dma_buf.stride,
            fd_flags: if dma_buf.y_0_top { RESOURCE_FLAG_Y_0_TOP } else { 0 },
            fd_drm_fourcc: dma_buf.fourcc.cast_signed(),
        };
        let fd = dma_buf.fd.as_fd();
        self.with_client(|client| client.dmabuf_scanout(message, dma_buf.modifier, Some(fd)))
    }

    fn show_memory(&mut self, scanout_id: u32, source: &ScanoutSource) -> Option<()> {
        let mut message = MemoryScanout {
            offset: source.offset,
            size: 0,
            buffer: 0,
            scanout_id,
            width: source.width,
            height: source.height,
            stride: source.stride,
            fourcc: source.format.drm_fourcc(),
            generation: 0,
        };
        match &source.memory {
            PixelMemory::Memfd(file) => {
                message.buffer = source.buffer;
                message.size = file_size(file).ok()?;
                self.files.insert(source.buffer, Arc::downgrade(file));
                self.with_client(|client| client.memory_scanout(message, Some(file.as_fd())))
            }
            PixelMemory::DmaBuf(_) => None,
            PixelMemory::Guest { address, length } => {
                let (file_offset, end) = self.memory.locate(*address, *length)?;
                message.offset = message.offset.checked_add(file_offset)?;
                message.size = end.checked_sub(message.offset)?;
                // A driver that makes so many buffers that they repeat has long forgotten the first.
                message.generation = source.buffer as u32;
                self.with_client(|client| client.memory_scanout(message, None))
            }
        }
    }

    /// Sends pixels in as many messages as their size needs.
    fn send_pixels(&mut self, scanout_id: u32, damage: Rect, source: &ScanoutSource) -> Option<()> {
        let row = u64::from(damage.width) * 4;
        let rows_per_message = u64::from(MAX_SENT_PIXELS) / row.max(1);
        let rows_per_message = u32::try_from(rows_per_message).ok()?.max(1);
        let mut y = 0;
        while y < damage.height {
            let height = rows_per_message.min(damage.height - y);
            let part = Rect { x: damage.x, y: damage.y + y, width: damage.width, height };
            let mut rows = std::mem::take(&mut self.rows);
            rows.clear();
            let update = Update { scanout_id, x: part.x, y: part.y, width: part.width, height };
            let read = source.read_rect(&*self.memory, part, &mut rows).ok();
            let sent = read.and_then(|()| {
                gpu::to_xrgb(source.format, &mut rows);
                self.with_client(|client| client.update(update, &rows))
            });
            self.rows = rows;
            sent?;
            y += height;
        }
        Some(())
    }
}

impl Display for DisplayClient {
    fn display_info(&mut self) -> Result<[DisplayOne; MAX_SCANOUTS], DisplayQueryError> {
        let Some(bytes) = self.with_client(Client::display_info) else {
            // Our front-end tells the driver to ask again when the display is back.
            let known = self.display_info.filter(|_| self.is_stalled());
            return known.ok_or(DisplayQueryError::Unknown);
        };
        self.answered();
        let reply = wire::RespDisplayInfo::read_from_bytes(&bytes)
            .map_err(|_| DisplayQueryError::Unknown)?;
        self.display_info = Some(reply.pmodes);
        Ok(reply.pmodes)
    }

    fn edid(&mut self, scanout: u32) -> Result<Vec<u8>, DisplayQueryError> {
        let has_edids = self.has(F_EDID);
        if self.is_stalled() {
            return self.edids.get(&scanout).cloned().ok_or(DisplayQueryError::Unknown);
        }
        if !has_edids {
            return Err(DisplayQueryError::Unknown);
        }
        let Some(bytes) = self.with_client(|client| client.edid(scanout)) else {
            let known = self.edids.get(&scanout).filter(|_| self.is_stalled());
            return known.cloned().ok_or(DisplayQueryError::Unknown);
        };
        self.answered();
        let reply =
            wire::RespEdid::read_from_bytes(&bytes).map_err(|_| DisplayQueryError::Unknown)?;
        let size = usize::try_from(reply.size.get()).map_err(|_| DisplayQueryError::Unknown)?;
        let edid = reply.edid.get(..size).map(<[u8]>::to_vec).ok_or(DisplayQueryError::Unknown)?;
        if (scanout as usize) < MAX_SCANOUTS {
            self.edids.insert(scanout, edid.clone());
        }
        Ok(edid)
    }

    fn set_scanout(&mut self, scanout: u32, source: Option<&ScanoutSource>) {
        if self.stalled {
            return;
        }
        if let Some(shown) = self.shown.get_mut(scanout as usize) {
            *shown = source.is_some();
        }
        let maps = self.has(F_MEMORY_SCANOUT);
        let dma_buf = source.and_then(|source| match &source.memory {
            PixelMemory::DmaBuf(dma_buf) => Some((dma_buf, source)),
            _ => None,
        });
        let now_mapped = dma_buf.is_some() || maps && source.is_some();
        let mapped = self
            .mapped
            .get_mut(scanout as usize)
            .is_some_and(|mapped| std::mem::replace(mapped, now_mapped));
        if let Some((dma_buf, source)) = dma_buf {
            let _ = self.show_dma_buf(scanout, dma_buf, source);
            return;
        }
        let _ = match source {
            Some(source) if maps => self.show_memory(scanout, source),
            Some(source) => {
                let (width, height) = (source.width, source.height);
                let message = Scanout { scanout_id: scanout, width, height };
                self.with_client(|client| client.scanout(message))
            }
            None if mapped && maps => self.with_client(|client| client.memory_scanout_off(scanout)),
            None if mapped => self.with_client(|client| client.dmabuf_scanout_off(scanout)),
            None => {
                let message = Scanout { scanout_id: scanout, width: 0, height: 0 };
                self.with_client(|client| client.scanout(message))
            }
        };
    }

    fn flush(&mut self, scanout: u32, damage: Rect, source: &ScanoutSource) {
        let mapped = self.mapped.get(scanout as usize).copied().unwrap_or(false);
        if !mapped {
            let _ = self.send_pixels(scanout, damage, source);
            return;
        }
        let Rect { x, y, width, height } = damage;
        let update = Update { scanout_id: scanout, x, y, width, height };
        if self.with_client(|client| client.buffer_update(update)).is_some() {
            self.updates += 1;
        }
    }

    fn takes_dma_bufs(&mut self, modifier: u64) -> bool {
        match self.dma_bufs {
            DmaBufs::Off => false,
            // Ours maps them.
            DmaBufs::Auto => modifier == MODIFIER_LINEAR && self.has(F_MEMORY_SCANOUT),
            DmaBufs::On => self.client.is_some(),
        }
    }

    fn keep_memory(&mut self, buffer: u64, file: &Arc<File>, bytes: u64) {
        let keep = MemoryKeep { buffer, size: bytes };
        // Even to a front-end whose display hangs: it has to release the file, too.
        if self.call(|client| client.memory_keep(keep, file.as_fd())).is_some() {
            self.files.insert(buffer, Arc::downgrade(file));
        }
    }

    fn cursor_update(&mut self, scanout: u32, position: CursorPosition, image: &CursorBitmap) {
        let pos = cursor_pos(scanout, position);
        let update = CursorUpdate { pos, hot_x: image.hot_x, hot_y: image.hot_y };
        let cursor = self.cursors.entry(scanout).or_insert_with(|| Cursor {
            update,
            pixels: Box::new([0; CURSOR_PIXELS]),
            visible: true,
        });
        cursor.update = update;
        *cursor.pixels = image.pixels;
        cursor.visible = true;
        let _ = self.with_client(|client| client.cursor_update(update, &image.pixels));
    }

    fn cursor_move(&mut self, scanout: u32, position: CursorPosition) {
        let pos = cursor_pos(scanout, position);
        if let Some(cursor) = self.cursors.get_mut(&scanout) {
            cursor.update.pos = pos;
        }
        let _ = self.with_client(|client| client.cursor_move(pos, true));
    }

    fn cursor_hide(&mut self, scanout: u32, position: CursorPosition) {
        let pos = cursor_pos(scanout, position);
        if let Some(cursor) = self.cursors.get_mut(&scanout) {
            cursor.update.pos = pos;
            cursor.visible = false;
        }
        let _ = self.with_client(|client| client.cursor_move(pos, false));
    }
}

/// A cursor as it was last told of.
#[derive(Debug)]
struct Cursor {
    update: CursorUpdate,
    pixels: Box<[u32; CURSOR_PIXELS]>,
    visible: bool,
}

fn cursor_pos(scanout_id: u32, position: CursorPosition) -> CursorPos {
    CursorPos { scanout_id, x: position.x.cast_unsigned(), y: position.y.cast_unsigned() }
}
