//! The display without a window system: a frame stays where its source draws it, and only a
//! screenshot, or the end of the source, copies it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::cursor::Cursor;
use crate::statistics::{Counters, Source};
use crate::sync::lock;
use crate::{CursorImage, DisplayError, Frame, MAX_SCANOUTS, Picture, Rect, Signal, Statistics};

/// One scanout; its lock is held while the last picture is copied, so that a frame's memory is not
/// released before.
#[derive(Debug, Default)]
struct Scanout {
    source: Option<Source<Option<Picture>>>,
    /// It has no monitor.
    unplugged: bool,
    cursor: Cursor,
    counters: Counters,
}

impl Scanout {
    /// Lets go of the frame, keeping its picture.
    fn end(&mut self, signal: Signal) {
        let signal = if self.unplugged { Signal::Unplugged } else { signal };
        match &mut self.source {
            Some(Source::Live(frame)) => {
                let kept = frame.picture().inspect_err(|error| {
                    log::error!("the last frame is lost: {error}");
                });
                let layout = *frame.layout();
                self.source = Some(Source::Ended { signal, layout, kept: kept.ok() });
            }
            Some(Source::Ended { signal: known, .. }) => *known = signal,
            None => {}
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Headless {
    scanouts: [Mutex<Scanout>; MAX_SCANOUTS as usize],
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Headless {
    pub(crate) fn new() -> Arc<Headless> {
        Arc::default()
    }

    /// Blocks until `quit`.
    pub(crate) fn run(&self) {
        let mut closed = lock(&self.closed);
        while !*closed {
            closed = self.changed.wait(closed).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    pub(crate) fn quit(&self) {
        *lock(&self.closed) = true;
        self.changed.notify_all();
        for scanout in &self.scanouts {
            lock(scanout).end(Signal::Lost);
        }
    }

    pub(crate) fn set_scanout(&self, id: u32, frame: Option<Frame>) -> Result<(), DisplayError> {
        let mut scanout = lock(self.scanout(id)?);
        // Read under the scanout's lock: a `quit` that comes now still ends this frame.
        if *lock(&self.closed) {
            return Err(DisplayError::Closed);
        }
        match frame {
            Some(frame) => scanout.source = Some(Source::Live(frame)),
            None => scanout.end(Signal::Off),
        }
        Ok(())
    }

    pub(crate) fn stand_in(&self, id: u32, frame: &Frame) -> Result<(), DisplayError> {
        let picture = frame.picture()?;
        let mut scanout = lock(self.scanout(id)?);
        let unplugged = scanout.unplugged;
        if let (Some(Source::Ended { kept, .. }), false) = (&mut scanout.source, unplugged) {
            *kept = Some(picture);
            scanout.cursor.visible = false;
        }
        Ok(())
    }

    pub(crate) fn set_plugged(&self, id: u32, plugged: bool) -> Result<(), DisplayError> {
        let mut scanout = lock(self.scanout(id)?);
        scanout.unplugged = !plugged;
        if let (Some(Source::Ended { .. }), false) = (&scanout.source, plugged) {
            scanout.end(Signal::Unplugged);
        }
        Ok(())
    }

    pub(crate) fn source_lost(&self) {
        for scanout in &self.scanouts {
            let mut scanout = lock(scanout);
            if let Some(Source::Live(_)) = scanout.source {
                scanout.end(Signal::Lost);
            }
        }
    }

    pub(crate) fn flush(&self, id: u32, damage: Rect) -> Result<(), DisplayError> {
        let mut scanout = lock(self.scanout(id)?);
        let Some(Source::Live(frame)) = &scanout.source else {
            let closed = *lock(&self.closed);
            return Err(if closed { DisplayError::Closed } else { DisplayError::NoPicture(id) });
        };
        let damage = damage.intersection(&frame.layout().bounds());
        if !damage.is_empty() {
            let now = Instant::now();
            scanout.counters.updated(damage, now);
            scanout.counters.presented(now);
        }
        Ok(())
    }

    pub(crate) fn set_cursor(&self, id: u32, image: CursorImage) -> Result<(), DisplayError> {
        lock(self.scanout(id)?).cursor.image = Some(Arc::new(image));
        Ok(())
    }

    pub(crate) fn move_cursor(
        &self,
        id: u32,
        x: i32,
        y: i32,
        visible: bool,
    ) -> Result<(), DisplayError> {
        let mut scanout = lock(self.scanout(id)?);
        scanout.cursor = Cursor { x, y, visible, image: scanout.cursor.image.take() };
        Ok(())
    }

    pub(crate) fn screenshot(&self, id: u32) -> Result<Picture, DisplayError> {
        let scanout = lock(self.scanout(id)?);
        let cursor = scanout.cursor.clone();
        let mut picture = match &scanout.source {
            Some(Source::Live(frame)) => {
                let frame = frame.clone();
                // Copying takes milliseconds; flushes do not wait for it.
                drop(scanout);
                frame.picture()?
            }
            Some(Source::Ended { kept: Some(picture), .. }) => picture.clone(),
            Some(Source::Ended { kept: None, .. }) | None => {
                return Err(DisplayError::NoPicture(id));
            }
        };
        if let Some(image) = cursor.shown() {
            image.draw(&mut picture, cursor.x, cursor.y);
        }
        Ok(picture)
    }

    pub(crate) fn statistics(&self, id: u32) -> Option<Statistics> {
        let scanout = lock(self.scanout(id).ok()?);
        let source = scanout.source.as_ref()?;
        Some(scanout.counters.statistics(source.signal(), source.layout()))
    }

    fn scanout(&self, id: u32) -> Result<&Mutex<Scanout>, DisplayError> {
        self.scanouts.get(id as usize).ok_or(DisplayError::UnknownScanout(id))
    }
}

#[cfg(test)]
mod tests;
