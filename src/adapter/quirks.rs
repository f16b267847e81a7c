//! What other people's GPU backends do that the adapter has to live with.
//!
//! Some things every backend is spared, because they cost nothing: rings are enabled before their
//! first kick (backends older than `vhost-user-backend` 0.24 forget one that comes earlier), and the
//! display socket answers `GET_EDID` and takes `DMABUF_SCANOUT2` whether they were agreed on or not.
//! The rest depends on the program.

use std::fmt;
use std::os::unix::net::UnixStream;

use crate::features::Features;
use crate::gpu::wire::feature;

/// A program behind `--backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendProgram {
    /// This one, started by somebody else.
    Ours,
    /// rust-vmm's vhost-device-gpu, seen with 0.2.0.
    VhostDeviceGpu,
    /// QEMU's vhost-user-gpu, seen with 10.0.
    VhostUserGpu,
    /// None of these.
    Unknown,
}

/// What is done for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// Whose they are.
    pub program: BackendProgram,
    /// Features it offers and does not survive.
    fatal: u64,
    /// Features that are not believed when it offers VIRGL.
    doubtful: u64,
    /// It takes an EDID of 1024 bytes only, which is what QEMU says of every EDID.
    pub whole_edid: bool,
    /// It ends with its connection, or is of no use afterwards.
    pub serves_once: bool,
}

const fn bit(feature: u32) -> u64 {
    1 << feature
}

/// vhost-device-gpu panics at CREATE_BLOB and ASSIGN_UUID whatever its mode. Without blobs there is
/// nothing CONTEXT_INIT is needed for.
const FATAL: u64 =
    bit(feature::RESOURCE_BLOB) | bit(feature::RESOURCE_UUID) | bit(feature::CONTEXT_INIT);

impl BackendProgram {
    /// By the name of its executable, or of its process.
    fn named(name: &str) -> Self {
        // The system cuts a process's name after 15 bytes.
        let is = |program: &str| name == program || program.get(..15) == Some(name);
        if is("virtio-loopback-gpu") {
            Self::Ours
        } else if is("vhost-device-gpu") {
            Self::VhostDeviceGpu
        } else if is("vhost-user-gpu") {
            Self::VhostUserGpu
        } else {
            Self::Unknown
        }
    }

    /// Who listens at the other end of a socket. A socket that a service manager has opened tells of
    /// that one, and one from another process namespace of nobody.
    #[must_use]
    pub fn behind(stream: &UnixStream) -> Self {
        let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else { return Self::Unknown };
        let process = format!("/proc/{}", peer.pid.as_raw_nonzero());
        let executable = std::fs::read_link(format!("{process}/exe")).ok();
        let executable = executable.as_ref().and_then(|path| path.file_name()?.to_str());
        match executable.map(Self::named) {
            None | Some(Self::Unknown) => {}
            Some(program) => return program,
        }
        // Started by a loader, or another user's.
        let name = std::fs::read_to_string(format!("{process}/comm")).unwrap_or_default();
        Self::named(name.trim_end())
    }

    /// What is done for it.
    #[must_use]
    pub fn quirks(self) -> Quirks {
        let none =
            Quirks { program: self, fatal: 0, doubtful: 0, whole_edid: false, serves_once: false };
        match self {
            Self::Ours => none,
            Self::VhostDeviceGpu => {
                Quirks { fatal: FATAL, whole_edid: true, serves_once: true, ..none }
            }
            Self::VhostUserGpu => Quirks { serves_once: true, ..none },
            // Offered with VIRGL they may be what they are in vhost-device-gpu.
            Self::Unknown => Quirks {
                doubtful: bit(feature::RESOURCE_BLOB) | bit(feature::CONTEXT_INIT),
                whole_edid: true,
                ..none
            },
        }
    }
}

impl fmt::Display for BackendProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "virtio-loopback-gpu",
            Self::VhostDeviceGpu => "vhost-device-gpu",
            Self::VhostUserGpu => "vhost-user-gpu",
            Self::Unknown => "an unknown program",
        })
    }
}

impl Quirks {
    /// What the driver is offered of a backend's features.
    #[must_use]
    pub fn offered(&self, features: u64) -> u64 {
        let doubtful = if features & bit(feature::VIRGL) == 0 { 0 } else { self.doubtful };
        let offered = features & !(self.fatal | doubtful);
        if offered != features {
            let withheld = Features(features & !offered);
            log::info!("GPU backend: {} is not trusted with {withheld}", self.program);
        }
        offered
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    const BLOB: u64 = bit(feature::RESOURCE_BLOB);
    const UUID: u64 = bit(feature::RESOURCE_UUID);
    const CONTEXT: u64 = bit(feature::CONTEXT_INIT);
    const VIRGL: u64 = bit(feature::VIRGL);
    const EDID: u64 = bit(feature::EDID);

    #[test]
    fn programs_are_known_by_their_names() {
        for (name, program) in [
            ("vhost-device-gpu", BackendProgram::VhostDeviceGpu),
            ("vhost-device-gp", BackendProgram::VhostDeviceGpu),
            ("vhost-user-gpu", BackendProgram::VhostUserGpu),
            ("virtio-loopback", BackendProgram::Ours),
            ("virtio-loopback-gpu", BackendProgram::Ours),
            ("vhost-device-gpu-2", BackendProgram::Unknown),
            ("vhost-device", BackendProgram::Unknown),
            ("", BackendProgram::Unknown),
        ] {
            assert_eq!(BackendProgram::named(name), program, "{name}");
        }
    }

    #[test]
    fn whoever_listens_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        // This process, which is none of them.
        let stream = UnixStream::connect(&path).unwrap();
        assert_eq!(BackendProgram::behind(&stream), BackendProgram::Unknown);
    }

    #[test]
    fn what_is_fatal_is_not_offered() {
        let all = VIRGL | EDID | UUID | BLOB | CONTEXT;
        for (program, features, offered) in [
            (BackendProgram::Ours, all, all),
            (BackendProgram::VhostUserGpu, VIRGL | EDID, VIRGL | EDID),
            (BackendProgram::VhostDeviceGpu, all, VIRGL | EDID),
            (BackendProgram::VhostDeviceGpu, EDID | BLOB, EDID),
            (BackendProgram::Unknown, all, VIRGL | EDID | UUID),
            (BackendProgram::Unknown, EDID | BLOB | UUID, EDID | BLOB | UUID),
        ] {
            assert_eq!(program.quirks().offered(features), offered, "{program}");
        }
    }
}
