//! What the kernel says of a confined process.

use std::fs;

use super::sys;

/// How a process is confined, by `/proc/PID/status` (proc_pid_status(5)): not its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Effective user.
    pub uid: u32,
    /// It cannot gain privileges by executing anything.
    pub no_new_privs: bool,
    /// A filter judges its system calls.
    pub seccomp: bool,
    /// Effective capabilities, as bits.
    pub capabilities: u64,
    /// Version of the kernel's Landlock. A process does not show that it has entered it; a backend
    /// does so before its filter.
    pub landlock_abi: Option<u32>,
}

impl Confinement {
    /// That of a process, if it is there.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, sys::landlock_abi())
    }

    pub(super) fn parse(status: &str, landlock_abi: Option<u32>) -> Option<Self> {
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        // Real, effective, saved, file system.
        let uid = field("Uid")?.split_whitespace().nth(1)?.parse().ok()?;
        let no_new_privs = field("NoNewPrivs")?.trim() == "1";
        // Not there if the kernel has none.
        let seccomp = field("Seccomp").is_some_and(|mode| mode.trim() == "2");
        let capabilities = u64::from_str_radix(field("CapEff")?.trim(), 16).ok()?;
        let landlock_abi = landlock_abi.filter(|_| no_new_privs);
        Some(Self { uid, no_new_privs, seccomp, capabilities, landlock_abi })
    }
}
