//! `ctl record`: what a scanout shows, over a time.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use virtio_loopback_gpu::control::{self, Address};
use virtio_loopback_gpu::recording::{Pixels, Recording};

use super::output;

/// What is recorded.
#[derive(Debug, Args)]
pub struct Options {
    /// File to write, in the format YUV4MPEG2 (.y4m), or - for the standard output.
    #[arg(value_parser = path)]
    path: PathBuf,
    /// Which scanout.
    #[arg(long, default_value_t = 0, value_parser = super::ctl::index)]
    scanout: u32,
    /// For how long. Uncompressed, 1080p at 30 frames a second is 187 MB a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Frames a second.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=240))]
    rate: u32,
}

/// Endings of files that say another format of video or pictures.
const OTHER_FORMATS: [&str; 16] = [
    "3gp", "apng", "avi", "flv", "gif", "h264", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv",
    "png", "ts", "webm",
];

/// Refuses names that say another format than the one written.
fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if OTHER_FORMATS.contains(&ending.to_ascii_lowercase().as_str()) {
        return Err(format!(
            "recordings are YUV4MPEG2: name it .y4m, or convert it on the way, as in \
             `ctl record - | ffmpeg -i - {text}`"
        ));
    }
    Ok(path)
}

/// Records the device at `address`.
pub fn run(address: &Address, options: &Options) -> Result<()> {
    // Before there is a file: a device that is not there leaves none.
    let first = control::frame(address, options.scanout)?;
    let writer: Box<dyn Write> = if options.path == Path::new("-") {
        Box::new(io::stdout().lock())
    } else {
        let file = File::create(&options.path);
        Box::new(file.with_context(|| format!("cannot write {}", options.path.display()))?)
    };
    let mut writer = BufWriter::with_capacity(1 << 20, writer);
    let mut recording = Recording::new(&mut writer, (first.width, first.height), options.rate)?;
    let (start, frames) = (Instant::now(), options.seconds * u64::from(options.rate));
    let mut frame = first;
    let mut late = 0_u64;
    for number in 0..frames {
        let due = start + Duration::from_secs_f64(number as f64 / f64::from(options.rate));
        let now = Instant::now();
        // One that comes too late is the one before it again: a recording takes as long as it says.
        if number > 0 && now < due + Duration::from_secs(1) / options.rate {
            std::thread::sleep(due.saturating_duration_since(now));
            frame = control::frame(address, options.scanout)?;
        } else if number > 0 {
            late += 1;
        }
        let control::Frame { width, height, ref rgb } = frame;
        recording.push(Pixels { width, height, rgb })?;
    }
    drop(recording);
    writer.flush().context("the recording cannot be written")?;
    if late > 0 {
        output::tell(&format_args!(
            "{late} of {frames} frames came too late and repeat the one before"
        ));
    }
    Ok(())
}
