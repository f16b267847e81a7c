//! The status page.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::input_status::InputStatus;
use crate::limits::Size;

/// What a device is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The device's name.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Process id of the adapter.
    pub pid: u32,
    /// Process id of the GPU backend, if it is a child.
    pub backend_pid: Option<u32>,
    /// Times the backend was replaced, or came back.
    pub backend_restarts: u64,
    /// How the backend is confined, if it is a child.
    pub sandbox: Option<SandboxStatus>,
    /// What becomes of the device when the adapter dies, if it stays then.
    pub keep: Option<KeepStatus>,
    /// The control group that the backend was put into.
    pub cgroup: Option<String>,
    /// Where the driver is.
    pub state: String,
    /// Feature bits the driver accepted, in hexadecimal.
    pub driver_features: String,
    /// The same by name, the lowest first.
    pub driver_feature_names: Vec<String>,
    /// Device nodes of the driver.
    pub nodes: Vec<String>,
    /// What the driver finds at its scanouts.
    pub monitors: Vec<MonitorStatus>,
    /// The scanouts that had a picture.
    pub scanouts: Vec<ScanoutStatus>,
    /// Its input devices, if it has any.
    pub input: Option<InputStatus>,
    /// What the device may be made to hold, by name, and what of it was.
    pub limits: BTreeMap<String, LimitStatus>,
    /// Figures of the transport.
    pub transport: BTreeMap<String, u64>,
}

/// How the GPU backend is confined, by the kernel's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// What was asked for: `on`, `off` or `strict`.
    pub mode: String,
    /// Who it is.
    pub uid: u32,
    /// Whether it can gain nothing by executing anything.
    pub no_new_privs: bool,
    /// Whether its system calls are filtered.
    pub seccomp: bool,
    /// Its capabilities, in hexadecimal.
    pub capabilities: String,
    /// Version of the kernel's Landlock, where that is used.
    pub landlock_abi: Option<u32>,
}

/// How the device outlives its adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepStatus {
    /// Seconds for which it waits for another adapter.
    pub seconds: u64,
    /// Who keeps it: `keeper` or `service-manager`.
    pub by: String,
    /// Process id of the keeper; absent while one is being started.
    pub keeper_pid: Option<u32>,
}

/// One limit. What is not known is absent: of a backend that is not ours, or of the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// The most there may be.
    pub limit: u64,
    /// What there is now; absent for what one command may have.
    pub used: Option<u64>,
    /// The most there ever was.
    pub peak: Option<u64>,
    /// Commands that were refused because they would have gone beyond.
    pub refused: Option<u64>,
}

/// What is at one scanout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorStatus {
    /// Its index.
    pub scanout: u32,
    /// As after `--scanout`; absent if it has none.
    pub monitor: Option<String>,
}

/// One scanout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanoutStatus {
    /// Its index.
    pub scanout: u32,
    /// `live`, `off`, `unplugged` or `lost`.
    pub signal: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// DRM fourcc.
    pub format: String,
    /// Flushes of the driver.
    pub updates: u64,
    /// Pictures shown.
    pub presents: u64,
    /// Bytes of the pixels that the updates said have changed.
    pub damaged_bytes: u64,
    /// Bytes that were copied to show them.
    pub copied_bytes: u64,
    /// Pictures shown at the first vblank after their flush, at the second, and later; of outputs that have
    /// vblanks, when no copy is needed.
    #[serde(default)]
    pub vblanks: [u64; 3],
    /// Pictures shown per second, lately.
    pub frames_per_second: f64,
    /// Updates per second, lately.
    pub updates_per_second: f64,
    /// Milliseconds since the last picture.
    pub last_present_ms: Option<u64>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}, version {}, pid {}", self.name, self.state, self.version, self.pid)?;
        if let Some(pid) = self.backend_pid {
            writeln!(f, "  backend   pid {pid}")?;
        }
        if let Some(sandbox) = &self.sandbox {
            writeln!(f, "  sandbox   {sandbox}")?;
        }
        if let Some(keep) = &self.keep {
            writeln!(f, "  kept      {keep}")?;
        }
        if let Some(cgroup) = &self.cgroup {
            writeln!(f, "  cgroup    {cgroup}")?;
        }
        if !self.driver_feature_names.is_empty() {
            writeln!(f, "  driver    features {}", self.driver_feature_names.join(", "))?;
        }
        if !self.nodes.is_empty() {
            writeln!(f, "  nodes     {}", self.nodes.join(" "))?;
        }
        for MonitorStatus { scanout, monitor } in &self.monitors {
            let monitor = monitor.as_deref().unwrap_or("none");
            writeln!(f, "  monitor   {scanout} {monitor}")?;
        }
        for scanout in &self.scanouts {
            writeln!(f, "  {scanout}")?;
        }
        if let Some(input) = &self.input {
            write!(f, "{input}")?;
        }
        for (name, limit) in &self.limits {
            writeln!(f, "  limit     {name} {limit}")?;
        }
        for (name, value) in &self.transport {
            writeln!(f, "  transport {name} {value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for LimitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Size(self.limit))?;
        for (value, what) in [(self.used, "used"), (self.peak, "at most")] {
            if let Some(value) = value {
                write!(f, ", {} {what}", Size(value))?;
            }
        }
        match self.refused {
            Some(refused) if refused > 0 => write!(f, ", {refused} commands refused"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for SandboxStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: user {}, capabilities {}", self.mode, self.uid, self.capabilities)?;
        for (part, is_on) in [("no_new_privs", self.no_new_privs), ("seccomp", self.seccomp)] {
            write!(f, ", {}{part}", if is_on { "" } else { "no " })?;
        }
        match self.landlock_abi {
            Some(abi) => write!(f, ", Landlock {abi}"),
            None => f.write_str(", no Landlock"),
        }
    }
}

impl fmt::Display for KeepStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s without an adapter, by ", self.seconds)?;
        match (self.keeper_pid, self.by.as_str()) {
            (Some(pid), _) => write!(f, "pid {pid}"),
            (None, "keeper") => f.write_str("a process that is being started"),
            (None, _) => f.write_str("the service manager"),
        }
    }
}

impl fmt::Display for ScanoutStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "scanout {} {}, {}x{} {}, {:.1} frames/s, {} shown of {} updates",
            self.scanout,
            self.signal,
            self.width,
            self.height,
            self.format,
            self.frames_per_second,
            self.presents,
            self.updates,
        )
    }
}
