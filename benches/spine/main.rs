//! The figures the project promises, as ratios from one run. `scripts/bench` runs it.
//!
//! `--check` exits with 1 when a target is missed. `--peer PATH` names vhost-device-gpu's program.
//! Further arguments name the sections to run; without any, all are.

#[path = "../../tests/common/mod.rs"]
#[expect(dead_code, reason = "benches use a part of what tests do")]
mod common;
mod control_queue;
mod copy_target;
mod display;
mod frames;
mod process;
mod processor;
mod program;
mod report;
mod robustness;
#[cfg(feature = "virgl")]
mod three_d;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::Row;

/// What can be run by itself.
const SECTIONS: [&str; 8] =
    ["control", "classic", "blob", "display", "start", "rest", "robustness", THREE_D];
/// Runs alone: it needs a build with OpenGL, and the peer in another mode.
const THREE_D: &str = "3d";

#[derive(Debug, Default)]
struct Options {
    peer: Option<PathBuf>,
    check: bool,
    sections: Vec<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--check" => options.check = true,
                "--peer" => {
                    let peer = arguments.next().ok_or("--peer needs a path")?;
                    options.peer = Some(peer.into());
                }
                // What cargo adds.
                "--bench" => {}
                section if SECTIONS.contains(&section) => options.sections.push(argument),
                other => return Err(format!("unknown argument {other}; sections: {SECTIONS:?}")),
            }
        }
        Ok(options)
    }

    fn rows(&self, section: &str) -> Vec<Row> {
        match section {
            "control" => control_queue::run(self.peer.as_deref()),
            "classic" => frames::classic(),
            "blob" => frames::blob(),
            "display" => display::run(),
            "start" => program::start(),
            "rest" => program::rest(),
            #[cfg(feature = "virgl")]
            THREE_D => three_d::run(self.peer.as_deref()),
            #[cfg(not(feature = "virgl"))]
            THREE_D => panic!("this was built without the feature \"virgl\""),
            _ => robustness::run(),
        }
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let before = load();
    let mut rows = Vec::new();
    for section in SECTIONS {
        if options.sections.is_empty() && section != THREE_D
            || options.sections.iter().any(|wanted| wanted == section)
        {
            let new = options.rows(section);
            new.iter().for_each(Row::print);
            rows.extend(new);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/spine.json");
    match report::finish(rows, [before, load()], &path) {
        Ok(met) if met || !options.check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot write {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

/// The machine's load average of the last minute.
fn load() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}
