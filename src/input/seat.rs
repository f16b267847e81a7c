//! Whose devices ours are: a window must not type into the desktop that it is on.
//!
//! Our devices are the host's, too. A display server of the seat that they belong to reads them, and
//! what a window on it passes on would come back to that window, and again, and again. So a window's
//! events are passed on only if udev gives the devices to another seat (`packaging/udev/`), or if there
//! is no udev, hence no display server that looks for devices.

use std::fs;
use std::path::{Path, PathBuf};

/// Where udev has what it knows of devices.
const DATABASE: &str = "/run/udev/data";
/// Is there as long as udev is.
const CONTROL: &str = "/run/udev/control";

/// Whose a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// Not the desktop's.
    Own,
    /// That of whoever sits there: `seat0`, or none in particular.
    Shared,
}

/// Whose the devices below a directory of sysfs are. `None`: there are none yet, or udev has not seen
/// them yet.
#[must_use]
pub fn of(parent: &Path) -> Option<Seat> {
    if !Path::new(CONTROL).exists() {
        return Some(Seat::Own);
    }
    Some(by_entry(&entry(parent)?))
}

/// The name of the seat that the device below a directory of sysfs belongs to. `None`: there is none yet,
/// or udev does not know it.
#[must_use]
pub fn name(parent: &Path) -> Option<String> {
    Some(property(&entry(parent)?, "ID_SEAT").unwrap_or("seat0").to_owned())
}

/// The event device of the one below a directory of sysfs. udev and devtmpfs name it as the kernel does.
#[must_use]
pub fn event_device(parent: &Path) -> Option<PathBuf> {
    Some(Path::new("/dev/input").join(node(parent)?.file_name()?))
}

/// What udev's database has of the device below a directory of sysfs.
fn entry(parent: &Path) -> Option<String> {
    let device = fs::read_to_string(node(parent)?.join("dev")).ok()?;
    fs::read_to_string(format!("{DATABASE}/c{}", device.trim())).ok()
}

/// The directory of the event device at or below `parent`:
/// `virtio-loopback.N/virtioN/input/inputN/eventN`.
fn node(parent: &Path) -> Option<PathBuf> {
    let mut directories = vec![parent.to_owned()];
    for _ in 0..4 {
        let mut below = Vec::new();
        for entry in directories.iter().filter_map(|path| fs::read_dir(path).ok()).flatten() {
            let Ok(entry) = entry else { continue };
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            if name.starts_with("event") && path.join("dev").exists() {
                return Some(path);
            }
            if name.starts_with("virtio") || name.starts_with("input") {
                below.push(path);
            }
        }
        directories = below;
    }
    None
}

/// What an entry of udev's database says.
fn by_entry(entry: &str) -> Seat {
    match property(entry, "ID_SEAT") {
        Some(seat) if seat != "seat0" => Seat::Own,
        _ if property(entry, "LIBINPUT_IGNORE_DEVICE") == Some("1") => Seat::Own,
        _ => Seat::Shared,
    }
}

fn property<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = entry.lines();
    lines.find_map(|line| line.strip_prefix("E:")?.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udev_says_whose_a_device_is() {
        assert_eq!(by_entry("I:12\nE:ID_INPUT=1\nE:ID_SEAT=seat-cluster\nG:seat\n"), Seat::Own);
        assert_eq!(by_entry("I:12\nE:ID_INPUT=1\n"), Seat::Shared);
        assert_eq!(by_entry("E:ID_SEAT=seat0\n"), Seat::Shared);
        assert_eq!(by_entry("E:ID_SEATS=x\n"), Seat::Shared);
        assert_eq!(by_entry("E:LIBINPUT_IGNORE_DEVICE=1\n"), Seat::Own);
    }

    #[test]
    fn the_node_is_found_where_the_kernel_has_it() {
        let top = tempfile::tempdir().unwrap();
        assert_eq!(node(top.path()), None);
        let event = top.path().join("virtio3/input/input12/event4");
        fs::create_dir_all(top.path().join("virtio3/power")).unwrap();
        fs::create_dir_all(&event).unwrap();
        assert_eq!(node(top.path()), None);
        fs::write(event.join("dev"), "13:68\n").unwrap();
        assert_eq!(node(top.path()), Some(event.clone()));
        assert_eq!(node(event.parent().unwrap()), Some(event));
        assert_eq!(event_device(top.path()), Some("/dev/input/event4".into()));
    }
}
