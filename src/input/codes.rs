//! The codes of `linux/input-event-codes.h` and `linux/input.h` that are used here, under their names
//! there.

#![allow(missing_docs, reason = "the names are the kernel's")]

pub use virtio_loopback_display::codes::{
    ABS_MT_POSITION_X, ABS_MT_POSITION_Y, ABS_MT_SLOT, ABS_MT_TRACKING_ID, ABS_X, ABS_Y, BTN_EXTRA,
    BTN_LEFT, BTN_MIDDLE, BTN_RIGHT, BTN_SIDE, BTN_TOUCH, EV_ABS, EV_KEY, EV_REL, EV_SYN,
    REL_HWHEEL, REL_HWHEEL_HI_RES, REL_WHEEL, REL_WHEEL_HI_RES, REL_X, REL_Y, SYN_REPORT,
};

pub const EV_LED: u16 = 0x11;
pub const EV_SND: u16 = 0x12;
pub const EV_REP: u16 = 0x14;

pub const KEY_SYSRQ: u16 = 99;
pub const KEY_POWER: u16 = 116;
pub const KEY_SLEEP: u16 = 142;
pub const KEY_WAKEUP: u16 = 143;
pub const KEY_SUSPEND: u16 = 205;
pub const KEY_PRINT: u16 = 210;
pub const KEY_BLUETOOTH: u16 = 237;
pub const KEY_WLAN: u16 = 238;
pub const KEY_UWB: u16 = 239;
pub const KEY_WIMAX: u16 = 246;
pub const KEY_RFKILL: u16 = 247;

pub const LED_NUML: u16 = 0x00;
pub const LED_CAPSL: u16 = 0x01;
pub const LED_SCROLLL: u16 = 0x02;

pub const REP_DELAY: u16 = 0x00;
pub const REP_PERIOD: u16 = 0x01;

pub const INPUT_PROP_DIRECT: u16 = 0x01;

pub const BUS_VIRTUAL: u16 = 0x06;
