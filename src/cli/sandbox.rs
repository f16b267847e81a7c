//! Options of the GPU backend's sandbox.

use clap::{Args, ValueEnum};
use virtio_loopback_gpu::sandbox::{Mode, Needs, Settings, User};

/// The same for everything that starts or is a GPU backend.
#[derive(Debug, Clone, Args)]
pub struct SandboxOptions {
    /// Whether the GPU backend is confined; off is for debugging.
    #[arg(long, value_enum, default_value = "on")]
    sandbox: Choice,
    /// Who the GPU backend becomes where it is started as root: a name, or UID:GID.
    #[arg(long, value_name = "USER", default_value_t)]
    user: User,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// As well as the kernel can.
    On,
    /// Not at all.
    Off,
    /// Entirely, or the backend does not start.
    Strict,
}

impl SandboxOptions {
    /// Whether to confine.
    pub fn mode(&self) -> Mode {
        self.settings(Needs::default()).mode
    }

    /// What they say, for a backend with these needs.
    pub fn settings(&self, needs: Needs) -> Settings {
        let mode = match self.sandbox {
            Choice::On => Mode::On,
            Choice::Off => Mode::Off,
            Choice::Strict => Mode::Strict,
        };
        Settings { mode, user: self.user, needs }
    }

    /// How a backend is told.
    pub fn arguments(&self) -> [String; 2] {
        let Settings { mode, user, .. } = self.settings(Needs::default());
        [format!("--sandbox={mode}"), format!("--user={user}")]
    }
}
