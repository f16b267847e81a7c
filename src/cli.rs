//! The commands and their options.

mod backend;
mod ctl;
mod demo;
mod display;
mod fd;
mod host_visible;
mod input;
mod keep;
mod keeper;
mod limits;
mod loss;
mod output;
mod record;
mod render;
mod render_server;
mod run;
mod sandbox;
mod scanouts;
mod serve;
mod stop;
mod usage;
mod window;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use env_logger::{DEFAULT_FILTER_ENV, Env};
use log::LevelFilter;
use virtio_loopback_gpu::adapter::{BackendChoice, BackendProgram, Cgroup};
use virtio_loopback_gpu::control;
use virtio_loopback_gpu::limits::LimitKey;
use virtio_loopback_gpu::one_line;

use self::display::DisplayOptions;
use self::limits::LimitOptions;
use self::loss::LossOptions;
use self::render::RenderOptions;
use self::sandbox::SandboxOptions;
use self::scanouts::ScanoutOptions;

/// virtio-gpu without a VM: the host's own virtio_gpu driver, looped back and shown in a window.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log the backend's and the driver's steps; twice for details. RUST_LOG overrides it.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  virtio-loopback-gpu demo                      a test card, without root or module
  modprobe virtio_loopback
  virtio-loopback-gpu run --name cluster --scanout 1920x720
                                                a card in /dev/dri, shown in a window
  virtio-loopback-gpu ctl --name cluster status
  virtio-loopback-gpu ctl --name cluster screenshot cluster.png

Exit status: 0 done, 1 something failed, 2 bad options.";

/// Under this name the program is its own `backend` command: QEMU's and libvirt's descriptions of
/// vhost-user back-ends name a file and cannot give it arguments.
const BACKEND_NAME: &str = "virtio-loopback-gpu-backend";

/// The command line.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    let is_backend = arguments
        .first()
        .is_some_and(|name| Path::new(name).file_name().is_some_and(|name| name == BACKEND_NAME));
    if is_backend {
        arguments.insert(1, "backend".into());
    }
    arguments
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a loopback GPU and show its scanouts, until it is told to quit.
    #[command(after_help = window::KEYS)]
    Run(run::Options),
    /// Draw an animated test card through the real backend; needs neither root nor module.
    #[command(after_help = window::KEYS)]
    Demo(demo::Options),
    /// Ask or tell a running device something.
    Ctl(ctl::Options),
    /// The GPU backend: a vhost-user back-end program that follows QEMU's protocol.
    Backend(backend::Options),
    /// Holds the descriptors of a device that was made with `run --keep`.
    #[command(hide = true)]
    Keeper(keeper::Options),
    /// Renders Vulkan for a GPU backend.
    #[command(hide = true)]
    RenderServer(render_server::Options),
}

/// Runs the command of the command line.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse_from(arguments()).and_then(Cli::check) {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    start_log(cli.verbose);
    let result = match cli.command {
        Command::Run(options) => run::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Ctl(options) => ctl::run(&options),
        Command::Backend(options) => backend::run(options),
        Command::Keeper(options) => keeper::run(&options),
        Command::RenderServer(options) => render_server::run(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<usage::BadOption>() => {
            usage::report_bad_option(&one_line(error.as_ref()))
        }
        Err(error) => {
            output::tell(&one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

impl Cli {
    /// What no single option can say about itself.
    fn check(self) -> Result<Self, clap::Error> {
        let device = match &self.command {
            Command::Run(options) => options.device(),
            Command::Demo(options) => options.device(),
            Command::Backend(options) => {
                return match options.limits.not_minded(LimitKey::is_of_backend) {
                    Some(key) => Err(wrong_limit(&format!("a GPU backend has no limit {key}"))),
                    None => Ok(self),
                };
            }
            Command::Ctl(_) | Command::Keeper(_) | Command::RenderServer(_) => return Ok(self),
        };
        let foreign = device.backend.is_some();
        if let Some(key) = device.limits.not_minded(|key| !foreign || !key.is_of_backend()) {
            let text = format!("the limit {key} is for the GPU backend behind --backend to set");
            return Err(wrong_limit(&text));
        }
        match device.scanouts.check() {
            Ok(()) => Ok(self),
            Err(text) => Err(Self::command().error(clap::error::ErrorKind::TooManyValues, text)),
        }
    }
}

fn wrong_limit(text: &str) -> clap::Error {
    Cli::command().error(clap::error::ErrorKind::ArgumentConflict, text)
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let mut log = env_logger::Builder::from_env(Env::default().default_filter_or(level));
    if verbose == 0 && std::env::var_os(DEFAULT_FILTER_ENV).is_none() {
        // For users: like every other line of the program.
        log.format(|out, record| {
            let kind = if record.level() == log::Level::Warn { "warning: " } else { "" };
            writeln!(out, "virtio-loopback-gpu: {kind}{}", record.args())
        });
    }
    log.format_timestamp_millis().init();
}

/// How a backend is told to log as much as this process.
fn verbosity() -> Option<String> {
    match log::max_level() {
        LevelFilter::Off | LevelFilter::Error | LevelFilter::Warn => None,
        LevelFilter::Info => Some("-v".into()),
        LevelFilter::Debug | LevelFilter::Trace => Some("-vv".into()),
    }
}

/// Options that `run` and `demo` share.
#[derive(Debug, Clone, Args)]
struct DeviceOptions {
    /// Name of the device: for its window, its control socket and `ctl`.
    #[arg(long, default_value = "gpu0", value_parser = name, allow_hyphen_values = true)]
    name: String,
    #[command(flatten)]
    scanouts: ScanoutOptions,
    #[command(flatten)]
    display: DisplayOptions,
    #[command(flatten)]
    loss: LossOptions,
    /// Use the GPU backend that listens on this socket instead of starting one.
    #[arg(long, value_name = "SOCKET", conflicts_with_all = ["render", "render_node", "sandbox", "user"])]
    backend: Option<PathBuf>,
    /// Treat the GPU backend behind --backend as this program; by default it is found out.
    #[arg(long, value_enum, value_name = "PROGRAM", default_value = "auto", requires = "backend")]
    backend_quirks: BackendQuirks,
    #[command(flatten)]
    render: RenderOptions,
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    limits: LimitOptions,
    /// Put the started GPU backend into this directory of cgroup v2, which bounds its memory and time.
    #[arg(long, value_name = "DIR", conflicts_with = "backend")]
    cgroup: Option<PathBuf>,
}

/// See docs/interop.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendQuirks {
    /// Look who listens on the socket.
    Auto,
    /// Believe all that the backend offers.
    None,
    /// rust-vmm's.
    VhostDeviceGpu,
    /// QEMU's.
    VhostUserGpu,
}

impl BackendQuirks {
    fn program(self) -> Option<BackendProgram> {
        match self {
            Self::Auto => None,
            Self::None => Some(BackendProgram::Ours),
            Self::VhostDeviceGpu => Some(BackendProgram::VhostDeviceGpu),
            Self::VhostUserGpu => Some(BackendProgram::VhostUserGpu),
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    if control::is_valid_name(text) && !text.starts_with('-') {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 31 letters, digits, dots, dashes or underscores, \
             and begins with neither dot nor dash"
            .into())
    }
}

impl DeviceOptions {
    /// The device in few words, with its nodes.
    fn summary(&self, nodes: &[PathBuf]) -> String {
        let mut parts: Vec<_> = nodes.iter().map(|node| node.display().to_string()).collect();
        parts.extend(self.scanouts.names());
        parts.push(match &self.backend {
            Some(socket) => format!("backend {}", socket.display()),
            None => format!("renderer {}", self.render.render()),
        });
        format!("{}: {}", self.name, parts.join(", "))
    }

    fn backend(&self) -> std::io::Result<BackendChoice> {
        if let Some(path) = &self.backend {
            return Ok(BackendChoice::Socket(path.clone()));
        }
        let mut arguments = self.render.arguments();
        arguments.extend(self.sandbox.arguments());
        arguments.extend(self.limits.limits().backend_arguments());
        arguments.extend(verbosity());
        Ok(BackendChoice::Child { program: std::env::current_exe()?, arguments })
    }

    /// Where the backend is accounted for.
    fn cgroup(&self) -> Result<Option<Cgroup>, usage::BadOption> {
        let opened = self.cgroup.as_deref().map(Cgroup::open).transpose();
        opened.map_err(|error| usage::BadOption::new(one_line(&error), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
