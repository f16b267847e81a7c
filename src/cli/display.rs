//! Options that say where the scanouts are shown.

use std::os::fd::{AsFd, RawFd};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use virtio_loopback_display::{DisplayKind, KmsOptions, Options};
use virtio_loopback_gpu::cards;
use virtio_loopback_gpu::drm_lease::{self, DrmLease, DrmLeaseError};

use super::fd;
use super::output;
use super::usage::BadOption;
use super::window::WindowOptions;

/// Options of the display.
#[derive(Debug, Clone, Args)]
pub struct DisplayOptions {
    /// Where to show the scanouts: sdl (a window per scanout), headless (keep the last frame, for
    /// screenshots), or kms[,device=NODE][,connector=NAME][,plane=ID] (a connector of a card per scanout;
    /// connector and plane may be repeated) [default: sdl with a desktop, else headless].
    #[arg(long)]
    display: Option<DisplayChoice>,
    /// A card for --display kms that is open already, such as a DRM lease: this descriptor.
    #[arg(long, value_name = "FD")]
    drm_fd: Option<RawFd>,
    /// A DRM lease of AGL's drm-lease-manager for --display kms: its name, such as card0-HDMI-A-1, or its socket.
    #[arg(long, value_name = "LEASE", conflicts_with = "drm_fd")]
    drm_lease: Option<String>,
    #[command(flatten)]
    window: WindowOptions,
}

/// `--display`.
#[derive(Debug, Clone)]
struct DisplayChoice {
    kind: DisplayKind,
    kms: KmsOptions,
}

impl FromStr for DisplayChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let kind: DisplayKind = words.next().unwrap_or_default().parse()?;
        let mut kms = KmsOptions::default();
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                _ if kind != DisplayKind::Kms => return Err(format!("{kind} has no options")),
                _ if value.is_empty() => return Err(format!("{name} needs a value")),
                "device" if kms.devices.is_empty() => kms.devices.push(PathBuf::from(value)),
                "device" => return Err("all scanouts are on one device".into()),
                "connector" => kms.connectors.push(value.to_owned()),
                "plane" => {
                    let plane = value.parse().map_err(|_| format!("{value:?} is no object id"))?;
                    kms.planes.push(plane);
                }
                _ => {
                    return Err(format!(
                        "kms has no option {name:?}, there are device, connector and plane"
                    ));
                }
            }
        }
        Ok(Self { kind, kms })
    }
}

impl DisplayOptions {
    /// The lease that the scanouts are shown on, if they are. It has to outlive the display.
    ///
    /// # Errors
    ///
    /// The lease's manager does not give it.
    pub fn lease(&self) -> Result<Option<DrmLease>, DrmLeaseError> {
        // Another display is refused later on: a manager may take the lease from somebody else for this.
        let is_kms = self.display.as_ref().is_none_or(|choice| choice.kind == DisplayKind::Kms);
        let Some(name) = self.drm_lease.as_ref().filter(|_| is_kms) else { return Ok(None) };
        let runtime = std::env::var_os("DLM_RUNTIME_PATH").map(PathBuf::from);
        DrmLease::get(&drm_lease::socket_path(name, runtime)).map(Some)
    }

    /// How the display of the device `name` is opened, with the lease of [`lease`](Self::lease).
    ///
    /// # Errors
    ///
    /// An option names what cannot be a display.
    pub fn options(&self, name: &str, lease: Option<&DrmLease>) -> Result<Options, BadOption> {
        let desktop = ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        let kind = match &self.display {
            Some(choice) => choice.kind,
            None if self.drm_fd.is_some() || self.drm_lease.is_some() => DisplayKind::Kms,
            None if desktop => DisplayKind::Sdl,
            None => {
                output::tell(
                    &"no desktop found (neither WAYLAND_DISPLAY nor DISPLAY is set): headless",
                );
                DisplayKind::Headless
            }
        };
        let mut options = Options { sdl: self.window.options(), ..Options::new(kind, name) };
        if kind == DisplayKind::Kms {
            options.kms = self.kms(lease)?;
        } else if self.drm_fd.is_some() || self.drm_lease.is_some() {
            let what = "--drm-fd and --drm-lease are for --display kms";
            return Err(BadOption::new(what.into(), None));
        }
        Ok(options)
    }

    fn kms(&self, lease: Option<&DrmLease>) -> Result<KmsOptions, BadOption> {
        let mut kms = self.display.as_ref().map(|choice| choice.kms.clone()).unwrap_or_default();
        let loopback = |what: &str| {
            let text =
                format!("{what} is a card of virtio-loopback-gpu, which is to be shown elsewhere");
            BadOption::new(text, None)
        };
        if let Some(number) = self.drm_fd {
            let fd = fd::inherited(number)?;
            if cards::is_loopback_fd(fd.as_fd()) {
                return Err(loopback(&format!("the descriptor {number}")));
            }
            kms.fd = Some(Arc::new(fd));
        } else if let Some(lease) = lease {
            let unusable = |source| BadOption::new("the lease cannot be used".into(), Some(source));
            let card = lease.card().try_clone_to_owned().map_err(unusable)?;
            if cards::is_loopback_fd(card.as_fd()) {
                return Err(loopback("what is leased"));
            }
            kms.fd = Some(Arc::new(card));
        } else if let Some(device) = kms.devices.first() {
            if cards::is_loopback(device) {
                return Err(loopback(&device.display().to_string()));
            }
        } else {
            kms.devices = cards::find();
        }
        Ok(kms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<DisplayChoice>().unwrap_err()
    }

    #[test]
    fn kms_is_told_where() {
        let choice: DisplayChoice =
            "kms,device=/dev/dri/card1,connector=HDMI-A-1,connector=DP-2,plane=31".parse().unwrap();
        assert_eq!(choice.kind, DisplayKind::Kms);
        assert_eq!(choice.kms.devices, [PathBuf::from("/dev/dri/card1")]);
        assert_eq!(choice.kms.connectors, ["HDMI-A-1", "DP-2"]);
        assert_eq!(choice.kms.planes, [31]);
        let bare: DisplayChoice = "kms".parse().unwrap();
        assert!(bare.kms.devices.is_empty() && bare.kms.connectors.is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(refusal("sdl,device=x"), "sdl has no options");
        assert_eq!(refusal("kms,connector"), "connector needs a value");
        assert_eq!(refusal("kms,plane=x"), "\"x\" is no object id");
        assert_eq!(
            refusal("kms,mode=x"),
            "kms has no option \"mode\", there are device, connector and plane"
        );
        assert_eq!(refusal("kms,device=a,device=b"), "all scanouts are on one device");
        assert_eq!(refusal("crt"), "unknown display \"crt\", there are sdl, kms and headless");
    }
}
