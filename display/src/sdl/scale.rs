//! Where in a window the picture is, and which of its pixels a place in the window is.

use crate::{Rect, Scaling};

/// Where a picture goes in a drawing area, both in pixels. It reaches beyond the area only at the
/// right and the bottom.
pub(super) fn place(scaling: Scaling, picture: (u32, u32), area: (u32, u32)) -> Rect {
    let times = match scaling {
        Scaling::Stretch => return Rect::new(0, 0, area.0.max(1), area.1.max(1)),
        Scaling::Fit => return fit(picture, area),
        Scaling::OneToOne => 1,
        Scaling::Integer => {
            let fits = |picture: u32, area: u32| area.checked_div(picture).unwrap_or(0);
            match fits(picture.0, area.0).min(fits(picture.1, area.1)) {
                // No whole number of times: all of it, smaller.
                0 => return fit(picture, area),
                times => times,
            }
        }
    };
    let (width, height) = (picture.0.saturating_mul(times), picture.1.saturating_mul(times));
    centred((width, height), area)
}

/// As large as possible with all of it visible.
pub(super) fn fit(picture: (u32, u32), area: (u32, u32)) -> Rect {
    let (picture_width, picture_height) = (u64::from(picture.0), u64::from(picture.1));
    let (area_width, area_height) = (u64::from(area.0), u64::from(area.1));
    let is_wider = picture_width * area_height >= area_width * picture_height;
    let (width, height) = if is_wider {
        (area_width, (picture_height * area_width).checked_div(picture_width).unwrap_or(0))
    } else {
        ((picture_width * area_height).checked_div(picture_height).unwrap_or(0), area_height)
    };
    // At most the area, so it fits u32 again; a very flat picture keeps a visible line.
    let width = u32::try_from(width).unwrap_or(area.0).max(1);
    let height = u32::try_from(height).unwrap_or(area.1).max(1);
    centred((width, height), area)
}

/// With even borders.
fn centred((width, height): (u32, u32), area: (u32, u32)) -> Rect {
    let x = area.0.saturating_sub(width) / 2;
    let y = area.1.saturating_sub(height) / 2;
    Rect { x, y, width, height }
}

/// A place in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Column, inside the frame.
    pub(super) x: i32,
    /// Row, inside the frame.
    pub(super) y: i32,
    /// False if the place was not on the picture, and this is the nearest that is.
    pub(super) is_inside: bool,
}

/// How places in a window become places in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    /// The frame's size.
    pub(super) frame: (u32, u32),
    /// Where it is drawn.
    pub(super) place: Rect,
    /// The window's drawing area, in pixels.
    pub(super) area: (u32, u32),
    /// The same in the window system's units, which events use.
    pub(super) units: (u32, u32),
}

impl View {
    /// The frame's pixel at a place that an event of the window system names.
    pub(super) fn at(&self, x: i32, y: i32) -> Position {
        let pixel = |at: i32, area: u32, units: u32| {
            (i64::from(at) * i64::from(area)).checked_div(i64::from(units)).unwrap_or(0)
        };
        self.at_pixel(pixel(x, self.area.0, self.units.0), pixel(y, self.area.1, self.units.1))
    }

    /// The frame's pixel at a place given as a part of the window, 0 to 1.
    pub(super) fn at_part(&self, x: f32, y: f32) -> Position {
        // Saturates, also for what is no number.
        let pixel = |at: f32, area: u32| (f64::from(at) * f64::from(area)) as i64;
        self.at_pixel(pixel(x, self.area.0), pixel(y, self.area.1))
    }

    fn at_pixel(&self, x: i64, y: i64) -> Position {
        let inside = |at: i64, area: u32, start: u32, length: u32| {
            let end = u64::from(area).min(u64::from(start) + u64::from(length));
            at >= i64::from(start) && u64::try_from(at).is_ok_and(|at| at < end)
        };
        let is_inside = inside(x, self.area.0, self.place.x, self.place.width)
            && inside(y, self.area.1, self.place.y, self.place.height);
        let map = |at: i64, start: u32, length: u32, frame: u32| {
            let last = i64::from(frame.saturating_sub(1));
            let scaled = at.saturating_sub(i64::from(start)).saturating_mul(i64::from(frame));
            let column = scaled.div_euclid(i64::from(length.max(1))).clamp(0, last);
            i32::try_from(column).unwrap_or(i32::MAX)
        };
        Position {
            x: map(x, self.place.x, self.place.width, self.frame.0),
            y: map(y, self.place.y, self.place.height, self.frame.1),
            is_inside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fit_keeps_the_aspect_and_centres() {
        assert_eq!(fit((1280, 720), (1280, 720)), Rect::new(0, 0, 1280, 720));
        assert_eq!(fit((640, 360), (1280, 720)), Rect::new(0, 0, 1280, 720));
        assert_eq!(fit((1280, 720), (1280, 1024)), Rect::new(0, 152, 1280, 720));
        assert_eq!(fit((100, 100), (300, 200)), Rect::new(50, 0, 200, 200));
        assert_eq!(fit((16384, 1), (100, 100)), Rect::new(0, 49, 100, 1));
        assert_eq!(fit((16384, 16384), (0, 0)), Rect::new(0, 0, 1, 1));
    }

    #[test]
    fn each_scaling_has_its_place() {
        let at = |scaling, area| place(scaling, (100, 50), area);
        assert_eq!(at(Scaling::Integer, (350, 350)), Rect::new(25, 100, 300, 150));
        assert_eq!(at(Scaling::Integer, (50, 50)), Rect::new(0, 12, 50, 25));
        assert_eq!(at(Scaling::OneToOne, (350, 350)), Rect::new(125, 150, 100, 50));
        assert_eq!(at(Scaling::OneToOne, (60, 60)), Rect::new(0, 5, 100, 50));
        assert_eq!(at(Scaling::Stretch, (7, 300)), Rect::new(0, 0, 7, 300));
        assert_eq!(at(Scaling::Stretch, (0, 0)), Rect::new(0, 0, 1, 1));
    }

    fn position(x: i32, y: i32, is_inside: bool) -> Position {
        Position { x, y, is_inside }
    }

    #[test]
    fn places_go_through_scale_and_border() {
        // Doubled, 10 and 20 pixels from the edges, on a screen of 2 pixels a unit.
        let view = View {
            frame: (100, 50),
            place: Rect::new(10, 20, 200, 100),
            area: (220, 140),
            units: (110, 70),
        };
        assert_eq!(view.at(5, 10), position(0, 0, true));
        assert_eq!(view.at(6, 11), position(1, 1, true));
        assert_eq!(view.at(104, 59), position(99, 49, true));
        assert_eq!(view.at(4, 10), position(0, 0, false));
        assert_eq!(view.at(105, 59), position(99, 49, false));
        assert_eq!(view.at(50, i32::MIN), position(45, 0, false));
        assert_eq!(view.at_part(0.5, 0.5), position(50, 25, true));
        assert_eq!(view.at_part(f32::NAN, f32::INFINITY), position(0, 49, false));
    }

    #[test]
    fn what_is_cut_off_is_not_inside() {
        let view = View {
            frame: (100, 50),
            place: Rect::new(0, 0, 100, 50),
            area: (60, 60),
            units: (60, 60),
        };
        assert_eq!(view.at(59, 49), position(59, 49, true));
        assert_eq!(view.at(60, 49), position(60, 49, false));
        let nothing = View { frame: (0, 0), place: Rect::default(), area: (0, 0), units: (0, 0) };
        assert_eq!(nothing.at(1, 1), position(0, 0, false));
    }
}
