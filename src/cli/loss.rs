//! The option that says what is shown once nobody draws any more.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use virtio_loopback_display::{LossPicture, LossPolicy, Picture};
use virtio_loopback_gpu::one_line;

use super::usage::BadOption;

/// Longest time that the last picture may stay before another one, in seconds: a day.
const MAX_AFTER: f64 = 86_400.0;

/// What is shown once nobody draws any more.
#[derive(Debug, Clone, Args)]
pub struct LossOptions {
    /// What a scanout shows when its client or the GPU backend is gone: its last picture (hold), black, or
    /// a PNG file, after so many seconds.
    #[arg(long, value_name = "hold|black|image=FILE[,after=SECONDS]", default_value = "hold")]
    on_client_loss: Loss,
}

/// The option's value.
#[derive(Debug, Clone, PartialEq)]
struct Loss {
    show: Show,
    after: Duration,
}

#[derive(Debug, Clone, PartialEq)]
enum Show {
    Hold,
    Black,
    Image(PathBuf),
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, after) = match text.rsplit_once(",after=") {
            Some((what, seconds)) => (what, Some(seconds)),
            None => (text, None),
        };
        let show = match what.split_once('=') {
            None if what == "hold" => Show::Hold,
            None if what == "black" => Show::Black,
            Some(("image", file)) if !file.is_empty() => Show::Image(file.into()),
            _ => {
                return Err(
                    "there are hold, black and image=FILE, and ,after=SECONDS after them".into()
                );
            }
        };
        let after = match after {
            None => Duration::ZERO,
            Some(_) if show == Show::Hold => {
                return Err("hold has no end: a time is for black and image=FILE".into());
            }
            Some(text) => {
                let seconds =
                    text.parse().ok().filter(|seconds| (0.0..=MAX_AFTER).contains(seconds));
                let seconds = seconds.ok_or_else(|| {
                    format!(
                        "{text:?} is not a time: write seconds, such as 0.5, at most {MAX_AFTER}"
                    )
                })?;
                Duration::from_secs_f64(seconds)
            }
        };
        Ok(Self { show, after })
    }
}

impl LossOptions {
    /// Reads the file, if one is to be shown.
    pub fn policy(&self) -> Result<LossPolicy, BadOption> {
        let Loss { show, after } = &self.on_client_loss;
        let show = match show {
            Show::Hold => LossPicture::Hold,
            Show::Black => LossPicture::Black,
            Show::Image(path) => {
                let picture = Picture::read_png(path);
                let picture = picture.map_err(|error| BadOption::new(one_line(&error), None))?;
                LossPicture::Image(Arc::new(picture))
            }
        };
        Ok(LossPolicy { show, after: *after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_as_users_write_them() {
        let seconds = Duration::from_secs_f64;
        for (text, show, after) in [
            ("hold", Show::Hold, 0.0),
            ("black", Show::Black, 0.0),
            ("black,after=0.5", Show::Black, 0.5),
            ("image=/etc/lost.png", Show::Image("/etc/lost.png".into()), 0.0),
            ("image=a,b.png,after=3", Show::Image("a,b.png".into()), 3.0),
        ] {
            assert_eq!(text.parse(), Ok(Loss { show, after: seconds(after) }), "{text}");
        }
        for text in [
            "",
            "image",
            "image=",
            "white",
            "hold,after=1",
            "black,after=",
            "black,after=-1",
            "black,after=inf",
            "black,after=NaN",
            "black,before=1",
        ] {
            assert!(text.parse::<Loss>().is_err(), "{text}");
        }
    }
}
