//! Somebody's input device, `/dev/input/eventN`, as a source.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::str::FromStr;

use evdev::raw_stream::RawDevice;
use evdev::{InputId, KeyCode, LedCode, PropType, RelativeAxisCode};
use rustix::fs::OFlags;

use super::codes::{
    ABS_MT_POSITION_X, ABS_MT_POSITION_Y, ABS_MT_SLOT, ABS_X, ABS_Y, EV_ABS, EV_LED, EV_SYN,
    SYN_REPORT,
};
use super::contacts::{Contacts, Position, SourceId};
use super::device::InputError;
use super::kind::DeviceKind;
use super::sorter::{Frames, Positions, Sorter, scale};
use super::wire::Event;

/// `SYN_DROPPED`: the kernel has lost events of the device up to the next report.
const SYN_DROPPED: u16 = 3;

/// Which device, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// The device, `/dev/input/eventN`.
    pub path: PathBuf,
    /// Where its events go.
    pub scanout: u32,
    /// Whether nobody else gets them.
    pub grab: bool,
}

/// Why the words after a device cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceOptionsError {
    /// There is no path.
    #[error("the device is missing, such as /dev/input/event3")]
    NoDevice,
    /// A word is none of these.
    #[error("{0:?} is neither scanout=N nor grab")]
    Word(String),
    /// That is no scanout's number.
    #[error("{0:?} is no scanout's number")]
    Scanout(String),
}

impl FromStr for SourceOptions {
    type Err = SourceOptionsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(',');
        let path = words.next().filter(|path| !path.is_empty());
        let path = path.ok_or(SourceOptionsError::NoDevice)?;
        let mut options = Self { path: path.into(), scanout: 0, grab: false };
        for word in words {
            match word.split_once('=') {
                Some(("scanout", number)) => {
                    let error = |_| SourceOptionsError::Scanout(number.to_owned());
                    options.scanout = number.parse().map_err(error)?;
                }
                None if word == "grab" => options.grab = true,
                _ => return Err(SourceOptionsError::Word(word.to_owned())),
            }
        }
        Ok(options)
    }
}

/// What a device is known by when it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Bus, vendor, product and version.
    ids: InputId,
    name: Option<String>,
    /// Its serial number, if it has one.
    unique: Option<String>,
}

impl Identity {
    fn of(device: &RawDevice) -> Self {
        Self {
            ids: device.input_id(),
            name: device.name().map(str::to_owned),
            unique: device.unique_name().map(str::to_owned),
        }
    }

    /// What it calls itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// A device that is read.
#[derive(Debug)]
pub struct EvdevSource {
    device: RawDevice,
    options: SourceOptions,
    /// Ranges of its axes, by code.
    axes: BTreeMap<u16, (i64, i64)>,
    sorter: Sorter,
    /// The kernel has lost events, so that what comes up to the next report is of no use.
    dropped: bool,
}

impl EvdevSource {
    /// Begins to read a device, as that source. With `known` it is one that comes back: others often get the number of a
    /// device that is gone, and nobody has said that these shall be read, or even grabbed.
    ///
    /// # Errors
    ///
    /// It cannot be opened, is one that has no counterpart here, or is not the one that is known.
    pub fn open(
        options: &SourceOptions,
        source: SourceId,
        known: Option<&Identity>,
    ) -> Result<Self, InputError> {
        let cannot = |what| {
            let path = options.path.clone();
            move |source| InputError::Source { what, path, source }
        };
        let device = RawDevice::open(&options.path).map_err(cannot("open"))?;
        if known.is_some_and(|known| *known != Identity::of(&device)) {
            let name = device.name().unwrap_or("without a name").to_owned();
            return Err(InputError::OtherDevice { path: options.path.clone(), name });
        }
        rustix::fs::fcntl_setfl(&device, OFlags::NONBLOCK)
            .map_err(|errno| cannot("set up")(errno.into()))?;
        let mut slot = 0;
        let mut axes = BTreeMap::new();
        let infos = device.get_absinfo().map_err(cannot("read the axes of"))?;
        for (axis, info) in infos {
            axes.insert(axis.0, (info.minimum().into(), info.maximum().into()));
            // It says a slot only when that is another than the last one.
            if axis.0 == ABS_MT_SLOT {
                slot = info.value();
            }
        }
        let direct = device.properties().contains(PropType::DIRECT);
        let touched = device.supported_keys().is_some_and(|keys| keys.contains(KeyCode::BTN_TOUCH));
        if touched && !direct {
            let kind = io::Error::new(io::ErrorKind::Unsupported, "it is a touchpad or a tablet");
            return Err(cannot("use")(kind));
        }
        let options = options.clone();
        let moves = device.supported_relative_axes();
        let is_mouse = moves.is_some_and(|axes| axes.contains(RelativeAxisCode::REL_X));
        let pointer = if is_mouse { DeviceKind::Mouse } else { DeviceKind::Pointer };
        let sorter = Sorter::new(source, pointer, slot);
        let mut source = Self { device, options, axes, sorter, dropped: false };
        log::info!(
            "input: {} ({}) for scanout {}",
            source.options.path.display(),
            source.device.name().unwrap_or("without a name"),
            source.options.scanout
        );
        source.grab_when_idle();
        Ok(source)
    }

    /// Where it becomes readable.
    pub fn fd(&self) -> RawFd {
        self.device.as_fd().as_raw_fd()
    }

    /// What it is known by.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.device)
    }

    /// Where its contacts are until it says something of them.
    pub fn origin(&self) -> Position {
        let scaled = |axis| self.axes.get(&axis).map(|(min, max)| scale(0, *min, *max));
        [ABS_MT_POSITION_X, ABS_MT_POSITION_Y].map(scaled)
    }

    /// What it was opened as.
    pub fn options(&self) -> &SourceOptions {
        &self.options
    }

    /// Whether nobody else gets its events now.
    pub fn is_grabbed(&self) -> bool {
        self.device.is_grabbed()
    }

    /// Whoever has seen a key go down has to see it go up.
    fn grab_when_idle(&mut self) {
        if !self.options.grab || self.device.is_grabbed() {
            return;
        }
        let idle = self.device.get_key_state().is_ok_and(|keys| keys.iter().next().is_none());
        if idle && let Err(error) = self.device.grab() {
            log::warn!("input: {} is somebody else's: {error}", self.options.path.display());
            self.options.grab = false;
        }
    }

    /// Takes what there is, and hands frames on; `contacts` are those of its scanout.
    ///
    /// # Errors
    ///
    /// The device is gone.
    pub fn read(
        &mut self,
        contacts: &mut Contacts,
        mut send: impl FnMut(Frames),
    ) -> io::Result<()> {
        let events: Vec<Event> = match self.device.fetch_events() {
            Ok(events) => events
                .map(|event| Event::new(event.event_type().0, event.code(), event.value()))
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        for event in events {
            match (event.kind, event.code) {
                (EV_SYN, SYN_DROPPED) => self.dropped = true,
                (EV_SYN, SYN_REPORT) if std::mem::take(&mut self.dropped) => {
                    // What has gone up meanwhile is not told again.
                    send(self.sorter.release(contacts));
                }
                _ if self.dropped => {}
                _ => {
                    let event = self.converted(event);
                    send(self.sorter.push(event, Positions::Device, contacts));
                }
            }
        }
        self.grab_when_idle();
        Ok(())
    }

    /// Positions as those of our devices.
    fn converted(&self, event: Event) -> Event {
        let is_position =
            [ABS_X, ABS_Y, ABS_MT_POSITION_X, ABS_MT_POSITION_Y].contains(&event.code);
        match self.axes.get(&event.code) {
            Some((min, max)) if event.kind == EV_ABS && is_position => {
                Event { value: scale(event.value, *min, *max), ..event }
            }
            _ => event,
        }
    }

    /// What it holds goes up.
    pub fn release(&mut self, contacts: &mut Contacts) -> Frames {
        self.sorter.release(contacts)
    }

    /// Has the device show what the driver wants of its lights.
    pub fn show(&mut self, event: Event) {
        let has =
            self.device.supported_leds().is_some_and(|leds| leds.contains(LedCode(event.code)));
        if event.kind != EV_LED || !has {
            return;
        }
        let event = evdev::InputEvent::new(event.kind, event.code, event.value);
        if let Err(error) = self.device.send_events(&[event]) {
            log::debug!("input: {} shows no light: {error}", self.options.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_scanout_and_may_be_grabbed() {
        let parse = |text: &str| text.parse::<SourceOptions>();
        let event3 =
            |scanout, grab| SourceOptions { path: "/dev/input/event3".into(), scanout, grab };
        assert_eq!(parse("/dev/input/event3"), Ok(event3(0, false)));
        assert_eq!(parse("/dev/input/event3,grab"), Ok(event3(0, true)));
        assert_eq!(parse("/dev/input/event3,scanout=15,grab"), Ok(event3(15, true)));
        assert_eq!(parse(""), Err(SourceOptionsError::NoDevice));
        assert_eq!(parse(",grab"), Err(SourceOptionsError::NoDevice));
        for (text, word) in [("/x,", ""), ("/x,grab=1", "grab=1"), ("/x,output=1", "output=1")] {
            assert_eq!(parse(text), Err(SourceOptionsError::Word(word.into())));
        }
        for number in ["", "-1", "x", "4294967296"] {
            let error = SourceOptionsError::Scanout(number.into());
            assert_eq!(parse(&format!("/x,scanout={number}")), Err(error));
        }
    }

    #[test]
    fn what_is_no_input_device_is_refused() {
        let open =
            |path: &str| EvdevSource::open(&path.parse().unwrap(), SourceId::Device(0), None);
        for path in ["/dev/null", "/dev/input/there-is-none"] {
            let error = open(path).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot open the input device {path}"));
        }
    }
}
