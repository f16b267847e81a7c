//! How frames of one kind get onto an output: as they are, or by a copy. A test commit decides.

use std::io;

use drm::control::{Device as _, Mode};

use super::card::Card;
use super::commit::{Commit, PlaneState};
use super::connectors::{self, Connector, Pipe};
use super::geometry::{self, Placement};
use super::import::{self, Imports};
use crate::{Frame, Origin, PixelFormat, Rect};

/// What is the same of all frames that one plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameKind {
    size: (u32, u32),
    format: PixelFormat,
    origin: Origin,
    is_dma_buf: bool,
    modifier: Option<u64>,
    /// A pointer has to be drawn into the picture.
    draws_cursor: bool,
}

impl FrameKind {
    pub(super) fn of(frame: &Frame, draws_cursor: bool) -> FrameKind {
        let layout = frame.layout();
        let dma_buf = frame.memory().dma_buf();
        FrameKind {
            size: (layout.width, layout.height),
            format: layout.format,
            origin: layout.origin,
            is_dma_buf: dma_buf.is_some(),
            modifier: dma_buf.and_then(|(_, _, modifier)| modifier),
            draws_cursor,
        }
    }
}

/// How a frame is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// The card scans the frame's own memory out.
    Direct,
    /// The frame is copied to dumb buffers of this size.
    Copy {
        /// Columns and rows.
        canvas: (u32, u32),
        /// Where the picture is in it.
        placement: Placement,
    },
}

/// The way frames of one kind are shown.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) kind: FrameKind,
    pub(super) mode: Mode,
    pub(super) path: Path,
    /// Where the plane lies in the mode: the picture, or the buffer that it is copied to.
    pub(super) plane: Rect,
    /// Where the picture lies in the mode.
    pub(super) picture: Placement,
}

impl Plan {
    /// Why not all is as it could be; for the log.
    pub(super) fn describe(&self, why: Option<&str>) -> String {
        let mode = connectors::size(&self.mode);
        let Rect { x, y, width, height } = self.picture.place;
        let way = match (self.path, why) {
            (Path::Direct, _) => "scanned out where it is, no byte is copied".to_owned(),
            (Path::Copy { .. }, Some(why)) => format!("copied: {why}"),
            (Path::Copy { .. }, None) => "copied".to_owned(),
        };
        format!(
            "{}x{} {} in the mode {}x{} at {} Hz, shown as {width}x{height} at {x},{y}: {way}",
            self.kind.size.0,
            self.kind.size.1,
            self.kind.format,
            mode.width,
            mode.height,
            mode.refresh,
        )
    }
}

/// What plans are made for.
pub(super) struct Planner<'a> {
    pub(super) card: &'a Card,
    pub(super) pipe: &'a Pipe,
    pub(super) connector: &'a Connector,
    /// The mode that has to stay, because others are on the CRTC, too.
    pub(super) fixed: Option<Mode>,
}

impl Planner<'_> {
    /// Finds a way for `frame`, and why it is not the best one. `None` without a mode.
    pub(super) fn plan(
        &self,
        kind: FrameKind,
        frame: &Frame,
        imports: &mut Imports,
    ) -> Option<(Plan, Option<String>)> {
        let mode = match self.fixed {
            Some(mode) => mode,
            None => {
                let modes: Vec<_> = self.connector.modes().iter().map(connectors::size).collect();
                *self.connector.modes().get(geometry::choose_mode(&modes, kind.size)?)?
            }
        };
        match self.direct(kind, mode, frame, imports) {
            Ok(plan) => Some((plan, None)),
            Err(why) => Some((self.copied(kind, mode), Some(why))),
        }
    }

    /// The plan without a copy, or why that cannot be.
    fn direct(
        &self,
        kind: FrameKind,
        mode: Mode,
        frame: &Frame,
        imports: &mut Imports,
    ) -> Result<Plan, String> {
        if kind.draws_cursor {
            return Err("there is no plane for the mouse pointer".into());
        }
        let plane = self.pipe.picture().ok_or("there is no plane")?;
        let fourcc = import::opaque(kind.format) as u32;
        if kind.is_dma_buf && !plane.takes(fourcc, kind.modifier) {
            return Err(format!("the plane takes no pixels of {} like these", kind.format));
        }
        if kind.origin == Origin::BottomLeft && plane.properties.id("rotation").is_none() {
            return Err("the plane does not show pictures upside down".into());
        }
        let framebuffer = imports
            .framebuffer(self.card, frame)
            .map_err(|error| crate::error::one_line(&error))?;
        let size = size_of(mode);
        let places = [Some(geometry::fit(kind.size, size)), geometry::centre(kind.size, size)];
        let mut refused = String::new();
        for place in places.into_iter().flatten() {
            let state = PlaneState {
                origin: kind.origin,
                ..PlaneState::new(framebuffer, kind.size, place)
            };
            match self.test(mode, &state) {
                // A card does not say to those who are not its master; the commit tells them that.
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                    refused = format!("the driver refuses it in a test commit: {error}");
                }
                _ => {
                    let picture = Placement { picture: kind.size, place };
                    return Ok(Plan { kind, mode, path: Path::Direct, plane: place, picture });
                }
            }
        }
        Err(refused)
    }

    fn test(&self, mode: Mode, state: &PlaneState) -> io::Result<()> {
        let blob = u64::from(self.card.create_property_blob(&mode)?);
        let mut commit = Commit::new(self.card);
        if self.fixed.is_none() {
            commit.mode(self.pipe, self.connector, blob);
        }
        if let Some(plane) = self.pipe.picture() {
            commit.plane(self.pipe, plane, Some(state));
        }
        let result = commit.test();
        let _ = self.card.destroy_property_blob(blob);
        result
    }

    /// The plan with a copy: on an overlay plane a buffer of the picture's size, else of the mode's.
    fn copied(&self, kind: FrameKind, mode: Mode) -> Plan {
        let size = size_of(mode);
        let place =
            geometry::centre(kind.size, size).unwrap_or_else(|| geometry::fit(kind.size, size));
        let picture = Placement { picture: kind.size, place };
        let (plane, placement) = if self.pipe.overlay.is_some() {
            (place, Placement { place: Rect::new(0, 0, place.width, place.height), ..picture })
        } else {
            (Rect::new(0, 0, size.0, size.1), picture)
        };
        let path = Path::Copy { canvas: (plane.width, plane.height), placement };
        Plan { kind, mode, path, plane, picture }
    }
}

fn size_of(mode: Mode) -> (u32, u32) {
    let (width, height) = mode.size();
    (width.into(), height.into())
}
