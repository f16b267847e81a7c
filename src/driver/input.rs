//! The driver of an input device, as the kernel's `virtio_input` is (`drivers/virtio/virtio_input.c`).

use std::collections::BTreeMap;
use std::time::Duration;

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::error::DriverError;
use super::memory::Region;
use super::queue::{Part, Queue, QueueError, Token};
use super::virtio::Driver;
use crate::input::codes::{EV_ABS, EV_KEY, EV_LED, EV_REL, EV_REP};
use crate::input::wire::{AbsInfo, DevIds, EVENT_QUEUE, Event, STATUS_QUEUE, WireEvent, select};

/// Buffers for events: so many has the kernel's driver, if the queue is long enough.
const BUFFERS: u16 = 64;
/// Bytes of an event.
const EVENT_BYTES: u32 = size_of::<WireEvent>() as u32;
/// Where size and answer are in the configuration space.
const SIZE: u32 = 2;
const ANSWER: u32 = 8;
/// Axes there may be (`ABS_CNT`).
const AXES: u8 = 0x40;

/// What a device says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputDescription {
    /// Its name.
    pub name: String,
    /// Its serial number.
    pub serial: String,
    /// Bus, vendor, product, version.
    pub ids: [u16; 4],
    /// `INPUT_PROP_*`.
    pub properties: Vec<u16>,
    /// Codes by event type.
    pub codes: BTreeMap<u16, Vec<u16>>,
    /// Least and greatest value by axis.
    pub axes: BTreeMap<u8, (i32, i32)>,
}

/// A driver of an input device.
#[derive(Debug)]
pub struct InputDriver {
    driver: Driver,
    events: Queue,
    status: Queue,
    /// Event buffers, one after the other, and then one for what is said.
    buffers: Region,
    /// Which buffer a chain is, by its first descriptor.
    by_token: BTreeMap<u16, u64>,
    description: InputDescription,
}

impl InputDriver {
    /// Asks the device what it is, and gives it buffers.
    pub fn start(mut driver: Driver) -> Result<Self, DriverError> {
        let description = describe(&mut driver)?;
        driver.start(u64::MAX)?;
        let events = driver.take_queue(EVENT_QUEUE)?;
        let status = driver.take_queue(STATUS_QUEUE)?;
        let count = u64::from(BUFFERS) + 1;
        let buffers = driver.memory().allocate(count * u64::from(EVENT_BYTES))?;
        let by_token = BTreeMap::new();
        let mut input = Self { driver, events, status, buffers, by_token, description };
        let count = u64::from(input.events.free().min(BUFFERS));
        for number in 0..count {
            input.give(number)?;
        }
        input.events.kick()?;
        Ok(input)
    }

    /// Begins anew, after a reset.
    pub fn restart(self) -> Result<Self, DriverError> {
        Self::start(self.driver)
    }

    /// What the device is.
    pub fn description(&self) -> &InputDescription {
        &self.description
    }

    fn part(&self, number: u64) -> Result<Part, DriverError> {
        let offset = number * u64::from(EVENT_BYTES);
        let address = self.buffers.locate(offset, EVENT_BYTES.into())?;
        Ok(Part { address, length: EVENT_BYTES })
    }

    fn give(&mut self, number: u64) -> Result<(), DriverError> {
        let part = self.part(number)?;
        let token = self.events.add(&[], &[part])?;
        self.by_token.insert(token.index(), number);
        Ok(())
    }

    fn taken(&mut self, token: Token) -> Result<u64, DriverError> {
        let number = self.by_token.remove(&token.index());
        number.ok_or(DriverError::Queue(QueueError::Broken))
    }

    /// The next event, waited for at most for `timeout`. Its buffer is given again at once.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Event>, DriverError> {
        let Some(used) = self.events.wait_used(timeout)? else { return Ok(None) };
        let number = self.taken(used.token)?;
        let event: WireEvent = self.buffers.get(number * u64::from(EVENT_BYTES))?;
        self.give(number)?;
        self.events.kick()?;
        Ok(Some(event.into()))
    }

    /// Takes a buffer back with its event, and keeps it. For tests of a driver that is slow.
    pub fn withhold(&mut self, timeout: Duration) -> Result<Option<Event>, DriverError> {
        let Some(used) = self.events.wait_used(timeout)? else { return Ok(None) };
        let number = self.taken(used.token)?;
        let event: WireEvent = self.buffers.get(number * u64::from(EVENT_BYTES))?;
        Ok(Some(event.into()))
    }

    /// Gives all buffers that are kept.
    pub fn give_all(&mut self) -> Result<(), DriverError> {
        let given: Vec<u64> = self.by_token.values().copied().collect();
        let count = u64::from(BUFFERS.min(self.events.free() + self.events.outstanding()));
        for number in (0..count).filter(|number| !given.contains(number)) {
            self.give(number)?;
        }
        self.events.kick()?;
        Ok(())
    }

    /// Says something on the status queue, and waits until the device has taken it.
    pub fn say(&mut self, event: Event, timeout: Duration) -> Result<bool, DriverError> {
        self.buffers.put(u64::from(BUFFERS) * u64::from(EVENT_BYTES), &WireEvent::from(event))?;
        let part = self.part(BUFFERS.into())?;
        self.status.add(&[part], &[])?;
        self.status.kick()?;
        Ok(self.status.wait_used(timeout)?.is_some())
    }

    /// The queue of events, for tests of bad chains.
    pub fn event_queue(&mut self) -> &mut Queue {
        &mut self.events
    }

    /// The queue of what the driver says, likewise.
    pub fn status_queue(&mut self) -> &mut Queue {
        &mut self.status
    }

    /// The driver below.
    pub fn driver(&mut self) -> &mut Driver {
        &mut self.driver
    }
}

/// The answer to a question.
fn ask(driver: &mut Driver, select: u8, subsel: u8) -> Result<Vec<u8>, DriverError> {
    driver.write_config(0, &[select])?;
    driver.write_config(1, &[subsel])?;
    let mut size = [0];
    driver.read_config(SIZE, &mut size)?;
    let mut answer = vec![0; size.map(usize::from).iter().sum()];
    driver.read_config(ANSWER, &mut answer)?;
    Ok(answer)
}

fn describe(driver: &mut Driver) -> Result<InputDescription, DriverError> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let mut description = InputDescription {
        name: text(ask(driver, select::ID_NAME, 0)?),
        serial: text(ask(driver, select::ID_SERIAL, 0)?),
        properties: codes(&ask(driver, select::PROP_BITS, 0)?),
        ..InputDescription::default()
    };
    let answer = ask(driver, select::ID_DEVIDS, 0)?;
    if let Ok((ids, _)) = DevIds::ref_from_prefix(&answer) {
        description.ids = [ids.bus, ids.vendor, ids.product, ids.version].map(|id| id.get());
    }
    for kind in [EV_KEY, EV_REL, EV_ABS, EV_LED, EV_REP] {
        // Types have five bits.
        let bits = ask(driver, select::EV_BITS, kind as u8)?;
        if !bits.is_empty() {
            description.codes.insert(kind, codes(&bits));
        }
    }
    let has = description.codes.get(&EV_ABS).cloned().unwrap_or_default();
    for axis in (0..AXES).filter(|axis| has.contains(&u16::from(*axis))) {
        let mut info = AbsInfo::new_zeroed();
        let answer = ask(driver, select::ABS_INFO, axis)?;
        info.as_mut_bytes().iter_mut().zip(&answer).for_each(|(to, from)| *to = *from);
        description.axes.insert(axis, (info.min.get(), info.max.get()));
    }
    Ok(description)
}

/// The codes whose bits are set.
fn codes(bits: &[u8]) -> Vec<u16> {
    let bits = (0_u16..).zip(bits).flat_map(|(number, byte)| {
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| number * 8 + bit)
    });
    bits.collect()
}
