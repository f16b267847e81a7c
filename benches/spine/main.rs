//! The figures the project promises, as ratios from one run. `scripts/bench` runs it.
//!
//! `--check` exits with 1 when a target is missed. `--peer PATH` names vhost-device-gpu's program.

#[path = "../../tests/common/mod.rs"]
#[expect(dead_code, reason = "benches use a part of what tests do")]
mod common;
mod control_queue;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut peer = None;
    let mut check = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--check" => check = true,
            "--peer" => peer = arguments.next().map(PathBuf::from),
            // What cargo adds.
            "--bench" => {}
            other => {
                eprintln!("unknown argument {other}");
                return ExitCode::from(2);
            }
        }
    }
    let rows = control_queue::run(peer.as_deref());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/spine.json");
    match report::finish(&rows, &path) {
        Ok(met) if met || !check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot write {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
