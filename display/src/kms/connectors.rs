//! Connectors, and what is needed to show something on one: a CRTC and its planes.

use std::collections::HashSet;
use std::io;

use drm::control::connector::{Info, Interface, State};
use drm::control::{
    Device as _, Mode, ModeTypeFlags, PlaneType, ResourceHandles, connector, crtc, plane,
};

use super::card::{Card, Properties};
use super::geometry::ModeSize;

/// A connector and what is at its end.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) handle: connector::Handle,
    /// As in sysfs: `HDMI-A-1`.
    pub(super) name: String,
    info: Info,
    pub(super) properties: Properties,
}

impl Connector {
    pub(super) fn is_connected(&self) -> bool {
        // Those that cannot tell are tried: an analogue connector without DDC.
        self.info.state() != State::Disconnected && !self.info.modes().is_empty()
    }

    pub(super) fn modes(&self) -> &[Mode] {
        self.info.modes()
    }

    /// The display's EDID; empty if there is none.
    pub(super) fn edid(&self, card: &Card) -> Vec<u8> {
        let blob = self.properties.value("EDID").filter(|blob| *blob != 0);
        blob.and_then(|blob| card.get_property_blob(blob).ok()).unwrap_or_default()
    }
}

/// What of a mode decides whether it is taken.
pub(super) fn size(mode: &Mode) -> ModeSize {
    let (width, height) = mode.size();
    ModeSize {
        width: width.into(),
        height: height.into(),
        refresh: mode.vrefresh(),
        preferred: mode.mode_type().contains(ModeTypeFlags::PREFERRED),
    }
}

/// One connector as it is now.
pub(super) fn probe(card: &Card, handle: connector::Handle) -> io::Result<Connector> {
    let info = card.get_connector(handle, true)?;
    let properties = card.properties(handle)?;
    Ok(Connector { handle, name: info.to_string(), info, properties })
}

/// All connectors that displays can be at.
pub(super) fn list(card: &Card) -> io::Result<Vec<Connector>> {
    let handles = card.resource_handles()?;
    let connectors = handles.connectors().iter().map(|handle| probe(card, *handle));
    // What ended since the handles were listed is none.
    let connectors = connectors.filter_map(Result::ok);
    Ok(connectors.filter(|connector| connector.info.interface() != Interface::Writeback).collect())
}

/// A plane.
#[derive(Debug, Clone)]
pub(super) struct Plane {
    pub(super) handle: plane::Handle,
    pub(super) properties: Properties,
    /// DRM formats.
    formats: Vec<u32>,
    /// Pairs of format and modifier, where the driver tells (`IN_FORMATS`).
    modifiers: Option<HashSet<(u32, u64)>>,
}

impl Plane {
    fn new(card: &Card, handle: plane::Handle, info: &plane::Info) -> io::Result<Plane> {
        let properties = card.properties(handle)?;
        let blob = properties.value("IN_FORMATS").filter(|blob| *blob != 0);
        let blob = blob.and_then(|blob| card.get_property_blob(blob).ok());
        let modifiers = blob.as_deref().and_then(parse_in_formats);
        Ok(Plane { handle, properties, formats: info.formats().to_vec(), modifiers })
    }

    /// Whether it shows pixels of this format, and of this modifier if that is given.
    pub(super) fn takes(&self, format: u32, modifier: Option<u64>) -> bool {
        let by_modifier = self.modifiers.as_ref().zip(modifier);
        self.formats.contains(&format)
            && by_modifier.is_none_or(|(known, modifier)| known.contains(&(format, modifier)))
    }
}

/// Formats and modifiers of `struct drm_format_modifier_blob` (`drm_mode.h`); `None` if it is none.
pub(super) fn parse_in_formats(blob: &[u8]) -> Option<HashSet<(u32, u64)>> {
    let word =
        |at: usize| blob.get(at..)?.first_chunk().map(|bytes: &[u8; 4]| u32::from_ne_bytes(*bytes));
    let long =
        |at: usize| blob.get(at..)?.first_chunk().map(|bytes: &[u8; 8]| u64::from_ne_bytes(*bytes));
    let (count_formats, formats) = (word(8)? as usize, word(12)? as usize);
    let (count_modifiers, modifiers) = (word(16)? as usize, word(20)? as usize);
    let mut pairs = HashSet::new();
    for index in 0..count_modifiers {
        // struct drm_format_modifier: a mask of 64 formats, the first of them, and the modifier.
        let at = modifiers.checked_add(index.checked_mul(24)?)?;
        let (mask, first, modifier) = (long(at)?, word(at + 8)? as usize, long(at + 16)?);
        for bit in (0..64).filter(|bit| mask & (1 << bit) != 0) {
            let format = first + bit;
            if format < count_formats {
                pairs.insert((word(formats.checked_add(format * 4)?)?, modifier));
            }
        }
    }
    Some(pairs)
}

/// What shows pictures on a connector.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub(super) crtc: crtc::Handle,
    /// Its place among the card's CRTCs, which is how vblanks are asked for.
    pub(super) index: u32,
    pub(super) crtc_properties: Properties,
    /// What lies below all else.
    pub(super) primary: Option<Plane>,
    /// The plane that the option names, above it.
    pub(super) overlay: Option<Plane>,
    pub(super) cursor: Option<Plane>,
}

impl Pipe {
    /// The plane that the picture is on.
    pub(super) fn picture(&self) -> Option<&Plane> {
        self.overlay.as_ref().or(self.primary.as_ref())
    }

    fn has(&self, plane: plane::Handle) -> bool {
        let planes = [&self.primary, &self.overlay, &self.cursor];
        planes.into_iter().flatten().any(|known| known.handle == plane)
    }

    /// What `connector` can be driven by that nobody in `taken` has.
    pub(super) fn find(
        card: &Card,
        connector: &Connector,
        overlay: Option<u32>,
        taken: &[&Pipe],
    ) -> io::Result<Option<Pipe>> {
        let resources = card.resource_handles()?;
        let crtcs = possible_crtcs(card, connector, &resources);
        let is_free = |crtc: &crtc::Handle| !taken.iter().any(|pipe| pipe.crtc == *crtc);
        for crtc in crtcs.into_iter().filter(is_free) {
            let pipe = Self::on(card, crtc, &resources, overlay, taken)?;
            if pipe.picture().is_some() && (overlay.is_none() || pipe.overlay.is_some()) {
                return Ok(Some(pipe));
            }
        }
        Ok(None)
    }

    fn on(
        card: &Card,
        crtc: crtc::Handle,
        resources: &ResourceHandles,
        overlay: Option<u32>,
        taken: &[&Pipe],
    ) -> io::Result<Pipe> {
        let crtc_properties = card.properties(crtc)?;
        let index = (0..).zip(resources.crtcs()).find(|(_, known)| **known == crtc);
        let index = index.map_or(0, |(index, _)| index);
        let mut pipe =
            Pipe { crtc, crtc_properties, index, primary: None, overlay: None, cursor: None };
        for handle in card.plane_handles()? {
            let info = card.get_plane(handle)?;
            let fits = resources.filter_crtcs(info.possible_crtcs()).contains(&crtc);
            if !fits || taken.iter().any(|pipe| pipe.has(handle)) {
                continue;
            }
            let plane = Plane::new(card, handle, &info)?;
            let kind = plane.properties.value("type");
            let slot = if overlay == Some(handle.into()) {
                &mut pipe.overlay
            } else if kind == Some(PlaneType::Primary as u64) {
                &mut pipe.primary
            } else if kind == Some(PlaneType::Cursor as u64) {
                &mut pipe.cursor
            } else {
                continue;
            };
            // The first: planes of a kind come in the order of their CRTCs.
            slot.get_or_insert(plane);
        }
        Ok(pipe)
    }
}

/// The CRTCs that can drive a connector, the one that does first.
fn possible_crtcs(
    card: &Card,
    connector: &Connector,
    resources: &ResourceHandles,
) -> Vec<crtc::Handle> {
    let current =
        connector.info.current_encoder().and_then(|encoder| card.get_encoder(encoder).ok());
    let mut crtcs: Vec<_> = current.and_then(|encoder| encoder.crtc()).into_iter().collect();
    for encoder in connector.info.encoders() {
        let Ok(encoder) = card.get_encoder(*encoder) else { continue };
        for crtc in resources.filter_crtcs(encoder.possible_crtcs()) {
            if !crtcs.contains(&crtc) {
                crtcs.push(crtc);
            }
        }
    }
    crtcs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct drm_format_modifier_blob` with two formats: the first in both modifiers, the second
    /// linear only.
    fn blob() -> Vec<u8> {
        let mut blob = Vec::new();
        for word in [1_u32, 0, 2, 24, 2, 32] {
            blob.extend(word.to_ne_bytes());
        }
        blob.extend(b"XR24AR24");
        for (mask, modifier) in [(0b11_u64, 0_u64), (0b01, 0x0100_0000_0000_0001)] {
            blob.extend(mask.to_ne_bytes());
            blob.extend([0; 8]);
            blob.extend(modifier.to_ne_bytes());
        }
        blob
    }

    #[test]
    fn formats_with_modifiers_are_read() {
        let (xr24, ar24) = (0x3432_5258, 0x3432_5241);
        let pairs = parse_in_formats(&blob()).unwrap();
        let expected = [(xr24, 0), (ar24, 0), (xr24, 0x0100_0000_0000_0001)];
        assert_eq!(pairs, HashSet::from(expected));
    }

    #[test]
    fn a_cut_blob_is_none() {
        let blob = blob();
        for length in 0..blob.len() {
            assert_eq!(parse_in_formats(&blob[..length]), None, "{length}");
        }
    }
}
