//! What the status page says of input.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the container's input comes from and goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputStatus {
    /// Whether what windows get is passed on; absent as long as udev has not seen all of the devices.
    pub passes_windows: Option<bool>,
    /// What the container gets.
    pub devices: Vec<InputDeviceStatus>,
    /// Input devices of the machine that are passed on.
    pub sources: Vec<InputSourceStatus>,
}

/// An input device of a scanout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDeviceStatus {
    /// Index of the scanout.
    pub scanout: u32,
    /// `keyboard`, `pointer`, `mouse` or `touch`.
    pub kind: String,
    /// Whether a driver uses it.
    pub driver: bool,
    /// Its event device; absent as long as there is none.
    pub node: Option<String>,
    /// Its seat; absent where udev does not know the device.
    pub seat: Option<String>,
    /// Frames of events that the driver was too slow for.
    pub lost_frames: u64,
}

/// An input device of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSourceStatus {
    /// As after `--input-device`.
    pub path: String,
    /// What it calls itself.
    pub name: Option<String>,
    /// Index of the scanout that its events go to.
    pub scanout: u32,
    /// `there`, or `gone`, until it comes back.
    pub state: String,
    /// Whether nobody else gets its events.
    pub grabbed: bool,
}

impl fmt::Display for InputStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for devices in self.devices.chunk_by(|one, two| one.scanout == two.scanout) {
            let Some(InputDeviceStatus { scanout, seat, .. }) = devices.first() else { continue };
            write!(f, "  input     {scanout}")?;
            for (number, device) in devices.iter().enumerate() {
                write!(f, "{} {device}", if number == 0 { "" } else { "," })?;
            }
            match seat {
                Some(seat) => writeln!(f, "; {seat}")?,
                None => writeln!(f)?,
            }
        }
        for source in &self.sources {
            writeln!(f, "  source    {source}")?;
        }
        match self.passes_windows {
            Some(true) => Ok(()),
            Some(false) => writeln!(
                f,
                "  windows   their input is not passed on, for this desktop's own seat has the devices"
            ),
            None => writeln!(
                f,
                "  windows   their input is not passed on yet: udev has not seen the devices"
            ),
        }
    }
}

impl fmt::Display for InputDeviceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.node, self.driver) {
            (Some(node), _) => write!(f, "{} {node}", self.kind)?,
            (None, true) => write!(f, "{} without a node", self.kind)?,
            (None, false) => write!(f, "{} without a driver", self.kind)?,
        }
        match self.lost_frames {
            0 => Ok(()),
            lost => write!(f, " ({lost} frames lost)"),
        }
    }
}

impl fmt::Display for InputSourceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        write!(f, " for scanout {}, {}", self.scanout, self.state)?;
        f.write_str(if self.grabbed { ", grabbed" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_for_each_scanout_and_each_source() {
        let device = |scanout, kind: &str, node: Option<&str>| InputDeviceStatus {
            scanout,
            kind: kind.into(),
            driver: node.is_some(),
            node: node.map(str::to_owned),
            seat: node.map(|_| "seat-cluster".into()),
            lost_frames: scanout.into(),
        };
        let source = |state: &str| InputSourceStatus {
            path: "/dev/input/event3".into(),
            name: Some("A keyboard".into()),
            scanout: 1,
            state: state.into(),
            grabbed: state == "there",
        };
        let mut status = InputStatus {
            passes_windows: Some(true),
            devices: vec![
                device(0, "keyboard", Some("/dev/input/event5")),
                device(0, "mouse", Some("/dev/input/event6")),
                device(1, "keyboard", None),
            ],
            sources: vec![source("there"), source("gone")],
        };
        let lines =
            "  input     0 keyboard /dev/input/event5, mouse /dev/input/event6; seat-cluster
  input     1 keyboard without a driver (1 frames lost)
  source    /dev/input/event3 (A keyboard) for scanout 1, there, grabbed
  source    /dev/input/event3 (A keyboard) for scanout 1, gone
";
        assert_eq!(status.to_string(), lines);
        status.passes_windows = Some(false);
        let last = "  windows   their input is not passed on, for this desktop's own seat has the devices\n";
        assert_eq!(status.to_string().strip_prefix(lines), Some(last));
    }
}
