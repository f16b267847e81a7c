//! A monitor as users write it: `1280x720@0,720,refresh=50,dpi=160,name=left`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::modes::{Mode, ModeError};

/// Pixels per inch, unless the user knows better.
const DEFAULT_DPI: u32 = 96;
/// What a physical size in an EDID can say for all modes: millimetres have 12 bits there.
const DPIS: std::ops::RangeInclusive<u32> = 50..=1000;
/// The largest coordinate: as far as 16 of the largest modes reach, side by side.
const MAX_POSITION: u32 = 16 * 8192;
/// Characters that a text descriptor of an EDID has room for.
const MAX_NAME: usize = 13;

/// A monitor that the driver finds at a scanout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorSpec {
    /// Its preferred mode.
    pub mode: Mode,
    /// Its top left pixel on the desktop; `None`: to the right of the monitor before it.
    pub position: Option<(u32, u32)>,
    /// Pixels per inch.
    pub dpi: u32,
    /// What its EDID calls it: printable ASCII, at most 13 characters.
    pub name: Option<String>,
    /// The EDID of a real monitor, instead of one that says all this. Not part of the text.
    pub edid: Option<Arc<[u8]>>,
}

/// What is wrong with the text of a monitor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MonitorSpecError {
    /// Its size or rate.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// A position is two numbers.
    #[error("{0:?} is not a position: write it as 1280,0, each at most {MAX_POSITION}")]
    Position(String),
    /// There is no such setting.
    #[error("{0:?} is not a setting of a scanout: there are refresh=HZ, dpi=N and name=TEXT")]
    Key(String),
    /// A setting stands there twice.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// It is not a plausible resolution.
    #[error("{text:?} is not a resolution: pixels per inch go from {} to {}", DPIS.start(), DPIS.end())]
    Dpi {
        /// What was written.
        text: String,
    },
    /// An EDID cannot say it.
    #[error(
        "{0:?} is not a monitor's name: 1 to {MAX_NAME} letters, digits and signs of ASCII, no comma"
    )]
    Name(String),
}

impl From<Mode> for MonitorSpec {
    fn from(mode: Mode) -> Self {
        Self { mode, position: None, dpi: DEFAULT_DPI, name: None, edid: None }
    }
}

impl Default for MonitorSpec {
    fn default() -> Self {
        Mode::default().into()
    }
}

impl FromStr for MonitorSpec {
    type Err = MonitorSpecError;

    fn from_str(text: &str) -> Result<Self, MonitorSpecError> {
        let mut parts = text.split(',').peekable();
        let first = parts.next().unwrap_or_default();
        // After the `@` stands a rate, or the first half of a position, which has a second one.
        let y = parts.next_if(|part| !part.contains('=')).map(str::to_owned);
        let mut spec = match (y, first.split_once('@')) {
            (None, _) => Self::from(first.parse::<Mode>()?),
            (Some(y), Some((size, x))) => {
                let position = parse_position(&format!("{x},{y}"))?;
                Self { position: Some(position), ..size.parse::<Mode>()?.into() }
            }
            (Some(y), None) => return Err(MonitorSpecError::Key(y)),
        };
        let has_rate = spec.position.is_none() && first.contains('@');
        let mut seen = if has_rate { vec!["refresh"] } else { Vec::new() };
        for part in parts {
            let key = spec.set(part)?;
            if seen.contains(&key) {
                return Err(MonitorSpecError::Twice(key));
            }
            seen.push(key);
        }
        Ok(spec)
    }
}

impl MonitorSpec {
    /// Takes one `KEY=VALUE` and returns the key.
    fn set(&mut self, part: &str) -> Result<&'static str, MonitorSpecError> {
        let unknown = || MonitorSpecError::Key(part.to_owned());
        let (key, value) = part.split_once('=').ok_or_else(unknown)?;
        match key {
            "refresh" => {
                let refresh = value.parse().map_err(|_| ModeError::Rate)?;
                self.mode = Mode { refresh, ..self.mode }.checked()?;
                Ok("refresh")
            }
            "dpi" => {
                let dpi = value.parse().ok().filter(|dpi| DPIS.contains(dpi));
                self.dpi = dpi.ok_or_else(|| MonitorSpecError::Dpi { text: value.to_owned() })?;
                Ok("dpi")
            }
            "name" => {
                let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                if !printable || !(1..=MAX_NAME).contains(&value.len()) || value.trim() != value {
                    return Err(MonitorSpecError::Name(value.to_owned()));
                }
                self.name = Some(value.to_owned());
                Ok("name")
            }
            _ => Err(unknown()),
        }
    }
}

/// The position that `X,Y` says.
///
/// # Errors
///
/// [`MonitorSpecError::Position`]
pub fn parse_position(text: &str) -> Result<(u32, u32), MonitorSpecError> {
    let number = |text: &str| text.parse().ok().filter(|number| *number <= MAX_POSITION);
    text.split_once(',')
        .and_then(|(x, y)| number(x).zip(number(y)))
        .ok_or_else(|| MonitorSpecError::Position(text.to_owned()))
}

impl fmt::Display for MonitorSpec {
    /// The text that parses as the same again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mode { width, height, refresh } = self.mode;
        write!(f, "{width}x{height}")?;
        match self.position {
            Some((x, y)) => write!(f, "@{x},{y},refresh={refresh}")?,
            None => write!(f, "@{refresh}")?,
        }
        if self.dpi != DEFAULT_DPI {
            write!(f, ",dpi={}", self.dpi)?;
        }
        match &self.name {
            Some(name) => write!(f, ",name={name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<MonitorSpec, MonitorSpecError> {
        text.parse()
    }

    #[test]
    fn monitors_are_written_as_users_write_them() {
        let mode = |width, height, refresh| Mode { width, height, refresh };
        let plain = MonitorSpec::from(mode(800, 600, 60));
        assert_eq!(spec("800x600"), Ok(plain.clone()));
        assert_eq!(spec("800x600@50"), Ok(mode(800, 600, 50).into()));
        let placed = MonitorSpec { position: Some((1280, 0)), ..plain.clone() };
        assert_eq!(spec("800x600@1280,0"), Ok(placed));
        let all = MonitorSpec {
            mode: mode(1920, 720, 75),
            position: Some((0, 720)),
            dpi: 160,
            name: Some("left cluster".into()),
            edid: None,
        };
        let text = "1920x720@0,720,name=left cluster,refresh=75,dpi=160";
        assert_eq!(spec(text), Ok(all.clone()));
        assert_eq!(spec("800x600,dpi=96"), Ok(plain));
        assert_eq!(all.to_string(), "1920x720@0,720,refresh=75,dpi=160,name=left cluster");
        assert_eq!(spec(&all.to_string()), Ok(all));
    }

    #[test]
    fn what_is_wrong_is_said() {
        use MonitorSpecError::{Dpi, Key, Name, Position, Twice};
        for (text, error) in [
            ("800", ModeError::Syntax("800".into()).into()),
            ("8x8", ModeError::Size.into()),
            ("800x600,", Key("".into())),
            ("800x600,refresh", Key("refresh".into())),
            ("800x600,100", Key("100".into())),
            ("800x600@0,0,0", Key("0".into())),
            ("800x600,colour=red", Key("colour=red".into())),
            ("800x600@1,", Position("1,".into())),
            ("800x600@1,131073", Position("1,131073".into())),
            ("800x600@-1,0", Position("-1,0".into())),
            ("800x600@60,refresh=50", Twice("refresh")),
            ("800x600,dpi=96,dpi=96", Twice("dpi")),
            ("800x600,refresh=241", ModeError::Rate.into()),
            ("800x600,dpi=49", Dpi { text: "49".into() }),
            ("800x600,name=", Name("".into())),
            ("800x600,name=fourteen chars", Name("fourteen chars".into())),
            ("800x600,name=\u{e4}", Name("\u{e4}".into())),
            ("800x600,name= x", Name(" x".into())),
        ] {
            assert_eq!(spec(text), Err(error), "{text}");
        }
    }
}
