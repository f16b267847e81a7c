//! Devices of the kernel's uinput, for machines without our module.
//!
//! They have no lights, repeat no keys and have no serial number: the `evdev` crate sets up none of these.
//! Compositors repeat themselves. By their name and ids udev's rules know them.

use std::io;
use std::path::PathBuf;

use evdev::uinput::VirtualDevice;
use evdev::{
    AbsInfo, AbsoluteAxisCode, AttributeSet, BusType, InputEvent, InputId, KeyCode, PropType,
    RelativeAxisCode, UinputAbsSetup,
};

use super::device::{InputError, failed};
use super::table::Capabilities;
use super::wire::Event;

/// A device of uinput. Dropping it removes it.
#[derive(Debug)]
pub struct UinputDevice {
    device: VirtualDevice,
    sysfs: Option<PathBuf>,
}

impl UinputDevice {
    /// Makes a device.
    ///
    /// # Errors
    ///
    /// The kernel has no uinput, or does not let this process use it.
    pub fn new(capabilities: &Capabilities) -> Result<Self, InputError> {
        let mut device = build(capabilities).map_err(failed("making a device of uinput"))?;
        let sysfs = device.get_syspath().ok();
        Ok(Self { device, sysfs })
    }

    /// Says a frame. The kernel's buffers never fill up: its readers lose events then, and know.
    pub fn send(&mut self, frame: &[Event]) -> Result<(), InputError> {
        if frame.is_empty() {
            return Ok(());
        }
        let events: Vec<InputEvent> = frame
            .iter()
            .map(|event| InputEvent::new(event.kind, event.code, event.value))
            .collect();
        self.device.emit(&events).map_err(failed("writing to uinput"))
    }

    /// Where the device is in sysfs.
    pub fn sysfs_path(&self) -> Option<PathBuf> {
        self.sysfs.clone()
    }
}

fn build(capabilities: &Capabilities) -> io::Result<VirtualDevice> {
    let ids = capabilities.ids;
    let properties: AttributeSet<_> =
        capabilities.properties.iter().copied().map(PropType).collect();
    let mut builder = VirtualDevice::builder()?
        .name(capabilities.name.as_str())
        .input_id(InputId::new(
            BusType(ids.bus.get()),
            ids.vendor.get(),
            ids.product.get(),
            ids.version.get(),
        ))
        .with_properties(&properties)?;
    if !capabilities.keys.is_empty() {
        let keys: AttributeSet<_> = capabilities.keys.iter().copied().map(KeyCode).collect();
        builder = builder.with_keys(&keys)?;
    }
    if !capabilities.relative.is_empty() {
        let axes: AttributeSet<_> =
            capabilities.relative.iter().copied().map(RelativeAxisCode).collect();
        builder = builder.with_relative_axes(&axes)?;
    }
    for (axis, info) in &capabilities.absolute {
        let info = AbsInfo::new(
            0,
            info.min.get(),
            info.max.get(),
            info.fuzz.get(),
            info.flat.get(),
            info.resolution.get(),
        );
        let axis = AbsoluteAxisCode(u16::from(*axis));
        builder = builder.with_absolute_axis(&UinputAbsSetup::new(axis, info))?;
    }
    builder.build()
}
