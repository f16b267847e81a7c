//! The thread that serves the input devices of a GPU.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use loopback_driver_glue::{DeviceConfig, Transport, TransportError};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::codes::{EV_LED, EV_SYN};
use super::contacts::{Contacts, SourceId};
use super::device::{InputError, VirtioInput, Wake, device_config, failed};
use super::evdev_source::SourceOptions;
use super::kind::DeviceKind;
use super::names::transport_name;
use super::overview::{DeviceOverview, Overview};
use super::router::{Message, Router};
use super::seat::{self, Seat};
use super::sorter::{Frames, Positions, Sorter};
use super::sources::Sources;
use super::uinput::UinputDevice;
use super::wire::Event;
use crate::one_line;

/// How often to look whether udev has seen the devices, once a window has something to say.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a driver may take to come.
const DRIVER_TIME: Duration = Duration::from_secs(5);

/// Makes the transport of a device.
pub type Create<'a> =
    &'a mut dyn FnMut(&DeviceConfig) -> Result<Box<dyn Transport>, TransportError>;

/// What serves the devices' drivers.
pub enum Backing<'a> {
    /// virtio-input devices on transports of ours.
    Virtio(Create<'a>),
    /// The kernel's uinput.
    Uinput,
}

/// What the devices shall be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The name of the GPU.
    pub name: String,
    /// Its scanouts; each has a device of every kind.
    pub scanouts: u32,
    /// Input devices of others whose events are passed on.
    pub sources: Vec<SourceOptions>,
    /// Windows may send events to devices of the desktop's own seat, too.
    pub any_seat: bool,
}

/// What the thread asks and tells.
pub struct Hooks {
    /// The size of the frame that a scanout shows, in pixels.
    pub frame_size: Box<dyn FnMut(u32) -> Option<(u32, u32)> + Send>,
    /// What the driver of a scanout's device has said: lights, sounds, repetition.
    pub status: Box<dyn FnMut(u32, DeviceKind, Event) + Send>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// A device of ours.
#[derive(Debug)]
enum Sink {
    Virtio(Box<VirtioInput>),
    Uinput(UinputDevice),
}

impl Sink {
    fn send(&mut self, frame: &[Event]) -> Result<(), InputError> {
        match self {
            Self::Virtio(device) => device.send(frame),
            Self::Uinput(device) => device.send(frame),
        }
    }

    fn has_driver(&self) -> bool {
        match self {
            Self::Virtio(device) => device.has_driver(),
            Self::Uinput(_) => true,
        }
    }

    fn lost_frames(&self) -> u64 {
        match self {
            Self::Virtio(device) => device.dropped(),
            // The kernel has no bound of ours.
            Self::Uinput(_) => 0,
        }
    }

    fn sysfs_path(&self) -> Option<PathBuf> {
        match self {
            Self::Virtio(device) => device.sysfs_path(),
            Self::Uinput(device) => device.sysfs_path(),
        }
    }
}

/// Whose a descriptor is. Each has a number for the epoll set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Router,
    Sink(usize, Wake),
    Source(usize),
    /// A source may have come back.
    Watch,
}

impl Token {
    const SOURCES: u64 = 1 << 32;
    const WATCH: u64 = u64::MAX;

    fn number(self) -> u64 {
        match self {
            Self::Router => 0,
            Self::Sink(index, wake) => {
                let wake = match wake {
                    Wake::Driver => 1,
                    Wake::Events => 2,
                    Wake::Status => 3,
                };
                index as u64 * 4 + wake
            }
            Self::Source(index) => Self::SOURCES + index as u64,
            Self::Watch => Self::WATCH,
        }
    }

    fn of(number: u64) -> Self {
        if number == Self::WATCH {
            return Self::Watch;
        }
        if let Some(index) = number.checked_sub(Self::SOURCES) {
            return Self::Source(index as usize);
        }
        let index = (number / 4) as usize;
        match number % 4 {
            1 => Self::Sink(index, Wake::Driver),
            2 => Self::Sink(index, Wake::Events),
            3 => Self::Sink(index, Wake::Status),
            _ => Self::Router,
        }
    }
}

/// A device of a scanout; `None` once it has failed.
type Slot = (u32, DeviceKind, Option<Sink>);

/// The devices of a GPU, and the thread that serves them. Dropping it removes them; what is held goes
/// up first.
#[derive(Debug)]
pub struct InputService {
    router: Router,
    thread: Option<JoinHandle<()>>,
}

impl InputService {
    /// Makes the devices, and takes what `router` is sent.
    ///
    /// # Errors
    ///
    /// A device cannot be made, or a source not opened.
    pub fn start(
        options: &Options,
        router: &Router,
        mut backing: Backing<'_>,
        hooks: Hooks,
    ) -> Result<Self, InputError> {
        let mut service = Service {
            router: router.clone(),
            epoll: Epoll::new().map_err(failed("making an epoll set"))?,
            sinks: Vec::new(),
            sources: Sources::default(),
            lights: BTreeMap::new(),
            contacts: BTreeMap::new(),
            windows: BTreeMap::new(),
            seat: if options.any_seat { Some(Seat::Own) } else { None },
            look_at: None,
            driver_expected: Some(Instant::now() + DRIVER_TIME),
            hooks,
        };
        service.listen(router.fd(), Token::Router)?;
        for source in &options.sources {
            let (scanout, path) = (source.scanout, source.path.clone());
            if scanout >= options.scanouts {
                return Err(InputError::NoScanout { scanout, path });
            }
            let number = service.sources.open(source)?;
            service.take_source(number)?;
        }
        for scanout in 0..options.scanouts {
            for kind in DeviceKind::ALL {
                let capabilities = kind.capabilities(&options.name, scanout);
                let sink = match &mut backing {
                    Backing::Virtio(create) => {
                        let name = transport_name(&options.name, scanout, kind);
                        let transport = create(&device_config(&name, &capabilities))?;
                        Sink::Virtio(Box::new(VirtioInput::new(transport)?))
                    }
                    Backing::Uinput => Sink::Uinput(UinputDevice::new(&capabilities)?),
                };
                service.add_sink(scanout, kind, sink)?;
            }
        }
        router.open();
        let thread = std::thread::Builder::new()
            .name("input".into())
            .spawn(move || service.run())
            .map_err(failed("starting the input thread"))?;
        Ok(Self { router: router.clone(), thread: Some(thread) })
    }
}

impl Drop for InputService {
    fn drop(&mut self) {
        self.router.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the input thread failed; this is a bug");
        }
    }
}

struct Service {
    router: Router,
    epoll: Epoll,
    sinks: Vec<Slot>,
    sources: Sources,
    /// What a scanout's driver wants of its lights, for sources that come back.
    lights: BTreeMap<u32, BTreeMap<u16, i32>>,
    /// By scanout: what its sources touch.
    contacts: BTreeMap<u32, Contacts>,
    /// By scanout.
    windows: BTreeMap<u32, Sorter>,
    /// Whose the devices are, once that is known.
    seat: Option<Seat>,
    /// When to look again.
    look_at: Option<Instant>,
    /// From when on it is worth a word if there is something to say and nobody to hear it.
    driver_expected: Option<Instant>,
    hooks: Hooks,
}

impl Service {
    fn listen(&self, fd: RawFd, token: Token) -> Result<(), InputError> {
        let event = EpollEvent::new(EventSet::IN, token.number());
        self.epoll
            .ctl(ControlOperation::Add, fd, event)
            .map_err(failed("waiting for an input device"))
    }

    fn add_sink(&mut self, scanout: u32, kind: DeviceKind, sink: Sink) -> Result<(), InputError> {
        if let Sink::Virtio(device) = &sink {
            for (wake, fd) in device.fds() {
                self.listen(fd, Token::Sink(self.sinks.len(), wake))?;
            }
        }
        self.sinks.push((scanout, kind, Some(sink)));
        Ok(())
    }

    fn run(mut self) {
        let mut ready = [EpollEvent::default(); 16];
        loop {
            let count = match self.epoll.wait(-1, &mut ready) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::error!("the input devices are given up: waiting failed: {error}");
                    break;
                }
            };
            let mut stop = false;
            for event in ready.iter().take(count) {
                match Token::of(event.data()) {
                    Token::Router => stop |= self.take_mail(),
                    Token::Sink(index, wake) => self.serve_sink(index, wake),
                    Token::Source(index) => self.serve_source(index),
                    Token::Watch => self.look_for_sources(),
                }
            }
            if stop {
                break;
            }
        }
        self.router.close();
        self.release_windows(None);
        for index in 0..self.sources.count() {
            self.lose_source(index);
        }
    }

    /// True: the thread shall end.
    fn take_mail(&mut self) -> bool {
        let mail = self.router.take();
        for message in mail.messages {
            match message {
                Message::Release(scanout) => self.release_windows(scanout),
                Message::Event { scanout, event } => self.window_event(scanout, event),
            }
        }
        for asker in mail.asked {
            // One that does not wait any more misses nothing.
            let _ = asker.try_send(self.overview());
        }
        mail.stop
    }

    fn overview(&self) -> Overview {
        let of = |(scanout, kind, sink): &Slot| {
            let sink = sink.as_ref()?;
            Some(DeviceOverview {
                scanout: *scanout,
                kind: *kind,
                has_driver: sink.has_driver(),
                lost_frames: sink.lost_frames(),
                sysfs: sink.sysfs_path(),
            })
        };
        Overview {
            devices: self.sinks.iter().filter_map(of).collect(),
            sources: self.sources.overview(),
            windows: self.seat.map(|seat| seat == Seat::Own),
        }
    }

    fn window_event(&mut self, scanout: u32, event: Event) {
        if !self.may_take_windows() {
            return;
        }
        // Only the end of a frame has anything placed.
        let ends = event.kind == EV_SYN;
        let size = if ends { (self.hooks.frame_size)(scanout) } else { None };
        let positions = match size {
            Some((width, height)) if width > 0 && height > 0 => Positions::Pixels { width, height },
            _ => Positions::Unknown,
        };
        let contacts = self.contacts.entry(scanout).or_default();
        let frames = self.windows.entry(scanout).or_default().push(event, positions, contacts);
        self.send(scanout, &frames);
    }

    /// Whether a window's events go where they do not come back from.
    fn may_take_windows(&mut self) -> bool {
        let now = Instant::now();
        if self.seat.is_none() && self.look_at.is_none_or(|time| time <= now) {
            self.look_at = Some(now + LOOK_AGAIN);
            let sinks = self.sinks.iter().filter_map(|(_, _, sink)| sink.as_ref());
            let parents: Vec<PathBuf> = sinks.filter_map(Sink::sysfs_path).collect();
            self.seat = if parents.is_empty() {
                // Not the kernel's.
                Some(Seat::Own)
            } else {
                let seats: Option<Vec<Seat>> = parents.iter().map(|path| seat::of(path)).collect();
                seats.map(
                    |seats| {
                        if seats.contains(&Seat::Shared) { Seat::Shared } else { Seat::Own }
                    },
                )
            };
            if self.seat.is_none() && self.driver_is_late() {
                log::warn!(
                    "what windows get is not passed on yet: udev has not seen all of the input devices \
                     (modprobe virtio_input)"
                );
            }
            if self.seat == Some(Seat::Shared) {
                log::warn!(
                    "what windows get is not passed on: the input devices belong to this desktop's \
                     own seat, which would get it again; install the udev rules of packaging/udev, \
                     or use --input-any-seat if nothing here reads input devices"
                );
            }
        }
        self.seat == Some(Seat::Own)
    }

    /// True once, when a driver should have come by now.
    fn driver_is_late(&mut self) -> bool {
        self.driver_expected.take_if(|at| *at <= Instant::now()).is_some()
    }

    fn release_windows(&mut self, scanout: Option<u32>) {
        let windows = self.windows.iter_mut();
        let released: Vec<(u32, Frames)> = windows
            .filter(|(number, _)| scanout.is_none_or(|scanout| scanout == **number))
            .map(|(number, sorter)| {
                let contacts = self.contacts.entry(*number).or_default();
                (*number, sorter.release(contacts))
            })
            .collect();
        for (scanout, frames) in released {
            self.send(scanout, &frames);
        }
    }

    fn send(&mut self, scanout: u32, frames: &Frames) {
        for (index, (of, kind, sink)) in self.sinks.iter_mut().enumerate() {
            let frame = if *of == scanout { frames.get(kind) } else { None };
            let (Some(frame), Some(device)) = (frame, sink.as_mut()) else { continue };
            let late = self.driver_expected.is_some_and(|at| at <= Instant::now());
            if late && !device.has_driver() {
                self.driver_expected = None;
                log::warn!("no driver uses the {kind} of scanout {of} (modprobe virtio_input)");
            }
            if let Err(error) = device.send(frame) {
                give_up(index, *of, *kind, sink, &error);
            }
        }
    }

    fn serve_sink(&mut self, index: usize, wake: Wake) {
        let Some((scanout, kind, sink)) = self.sinks.get_mut(index) else { return };
        let Some(Sink::Virtio(device)) = sink else { return };
        let mut said = Vec::new();
        if let Err(error) = device.serve(wake, |event| said.push(event)) {
            give_up(index, *scanout, *kind, sink, &error);
        }
        let (scanout, kind) = (*scanout, *kind);
        for event in said {
            if event.kind == EV_LED {
                self.lights.entry(scanout).or_default().insert(event.code, event.value);
            }
            self.sources.of_scanout(scanout).for_each(|source| source.show(event));
            (self.hooks.status)(scanout, kind, event);
        }
    }

    fn serve_source(&mut self, index: usize) {
        let Some(source) = self.sources.get(index) else { return };
        let scanout = source.options().scanout;
        let mut sorted = Vec::new();
        let contacts = self.contacts.entry(scanout).or_default();
        let read = source.read(contacts, |frames| sorted.push(frames));
        for frames in sorted {
            self.send(scanout, &frames);
        }
        if let Err(error) = read {
            if let Some(source) = self.sources.get(index) {
                log::warn!("input: {} is gone: {error}", source.options().path.display());
            }
            self.lose_source(index);
            self.look_for_sources();
        }
    }

    /// A source is gone: what it held goes up.
    fn lose_source(&mut self, index: usize) {
        let Some(source) = self.sources.get(index) else { return };
        let scanout = source.options().scanout;
        let frames = self.sources.lose(index, self.contacts.entry(scanout).or_default());
        self.send(scanout, &frames);
    }

    /// Takes sources that have come back, and awaits those that are gone.
    fn look_for_sources(&mut self) {
        for index in self.sources.look_again() {
            if let Err(error) = self.take_source(index) {
                log::warn!("input: a source that is back is given up: {}", one_line(&error));
                self.lose_source(index);
            }
        }
        let watched = self.sources.watched().map(|fd| self.listen(fd, Token::Watch));
        if let Some(Err(error)) = watched {
            log::warn!("input: devices that are gone are not opened again: {}", one_line(&error));
        }
    }

    /// Reads a source from now on. It shows what lights there are.
    fn take_source(&mut self, index: usize) -> Result<(), InputError> {
        let Some(source) = self.sources.get(index) else { return Ok(()) };
        let lights = self.lights.get(&source.options().scanout);
        for (code, value) in lights.into_iter().flatten() {
            source.show(Event::new(EV_LED, *code, *value));
        }
        let (fd, origin, scanout) = (source.fd(), source.origin(), source.options().scanout);
        self.contacts.entry(scanout).or_default().begin(SourceId::Device(index), origin);
        self.listen(fd, Token::Source(index))
    }
}

/// A device that fails is removed; the others go on.
fn give_up(
    index: usize,
    scanout: u32,
    kind: DeviceKind,
    sink: &mut Option<Sink>,
    error: &InputError,
) {
    log::warn!("the {kind} of scanout {scanout} (device {index}) is given up: {}", one_line(error));
    *sink = None;
}
