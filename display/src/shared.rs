//! What other threads note for the presenter, and how they wake it.

use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cursor::Cursor;
use crate::geometry::Damage;
use crate::statistics::{Counters, Rates, Source};
use crate::sync::lock;
use crate::{CursorImage, DisplayError, Frame, MAX_SCANOUTS, Picture, Rect, Signal, Statistics};

/// Seconds until an unanswered screenshot is given up.
const SCREENSHOT_TIMEOUT: u64 = 5;

/// How long the end of a source waits for a presenter that may hang.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Flushes of one scanout that may wait for the presenter.
const MAX_PENDING: usize = 1024;

/// Where a screenshot goes.
pub(super) type Reply = SyncSender<Result<Picture, DisplayError>>;

/// Runs a flush's `done` when it is dropped, so that no path can forget it. Not to be dropped with
/// a lock held.
pub(crate) struct Completion {
    done: Option<Box<dyn FnOnce() + Send>>,
    since: Instant,
}

impl Completion {
    pub(crate) fn new(done: impl FnOnce() + Send + 'static) -> Completion {
        Completion { done: Some(Box::new(done)), since: Instant::now() }
    }

    /// When the flush came.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done();
        }
    }
}

/// Makes a presenter look at its work where it waits for something else, too.
pub(crate) trait Wake: Send {
    fn wake(&self);
}

/// What the presenter has to do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) quit: bool,
    pub(super) scanouts: Vec<ScanoutWork>,
    pub(super) screenshots: Vec<(u32, Reply)>,
}

/// What changed on one scanout.
pub(super) struct ScanoutWork {
    pub(super) id: u32,
    pub(super) signal: Signal,
    /// The source, if it is live.
    pub(super) frame: Option<Frame>,
    /// Parts of `frame` to read.
    pub(super) damage: Vec<Rect>,
    /// To be dropped when they have been read.
    pub(super) done: Vec<Completion>,
    pub(super) cursor: Cursor,
}

#[derive(Default)]
struct Scanout {
    source: Option<Source<()>>,
    counters: Counters,
    cursor: Cursor,
    /// The live source is to end so when its damage has been read.
    ending: Option<Signal>,
    /// To be shown instead of the last picture of a source that has ended.
    stand_in: Option<Frame>,
    /// It has no monitor: nothing shows it once its source has ended.
    unplugged: bool,
    /// The presenter reads a frame.
    reading: bool,
    /// The presenter reads the source whenever it likes.
    held: bool,
    /// Nothing of the source has been read yet.
    is_new: bool,
    /// The presenter has news to take.
    changed: bool,
    damage: Damage,
    done: Vec<Completion>,
}

impl Scanout {
    fn set_source(&mut self, source: Option<Frame>) {
        match (source, &self.source) {
            (Some(frame), Some(Source::Live(known))) if frame.is_same_source(known) => return,
            (Some(frame), _) => {
                self.source = Some(Source::Live(frame));
                self.is_new = true;
            }
            (None, _) => return self.end_when_read(Signal::Off),
        }
        self.ending = None;
        self.stand_in = None;
        self.damage.clear();
        self.changed = true;
    }

    /// What was flushed is shown first.
    fn end_when_read(&mut self, signal: Signal) {
        match &self.source {
            Some(Source::Live(_)) if self.held || !self.damage.is_empty() => {
                self.ending = Some(signal);
                self.changed = true;
            }
            _ => self.end(signal),
        }
    }

    fn end(&mut self, signal: Signal) {
        let signal = if self.unplugged { Signal::Unplugged } else { signal };
        self.ending = None;
        self.held = false;
        if let Some(source) = &self.source {
            let layout = *source.layout();
            self.source = Some(Source::Ended { signal, layout, kept: () });
            self.damage.clear();
            self.changed = true;
        }
    }

    /// Whether the presenter reads the source, or will.
    fn is_read(&self) -> bool {
        self.reading || self.ending.is_some()
    }

    fn take_work(&mut self, id: u32) -> Option<ScanoutWork> {
        let frame = match self.source.as_ref()? {
            Source::Live(frame) => Some(frame.clone()),
            Source::Ended { .. } => self.stand_in.take(),
        };
        // There is none unless something has changed.
        let damage = self.damage.take();
        if let Some(signal) = self.ending {
            self.end(signal);
        }
        let signal = self.source.as_ref()?.signal();
        self.reading = self.changed && frame.is_some();
        std::mem::take(&mut self.changed).then(|| ScanoutWork {
            id,
            signal,
            frame,
            damage,
            done: std::mem::take(&mut self.done),
            cursor: self.cursor.clone(),
        })
    }
}

#[derive(Default)]
struct State {
    scanouts: [Scanout; MAX_SCANOUTS as usize],
    screenshots: Vec<(u32, Reply)>,
    quit: bool,
    /// There is no presenter any more.
    closed: bool,
    /// The presenter has been told to come, and has not come yet.
    woken: bool,
}

impl State {
    fn scanout(&mut self, id: u32) -> Result<&mut Scanout, DisplayError> {
        self.scanouts.get_mut(id as usize).ok_or(DisplayError::UnknownScanout(id))
    }
}

/// What the presenter and other threads share.
pub(crate) struct Shared {
    state: Mutex<State>,
    woken: Condvar,
    /// Nothing is being read any more.
    read: Condvar,
    /// None once the presenter is about to end, after which nothing of it must be touched.
    waker: Mutex<Option<Box<dyn Wake>>>,
}

impl Shared {
    pub(super) fn new(waker: Box<dyn Wake>) -> Arc<Shared> {
        Arc::new(Shared {
            state: Mutex::default(),
            woken: Condvar::new(),
            read: Condvar::new(),
            waker: Mutex::new(Some(waker)),
        })
    }

    pub(crate) fn set_scanout(&self, id: u32, frame: Option<Frame>) -> Result<(), DisplayError> {
        let mut state = lock(&self.state);
        let closed = state.closed;
        let scanout = state.scanout(id)?;
        if closed {
            return Err(DisplayError::Closed);
        }
        let off = frame.is_none();
        scanout.set_source(frame);
        self.wake(state);
        if off {
            self.wait_until_read(|other| other == id);
        }
        Ok(())
    }

    pub(crate) fn stand_in(&self, id: u32, frame: Frame) -> Result<(), DisplayError> {
        let mut state = lock(&self.state);
        let closed = state.closed;
        let scanout = state.scanout(id)?;
        if closed {
            return Err(DisplayError::Closed);
        }
        if let (Some(Source::Ended { .. }), false) = (&scanout.source, scanout.unplugged) {
            scanout.damage.add(frame.layout().bounds());
            scanout.stand_in = Some(frame);
            scanout.cursor.visible = false;
            scanout.changed = true;
            self.wake(state);
        }
        Ok(())
    }

    pub(crate) fn set_plugged(&self, id: u32, plugged: bool) -> Result<(), DisplayError> {
        let mut state = lock(&self.state);
        let scanout = state.scanout(id)?;
        scanout.unplugged = !plugged;
        if let (Some(Source::Ended { .. }), false) = (&scanout.source, plugged) {
            scanout.end(Signal::Unplugged);
            self.wake(state);
        }
        Ok(())
    }

    pub(crate) fn source_lost(&self) {
        let mut state = lock(&self.state);
        for scanout in &mut state.scanouts {
            if let Some(Source::Live(_)) = scanout.source {
                scanout.end_when_read(Signal::Lost);
            }
        }
        self.wake(state);
        self.wait_until_read(|_| true);
    }

    /// Waits until the presenter has read the frames that end. One that hangs has its time.
    fn wait_until_read(&self, which: impl Fn(u32) -> bool) {
        let is_read = |state: &mut State| {
            let mut scanouts = (0..).zip(&state.scanouts).filter(|(id, _)| which(*id));
            !state.closed && scanouts.any(|(_, scanout)| scanout.is_read())
        };
        let state = lock(&self.state);
        let waited = self.read.wait_timeout_while(state, END_TIMEOUT, is_read);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for (_, scanout) in (0..).zip(&mut state.scanouts).filter(|(id, _)| which(*id)) {
            if let Some(signal) = scanout.ending {
                scanout.end(signal);
            }
        }
    }

    /// The presenter has let go of all frames it has taken.
    pub(super) fn have_read(&self) {
        let mut state = lock(&self.state);
        for scanout in &mut state.scanouts {
            scanout.reading = false;
        }
        drop(state);
        self.read.notify_all();
    }

    pub(crate) fn flush(
        &self,
        id: u32,
        damage: Rect,
        done: Completion,
    ) -> Result<(), DisplayError> {
        let mut state = lock(&self.state);
        let result = Self::note_flush(&mut state, id, damage, done);
        if result.is_ok() {
            self.wake(state);
        } else {
            drop(state);
        }
        // Without the lock: a rejected `done` runs here.
        result.map_err(|(error, _done)| error).or_else(|error| error.map_or(Ok(()), Err))
    }

    /// Gives `done` back if it need not wait: with an error, or because there is nothing to read.
    fn note_flush(
        state: &mut State,
        id: u32,
        damage: Rect,
        done: Completion,
    ) -> Result<(), (Option<DisplayError>, Completion)> {
        let closed = state.closed;
        let scanout = match state.scanout(id) {
            Ok(scanout) => scanout,
            Err(error) => return Err((Some(error), done)),
        };
        let Some(Source::Live(frame)) = &scanout.source else {
            let error = if closed { DisplayError::Closed } else { DisplayError::NoPicture(id) };
            return Err((Some(error), done));
        };
        let bounds = frame.layout().bounds();
        let damage = damage.intersection(&bounds);
        if damage.is_empty() {
            return Err((None, done));
        }
        let is_new = std::mem::take(&mut scanout.is_new);
        let damage = if is_new { bounds } else { damage };
        scanout.counters.updated(damage, Instant::now());
        scanout.damage.add(damage);
        scanout.changed = true;
        if scanout.done.len() == MAX_PENDING {
            // The presenter hangs; memory stays bounded at the price of a torn picture.
            return Err((None, done));
        }
        scanout.done.push(done);
        Ok(())
    }

    pub(crate) fn set_cursor(&self, id: u32, image: CursorImage) -> Result<(), DisplayError> {
        self.change_cursor(id, |cursor| cursor.image = Some(Arc::new(image)))
    }

    pub(crate) fn move_cursor(
        &self,
        id: u32,
        x: i32,
        y: i32,
        visible: bool,
    ) -> Result<(), DisplayError> {
        self.change_cursor(id, |cursor| {
            *cursor = Cursor { x, y, visible, image: cursor.image.take() };
        })
    }

    fn change_cursor(&self, id: u32, change: impl FnOnce(&mut Cursor)) -> Result<(), DisplayError> {
        let mut state = lock(&self.state);
        let scanout = state.scanout(id)?;
        change(&mut scanout.cursor);
        scanout.changed = true;
        self.wake(state);
        Ok(())
    }

    pub(crate) fn screenshot(&self, id: u32) -> Result<Picture, DisplayError> {
        let (reply, answer) = mpsc::sync_channel(1);
        {
            let mut state = lock(&self.state);
            state.scanout(id)?;
            if state.closed {
                return Err(DisplayError::Closed);
            }
            state.screenshots.push((id, reply));
            self.wake(state);
        }
        match answer.recv_timeout(Duration::from_secs(SCREENSHOT_TIMEOUT)) {
            Ok(picture) => picture,
            Err(RecvTimeoutError::Disconnected) => Err(DisplayError::Closed),
            Err(RecvTimeoutError::Timeout) => Err(DisplayError::Timeout(SCREENSHOT_TIMEOUT)),
        }
    }

    pub(crate) fn statistics(&self, id: u32) -> Option<Statistics> {
        let mut state = lock(&self.state);
        let scanout = state.scanout(id).ok()?;
        let source = scanout.source.as_ref()?;
        Some(scanout.counters.statistics(source.signal(), source.layout()))
    }

    pub(crate) fn quit(&self) {
        let mut state = lock(&self.state);
        state.quit = true;
        self.wake(state);
    }

    /// Takes everything that has to be done, and so allows the next `wake`.
    pub(super) fn take_work(&self) -> Work {
        self.take_work_of(|_| true)
    }

    /// The same, but what has to be done on scanouts that are not `ready` becomes more, and is taken later.
    pub(super) fn take_work_of(&self, ready: impl Fn(u32) -> bool) -> Work {
        let mut state = lock(&self.state);
        state.woken = false;
        Work {
            quit: state.quit,
            screenshots: std::mem::take(&mut state.screenshots),
            scanouts: (0u32..)
                .zip(&mut state.scanouts)
                .filter(|(id, _)| ready(*id))
                .filter_map(|(id, scanout)| scanout.take_work(id))
                .collect(),
        }
    }

    /// The presenter goes on to read a scanout's source, between calls of `take_work`, too. Before the source
    /// ends it gets work for that, with the frame and how it ends.
    pub(super) fn hold(&self, id: u32) {
        if let Ok(scanout) = lock(&self.state).scanout(id) {
            scanout.held = matches!(scanout.source, Some(Source::Live(_)));
        }
    }

    /// When the first of the flushes came that nobody has taken.
    pub(super) fn oldest_flush(&self) -> Option<Instant> {
        let state = lock(&self.state);
        state.scanouts.iter().filter_map(|scanout| Some(scanout.done.first()?.since())).min()
    }

    /// Answers flushes that came before `before` and that nobody has taken. Their damage stays.
    pub(super) fn answer_before(&self, before: Instant) {
        let mut late = Vec::new();
        let mut state = lock(&self.state);
        for scanout in &mut state.scanouts {
            late.extend(scanout.done.extract_if(.., |done| done.since() <= before));
        }
        drop(state);
        drop(late);
    }

    /// Counts at the how manieth vblank after its flush a picture was shown.
    pub(super) fn presented_at(&self, id: u32, vblanks: u32) {
        if let Ok(scanout) = lock(&self.state).scanout(id) {
            scanout.counters.presented_at(vblanks);
        }
    }

    /// Blocks until `wake`, at most for `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        let state = lock(&self.state);
        let result = self.woken.wait_timeout_while(state, timeout, |state| !state.woken);
        drop(result.unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a present and returns the rates.
    pub(super) fn presented(&self, id: u32, now: Instant) -> Rates {
        let mut state = lock(&self.state);
        state.scanout(id).map_or_else(
            |_| Rates::default(),
            |scanout| {
                scanout.counters.presented(now);
                scanout.counters.rates(now)
            },
        )
    }

    /// Counts bytes that were copied out of a scanout's frames.
    pub(super) fn copied(&self, id: u32, bytes: u64) {
        if let Ok(scanout) = lock(&self.state).scanout(id) {
            scanout.counters.copied(bytes);
        }
    }

    /// Textures have lost their contents: reads all frames again.
    pub(super) fn redraw_all(&self) {
        let mut state = lock(&self.state);
        for scanout in &mut state.scanouts {
            if let Some(Source::Live(frame)) = &scanout.source {
                let bounds = frame.layout().bounds();
                scanout.damage.add(bounds);
                scanout.changed = true;
            }
        }
        self.wake(state);
    }

    /// There is no presenter from now on: runs what waits for it, and releases all memory.
    pub(super) fn close(&self) {
        *lock(&self.waker) = None;
        let mut pending = Vec::new();
        let mut state = lock(&self.state);
        state.closed = true;
        let screenshots = std::mem::take(&mut state.screenshots);
        for scanout in &mut state.scanouts {
            scanout.end(Signal::Lost);
            pending.append(&mut scanout.done);
        }
        drop(state);
        self.read.notify_all();
        drop((screenshots, pending));
    }

    /// Makes the presenter look, wherever it waits.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::replace(&mut state.woken, true) {
            return;
        }
        drop(state);
        self.woken.notify_one();
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests;
