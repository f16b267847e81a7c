//! A card as its DRM master sees it.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use drm::control::atomic::AtomicModeReq;
use drm::control::{AtomicCommitFlags, Device as ControlDevice, ResourceHandle, crtc, property};
use drm::{ClientCapability, Device, DriverCapability, VblankWaitFlags, VblankWaitTarget};
use rustix::fs::OFlags;

use crate::DisplayError;

/// An open card.
#[derive(Debug)]
pub(super) struct Card {
    fd: Arc<OwnedFd>,
    /// For messages.
    name: String,
    driver: String,
    /// Framebuffers can be made with modifiers.
    pub(super) takes_modifiers: bool,
    /// Dma-bufs can be imported. Only a try shows of which devices.
    pub(super) imports: bool,
    /// Width and height of cursors, in pixels.
    pub(super) cursor_size: (u32, u32),
}

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Device for Card {}
impl ControlDevice for Card {}

impl Card {
    /// Opens the card's node and becomes its DRM master.
    pub(super) fn open(path: &Path) -> Result<Card, DisplayError> {
        let flags = OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
            .map_err(|source| DisplayError::Kms {
                what: format!("open {}", path.display()),
                source,
            })?;
        Self::new(Arc::new(file.into()), path.display().to_string())
    }

    /// Goes on with a card that somebody else has opened: a DRM lease.
    pub(super) fn from_fd(fd: Arc<OwnedFd>) -> Result<Card, DisplayError> {
        Self::new(fd, "the leased card".into())
    }

    fn new(fd: Arc<OwnedFd>, name: String) -> Result<Card, DisplayError> {
        let (driver, cursor_size) = (String::new(), (0, 0));
        let mut card =
            Card { fd, name, driver, takes_modifiers: false, imports: false, cursor_size };
        let driver = card.get_driver().map_err(|source| card.error("inspect", source))?;
        card.driver = driver.name().to_string_lossy().into_owned();
        for capability in [ClientCapability::UniversalPlanes, ClientCapability::Atomic] {
            card.set_client_capability(capability, true)
                .map_err(|source| card.error("do atomic modesetting on", source))?;
        }
        // Virtual machines' cards hide their cursor planes from those who do not say this; others
        // refuse, and have nothing to hide.
        let _ = card.set_client_capability(ClientCapability::CursorPlaneHotspot, true);
        let capability = |which| card.get_driver_capability(which).unwrap_or(0);
        // DRM_PRIME_CAP_IMPORT
        let imports = capability(DriverCapability::Prime) & 1 != 0;
        let takes_modifiers = capability(DriverCapability::AddFB2Modifiers) != 0;
        // 64 is what those have that do not say, as in the kernel.
        let size =
            |which| u32::try_from(capability(which)).ok().filter(|size| *size > 0).unwrap_or(64);
        let cursor_size =
            (size(DriverCapability::CursorWidth), size(DriverCapability::CursorHeight));
        Ok(Card { takes_modifiers, imports, cursor_size, ..card })
    }

    /// Name and driver.
    pub(super) fn description(&self) -> String {
        format!("{} ({})", self.name, self.driver)
    }

    /// Whether the card does what this process asks for, now or after it has been told to.
    pub(super) fn is_master(&self) -> bool {
        // A commit of nothing is refused to everybody else; who was given an open card may not be allowed to ask.
        self.acquire_master_lock().is_ok()
            || self.atomic_commit(AtomicCommitFlags::TEST_ONLY, AtomicModeReq::new()).is_ok()
    }

    /// Number of the CRTC's last vblank; `None` where there are none.
    pub(super) fn vblank(&self, crtc_index: u32) -> Option<u32> {
        let now = VblankWaitTarget::Relative(0);
        let reply = self.wait_vblank(now, VblankWaitFlags::empty(), crtc_index, 0);
        reply.ok().map(|reply| reply.frame())
    }

    /// Whether the CRTC is one of those that may be used: a lease that has ended has none.
    pub(super) fn has(&self, crtc: crtc::Handle) -> bool {
        self.resource_handles().is_ok_and(|resources| resources.crtcs().contains(&crtc))
    }

    pub(super) fn error(&self, what: &str, source: io::Error) -> DisplayError {
        DisplayError::Kms { what: format!("{what} {}", self.description()), source }
    }

    /// The object's properties, by name.
    pub(super) fn properties<T: ResourceHandle>(&self, object: T) -> io::Result<Properties> {
        let mut by_name = HashMap::new();
        for (id, value) in self.get_properties(object)? {
            let info = self.get_property(id)?;
            by_name.insert(info.name().to_string_lossy().into_owned(), (id, value));
        }
        Ok(Properties { by_name })
    }
}

/// Properties of an object, with the values that they had when they were read.
#[derive(Debug, Clone, Default)]
pub(super) struct Properties {
    by_name: HashMap<String, (property::Handle, u64)>,
}

impl Properties {
    pub(super) fn id(&self, name: &str) -> Option<property::Handle> {
        self.by_name.get(name).map(|(id, _)| *id)
    }

    pub(super) fn value(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).map(|(_, value)| *value)
    }
}

/// The first of `paths` that can show something, best one whose display is connected.
pub(super) fn open_first(paths: &[PathBuf]) -> Result<Card, DisplayError> {
    let mut without_display = None;
    let mut failed = None;
    for path in paths {
        let card = match Card::open(path) {
            Ok(card) => card,
            Err(error) => {
                log::debug!("{error}");
                failed = failed.or(Some(error));
                continue;
            }
        };
        match super::connectors::list(&card) {
            Ok(connectors) if connectors.iter().any(|connector| connector.is_connected()) => {
                return Ok(card);
            }
            Ok(connectors) if !connectors.is_empty() => {
                without_display = without_display.or(Some(card));
            }
            Ok(_) => log::debug!("{} has no connector", card.description()),
            Err(error) => failed = failed.or(Some(card.error("look at the connectors of", error))),
        }
    }
    match (without_display, failed) {
        (Some(card), _) => Ok(card),
        (None, Some(error)) => Err(error),
        (None, None) => Err(DisplayError::NoCard),
    }
}
