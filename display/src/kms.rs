//! The display on outputs of a card, by atomic modesetting: a scanout for each connector.
//!
//! [`Shared`] is what other threads see: they note what changed and wake the presenter. It commits
//! what has changed on a connector in one piece, and the next thing when the card has told that it is on
//! the screen. What comes meanwhile becomes one update, so nothing is shown twice while something
//! newer waits.
//!
//! A frame that is a dma-buf is scanned out where it is, if the card imports it and a test commit says
//! so; anything else is copied to dumb buffers. The card is only asked to do things by its DRM master. When
//! another program becomes that, for as long as it is, nothing is shown, and nobody waits.

mod canvas;
mod card;
mod commit;
mod connectors;
mod cursor;
mod ffi;
mod geometry;
mod hotplug;
mod import;
mod output;
mod outputs;
mod plan;
mod saved;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drm::control::{Device as _, Event};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use self::card::Card;
use self::hotplug::Uevents;
use self::output::{Landed, Output, OutputError, Update};
use self::outputs::Outputs;
use crate::error::one_line;
use crate::shared::{Reply, ScanoutWork, Shared, Wake, Work};
use crate::{DisplayError, DisplayEvent, Options, Signal};

/// How long a flush may wait for its answer: drivers wait 50 ms (`virtio_gpu_resource_flush`).
const LATEST_ANSWER: Duration = Duration::from_millis(45);
/// How long the card may take for a commit until it is thought to have forgotten it.
const LONGEST_FLIGHT: Duration = Duration::from_secs(2);
/// How often it is tried to become the card's master again.
const RETRY: Duration = Duration::from_millis(500);

/// Is told what happens to connectors.
type EventSink = Box<dyn Fn(DisplayEvent) + Send>;

/// Whether the card does what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mastery {
    /// It does.
    Held,
    /// It does what another program asks; this is when to try again.
    Lost { retry: Instant },
    /// The lease has ended. There is no way back.
    Revoked,
}

/// Owns a card, and what is shown on it.
pub(crate) struct KmsPresenter {
    card: Arc<Card>,
    outputs: Outputs,
    shared: Arc<Shared>,
    wake: Arc<OwnedFd>,
    uevents: Option<Uevents>,
    mastery: Mastery,
    is_lease: bool,
    on_event: EventSink,
}

/// Wakes the presenter by an eventfd.
struct Waker(Arc<OwnedFd>);

impl Wake for Waker {
    fn wake(&self) {
        // One that is full wakes, too.
        if let Err(error) = rustix::io::write(&*self.0, &1_u64.to_ne_bytes())
            && error != Errno::AGAIN
        {
            log::error!("cannot wake the display: {error}");
        }
    }
}

impl KmsPresenter {
    pub(crate) fn open(
        options: Options,
        on_event: EventSink,
    ) -> Result<KmsPresenter, DisplayError> {
        let is_lease = options.kms.fd.is_some();
        let card = Arc::new(match &options.kms.fd {
            Some(fd) => Card::from_fd(Arc::clone(fd))?,
            None => card::open_first(&options.kms.devices)?,
        });
        // The first to open a card is its master; else it is asked for, which fails if there is one.
        if !card.is_master() {
            return Err(DisplayError::NotMaster { card: card.description() });
        }
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = rustix::event::eventfd(0, flags).map_err(|error| DisplayError::Kms {
            what: "make an eventfd".into(),
            source: error.into(),
        })?;
        let wake = Arc::new(wake);
        let uevents = Uevents::listen()
            .inspect_err(|error| log::warn!("displays that come and go are not noticed: {error}"));
        let outputs = Outputs::new(&card, options.kms)?;
        let presenter = KmsPresenter {
            shared: Shared::new(Box::new(Waker(Arc::clone(&wake)))),
            card,
            outputs,
            wake,
            uevents: uevents.ok(),
            mastery: Mastery::Held,
            is_lease,
            on_event,
        };
        log::info!("shown on {}: {}", presenter.card.description(), presenter.outputs.describe());
        for event in presenter.outputs.connected_events(&presenter.card) {
            (presenter.on_event)(event);
        }
        Ok(presenter)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Until quit.
    pub(crate) fn run(&mut self) -> Result<(), DisplayError> {
        loop {
            let outputs = &self.outputs;
            let work = self.shared.take_work_of(|id| outputs.get(id).is_none_or(Output::is_idle));
            if work.quit {
                return Ok(());
            }
            self.process(work);
            self.wait()?;
        }
    }

    fn process(&mut self, work: Work) {
        for scanout in work.scanouts {
            self.update(scanout);
        }
        self.shared.have_read();
        for (id, reply) in work.screenshots {
            self.screenshot(id, &reply);
        }
    }

    /// Begins to show one scanout's changes.
    fn update(&mut self, work: ScanoutWork) {
        let ScanoutWork { id, signal, frame, damage, done, cursor } = work;
        let Some(output) = self.outputs.get_mut_or_warn(id) else { return };
        let is_last = frame.is_some() && signal != Signal::Live;
        let is_shown = output.is_connected && self.mastery == Mastery::Held;
        let result = match &frame {
            Some(frame) if !is_shown && (is_last || !damage.is_empty()) => {
                output.cursor = cursor;
                output.note(frame, is_last);
                Ok(())
            }
            Some(frame) if is_last || !damage.is_empty() => {
                output.cursor = cursor;
                output.show(Update { frame, damage: &damage, done, is_last })
            }
            _ if is_shown => output.set_cursor(cursor),
            _ => {
                output.cursor = cursor;
                Ok(())
            }
        };
        let copied = output.take_copied();
        if !damage.is_empty() && !is_last {
            self.shared.hold(id);
        }
        self.shared.copied(id, copied);
        if let Err(error) = result {
            self.failed(id, &error);
        }
    }

    /// A commit was refused.
    fn failed(&mut self, id: u32, error: &OutputError) {
        let refused = match error {
            OutputError::Commit(source) => source.raw_os_error(),
            _ => None,
        };
        let is_gone = self.is_lease
            && self.outputs.get(id).is_some_and(|output| !self.card.has(output.pipe.crtc));
        if is_gone {
            self.revoked();
        } else if refused == Some(Errno::ACCESS.raw_os_error()) {
            if self.mastery == Mastery::Held {
                log::warn!("another program has taken {}; waiting for it", self.card.description());
            }
            self.mastery = Mastery::Lost { retry: Instant::now() + RETRY };
        } else {
            log::error!("scanout {id}: {}", one_line(error));
        }
    }

    fn screenshot(&mut self, id: u32, reply: &Reply) {
        let picture = match self.outputs.get(id).map(Output::screenshot) {
            Some(Ok(Some(picture))) => Ok(picture),
            Some(Ok(None)) | None => Err(DisplayError::NoPicture(id)),
            Some(Err(error)) => Err(error.into()),
        };
        // Whoever asked may have stopped waiting.
        let _ = reply.send(picture);
    }

    /// Blocks until there is something to do, and handles what the card and the kernel say.
    fn wait(&mut self) -> Result<(), DisplayError> {
        let timeout = self.deadline().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        let (mut card_events, mut hotplug) = (false, false);
        {
            let mut fds = vec![
                PollFd::new(&*self.wake, PollFlags::IN),
                PollFd::from_borrowed_fd(self.card.as_fd(), PollFlags::IN),
            ];
            fds.extend(self.uevents.as_ref().map(|uevents| PollFd::new(uevents, PollFlags::IN)));
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    let what = "wait for the card".into();
                    return Err(DisplayError::Kms { what, source: error.into() });
                }
            }
            if let [_, card, uevents @ ..] = fds.as_slice() {
                card_events = card.revents().contains(PollFlags::IN);
                hotplug = uevents.iter().any(|fd| fd.revents().contains(PollFlags::IN));
            }
        }
        let mut count = [0; 8];
        // Empty if something else has happened.
        let _ = rustix::io::read(&*self.wake, &mut count);
        if card_events {
            self.handle_events();
        }
        if hotplug && self.uevents.as_ref().is_some_and(Uevents::take) {
            self.probe();
        }
        self.expire(Instant::now());
        Ok(())
    }

    /// When there is something to do even if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let oldest = self
            .outputs
            .iter()
            .filter_map(Output::oldest_flush)
            .chain(self.shared.oldest_flush())
            .min();
        let answer = oldest.map(|since| since + LATEST_ANSWER);
        let flights = self.outputs.iter().filter_map(Output::in_flight_since);
        let flight = flights.min().map(|since| since + LONGEST_FLIGHT);
        let retry = match self.mastery {
            Mastery::Lost { retry } => Some(retry),
            Mastery::Held | Mastery::Revoked => None,
        };
        let busy = self.outputs.iter().filter_map(Output::retry_at).min();
        [answer, flight, retry, busy].into_iter().flatten().min()
    }

    /// Does what is due.
    fn expire(&mut self, now: Instant) {
        if let Some(before) = now.checked_sub(LATEST_ANSWER) {
            for output in self.outputs.iter_mut() {
                output.answer_before(before);
            }
            self.shared.answer_before(before);
        }
        let mut failed = None;
        for (id, output) in (0..).zip(self.outputs.iter_mut()) {
            if output.retry_at().is_some_and(|at| at <= now) {
                failed = output.retry().err().map(|error| (id, error)).or(failed);
            }
            let flight = output.in_flight_since();
            if flight.is_some_and(|since| now.duration_since(since) >= LONGEST_FLIGHT) {
                log::warn!(
                    "{}: the card does not say that it shows what it was given",
                    output.connector.name
                );
                output.give_up_flight();
            }
        }
        if let Some((id, error)) = failed {
            self.failed(id, &error);
        }
        if matches!(self.mastery, Mastery::Lost { retry } if retry <= now) {
            self.regain();
        }
    }

    /// What was committed is on the screen.
    fn handle_events(&mut self) {
        let Ok(events) = self.card.receive_events() else { return };
        for event in events {
            let Event::PageFlip(flip) = event else { continue };
            let Some((id, output)) = self.outputs.on_crtc(flip.crtc) else { continue };
            let Some(landed) = output.landed(flip.frame) else { continue };
            let Landed { done, shows_picture, vblanks, is_lost } = landed;
            drop(done);
            let result = if is_lost { output.show_lost() } else { Ok(()) };
            self.shared.copied(id, output.take_copied());
            if let Some(vblanks) = vblanks {
                self.shared.presented_at(id, vblanks);
            }
            if shows_picture && !is_lost {
                self.shared.presented(id, Instant::now());
            }
            if let Err(error) = result {
                self.failed(id, &error);
            }
        }
    }

    /// Tries to go on where another program may have stopped.
    fn regain(&mut self) {
        let later = Mastery::Lost { retry: Instant::now() + RETRY };
        if !self.card.is_master() {
            self.mastery = later;
            // A lease that has ended meanwhile never comes back.
            if self.is_lease && self.outputs.iter().all(|output| !self.card.has(output.pipe.crtc)) {
                self.revoked();
            }
            return;
        }
        self.mastery = Mastery::Held;
        let mut failed = None;
        for (id, output) in (0..).zip(self.outputs.iter_mut()) {
            if output.is_connected && output.is_idle() {
                failed = output.show_again().err().map(|error| (id, error)).or(failed);
            }
        }
        match failed {
            None => log::info!("{} is ours again", self.card.description()),
            Some((id, error)) => {
                // Not told again.
                self.mastery = later;
                self.failed(id, &error);
            }
        }
    }

    fn revoked(&mut self) {
        let card = self.card.description();
        log::warn!("the lease of {card} has ended: nothing is shown any more");
        self.mastery = Mastery::Revoked;
    }

    /// Looks which displays are there.
    fn probe(&mut self) {
        if self.mastery != Mastery::Held {
            return;
        }
        let (events, failures) = self.outputs.probe(&self.card);
        for event in events {
            (self.on_event)(event);
        }
        for (id, error) in failures {
            self.failed(id, &error);
        }
    }
}

impl Drop for KmsPresenter {
    fn drop(&mut self) {
        self.shared.close();
        if self.mastery == Mastery::Held {
            for output in self.outputs.iter_mut() {
                output.restore();
            }
        }
    }
}
