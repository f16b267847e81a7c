//! Input devices of others that are passed on: those that are there, and those that are awaited.
//!
//! One that is unplugged is opened again when it comes back. While all are there nothing is watched, and
//! while one is gone the thread wakes up only when something comes where it was.

use std::os::fd::RawFd;
use std::path::Path;

use super::contacts::{Contacts, SourceId};
use super::device::InputError;
use super::evdev_source::{EvdevSource, Identity, SourceOptions};
use super::overview::SourceOverview;
use super::path_watch::PathWatch;
use super::sorter::Frames;

/// A device that was named.
#[derive(Debug)]
pub struct Source {
    options: SourceOptions,
    /// What it was when it was opened first.
    identity: Identity,
    /// `None` while it is gone.
    device: Option<EvdevSource>,
    /// That another device has taken its place was said.
    told_of_other: bool,
}

impl Source {
    /// Whether it is there.
    pub fn is_there(&self) -> bool {
        self.device.is_some()
    }

    fn is_awaited(&self) -> bool {
        self.device.is_none()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
    /// While one is gone.
    watch: Option<PathWatch>,
}

impl Sources {
    /// Opens a device, and gives its number.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is one that has no counterpart here.
    pub fn open(&mut self, options: &SourceOptions) -> Result<usize, InputError> {
        let number = self.list.len();
        let device = EvdevSource::open(options, SourceId::Device(number), None)?;
        self.list.push(Source {
            options: options.clone(),
            identity: device.identity(),
            device: Some(device),
            told_of_other: false,
        });
        Ok(number)
    }

    /// How many there are, gone or not.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// All of them.
    pub fn overview(&self) -> Vec<SourceOverview> {
        let of = |source: &Source| SourceOverview {
            path: source.options.path.clone(),
            name: source.identity.name().map(str::to_owned),
            scanout: source.options.scanout,
            is_there: source.is_there(),
            is_grabbed: source.device.as_ref().is_some_and(EvdevSource::is_grabbed),
        };
        self.list.iter().map(of).collect()
    }

    /// One that is there.
    pub fn get(&mut self, number: usize) -> Option<&mut EvdevSource> {
        self.list.get_mut(number)?.device.as_mut()
    }

    /// Those that are there and are for a scanout.
    pub fn of_scanout(&mut self, scanout: u32) -> impl Iterator<Item = &mut EvdevSource> {
        let of = self.list.iter_mut().filter(move |source| source.options.scanout == scanout);
        of.filter_map(|source| source.device.as_mut())
    }

    /// One is gone, whose scanout has these contacts. Gives what has to go up there.
    pub fn lose(&mut self, number: usize, contacts: &mut Contacts) -> Frames {
        let source = self.list.get_mut(number);
        let lost = source.and_then(|source| {
            source.told_of_other = false;
            source.device.take()
        });
        let frames = lost.map(|mut device| device.release(contacts)).unwrap_or_default();
        contacts.forget(SourceId::Device(number));
        frames
    }

    /// Where it becomes readable when something may have come back; `None` if nothing is awaited.
    pub fn watched(&self) -> Option<RawFd> {
        self.watch.as_ref().map(PathWatch::fd)
    }

    /// Opens those that have come back, and gives their numbers; others are awaited from now on.
    ///
    /// A device that is dying cannot be opened any more (`evdev_open_device` of the kernel's
    /// `drivers/input/evdev.c`), so that none goes and comes back for ever.
    pub fn look_again(&mut self) -> Vec<usize> {
        self.watch = None;
        // Before they are looked for, so that none comes unnoticed in between.
        let awaited = self.list.iter().filter(|source| source.is_awaited());
        let paths: Vec<&Path> = awaited.map(|source| source.options.path.as_path()).collect();
        let watch = if paths.is_empty() { None } else { Some(PathWatch::new(paths)) };
        let mut back = Vec::new();
        for (number, source) in self.list.iter_mut().enumerate() {
            if source.is_awaited() && source.open_again(number) {
                back.push(number);
            }
        }
        if self.list.iter().any(Source::is_awaited) {
            self.watch = watch.and_then(|watch| {
                let not_awaited = "input: devices that are gone are not opened again";
                watch.inspect_err(|error| log::warn!("{not_awaited}: {error}")).ok()
            });
        }
        back
    }
}

impl Source {
    /// Whether it has come back.
    fn open_again(&mut self, number: usize) -> bool {
        let path = self.options.path.display();
        match EvdevSource::open(&self.options, SourceId::Device(number), Some(&self.identity)) {
            Ok(device) => {
                log::warn!("input: {path} is back");
                self.device = Some(device);
            }
            Err(InputError::OtherDevice { name, .. }) => {
                if !std::mem::replace(&mut self.told_of_other, true) {
                    log::warn!("input: {path} is another device now, {name}, and not passed on");
                }
            }
            Err(error) => log::debug!("input: {path} is not back: {}", crate::one_line(&error)),
        }
        self.is_there()
    }
}
