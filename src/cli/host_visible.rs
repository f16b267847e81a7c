//! `backend --host-visible` and `--venus`: blobs that the driver maps.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use virtio_loopback_gpu::backend::{RENDER_SERVER, RenderServer};

use super::render::Render;
use super::sandbox::SandboxOptions;
use super::usage::BadOption;

/// Those of a GPU backend alone: a loopback device has no such window.
#[derive(Debug, Clone, Args)]
pub struct HostVisibleOptions {
    /// Let the driver map blobs of the renderer's memory, into a window of this size that the front-end
    /// is asked for (SHMEM of vhost-user).
    #[arg(long, value_name = "SIZE")]
    host_visible: Option<WindowSize>,
    /// Render Vulkan besides OpenGL, in processes of virglrenderer's render server.
    #[arg(long, requires = "host_visible")]
    venus: bool,
    /// The render server of virglrenderer.
    #[arg(long, value_name = "PROGRAM", default_value = RENDER_SERVER, requires = "venus")]
    render_server: PathBuf,
}

/// Bytes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WindowSize(u64);

impl FromStr for WindowSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str =
            "it is a power of two from 1M to 64G, the size in bytes or with K, M or G behind it";
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'K') => (text.strip_suffix('K'), 10),
            Some(b'M') => (text.strip_suffix('M'), 20),
            Some(b'G') => (text.strip_suffix('G'), 30),
            _ => (Some(text), 0),
        };
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse::<u64>().ok()).ok_or(WRONG)?;
        let bytes = number.checked_mul(1 << shift).ok_or(WRONG)?;
        // A window of a PCI device has such a size, and it may become one.
        let possible = bytes.is_power_of_two() && (1 << 20..=64 << 30).contains(&bytes);
        if possible { Ok(Self(bytes)) } else { Err(WRONG) }
    }
}

impl HostVisibleOptions {
    /// Bytes of the window, 0 for none.
    pub fn size(&self) -> u64 {
        self.host_visible.map_or(0, |size| size.0)
    }

    /// Whether they say something.
    pub fn check(&self, render: Render) -> Result<(), BadOption> {
        if self.venus && !render.is_virgl() {
            let what = "--venus is virglrenderer's: add --render virgl or auto";
            return Err(BadOption::new(what.to_owned(), None));
        }
        if self.host_visible.is_some() && render == Render::TwoD {
            let what = "--host-visible is for blobs of a renderer's: add --render virgl or auto";
            return Err(BadOption::new(what.to_owned(), None));
        }
        Ok(())
    }

    /// Starts what renders Vulkan, if that is asked for. The backend must not be confined yet.
    pub fn start_server(
        &self,
        render_node: Option<&str>,
        sandbox: &SandboxOptions,
    ) -> Result<Option<RenderServer>> {
        if !self.venus {
            return Ok(None);
        }
        let mut arguments = vec!["render-server".to_owned()];
        arguments.extend(sandbox.arguments());
        arguments.extend(render_node.map(|node| format!("--render-node={node}")));
        arguments.extend(super::verbosity());
        arguments.push("--".to_owned());
        arguments.push(self.render_server.display().to_string());
        Ok(Some(RenderServer::start(&self.render_server, &arguments)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_power_of_two_of_bytes() {
        let parse = |text: &str| text.parse::<WindowSize>();
        for (text, bytes) in
            [("1M", 1 << 20), ("1024K", 1 << 20), ("8G", 8 << 30), ("2097152", 2 << 20)]
        {
            assert_eq!(parse(text), Ok(WindowSize(bytes)), "{text}");
        }
        for text in
            ["", "0", "M", "3M", "512K", "65G", "128G", "+1M", "1m", "1T", "20000000000G", "1.0G"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
