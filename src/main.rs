//! Command line of virtio-loopback-gpu.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
