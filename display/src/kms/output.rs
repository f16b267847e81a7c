//! One scanout on one connector.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drm::buffer::DrmFourcc;
use drm::control::{Device as _, Mode};

use super::canvas::{Canvas, Dumb};
use super::card::Card;
use super::commit::{Commit, PlaneState};
use super::connectors::{Connector, Pipe};
use super::cursor::CursorBuffers;
use super::import::Imports;
use super::plan::{FrameKind, Path, Plan, Planner};
use super::saved::Saved;
use crate::cursor::Cursor;
use crate::shared::Completion;
use crate::{Frame, MemoryError, Picture, Rect};

/// Why a picture is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    #[error("the card refuses what was asked for")]
    Commit(#[source] io::Error),
    #[error("cannot make a buffer for the picture")]
    Buffer(#[source] io::Error),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("{0} has no mode")]
    NoMode(String),
}

/// A commit that is under way.
struct Flight {
    since: Instant,
    /// Flushes that are answered when the picture is latched.
    done: Vec<Completion>,
    /// It shows another picture.
    shows_picture: bool,
    /// In another mode than before.
    sets_mode: bool,
    /// Number of the last vblank before the first of the flushes.
    flushed_at: Option<u32>,
    /// The card was busy with something else and has not taken it. This is when it is asked again.
    retry: Option<Instant>,
}

/// How long a card that is busy is left alone.
const BUSY: Duration = Duration::from_millis(3);

/// What a commit has ended.
pub(super) struct Landed {
    pub(super) done: Vec<Completion>,
    pub(super) shows_picture: bool,
    /// At the how manieth vblank after the first of the flushes it is shown, where there are vblanks.
    pub(super) vblanks: Option<u32>,
    /// The picture was lost on its way, and is to be shown again.
    pub(super) is_lost: bool,
}

/// What is on the screen, or will be with the commit that is under way.
struct Shown {
    state: PlaneState,
    /// The frame whose memory is scanned out.
    frame: Option<Frame>,
}

/// A mode that was set.
struct ActiveMode {
    mode: Mode,
    blob: u64,
}

/// What an output is asked to show.
pub(super) struct Update<'a> {
    pub(super) frame: &'a Frame,
    pub(super) damage: &'a [Rect],
    pub(super) done: Vec<Completion>,
    /// The frame's memory must not be read after this.
    pub(super) is_last: bool,
}

/// A connector that shows a scanout.
pub(super) struct Output {
    card: Arc<Card>,
    pub(super) connector: Connector,
    pub(super) pipe: Pipe,
    saved: Saved,
    /// Shown when the connector's display is there.
    pub(super) is_connected: bool,
    active: Option<ActiveMode>,
    plan: Option<Plan>,
    described: String,
    imports: Imports,
    canvas: Option<Canvas>,
    /// Black, below an overlay plane on a CRTC that showed nothing.
    backdrop: Option<Dumb>,
    pub(super) cursor: Cursor,
    cursor_buffers: CursorBuffers,
    flight: Option<Flight>,
    shown: Option<Shown>,
    /// The source, as long as it may be read.
    source: Option<Frame>,
    /// The last picture of a source that has ended.
    kept: Option<Picture>,
    /// When the last commit was done, and the number of its vblank.
    last_landing: Option<(Instant, u32)>,
    /// Bytes copied that nobody has asked for yet.
    copied: u64,
}

impl Output {
    pub(super) fn new(card: &Arc<Card>, connector: Connector, pipe: Pipe) -> Output {
        Output {
            card: Arc::clone(card),
            saved: Saved::of(card, &pipe, &connector),
            is_connected: connector.is_connected(),
            connector,
            pipe,
            active: None,
            plan: None,
            described: String::new(),
            imports: Imports::default(),
            canvas: None,
            backdrop: None,
            cursor: Cursor::default(),
            cursor_buffers: CursorBuffers::default(),
            flight: None,
            shown: None,
            source: None,
            kept: None,
            last_landing: None,
            copied: 0,
        }
    }

    /// No commit is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_none()
    }

    /// When the commit that is under way was begun.
    pub(super) fn in_flight_since(&self) -> Option<Instant> {
        self.flight.as_ref().map(|flight| flight.since)
    }

    /// When a card that was busy is to be asked again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.flight.as_ref().and_then(|flight| flight.retry)
    }

    /// Asks it again.
    pub(super) fn retry(&mut self) -> Result<(), OutputError> {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        // Of no damage in particular: all of the picture.
        let clips = flight.shows_picture.then_some(&[][..]);
        let result = self.commit(clips, false, flight.done);
        if let Some(again) = &mut self.flight {
            again.since = flight.since;
        }
        result.map(drop)
    }

    /// When the oldest flush came that waits for the commit under way.
    pub(super) fn oldest_flush(&self) -> Option<Instant> {
        self.flight.iter().flat_map(|flight| &flight.done).map(Completion::since).min()
    }

    /// Answers flushes that came before `before`, whether they are seen or not.
    pub(super) fn answer_before(&mut self, before: Instant) {
        if let Some(flight) = &mut self.flight {
            flight.done.retain(|done| done.since() > before);
        }
    }

    /// The commit that was under way is done, at the vblank of this number.
    pub(super) fn landed(&mut self, vblank: u32) -> Option<Landed> {
        let flight = self.flight.take_if(|flight| flight.retry.is_none())?;
        let shown = self.shown.as_ref().map(|shown| shown.state.framebuffer);
        self.imports.forget_unused(&self.card, shown);
        let is_lost = flight.sets_mode && self.may_lose_copies();
        self.last_landing = Some((Instant::now(), vblank));
        let vblanks = flight.flushed_at.filter(|_| !flight.sets_mode);
        let vblanks = vblanks.map(|before| vblank.wrapping_sub(before));
        let Flight { done, shows_picture, .. } = flight;
        Some(Landed { done, shows_picture, vblanks, is_lost })
    }

    /// Number of the last vblank before a flush that came at this time.
    fn vblank_before(&self, since: Instant) -> Option<u32> {
        match self.last_landing {
            // It came while another commit was under way, at the latest one vblank before that was done.
            Some((landing, vblank)) if since < landing => Some(vblank.wrapping_sub(1)),
            _ => self.card.vblank(self.pipe.index),
        }
    }

    /// A copy that was drawn before the mode was set is to be drawn again: QEMU's display adapter
    /// clears its memory when a mode is set (`vbe_ioport_write_data`), and with kernels up to 6.12 the copy
    /// is there.
    fn may_lose_copies(&mut self) -> bool {
        if self.scans_source_out() {
            return false;
        }
        if let Some(canvas) = &mut self.canvas {
            canvas.forget();
        }
        self.canvas.is_some()
    }

    /// Shows a picture again that was lost.
    pub(super) fn show_lost(&mut self) -> Result<(), OutputError> {
        let Some(frame) = self.source.clone() else { return Ok(()) };
        let damage = [frame.layout().bounds()];
        self.show(Update { frame: &frame, damage: &damage, done: Vec::new(), is_last: false })
    }

    /// The source's own memory is on the screen.
    fn scans_source_out(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.frame.is_some())
    }

    /// Bytes that were copied since this was asked last.
    pub(super) fn take_copied(&mut self) -> u64 {
        std::mem::take(&mut self.copied)
    }

    /// Shows a frame's damage, and the pointer as it is.
    pub(super) fn show(&mut self, update: Update<'_>) -> Result<(), OutputError> {
        let Update { frame, damage, done, is_last } = update;
        self.note(frame, is_last);
        let (state, clips) = self.try_show(frame, damage, is_last)?;
        let is_direct =
            self.plan.as_ref().is_some_and(|plan| plan.path == Path::Direct) && !is_last;
        let previous = self.shown.take();
        self.shown = Some(Shown { state, frame: is_direct.then(|| frame.clone()) });
        // What was copied need not wait for the screen.
        let waiting = if is_direct { done } else { Vec::new() };
        match self.commit(Some(&clips), is_last, waiting) {
            Ok(sets_mode) if is_last && sets_mode && self.may_lose_copies() => {
                self.show(Update { frame, damage, done: Vec::new(), is_last })
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.shown = previous;
                // The next frame may be shown by a copy.
                self.plan = None;
                Err(error)
            }
        }
    }

    /// What the picture's plane is to show, and the damage there.
    fn try_show(
        &mut self,
        frame: &Frame,
        damage: &[Rect],
        is_last: bool,
    ) -> Result<(PlaneState, Vec<Rect>), OutputError> {
        let plan = self.plan_for(frame)?;
        if plan.path == Path::Direct && !is_last {
            match self.imports.framebuffer(&self.card, frame) {
                Ok(framebuffer) => {
                    let state = PlaneState::new(framebuffer, plan.picture.picture, plan.plane);
                    let state = PlaneState { origin: frame.layout().origin, ..state };
                    let clips = damage.iter().map(|rect| frame.in_memory_order(*rect)).collect();
                    return Ok((state, clips));
                }
                Err(error) => {
                    self.describe(&plan, Some(&crate::error::one_line(&error)));
                }
            }
        }
        let (canvas, placement) = match plan.path {
            Path::Copy { canvas, placement } => (canvas, placement),
            Path::Direct => {
                // For this once, in a buffer of the picture's place.
                let place = Rect::new(0, 0, plan.plane.width, plan.plane.height);
                ((place.width, place.height), super::geometry::Placement { place, ..plan.picture })
            }
        };
        if !self.canvas.as_ref().is_some_and(|known| known.is_for(canvas, placement)) {
            let made = Canvas::new(&self.card, canvas, placement);
            self.canvas = Some(made.map_err(OutputError::Buffer)?);
        }
        let pointer = self.pipe.cursor.is_none().then(|| self.cursor.clone());
        let pointer =
            pointer.as_ref().and_then(|cursor| Some((cursor.shown()?, cursor.x, cursor.y)));
        let whole = [frame.layout().bounds()];
        // Whatever was in it before a frame that was shown directly is old.
        let damage = if self.scans_source_out() { &whole } else { damage };
        let Some(drawing) = &mut self.canvas else { return Err(OutputError::NoMode(self.name())) };
        let drawn = drawing.draw(frame, damage, pointer)?;
        self.copied += drawn.copied;
        Ok((PlaneState::new(drawn.framebuffer, canvas, plan.plane), drawn.changed))
    }

    /// Moves the pointer, or changes it.
    pub(super) fn set_cursor(&mut self, cursor: Cursor) -> Result<(), OutputError> {
        if self.cursor == cursor {
            return Ok(());
        }
        let had_image = self.cursor.shown().is_some();
        self.cursor = cursor;
        if self.shown.is_none() || (!had_image && self.cursor.shown().is_none()) {
            return Ok(());
        }
        if self.pipe.cursor.is_some() {
            return self.commit(None, false, Vec::new()).map(drop);
        }
        let Some(frame) = self.source.clone() else { return Ok(()) };
        self.show(Update { frame: &frame, damage: &[], done: Vec::new(), is_last: false })
    }

    /// Shows what was shown before once more: somebody else had the card, or the mode is another one.
    pub(super) fn show_again(&mut self) -> Result<(), OutputError> {
        self.forget_mode();
        self.plan = None;
        if let Some(frame) = self.source.clone() {
            let damage = [frame.layout().bounds()];
            return self.show(Update {
                frame: &frame,
                damage: &damage,
                done: Vec::new(),
                is_last: false,
            });
        }
        if self.shown.is_some() { self.commit(None, false, Vec::new()).map(drop) } else { Ok(()) }
    }

    /// Ends what is under way without an answer of the card's. Whoever waits is answered.
    pub(super) fn give_up_flight(&mut self) {
        self.flight = None;
    }

    fn name(&self) -> String {
        self.connector.name.clone()
    }

    /// The way frames like this one are shown.
    fn plan_for(&mut self, frame: &Frame) -> Result<Plan, OutputError> {
        let draws_cursor = self.pipe.cursor.is_none() && self.cursor.shown().is_some();
        let kind = FrameKind::of(frame, draws_cursor);
        if let Some(plan) = self.plan.as_ref().filter(|plan| plan.kind == kind) {
            return Ok(plan.clone());
        }
        let planner = Planner {
            card: &self.card,
            pipe: &self.pipe,
            connector: &self.connector,
            fixed: self.fixed_mode(),
        };
        let planned = planner.plan(kind, frame, &mut self.imports);
        let (plan, why) = planned.ok_or_else(|| OutputError::NoMode(self.name()))?;
        self.describe(&plan, why.as_deref());
        self.plan = Some(plan.clone());
        Ok(plan)
    }

    /// An overlay plane is put over what is there.
    fn fixed_mode(&self) -> Option<Mode> {
        self.pipe.overlay.as_ref()?;
        self.saved.mode()
    }

    /// Says once how frames are shown.
    fn describe(&mut self, plan: &Plan, why: Option<&str>) {
        let description = plan.describe(why);
        if description != self.described {
            log::info!("{}: {description}", self.connector.name);
            self.described = description;
        }
    }

    /// Commits what is to be shown. `clips` is the damage, if the picture is another one; a commit
    /// that `finishes` is done when this returns. True if that sets a mode.
    fn commit(
        &mut self,
        clips: Option<&[Rect]>,
        finishes: bool,
        done: Vec<Completion>,
    ) -> Result<bool, OutputError> {
        let modeset = self.set_mode().map_err(OutputError::Commit)?;
        let cursor = self.cursor_state();
        let flushed_at = done.first().and_then(|done| self.vblank_before(done.since()));
        let mut commit = Commit::new(&self.card);
        if let Some(active) = self.active.as_ref().filter(|_| modeset) {
            commit.mode(&self.pipe, &self.connector, active.blob);
        }
        if let (Some(backdrop), Some(primary)) =
            (self.backdrop.as_ref().filter(|_| modeset), &self.pipe.primary)
        {
            let (width, height) = backdrop.size();
            let place = Rect::new(0, 0, width, height);
            let state = PlaneState::new(backdrop.framebuffer, backdrop.size(), place);
            commit.plane(&self.pipe, primary, Some(&state));
        }
        let is_new = modeset || clips.is_some();
        if let (Some(plane), Some(shown)) =
            (self.pipe.picture(), self.shown.as_ref().filter(|_| is_new))
        {
            commit.plane(&self.pipe, plane, Some(&shown.state));
            commit.damage(plane, clips.unwrap_or_default());
        }
        if let Some(plane) = &self.pipe.cursor {
            commit.plane(&self.pipe, plane, cursor.as_ref());
            if let Some(image) = self.cursor.shown() {
                let (x, y) = image.hot_spot();
                commit.set(plane.handle, &plane.properties, "HOTSPOT_X", x.into());
                commit.set(plane.handle, &plane.properties, "HOTSPOT_Y", y.into());
            }
        }
        let result = if finishes { commit.finish() } else { commit.start(modeset) };
        drop(commit);
        let mut retry = None;
        if let Err(error) = result {
            if modeset {
                self.forget_mode();
            }
            if finishes || error.kind() != io::ErrorKind::ResourceBusy {
                return Err(OutputError::Commit(error));
            }
            retry = Some(Instant::now() + BUSY);
        }
        if !finishes {
            let (since, shows_picture) = (Instant::now(), clips.is_some());
            self.flight =
                Some(Flight { since, done, shows_picture, sets_mode: modeset, flushed_at, retry });
        }
        Ok(modeset)
    }

    /// Prepares the plan's mode. True if it is not the one that is set.
    fn set_mode(&mut self) -> io::Result<bool> {
        let Some(mode) = self.plan.as_ref().map(|plan| plan.mode) else {
            return Ok(false);
        };
        if self.fixed_mode().is_some()
            || self.active.as_ref().is_some_and(|active| active.mode == mode)
        {
            return Ok(false);
        }
        let blob = u64::from(self.card.create_property_blob(&mode)?);
        self.forget_mode();
        self.active = Some(ActiveMode { mode, blob });
        if self.pipe.overlay.is_some() && self.pipe.primary.is_some() {
            let (width, height) = mode.size();
            let size = (width.into(), height.into());
            self.backdrop = Some(Dumb::new(&self.card, size, DrmFourcc::Xrgb8888)?);
        }
        Ok(true)
    }

    fn forget_mode(&mut self) {
        if let Some(active) = self.active.take() {
            // The CRTC keeps it as long as it is set.
            let _ = self.card.destroy_property_blob(active.blob);
        }
    }

    fn cursor_state(&mut self) -> Option<PlaneState> {
        self.pipe.cursor.as_ref()?;
        let position = self.plan.as_ref()?.picture.position(self.cursor.x, self.cursor.y);
        match self.cursor_buffers.state(&self.card, &self.cursor, position) {
            Ok(state) => state,
            Err(error) => {
                log::error!("{}: no mouse pointer: {error}", self.connector.name);
                None
            }
        }
    }

    /// What is shown, with the pointer, in the picture's own size.
    pub(super) fn screenshot(&self) -> Result<Option<Picture>, MemoryError> {
        let mut picture = match (&self.source, &self.kept) {
            (Some(frame), _) => frame.picture()?,
            (None, Some(picture)) => picture.clone(),
            (None, None) => return Ok(None),
        };
        if let Some(image) = self.cursor.shown() {
            image.draw(&mut picture, self.cursor.x, self.cursor.y);
        }
        Ok(Some(picture))
    }

    /// Remembers what is to be shown when that is possible.
    pub(super) fn note(&mut self, frame: &Frame, is_last: bool) {
        self.source = (!is_last).then(|| frame.clone());
        self.kept = if is_last { frame.picture().ok() } else { None };
    }

    /// Switches the output off: its display is gone.
    pub(super) fn switch_off(&mut self) {
        self.flight = None;
        let mut commit = Commit::new(&self.card);
        if let Some(plane) = self.pipe.picture() {
            commit.plane(&self.pipe, plane, None);
        }
        if let Some(plane) = &self.pipe.cursor {
            commit.plane(&self.pipe, plane, None);
        }
        if self.fixed_mode().is_none() {
            commit.off(&self.pipe, &self.connector);
        }
        if let Err(error) = commit.finish() {
            log::debug!("{}: not switched off: {error}", self.connector.name);
        }
        drop(commit);
        self.forget_mode();
    }

    /// Shows what was there before.
    pub(super) fn restore(&mut self) {
        self.flight = None;
        self.saved.restore(&self.card);
    }
}
