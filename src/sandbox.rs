//! Confinement of the GPU backend: what a driver's commands are parsed in can reach nothing.
//!
//! The backend confines itself, when it has what it needs and before it reads the first byte of its
//! front-end. So it works stand-alone, too, and its executable may lie where only root can read.
//! Whoever takes the process over afterwards has its descriptors, its memory and the system calls of
//! `system_calls`: no file system, no network, no other process. See `docs/threat-model.md`.
//!
//! Several layers refuse most things: the user, Landlock, seccomp. A kernel that lacks one is
//! tolerated (not by [`Mode::Strict`]); a layer that fails on a kernel that has it is an error.
//!
//! OpenGL makes the walls lower: its libraries are found, loaded and started behind them, so that all
//! of their threads are. What they can read is the system's programs and data, not users'; what they
//! can write is the GPU. They can make code, which a process that was taken over can, too.
//!
//! There are no user namespaces: a process without root cannot count on them, for many systems
//! forbid them; making one opens much of the kernel to the process that is to be confined; and what
//! they would add, an empty file system and network, is refused by the other layers already.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod file_access;
mod open_gl;
mod privileges;
mod process;
mod render_server;
mod status;
mod sys;
mod system_calls;
#[cfg(test)]
mod tests;
mod user;

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::process::Gid;

pub use privileges::{limit_adapter, limit_keeper};
pub use process::close_inherited;
pub use status::Confinement;
pub use user::{User, UserError};

/// Whether to confine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Not at all; for debugging.
    Off,
    /// As well as the kernel can.
    #[default]
    On,
    /// Entirely, or fail.
    Strict,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Strict => "strict",
        })
    }
}

/// What the process has to do that is confined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Needs {
    /// Copy pixels.
    #[default]
    TwoD,
    /// Start OpenGL, and use it: libraries and what they read, threads, code made at run time, a GPU.
    OpenGl {
        /// The only GPU it may use; `None`: whichever there is.
        render_node: Option<PathBuf>,
    },
    /// Start a program that uses Vulkan as OpenGL is used, in processes of its own.
    RenderServer {
        /// As above.
        render_node: Option<PathBuf>,
        /// The only program that it may start.
        program: PathBuf,
    },
}

impl Needs {
    /// Groups whose members may open the GPU.
    fn groups(&self) -> Vec<Gid> {
        match self {
            Self::TwoD => Vec::new(),
            Self::OpenGl { render_node } | Self::RenderServer { render_node, .. } => {
                open_gl::groups(render_node.as_deref())
            }
        }
    }
}

/// How to confine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Whether to.
    pub mode: Mode,
    /// Who root becomes. Other users stay who they are.
    pub user: User,
    /// What has to be possible still.
    pub needs: Needs,
}

/// A layer that cannot be had here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lacking {
    /// Root may not become another user.
    User(User, rustix::io::Errno),
    /// The kernel has no Landlock, or it is switched off.
    Landlock,
    /// The kernel has no seccomp filters, or not for this machine.
    Seccomp,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user, errno) => write!(f, "root cannot become user {user} ({errno})"),
            Self::Landlock => f.write_str("this kernel has no Landlock"),
            Self::Seccomp => f.write_str("this kernel has no seccomp filters"),
        }
    }
}

/// Why a process is not confined. It must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Layers are those of a thread, so there must not be another. A bug.
    #[error("the sandbox is entered with {0} threads; this is a bug")]
    Threads(usize),
    /// Who was to end the process is gone already.
    #[error("the process that started the GPU backend has ended")]
    Orphan,
    /// [`Mode::Strict`] and something is missing.
    #[error("--sandbox=strict cannot be kept: {0}")]
    Lacking(Lacking),
    /// The system refused.
    #[error("the sandbox cannot be entered: {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Landlock failed.
    #[error("the sandbox cannot be entered: Landlock")]
    Landlock(#[from] landlock::RulesetError),
    /// Seccomp failed.
    #[error("the sandbox cannot be entered: seccomp")]
    Seccomp(#[from] seccompiler::Error),
}

/// Makes a system's answer one of the sandbox.
fn failed<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> SandboxError {
    move |error| SandboxError::System { what, source: error.into() }
}

/// Confines this process for good, and returns what could not be had. It must have one thread.
///
/// # Errors
///
/// The process may be half confined then, and is to end.
pub fn enter(settings: &Settings) -> Result<Vec<Lacking>, SandboxError> {
    if settings.mode == Mode::Off {
        log::warn!(
            "the GPU backend runs without its sandbox (--sandbox=off): whoever takes it over can \
             do all that its user can"
        );
        return Ok(Vec::new());
    }
    let threads = process::thread_count().map_err(failed("counting threads"))?;
    if threads != 1 {
        return Err(SandboxError::Threads(threads));
    }
    let mut lacking = Lackings { strict: settings.mode == Mode::Strict, found: Vec::new() };
    let parent = process::Parent::of_this();
    process::prepare();
    process::let_go().map_err(failed("leaving the directory and the terminal"))?;
    let user = privileges::drop_all(settings.user, &settings.needs.groups(), &mut lacking)?;
    let threads = settings.needs != Needs::TwoD;
    process::limit(threads).map_err(failed("limiting the process"))?;
    // After the user has changed, which unsets it.
    parent.end_with_it()?;
    let landlock = file_access::forbid(&settings.needs, &mut lacking)?;
    system_calls::restrict(&settings.needs, &mut lacking)?;
    lacking.tell(&settings.needs);
    log::info!(
        "sandbox: {}, no new privileges, {}{}",
        user.map_or_else(|| "the user stays".to_owned(), |user| format!("user {user}")),
        landlock.map_or_else(String::new, |abi| format!("Landlock ABI {abi}, ")),
        if lacking.found.contains(&Lacking::Seccomp) { "no seccomp" } else { "seccomp" },
    );
    Ok(lacking.found)
}

/// What was found to be missing.
struct Lackings {
    strict: bool,
    found: Vec<Lacking>,
}

impl Lackings {
    fn add(&mut self, what: Lacking) -> Result<(), SandboxError> {
        if self.strict {
            return Err(SandboxError::Lacking(what));
        }
        self.found.push(what);
        Ok(())
    }

    /// Warns of what matters. Without Landlock, seccomp still refuses to open any file, but not where
    /// OpenGL has to.
    fn tell(&self, needs: &Needs) {
        for what in &self.found {
            let seccomp = !self.found.contains(&Lacking::Seccomp) && *needs == Needs::TwoD;
            if *what == Lacking::Landlock && seccomp {
                log::info!("sandbox: {what}; seccomp alone keeps the GPU backend from files");
            } else {
                log::warn!("the sandbox of the GPU backend is weaker: {what}");
            }
        }
    }
}
