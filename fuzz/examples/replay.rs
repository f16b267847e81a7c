//! replay [--print] TARGET FILE|DIRECTORY… — plays inputs without libFuzzer, one after the other, and
//! names each before it does; with --print, it says what it plays.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("--print").is_some() {
        virtio_loopback_gpu_fuzz::PRINTS.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    let name = arguments.next();
    let target =
        virtio_loopback_gpu_fuzz::TARGETS.iter().find(|(n, _)| Some(*n) == name.as_deref());
    let Some((_, run)) = target else {
        eprintln!("usage: replay [--print] TARGET FILE|DIRECTORY…");
        return ExitCode::from(2);
    };
    let mut played = 0;
    for path in arguments.flat_map(|path| files(path.as_ref())) {
        println!("{}", path.display());
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        match run(&bytes) {
            true => played += 1,
            false => println!("{}: no input", path.display()),
        }
    }
    println!("{played} inputs played");
    ExitCode::SUCCESS
}

/// The files of a directory, in order, or the file itself.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
