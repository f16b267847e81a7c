//! Which mode an output gets, and where in it a picture lies. Without any card, to be tested.

use crate::Rect;

/// What matters of a connector's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModeSize {
    /// Columns.
    pub(super) width: u32,
    /// Rows.
    pub(super) height: u32,
    /// Frames a second.
    pub(super) refresh: u32,
    /// The display prefers it (`DRM_MODE_TYPE_PREFERRED`).
    pub(super) preferred: bool,
}

/// Which of `modes` shows a frame of this size: one of the same size, the preferred or else the
/// quickest of those; else the preferred one, or for a frame that is larger than that the smallest that
/// it fits into; else the first, which is the driver's choice. `None` if there is none.
pub(super) fn choose_mode(modes: &[ModeSize], (width, height): (u32, u32)) -> Option<usize> {
    let same_size = |mode: &ModeSize| (mode.width, mode.height) == (width, height);
    let indexed = || (0..).zip(modes);
    let exact = indexed().filter(|(_, mode)| same_size(mode)).reduce(|best, other| {
        let rank = |mode: &ModeSize| (mode.preferred, mode.refresh);
        if rank(other.1) > rank(best.1) { other } else { best }
    });
    let is_within = |mode: &ModeSize| width <= mode.width && height <= mode.height;
    let larger = indexed().filter(|(_, mode)| is_within(mode));
    let larger = larger.min_by_key(|(_, mode)| u64::from(mode.width) * u64::from(mode.height));
    let preferred = indexed().find(|(_, mode)| mode.preferred);
    exact
        .or(preferred.filter(|(_, mode)| is_within(mode)))
        .or(larger)
        .or(preferred)
        .or_else(|| indexed().next())
        .map(|(index, _)| index)
}

/// The largest place of a picture's shape in a mode, in its middle.
pub(super) fn fit(picture: (u32, u32), mode: (u32, u32)) -> Rect {
    let (picture_width, picture_height) =
        (u64::from(picture.0.max(1)), u64::from(picture.1.max(1)));
    let (mode_width, mode_height) = (u64::from(mode.0), u64::from(mode.1));
    let is_wider = picture_width * mode_height >= mode_width * picture_height;
    let (width, height) = if is_wider {
        (mode_width, (mode_width * picture_height / picture_width).max(1))
    } else {
        ((mode_height * picture_width / picture_height).max(1), mode_height)
    };
    // No larger than the mode, which is of u32.
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    middle((narrow(width), narrow(height)), mode)
}

/// A picture's place in the middle of a mode, pixel by pixel; `None` if it is larger.
pub(super) fn centre(picture: (u32, u32), mode: (u32, u32)) -> Option<Rect> {
    (picture.0 <= mode.0 && picture.1 <= mode.1).then(|| middle(picture, mode))
}

fn middle(size: (u32, u32), mode: (u32, u32)) -> Rect {
    let (x, y) = (mode.0.saturating_sub(size.0) / 2, mode.1.saturating_sub(size.1) / 2);
    Rect::new(x, y, size.0, size.1)
}

/// Where the pixels of a picture go, and which pixel comes from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    /// Size of the picture.
    pub(super) picture: (u32, u32),
    /// Where it is in the mode.
    pub(super) place: Rect,
}

impl Placement {
    /// Whether each pixel of the picture is one of the mode.
    pub(super) fn is_one_to_one(&self) -> bool {
        self.picture == (self.place.width, self.place.height)
    }

    /// The pixels of the mode that show something of `part` of the picture, which is inside of it.
    pub(super) fn shown(&self, part: Rect) -> Rect {
        let along = |start: u32, length: u32, from: u32, to: u32, offset: u32| {
            let scale = |at: u64| at * u64::from(to) / u64::from(from.max(1));
            let first = scale(start.into());
            // The pixel that is cut is shown, too.
            let end = (u64::from(start) + u64::from(length)) * u64::from(to);
            let end = end.div_ceil(u64::from(from.max(1)));
            let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            (narrow(first).saturating_add(offset), narrow(end - first))
        };
        let (x, width) = along(part.x, part.width, self.picture.0, self.place.width, self.place.x);
        let (y, height) =
            along(part.y, part.height, self.picture.1, self.place.height, self.place.y);
        Rect { x, y, width, height }
    }

    /// The picture's column and row that the mode's show, if they are of it.
    pub(super) fn source(&self, x: u32, y: u32) -> Option<(u32, u32)> {
        let along = |at: u32, offset: u32, from: u32, to: u32| {
            let at = at.checked_sub(offset).filter(|at| *at < to)?;
            u32::try_from(u64::from(at) * u64::from(from) / u64::from(to)).ok()
        };
        Some((
            along(x, self.place.x, self.picture.0, self.place.width)?,
            along(y, self.place.y, self.picture.1, self.place.height)?,
        ))
    }

    /// Where in the mode a position in the picture is; both may be outside.
    pub(super) fn position(&self, x: i32, y: i32) -> (i32, i32) {
        let along = |at: i32, from: u32, to: u32, offset: u32| {
            let scaled = i64::from(at) * i64::from(to) / i64::from(from.max(1)) + i64::from(offset);
            i32::try_from(scaled).unwrap_or(if scaled < 0 { i32::MIN } else { i32::MAX })
        };
        (
            along(x, self.picture.0, self.place.width, self.place.x),
            along(y, self.picture.1, self.place.height, self.place.y),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mode(width: u32, height: u32, refresh: u32, preferred: bool) -> ModeSize {
        ModeSize { width, height, refresh, preferred }
    }

    #[test]
    fn the_mode_is_that_of_the_frame_or_the_preferred_one() {
        let modes = [
            mode(1920, 1080, 60, true),
            mode(1920, 1080, 75, false),
            mode(800, 600, 56, false),
            mode(800, 600, 72, false),
            mode(800, 600, 60, false),
        ];
        assert_eq!(choose_mode(&modes, (1920, 1080)), Some(0), "preferred, though slower");
        assert_eq!(choose_mode(&modes, (800, 600)), Some(3), "the quickest");
        assert_eq!(choose_mode(&modes, (801, 600)), Some(0));
        assert_eq!(choose_mode(&modes, (4096, 2160)), Some(0), "none is large enough");
        let (_, unpreferred) = modes.split_at(2);
        assert_eq!(choose_mode(unpreferred, (640, 480)), Some(0));
        let larger =
            [mode(1024, 768, 60, true), mode(4096, 2160, 60, false), mode(2048, 1536, 60, false)];
        assert_eq!(
            choose_mode(&larger, (1920, 1080)),
            Some(2),
            "the smallest that is large enough"
        );
        assert_eq!(choose_mode(&[], (640, 480)), None);
    }

    #[test]
    fn pictures_fill_modes_and_keep_their_shape() {
        assert_eq!(fit((800, 600), (1920, 1080)), Rect::new(240, 0, 1440, 1080));
        assert_eq!(fit((1920, 1080), (1024, 768)), Rect::new(0, 96, 1024, 576));
        assert_eq!(fit((1, 16384), (640, 480)), Rect::new(319, 0, 1, 480));
        assert_eq!(fit((16384, 1), (640, 480)), Rect::new(0, 239, 640, 1));
        assert_eq!(centre((640, 480), (1024, 768)), Some(Rect::new(192, 144, 640, 480)));
        assert_eq!(centre((1024, 769), (1024, 768)), None);
    }

    #[test]
    fn every_pixel_of_damage_is_shown_whatever_the_scale() {
        for (picture, place) in [
            ((64, 48), Rect::new(10, 20, 64, 48)),
            ((64, 48), Rect::new(0, 3, 100, 75)),
            ((100, 75), Rect::new(7, 0, 64, 48)),
        ] {
            let placement = Placement { picture, place };
            let damage = Rect::new(13, 11, 9, 5);
            let shown = placement.shown(damage);
            assert!(place.contains(&shown));
            for y in 0..place.y + place.height {
                for x in 0..place.x + place.width {
                    let Some((column, row)) = placement.source(x, y) else {
                        assert!(x < place.x || y < place.y);
                        continue;
                    };
                    let inside = Rect::new(column, row, 1, 1);
                    if damage.contains(&inside) {
                        assert!(shown.contains(&Rect::new(x, y, 1, 1)), "{x},{y} in {place:?}");
                    }
                }
            }
        }
        let same = Placement { picture: (64, 48), place: Rect::new(10, 20, 64, 48) };
        assert!(same.is_one_to_one());
        assert_eq!(same.shown(Rect::new(1, 2, 3, 4)), Rect::new(11, 22, 3, 4));
        assert_eq!(same.source(10, 20), Some((0, 0)));
        assert_eq!(same.source(74, 20), None);
    }

    #[test]
    fn cursors_move_with_the_picture() {
        let placement = Placement { picture: (800, 600), place: Rect::new(240, 0, 1440, 1080) };
        assert_eq!(placement.position(0, 0), (240, 0));
        assert_eq!(placement.position(400, 300), (960, 540));
        assert_eq!(placement.position(-10, -10), (222, -18));
        assert_eq!(placement.position(i32::MAX, 0).0, i32::MAX);
    }
}
