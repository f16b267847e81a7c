//! Atomic commits: everything that changes on a CRTC changes in the same frame.

use std::io;

use drm::control::atomic::AtomicModeReq;
use drm::control::{
    AtomicCommitFlags, Device as _, RawResourceHandle, ResourceHandle, framebuffer,
};

use super::card::{Card, Properties};
use super::connectors::{Connector, Pipe, Plane};
use crate::{Origin, Rect};

/// `DRM_MODE_ROTATE_0` and `DRM_MODE_REFLECT_Y` (`drm_mode.h`).
const ROTATE_0: u64 = 1 << 0;
const REFLECT_Y: u64 = 1 << 5;

/// A framebuffer on a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlaneState {
    pub(super) framebuffer: framebuffer::Handle,
    /// Its size, all of which is shown.
    pub(super) size: (u32, u32),
    /// Left and top edge on the CRTC, which may be outside of it, and the size there.
    pub(super) place: (i32, i32, u32, u32),
    /// Which row of the framebuffer is the upper one.
    pub(super) origin: Origin,
}

impl PlaneState {
    /// All of a framebuffer at `place`.
    pub(super) fn new(
        framebuffer: framebuffer::Handle,
        size: (u32, u32),
        place: Rect,
    ) -> PlaneState {
        let signed = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let place = (signed(place.x), signed(place.y), place.width, place.height);
        PlaneState { framebuffer, size, place, origin: Origin::TopLeft }
    }
}

/// A commit that is being put together.
pub(super) struct Commit<'a> {
    card: &'a Card,
    request: AtomicModeReq,
    /// To be destroyed when it is done.
    blobs: Vec<u64>,
}

impl<'a> Commit<'a> {
    pub(super) fn new(card: &'a Card) -> Commit<'a> {
        Commit { card, request: AtomicModeReq::new(), blobs: Vec::new() }
    }

    /// Sets a property, if the object has it.
    pub(super) fn set<T: ResourceHandle>(
        &mut self,
        object: T,
        properties: &Properties,
        name: &str,
        value: u64,
    ) {
        if let Some(property) = properties.id(name) {
            self.request.add_raw_property(object.into(), property, value);
        }
    }

    /// Has the CRTC drive the connector in the mode whose blob this is.
    pub(super) fn mode(&mut self, pipe: &Pipe, connector: &Connector, blob: u64) {
        self.set(connector.handle, &connector.properties, "CRTC_ID", raw(pipe.crtc));
        self.set(pipe.crtc, &pipe.crtc_properties, "MODE_ID", blob);
        self.set(pipe.crtc, &pipe.crtc_properties, "ACTIVE", 1);
    }

    /// Switches the CRTC and the connector off.
    pub(super) fn off(&mut self, pipe: &Pipe, connector: &Connector) {
        self.set(connector.handle, &connector.properties, "CRTC_ID", 0);
        self.set(pipe.crtc, &pipe.crtc_properties, "MODE_ID", 0);
        self.set(pipe.crtc, &pipe.crtc_properties, "ACTIVE", 0);
    }

    /// Shows something on a plane, or nothing.
    pub(super) fn plane(&mut self, pipe: &Pipe, plane: &Plane, state: Option<&PlaneState>) {
        let object = plane.handle;
        let mut set = |name, value| self.set(object, &plane.properties, name, value);
        let Some(state) = state else {
            set("FB_ID", 0);
            set("CRTC_ID", 0);
            return;
        };
        let (x, y, width, height) = state.place;
        set("FB_ID", raw(state.framebuffer));
        set("CRTC_ID", raw(pipe.crtc));
        // Source coordinates have 16 bits of fraction; those of a CRTC have a sign.
        for (name, value) in
            [("SRC_X", 0), ("SRC_Y", 0), ("SRC_W", state.size.0), ("SRC_H", state.size.1)]
        {
            set(name, u64::from(value) << 16);
        }
        for (name, value) in [("CRTC_X", x), ("CRTC_Y", y)] {
            set(name, i64::from(value).cast_unsigned());
        }
        set("CRTC_W", width.into());
        set("CRTC_H", height.into());
        set(
            "rotation",
            match state.origin {
                Origin::TopLeft => ROTATE_0,
                Origin::BottomLeft => ROTATE_0 | REFLECT_Y,
            },
        );
    }

    /// Says what of a plane's picture has changed, in its framebuffer's coordinates.
    pub(super) fn damage(&mut self, plane: &Plane, damage: &[Rect]) {
        if damage.is_empty() || plane.properties.id("FB_DAMAGE_CLIPS").is_none() {
            return;
        }
        // struct drm_mode_rect: x1, y1, x2, y2. Frames are far from where they would overflow.
        let edge = |start: u32, length: u32| {
            i32::try_from(start.saturating_add(length)).unwrap_or(i32::MAX)
        };
        let clips: Vec<[i32; 4]> = damage
            .iter()
            .map(|rect| {
                let (x, y) = (edge(rect.x, 0), edge(rect.y, 0));
                [x, y, edge(rect.x, rect.width), edge(rect.y, rect.height)]
            })
            .collect();
        // Without, all of it counts as changed.
        if let Ok(blob) = self.card.create_property_blob(clips.as_slice()) {
            let blob = u64::from(blob);
            self.blobs.push(blob);
            self.set(plane.handle, &plane.properties, "FB_DAMAGE_CLIPS", blob);
        }
    }

    /// Asks whether it could be done.
    pub(super) fn test(&self) -> io::Result<()> {
        let flags = AtomicCommitFlags::TEST_ONLY | AtomicCommitFlags::ALLOW_MODESET;
        self.card.atomic_commit(flags, self.request.clone())
    }

    /// Does it in the next frame; an event tells of that. One that sets a mode may take longer. Fails with
    /// EBUSY while a commit is under way that this one has to do with, another CRTC's or another program's.
    pub(super) fn start(&self, modeset: bool) -> io::Result<()> {
        let mut flags = AtomicCommitFlags::PAGE_FLIP_EVENT;
        if modeset {
            flags |= AtomicCommitFlags::ALLOW_MODESET;
        }
        self.card.atomic_commit(flags | AtomicCommitFlags::NONBLOCK, self.request.clone())
    }

    /// Does it before it returns.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.card.atomic_commit(AtomicCommitFlags::ALLOW_MODESET, self.request.clone())
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        for blob in &self.blobs {
            // The kernel keeps what it still uses.
            let _ = self.card.destroy_property_blob(*blob);
        }
    }
}

fn raw<T: Into<RawResourceHandle>>(handle: T) -> u64 {
    let raw: RawResourceHandle = handle.into();
    u64::from(raw.get())
}
