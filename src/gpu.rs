//! The virtio-gpu device model: virtio 1.3, section 5.7.
//!
//! A [`Gpu`] is given descriptor chains and a [`Display`], and answers. It knows nothing of how either
//! comes about: no vhost-user, no socket, no eventfd, no thread. What goes wrong with a command is a
//! response; nothing a driver does is an error of the device, makes it panic, or makes it hold more
//! than [`Limits`] say.
//!
//! # Resources
//!
//! A *classic* resource (RESOURCE_CREATE_2D) has pixels of its own, in a sealed memfd made when they
//! are needed first. A transfer copies rows from the driver's memory to them: one copy per row, or
//! one in all where rows touch. The display maps the memfd, so a flush moves no pixel.
//!
//! A *guest blob* (RESOURCE_CREATE_BLOB) is driver memory. The display maps that very memory, so a
//! frame is not copied at all. Only a blob in several pieces cannot be mapped in one: it is shown
//! through a shadow, a memfd to which a flush copies the damage.
//!
//! A blob carries no width, height or format, except for a scanout. A cursor that is a blob takes its
//! size from the transfer before it, as Linux' driver sends it.
//!
//! # Where the specification leaves a choice
//!
//! - Requests of a wrong length are ERR_INVALID_PARAMETER, unknown types, types of the other queue
//!   and, like QEMU's, types the renderer does not offer (all 3D) are ERR_UNSPEC.
//! - A resource of the wrong kind is as good as none: ERR_INVALID_RESOURCE_ID.
//! - Over a limit is ERR_OUT_OF_MEMORY.
//! - Transfers and scanouts beyond what they take from are ERR_INVALID_PARAMETER as a whole; QEMU
//!   copies the part that is there.
//! - Response type, fence and rings are echoed with the fence flag only, like QEMU's.
//! - A response that does not fit is replaced by a bare ERR_UNSPEC, and one of less than a header's
//!   length by nothing. The command was executed. A broken chain is not.
//! - SET_SCANOUT shows resources of any size from 1 × 1; QEMU wants 16 × 16. A scanout needs no
//!   backing if the resource is classic.
//! - Blobs are mapped at whole pages, once each; what is mapped already or not mapped is ERR_UNSPEC.
//! - The cursor queue gets responses where a chain has room for one. Linux' has none.
//!
//! # Pacing
//!
//! A flush is passed to [`Display::flush`]; the caller gives its chain back when the display has
//! latched it, and with it the fenced ones that come after ([`Completion::fence`]).
#![cfg_attr(
    not(any(test, fuzzing)),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod backing;
mod chain;
mod control;
mod counters;
mod cursor;
mod display;
mod engine;
mod error;
mod host_visible;
mod limits;
mod memfd;
mod pixels;
mod rect;
mod renderer;
mod resource;
mod restore;
mod scanout;
mod state;
#[cfg(any(test, fuzzing))]
pub mod testing;
#[cfg(test)]
mod tests;
mod texture_scanouts;
mod three_d;
pub mod wire;

pub use counters::{Counter, Counters, QueueCounter};
pub use display::{CURSOR_PIXELS, CursorBitmap, CursorPosition, Display, DisplayQueryError};
pub use engine::{MemoryKeeper, Signal, SignalHandler, StartError, Timeline};
pub use error::EngineError;
pub use host_visible::{HostVisible, HostVisibleError};
pub use limits::{LimitKind, Limits};
pub use pixels::to_xrgb;
pub use rect::Rect;
pub use renderer::Renderer;
pub use restore::Restored;
pub use scanout::{DmaBuf, PixelMemory, ReadError, ScanoutSource};
pub use state::{STATE_VERSION, StateError, StateFile};

use std::mem;
use std::ops::Deref;

use virtio_queue::DescriptorChain;
use vm_memory::GuestMemory;

use chain::{Buffers, Request};
use cursor::Cursors;
use error::CommandError;
use host_visible::Window;
use resource::Resources;
use scanout::{Scanout, Scanouts};
use texture_scanouts::DelayedFlush;
use wire::{Command, Config, MAX_SCANOUTS, RespType};

/// A virtio GPU.
#[derive(Debug)]
pub struct Gpu {
    renderer: Renderer,
    resources: Resources,
    scanouts: Scanouts,
    cursors: Cursors,
    buffers: Buffers,
    /// The command may have been executed before the device was restored.
    repeating: bool,
    /// What the driver's memory is mapped in.
    memory: Option<MemoryKeeper>,
    /// Where the driver maps the renderer's blobs, if it can.
    window: Option<Window>,
    /// The command has given the GPU something to do.
    has_work: bool,
    /// The command has destroyed this context.
    destroyed: Option<u32>,
    /// The command shows what the GPU has drawn when it has come so far.
    drawing: Option<u64>,
    /// Flushes of dma-bufs that are not drawn yet, the oldest first.
    delayed: Vec<DelayedFlush>,
}

/// What became of a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Completion {
    /// Bytes written to the chain, for its used element.
    pub written: u32,
    /// What the driver waits for.
    pub fence: Option<Fence>,
    /// The context whose timelines have ended with this command.
    pub destroyed: Option<u32>,
    /// The GPU has to come so far, with what is on no timeline of its own, before the display is told of
    /// the flush, by [`Gpu::drawn`]. What the driver sends next may draw over it.
    pub drawing: Option<u64>,
    /// The response, if it is a bare header and the command is not to be executed twice.
    pub answer: Option<RespType>,
}

/// The fence of a command. It signals when the chain is given back, and with it all those of the
/// same timeline that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// Where it is in order.
    pub timeline: Timeline,
    /// What the GPU has to reach before: see [`Signal`]. `None`: nothing.
    pub work: Option<u64>,
}

/// A command that succeeded.
#[derive(Debug)]
enum Outcome {
    /// The response is OK_NODATA.
    Done,
    /// The response is written and has this many bytes.
    Answered(u32),
    /// The response is this one, for the command was executed before.
    As(RespType),
}

type CommandResult = Result<Outcome, CommandError>;

impl Gpu {
    /// A device without resources, all scanouts off.
    pub fn new(mut limits: Limits, renderer: Renderer) -> Self {
        limits.scanouts = limits.scanouts.min(MAX_SCANOUTS as u32);
        Self {
            renderer,
            resources: Resources::new(limits),
            scanouts: Scanouts::default(),
            cursors: Cursors::default(),
            buffers: Buffers::default(),
            repeating: false,
            memory: None,
            window: None,
            has_work: false,
            destroyed: None,
            drawing: None,
            delayed: Vec::new(),
        }
    }

    /// The driver's memory from now on. 3D resources keep what they point to.
    pub fn set_memory(&mut self, memory: MemoryKeeper) {
        self.memory = Some(memory);
    }

    /// Lets the renderer do what only its own thread can: fences may wait for it.
    pub fn poll_renderer(&mut self) {
        if let Some(three_d) = self.renderer.three_d() {
            three_d.engine.poll();
        }
    }

    /// Mask of the device feature bits offered. Transport features are the caller's.
    pub fn features(&self) -> u64 {
        self.renderer.features()
    }

    /// The configuration space, with no event pending.
    pub fn config(&self) -> Config {
        Config {
            num_scanouts: self.resources.limits().scanouts.into(),
            num_capsets: (self.capsets().len() as u32).into(),
            ..Config::default()
        }
    }

    /// Executes a request of the control queue and writes its response.
    pub fn control<T>(&mut self, chain: DescriptorChain<T>, display: &mut dyn Display) -> Completion
    where
        T: Deref<Target: GuestMemory + Sized>,
    {
        self.serve(chain, |gpu, request| {
            let type_ = request.header().type_.get();
            match Command::from_raw(type_) {
                Some(command) => match gpu.control_command(command, request, display) {
                    // A later command has taken it away, before this one is executed again.
                    Err(CommandError::NoResource(_) | CommandError::NoBacking(_))
                        if gpu.repeating =>
                    {
                        Ok(Outcome::Done)
                    }
                    result => result,
                },
                None => Err(CommandError::UnknownType(type_)),
            }
        })
    }

    /// As [`Self::control`], for a request that an earlier device may have executed before this one
    /// was restored from what it left. One that was held back then is answered as it was; another one
    /// is executed, and what fails only because it was executed before has succeeded.
    pub fn control_again<T>(
        &mut self,
        chain: DescriptorChain<T>,
        display: &mut dyn Display,
    ) -> Completion
    where
        T: Deref<Target: GuestMemory + Sized>,
    {
        if let Some(answer) = self.resources.answered(chain.head_index()) {
            return self.serve(chain, |_, _| Ok(Outcome::As(answer)));
        }
        self.repeating = true;
        let completion = self.control(chain, display);
        self.repeating = false;
        completion
    }

    /// A request of the control queue is executed, but not given back to the driver yet: it is not to be
    /// executed again by a device that goes on from here. `head` names its chain.
    pub fn hold_back(&mut self, head: u16, completion: &Completion) {
        self.resources.set_answered(head, completion.answer);
    }

    /// A request that was held back is about to be given back.
    pub fn give_back(&mut self, head: u16) {
        self.resources.set_answered(head, None);
    }

    /// Lets whoever watches the device know up to which index of its available ring a queue was
    /// served, and how many of its chains the device had before that.
    pub fn served(&mut self, queue: u16, taken: u16, outstanding: u32) {
        self.resources.serve_queue(queue, taken, outstanding);
    }

    /// Executes a request of the cursor queue, and writes its response where there is room for one.
    pub fn cursor<T>(&mut self, chain: DescriptorChain<T>, display: &mut dyn Display) -> Completion
    where
        T: Deref<Target: GuestMemory + Sized>,
    {
        self.serve(chain, |gpu, request| {
            let type_ = request.header().type_.get();
            match Command::from_raw(type_) {
                Some(Command::UpdateCursor) => gpu.update_cursor(request, display),
                Some(Command::MoveCursor) => gpu.move_cursor(request, display),
                Some(_) => Err(CommandError::WrongQueue),
                None => Err(CommandError::UnknownType(type_)),
            }
        })
    }

    /// Shows all scanouts, whole, on a display that takes the place of another. Cursors appear with
    /// their next update.
    pub fn show_again(&mut self, display: &mut dyn Display) {
        self.replace_dma_bufs(display);
        for memory in self.resources.image_memories() {
            display.keep_memory(memory.buffer, &memory.file, memory.bytes);
        }
        for (number, shown) in self.scanouts.all().filter(|(_, shown)| !shown.awaits_flush) {
            let whole = Rect::of_size(shown.source.width, shown.source.height);
            display.set_scanout(number, Some(&shown.source));
            display.flush(number, whole, &shown.source);
        }
    }

    /// Returns to what [`Self::new`] gave: scanouts and cursors off, nothing held.
    pub fn reset(&mut self, display: &mut dyn Display) {
        self.turn_off(display, |_| true);
        self.cursors.hide_all(display);
        self.delayed.clear();
        self.clear_host_visible();
        self.reset_3d();
        self.resources.clear();
    }

    /// One chain: its request to `execute`, what comes of it to the response.
    fn serve<T>(
        &mut self,
        mut chain: DescriptorChain<T>,
        execute: impl FnOnce(&mut Self, &mut Request<'_, T::Target>) -> CommandResult,
    ) -> Completion
    where
        T: Deref<Target: GuestMemory + Sized>,
    {
        let mut buffers = mem::take(&mut self.buffers);
        let completion = match buffers.fill(&mut chain) {
            Ok(()) => {
                let mut request = Request::new(chain.memory(), &buffers);
                let bytes = buffers.request_bytes();
                let result = if bytes > self.resources.limits().command {
                    Err(CommandError::OverLimit(LimitKind::Command))
                } else {
                    self.resources.counts.seen(LimitKind::Command, bytes);
                    execute(self, &mut request)
                };
                if let Err(CommandError::OverLimit(kind)) = result {
                    self.resources.counts.refuse(kind);
                }
                self.resources.publish();
                let fence = request.is_fenced().then(|| self.fence(&request));
                let destroyed = self.destroyed.take();
                let drawing = self.drawing.take();
                Completion { fence, destroyed, drawing, ..complete(&request, result) }
            }
            Err(broken) => {
                log::debug!("a chain is given back unread: {broken}");
                Completion::default()
            }
        };
        self.buffers = buffers;
        completion
    }

    /// What has to happen before a fenced request is given back.
    fn fence<M: GuestMemory>(&mut self, request: &Request<'_, M>) -> Fence {
        let timeline = three_d::timeline_of(request.header());
        let mut work = None;
        if mem::take(&mut self.has_work)
            && let Some(three_d) = self.renderer.three_d()
        {
            match three_d.engine.create_fence(timeline) {
                Ok(number) => work = Some(number),
                // Better early than never.
                Err(error) => log::warn!("a fence signals at once: {error}"),
            }
        }
        Fence { timeline, work }
    }

    /// Turns off all scanouts for which `which` holds.
    fn turn_off(&mut self, display: &mut dyn Display, which: impl Fn(&Scanout) -> bool) {
        for scanout in self.scanouts.take(which).iter() {
            display.set_scanout(scanout, None);
            if let Some(state) = self.resources.state() {
                state.set_scanout(scanout, None);
            }
        }
    }

    fn check_scanout(&self, scanout: u32) -> Result<(), CommandError> {
        if scanout < self.resources.limits().scanouts {
            Ok(())
        } else {
            Err(CommandError::NoScanout(scanout))
        }
    }
}

/// Writes the response unless the command did.
fn complete<M: GuestMemory>(request: &Request<'_, M>, result: CommandResult) -> Completion {
    let type_ = match result {
        Ok(Outcome::Answered(written)) => {
            return Completion { written, ..Completion::default() };
        }
        Ok(Outcome::Done) => RespType::OkNodata,
        Ok(Outcome::As(type_)) => type_,
        Err(error) => {
            log::debug!("command {:#x} refused: {error}", request.header().type_);
            error.resp_type()
        }
    };
    // No room for a header: nothing is written.
    let written = request.respond(&request.reply(type_)).unwrap_or(0);
    // A flush changes nothing, and its frame has to be shown by whoever answers it.
    let flush = request.header().type_.get() == Command::ResourceFlush as u32;
    Completion { written, answer: (!flush).then_some(type_), ..Completion::default() }
}
