//! The devices that each scanout has.

use std::collections::BTreeMap;
use std::fmt;

use super::codes::{
    ABS_MT_POSITION_X, ABS_MT_POSITION_Y, ABS_MT_SLOT, ABS_MT_TRACKING_ID, ABS_X, ABS_Y, BTN_EXTRA,
    BTN_LEFT, BTN_MIDDLE, BTN_RIGHT, BTN_SIDE, BTN_TOUCH, BUS_VIRTUAL, INPUT_PROP_DIRECT,
    KEY_BLUETOOTH, KEY_POWER, KEY_RFKILL, KEY_SLEEP, KEY_SUSPEND, KEY_SYSRQ, KEY_UWB, KEY_WAKEUP,
    KEY_WIMAX, KEY_WLAN, LED_CAPSL, LED_NUML, LED_SCROLLL, REL_HWHEEL, REL_HWHEEL_HI_RES,
    REL_WHEEL, REL_WHEEL_HI_RES, REL_X, REL_Y,
};
use super::table::Capabilities;
use super::wire::{AbsInfo, DevIds};

/// The greatest position on an axis of a pointer or a touch screen; the least is 0. The frame's last
/// pixel is there, however large the frame is.
pub const MAX_POSITION: i32 = 32767;
/// Contacts of a touch screen at once.
pub const MAX_CONTACTS: i32 = 16;
/// Greatest tracking id, as of the kernel's own drivers.
const MAX_TRACKING_ID: i32 = 65535;

/// Keys that the host itself would act upon, whoever has the device: the kernel's magic SysRq and its
/// radio switches, and the power keys of its service manager. The device does not have them. What is
/// on the key SysRq besides, Print, comes as `KEY_PRINT`.
const HOST_KEYS: [u16; 10] = [
    KEY_SYSRQ,
    KEY_POWER,
    KEY_SLEEP,
    KEY_WAKEUP,
    KEY_SUSPEND,
    KEY_BLUETOOTH,
    KEY_WLAN,
    KEY_UWB,
    KEY_WIMAX,
    KEY_RFKILL,
];
/// The last key of an ordinary keyboard (`KEY_MICMUTE`).
const LAST_KEY: u16 = 248;

/// Whether a keyboard of ours has a key.
#[must_use]
pub fn has_key(code: u16) -> bool {
    (1..=LAST_KEY).contains(&code) && !HOST_KEYS.contains(&code)
}

/// Red Hat, as of virtio; the products are ours.
const VENDOR: u16 = 0x1af4;

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// Keys and lights.
    Keyboard,
    /// A pointer that says where it is.
    Pointer,
    /// A pointer that says how far it has moved.
    Mouse,
    /// A touch screen.
    Touch,
}

impl DeviceKind {
    /// All of them: what a scanout has.
    pub const ALL: [Self; 4] = [Self::Keyboard, Self::Pointer, Self::Mouse, Self::Touch];

    /// What the device of a scanout is and can say. `name` is that of the GPU.
    #[must_use]
    pub fn capabilities(self, name: &str, scanout: u32) -> Capabilities {
        let mut capabilities = Capabilities {
            name: format!("{name} scanout {scanout} {self}"),
            serial: name.to_owned(),
            ids: DevIds {
                bus: BUS_VIRTUAL.into(),
                vendor: VENDOR.into(),
                product: self.product().into(),
                version: 1.into(),
            },
            ..Capabilities::default()
        };
        let axis = |max: i32| AbsInfo { max: max.into(), ..AbsInfo::default() };
        let axes = |axes: &[(u16, i32)]| -> BTreeMap<u8, AbsInfo> {
            // Axes have six bits.
            axes.iter().map(|(code, max)| (*code as u8, axis(*max))).collect()
        };
        let plane = [(ABS_X, MAX_POSITION), (ABS_Y, MAX_POSITION)];
        let buttons = vec![BTN_LEFT, BTN_RIGHT, BTN_MIDDLE, BTN_SIDE, BTN_EXTRA];
        let wheels = [REL_WHEEL, REL_HWHEEL, REL_WHEEL_HI_RES, REL_HWHEEL_HI_RES];
        match self {
            Self::Keyboard => {
                capabilities.keys = (1..=LAST_KEY).filter(|key| has_key(*key)).collect();
                capabilities.leds = vec![LED_NUML, LED_CAPSL, LED_SCROLLL];
                capabilities.repeats = true;
            }
            Self::Pointer => {
                capabilities.keys = buttons;
                capabilities.relative = wheels.to_vec();
                capabilities.absolute = axes(&plane);
            }
            Self::Mouse => {
                capabilities.keys = buttons;
                capabilities.relative = [&[REL_X, REL_Y][..], &wheels].concat();
            }
            Self::Touch => {
                capabilities.properties = vec![INPUT_PROP_DIRECT];
                capabilities.keys = vec![BTN_TOUCH];
                capabilities.absolute = axes(&[
                    (ABS_MT_SLOT, MAX_CONTACTS - 1),
                    (ABS_MT_TRACKING_ID, MAX_TRACKING_ID),
                    (ABS_MT_POSITION_X, MAX_POSITION),
                    (ABS_MT_POSITION_Y, MAX_POSITION),
                ]);
                capabilities.absolute.extend(axes(&plane));
            }
        }
        capabilities
    }

    const fn product(self) -> u16 {
        match self {
            Self::Keyboard => 0x0101,
            Self::Pointer => 0x0102,
            Self::Mouse => 0x0103,
            Self::Touch => 0x0104,
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyboard => "keyboard",
            Self::Pointer => "pointer",
            Self::Mouse => "mouse",
            Self::Touch => "touch",
        })
    }
}
