//! Keyboard, pointers and touch screen for each scanout: virtio-input devices, served in this process.
//!
//! The way of an event: a window's presenter or somebody's input device ([`SourceOptions`]) is a source.
//! Its events are sorted into frames, one for each device that has something to say; a device keeps what
//! its driver has no room for, whole frames only and within a bound, and puts one event into each of the
//! driver's buffers. What the driver says on the status queue goes to whoever asked for it, and lights
//! to the input devices that are sources. See `docs/input.md`.
//!
//! One thread serves all devices of a GPU ([`InputService`]). Other threads send to it by a [`Router`]
//! and never wait.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod codes;
mod contacts;
mod device;
mod evdev_source;
#[cfg(fuzzing)]
pub mod fuzzing;
mod kind;
mod names;
mod outbox;
mod overview;
mod path_watch;
mod rings;
mod router;
mod seat;
mod service;
mod sorter;
mod sources;
mod table;
mod uinput;
pub mod wire;

pub use device::{InputError, VirtioInput, Wake, device_config};
pub use evdev_source::{SourceOptions, SourceOptionsError};
pub use kind::{DeviceKind, MAX_CONTACTS, MAX_POSITION};
pub use overview::{DeviceOverview, Overview, SourceOverview};
pub use router::Router;
pub use service::{Backing, Hooks, InputService, Options};
pub use table::{Capabilities, answer};
