//! Options of a device that outlives its adapter.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use loopback_driver_glue::VirtioLoopback;
use virtio_loopback_gpu::adapter::Keep;
use virtio_loopback_gpu::control::keeper_path;
use virtio_loopback_gpu::fd_store::{FdStore, Left, Place};

use super::fd;

/// Whether the device stays when this process dies.
#[derive(Debug, Clone, Args)]
pub struct KeepOptions {
    /// If this process dies, leave the device to the next `run` with its name, for so many seconds:
    /// the card stays, and programs that use it wait. `ctl detach` ends it on purpose.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=60),
        conflicts_with = "backend"
    )]
    keep: Option<u64>,
    /// Who has the device then [default: the service manager if it says that it can, else a process
    /// of its own].
    #[arg(long, value_enum, requires = "keep")]
    keep_in: Option<KeepIn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeepIn {
    /// The FD store of systemd: FileDescriptorStoreMax= of the unit has to allow it.
    ServiceManager,
    /// A process of its own.
    Keeper,
}

impl KeepOptions {
    /// For how long the device stays.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.keep.unwrap_or(0))
    }

    /// Reaches whoever keeps the device, and what an earlier process has left there. Call it when the
    /// name is taken. `foreign`: the backend is one that has no state to go on from.
    pub fn open(&self, name: &str, foreign: bool) -> Result<Option<Keep>> {
        let socket = keeper_path(name);
        let program = std::env::current_exe().context("cannot find this program")?;
        let opened = if self.keep.is_none() {
            // A device that was made to be kept, and is there still.
            FdStore::find(name, program, socket)?
        } else {
            let (place, given) = match self.keep_in.unwrap_or_else(KeepIn::found) {
                KeepIn::ServiceManager => (Place::ServiceManager, fd::given_by_service_manager()?),
                KeepIn::Keeper => {
                    let keep = self.time();
                    (Place::Keeper { program, socket, keep }, Left::default())
                }
            };
            Some(FdStore::open(name, place, given)?)
        };
        let Some((store, left)) = opened else { return Ok(None) };
        if foreign {
            store.leave();
            bail!(
                "a device named {name:?} is kept, and a backend of its own cannot go on with it: \
                 choose another --name, or end it with `run --name {name}` and `ctl quit`"
            );
        }
        let adopt = Box::new(|keepsake| Ok(Box::new(VirtioLoopback::adopt(keepsake)?) as _));
        Ok(Some(Keep { store, left, adopt }))
    }
}

impl KeepIn {
    /// systemd 254 and later says how many descriptors it keeps.
    fn found() -> Self {
        let kept = std::env::var("FDSTORE").ok().and_then(|count| count.parse::<u32>().ok());
        match kept {
            Some(1..) => Self::ServiceManager,
            _ => {
                if std::env::var_os("INVOCATION_ID").is_some() {
                    log::warn!(
                        "this is a service whose unit has no FD store (FileDescriptorStoreMax=): what \
                         keeps the device may end with the service"
                    );
                }
                Self::Keeper
            }
        }
    }
}
