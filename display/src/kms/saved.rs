//! What a CRTC showed before, to be shown again at the end.

use drm::control::{Device as _, Mode};

use super::card::Card;
use super::commit::Commit;
use super::connectors::{Connector, Pipe, Plane};

/// Properties of planes that say what they show.
const PLANE: [&str; 11] = [
    "FB_ID", "CRTC_ID", "SRC_X", "SRC_Y", "SRC_W", "SRC_H", "CRTC_X", "CRTC_Y", "CRTC_W", "CRTC_H",
    "rotation",
];

/// A CRTC as it was found.
#[derive(Debug)]
pub(super) struct Saved {
    pipe: Pipe,
    connector: Connector,
    /// Set if the CRTC drove the connector.
    mode: Option<Mode>,
}

impl Saved {
    /// Remembers what is there now.
    pub(super) fn of(card: &Card, pipe: &Pipe, connector: &Connector) -> Saved {
        let active = pipe.crtc_properties.value("ACTIVE") == Some(1);
        let is_driven = connector.properties.value("CRTC_ID") == Some(u32::from(pipe.crtc).into());
        let info = card.get_crtc(pipe.crtc).ok().filter(|_| active && is_driven);
        let mode = info.and_then(|info| info.mode());
        Saved { pipe: pipe.clone(), connector: connector.clone(), mode }
    }

    /// Shows it again, or switches the output off if there was nothing or it is no more. What the
    /// kernel shows on its own (its console) it brings back when nobody has the card open.
    pub(super) fn restore(&self, card: &Card) {
        if !self.mode.is_some_and(|mode| self.show(card, mode)) {
            self.clear(card);
        }
    }

    /// The mode that was set.
    pub(super) fn mode(&self) -> Option<Mode> {
        self.mode
    }

    fn planes(&self) -> impl Iterator<Item = &Plane> {
        let Pipe { primary, overlay, cursor, .. } = &self.pipe;
        [primary, overlay, cursor].into_iter().flatten()
    }

    fn show(&self, card: &Card, mode: Mode) -> bool {
        let Ok(blob) = card.create_property_blob(&mode) else { return false };
        let blob = u64::from(blob);
        let mut commit = Commit::new(card);
        commit.mode(&self.pipe, &self.connector, blob);
        for plane in self.planes() {
            for name in PLANE {
                if let Some(value) = plane.properties.value(name) {
                    commit.set(plane.handle, &plane.properties, name, value);
                }
            }
        }
        let result = commit.finish();
        let _ = card.destroy_property_blob(blob);
        if let Err(error) = &result {
            log::debug!("{}: what was shown before is no more: {error}", self.connector.name);
        }
        result.is_ok()
    }

    fn clear(&self, card: &Card) {
        let mut commit = Commit::new(card);
        for plane in self.planes() {
            commit.plane(&self.pipe, plane, None);
        }
        commit.off(&self.pipe, &self.connector);
        if let Err(error) = commit.finish() {
            log::debug!("{}: not switched off: {error}", self.connector.name);
        }
    }
}
