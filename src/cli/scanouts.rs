//! Options that say what the driver finds at its scanouts.

use clap::{Args, ValueEnum};
use virtio_loopback_gpu::adapter::{MAX_PIXELS, MonitorSpec, Monitors, OnResize};
use virtio_loopback_gpu::gpu::wire::MAX_SCANOUTS;

/// Options of the scanouts.
#[derive(Debug, Clone, Args)]
pub struct ScanoutOptions {
    /// A scanout: its size, rate or place on the desktop, and more, as in
    /// 1280x720@0,720,refresh=50,dpi=160,name=left; repeat it for more scanouts, up to 16.
    /// [default: 1280x720; with --display kms what the connector has]
    #[arg(long = "scanout", value_name = "WxH[@RATE|@X,Y][,KEY=VALUE]")]
    scanouts: Vec<MonitorSpec>,
    /// Connectors of the card, so that `ctl scanout add` has room [default: as many as --scanout].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAX_SCANOUTS as i64))]
    max_scanouts: Option<u8>,
    /// What happens when a window is given another size.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "follow")]
    on_resize: ResizeChoice,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ResizeChoice {
    /// Its monitor gets that mode; if the client does not take it, the monitor is plugged in anew.
    Follow,
    /// Its monitor gets that mode.
    Mode,
    /// The picture is scaled.
    Ignore,
}

impl ScanoutOptions {
    /// What no single option can say about itself.
    pub fn check(&self) -> Result<(), String> {
        let count = self.specs().len();
        if count > MAX_SCANOUTS {
            return Err(format!("a device has at most {MAX_SCANOUTS} scanouts"));
        }
        if let Some(most) = self.max_scanouts.filter(|most| usize::from(*most) < count) {
            return Err(format!("{count} scanouts are more than --max-scanouts={most}"));
        }
        if self.pixels() > MAX_PIXELS {
            let text = "the scanouts of a device have at most";
            return Err(format!("{text} {MAX_PIXELS} pixels together"));
        }
        Ok(())
    }

    /// The scanouts of a new device.
    pub fn monitors(&self) -> Monitors {
        Monitors::new(self.specs(), self.max_scanouts.map_or(0, usize::from))
    }

    /// Whether monitors are what the display's connectors have.
    pub fn follow_connectors(&self) -> bool {
        self.scanouts.is_empty()
    }

    fn specs(&self) -> Vec<MonitorSpec> {
        match self.scanouts.as_slice() {
            [] => vec![MonitorSpec::default()],
            specs => specs.to_vec(),
        }
    }

    /// What a window's size does.
    pub fn on_resize(&self) -> OnResize {
        match self.on_resize {
            ResizeChoice::Follow => OnResize::Follow,
            ResizeChoice::Mode => OnResize::Mode,
            ResizeChoice::Ignore => OnResize::Ignore,
        }
    }

    /// Pixels of all scanouts.
    pub fn pixels(&self) -> u64 {
        let pixels = |spec: &MonitorSpec| u64::from(spec.mode.width) * u64::from(spec.mode.height);
        self.specs().iter().map(pixels).sum()
    }

    /// Each scanout in few words.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.specs().into_iter().map(|spec| spec.mode.to_string())
    }
}
