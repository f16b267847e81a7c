//! Command line of virtio-loopback-gpu.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: what, and why. Some errors print their cause as their own text.
            let mut line = String::new();
            for cause in error.chain().map(ToString::to_string) {
                if !line.ends_with(&cause) {
                    line = if line.is_empty() { cause } else { format!("{line}: {cause}") };
                }
            }
            eprintln!("virtio-loopback-gpu: {line}");
            ExitCode::FAILURE
        }
    }
}
