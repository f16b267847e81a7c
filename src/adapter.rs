//! One device's life: the loopback transport, the GPU backend, the display.
//!
//! The adapter creates the device, is the vhost-user front-end of the backend and serves its
//! display socket. It follows the driver's steps ([`loopback_driver_glue::Event`]); pixels and
//! rings never pass through it.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod backend;
mod backend_process;
mod bound;
mod cgroup;
mod device;
mod display_server;
mod edid;
mod event_loop;
mod front_end;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keep;
mod kept;
mod modes;
mod monitor_spec;
mod monitors;
mod nodes;
mod quirks;
mod record;
mod replace;
mod replies;
mod requests;
mod restarts;
mod scanouts;
mod watch;
mod window_size;

pub use backend_process::{BackendChoice, BackendProcessError};
pub use cgroup::{Cgroup, CgroupError};
pub use device::{Adapter, AdapterError, Options, Replug, Shared, State};
pub use display_server::DisplayServerError;
pub use event_loop::EventLoopError;
pub use front_end::FrontEndError;
pub use keep::{Adopt, Keep};
pub use kept::Kept;
pub use modes::{Mode, ModeError};
pub use monitor_spec::{MonitorSpec, MonitorSpecError, parse_position};
pub use monitors::{Changed, MonitorChange, Monitors, MonitorsError};
pub use quirks::BackendProgram;
pub use restarts::RestartPolicy;
pub use scanouts::MAX_PIXELS;
pub use window_size::{OnResize, WindowFollower, WindowSizes, window_sizes};
