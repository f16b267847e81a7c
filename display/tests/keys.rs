//! SDL windows and their user: keys, pointer, shortcuts, sizes; typed and clicked with xdotool on a
//! real X server (Xvfb).

mod common;

use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use virtio_loopback_display::{
    CursorImage, DisplayEvent, DisplayHandle, Filter, FrameLayout, HostPointer, InputEvent,
    PixelFormat, Presenter, Rect, Scaling, codes,
};

use common::*;

const CASES: &[(&str, On, fn())] = &[
    ("keys_reach_their_scanout", On::User, keys_reach_their_scanout),
    ("held_keys_are_released_with_the_focus", On::User, held_keys_are_released_with_the_focus),
    ("shortcuts_are_not_for_the_scanout", On::User, shortcuts_are_not_for_the_scanout),
    ("another_modifier_for_shortcuts", On::Desktop, another_modifier_for_shortcuts),
    ("pointer_is_in_pixels_of_the_frame", On::Desktop, pointer_is_in_pixels_of_the_frame),
    ("buttons_and_wheel", On::Desktop, buttons_and_wheel),
    ("grab_makes_the_pointer_relative", On::User, grab_makes_the_pointer_relative),
    ("fingers_touch_the_frame", On::Desktop, fingers_touch_the_frame),
    ("one_pointer_at_a_time", On::Pointer, one_pointer_at_a_time),
    ("scalings_by_option", On::X11, scalings_by_option),
    ("scaling_and_filter_by_key", On::Desktop, scaling_and_filter_by_key),
    ("full_screen_by_key", On::Desktop, full_screen_by_key),
    ("sizes_by_key", On::User, sizes_by_key),
    ("sizes_by_key_are_no_news_however_late", On::Desktop, sizes_by_key_however_late),
    ("pointer_over_the_picture_by_option", On::Pointer, pointer_over_the_picture_by_option),
    ("screenshot_by_key", On::User, screenshot_by_key),
    ("overlay_by_key", On::User, overlay_by_key),
    ("gl_overlay_by_key", On::GlUser, overlay_by_key),
    ("gl_pointer_is_in_pixels", On::GlUser, pointer_in_a_larger_window),
    ("quit_by_key", On::User, quit_by_key),
    ("resizes_are_reported_and_followed", On::User, resizes_are_reported_and_followed),
    ("maximised_windows_are_followed", On::Desktop, maximised_windows_are_followed),
    ("resizes_need_not_be_reported", On::Desktop, resizes_need_not_be_reported),
    ("size_and_position_by_option", On::User, size_and_position_by_option),
    ("title_says_rates_and_grab", On::User, title_says_rates_and_grab),
    ("bytes_copied_are_those_damaged", On::X11, bytes_copied_are_those_damaged),
];

fn main() -> ExitCode {
    common::main(CASES)
}

const SYN: (u16, u16, i32) = (codes::EV_SYN, codes::SYN_REPORT, 0);
const KEY_G: u16 = 34;
const KEY_A: u16 = 30;
const KEY_B: u16 = 48;
const KEY_LEFTSHIFT: u16 = 42;
const KEY_LEFTCTRL: u16 = 29;
const KEY_LEFTALT: u16 = 56;

/// What xdotool prints; its arguments in one string.
fn xdotool(arguments: &str) -> String {
    let output = Command::new("xdotool").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "xdotool {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The X window of a scanout's window, when it is on the screen.
fn x_window(name: &str) -> String {
    let found = || {
        let search = ["search", "--onlyvisible", "--name", &format!("^{name} - ")];
        let output = Command::new("xdotool").args(search).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    eventually("a window", || !found().is_empty());
    found()
}

fn title(window: &str) -> String {
    xdotool(&format!("getwindowname {window}"))
}

/// All input so far, without the scanout.
fn input(events: &Events) -> Vec<(u16, u16, i32)> {
    let entry = |event| match event {
        DisplayEvent::Input(InputEvent { kind, code, value, .. }) => Some((kind, code, value)),
        _ => None,
    };
    events.list().into_iter().filter_map(entry).collect()
}

fn clear(events: &Events) {
    events.0.lock().unwrap().clear();
}

/// Waits for exactly this input since the last `clear`, and clears it.
fn expect_input(events: &Events, expected: &[(u16, u16, i32)]) {
    let start = Instant::now();
    while input(events) != expected {
        if start.elapsed() > Duration::from_secs(10) {
            assert_eq!(input(events), expected);
        }
        thread::sleep(Duration::from_millis(10));
    }
    clear(events);
}

fn key(code: u16, value: i32) -> [(u16, u16, i32); 2] {
    [(codes::EV_KEY, code, value), SYN]
}

fn at(x: i32, y: i32) -> [(u16, u16, i32); 3] {
    [(codes::EV_ABS, codes::ABS_X, x), (codes::EV_ABS, codes::ABS_Y, y), SYN]
}

fn resized(events: &Events) -> Vec<(u32, u32)> {
    let size = |event| match event {
        DisplayEvent::Resized { width, height, .. } => Some((width, height)),
        _ => None,
    };
    events.list().into_iter().filter_map(size).collect()
}

fn size(display: &DisplayHandle) -> (u32, u32) {
    let picture = display.screenshot(0).unwrap();
    (picture.width(), picture.height())
}

/// Waits until nothing more comes in, for what must not come.
fn settle() {
    thread::sleep(Duration::from_millis(400));
}

/// A window with a frame of that size for scanout 0, and the focus.
fn with_window(
    options: virtio_loopback_display::Options,
    frame: (u32, u32),
    script: impl FnOnce(&DisplayHandle, &Events, &Canvas, &str) + Send + 'static,
) {
    let events = Events::default();
    let seen = events.clone();
    with_events(options, events.sink(), move |display, _| {
        let canvas = Canvas::filled(frame.0, frame.1, GREEN);
        // Away from where windows open.
        xdotool("mousemove 0 0");
        show(display, 0, &canvas);
        let window = x_window("test");
        xdotool(&format!("windowfocus --sync {window}"));
        settle();
        clear(&seen);
        script(display, &seen, &canvas, &window);
    });
}

fn keys_reach_their_scanout() {
    with_window(options(), (200, 100), |_, events, _, _| {
        xdotool("key a");
        expect_input(events, &[key(KEY_A, 1), key(KEY_A, 0)].concat());
        xdotool("keydown shift key b keyup shift");
        let shift = [key(KEY_LEFTSHIFT, 1), key(KEY_B, 1), key(KEY_B, 0), key(KEY_LEFTSHIFT, 0)];
        expect_input(events, &shift.concat());
        // X repeats it.
        xdotool("keydown a sleep 1.5 keyup a");
        expect_input(events, &[key(KEY_A, 1), key(KEY_A, 0)].concat());
        // One of each group on a PC keyboard.
        for (name, code) in [
            ("Escape", 1),
            ("F12", 88),
            ("Return", 28),
            ("KP_Enter", 96),
            ("Left", 105),
            ("Delete", 111),
            ("Print", 99),
            ("Super_L", 125),
            ("Menu", 127),
        ] {
            xdotool(&format!("key {name}"));
            expect_input(events, &[key(code, 1), key(code, 0)].concat());
        }
    });
}

fn held_keys_are_released_with_the_focus() {
    with_window(options(), (100, 50), |display, events, canvas, first| {
        show(display, 1, canvas);
        let second = x_window("test:1");
        xdotool(&format!("windowfocus --sync {first}"));
        settle();
        clear(events);
        xdotool("keydown a keydown shift");
        expect_input(events, &[key(KEY_A, 1), key(KEY_LEFTSHIFT, 1)].concat());
        xdotool(&format!("windowfocus --sync {second}"));
        eventually("releases", || {
            let released = input(events);
            released.contains(&key(KEY_A, 0)[0]) && released.contains(&key(KEY_LEFTSHIFT, 0)[0])
        });
        let of_first = |event: &DisplayEvent| {
            matches!(event, DisplayEvent::Input(event)
            if event.scanout == 0 && event.value == 1)
        };
        assert!(!events.list().iter().any(of_first), "{:?}", events.list());
        xdotool("keyup a keyup shift");
        settle();
        clear(events);
        xdotool("key b");
        let of_second = |code, value| {
            DisplayEvent::Input(InputEvent { scanout: 1, kind: codes::EV_KEY, code, value })
        };
        eventually("the other scanout's key", || events.list().contains(&of_second(KEY_B, 0)));
        assert_eq!(events.list()[0], of_second(KEY_B, 1));
    });
}

/// What the scanout sees of a shortcut: its modifiers, released when it is known.
fn modifiers_only() -> Vec<(u16, u16, i32)> {
    let up = [(codes::EV_KEY, KEY_LEFTCTRL, 0), (codes::EV_KEY, KEY_LEFTALT, 0), SYN];
    [key(KEY_LEFTCTRL, 1).as_slice(), &key(KEY_LEFTALT, 1), &up].concat()
}

fn shortcuts_are_not_for_the_scanout() {
    let mut options = options();
    let directory = tempfile::tempdir().unwrap();
    options.sdl.screenshot_directory = Some(directory.path().into());
    with_window(options, (200, 100), |_, events, _, _| {
        for shortcut in ["f", "f", "u", "g", "g", "s", "i", "z", "n", "plus", "minus"] {
            if shortcut == "plus" {
                xdotool("keydown ctrl keydown alt key equal keyup alt keyup ctrl");
            } else {
                xdotool(&format!("keydown ctrl keydown alt key {shortcut} keyup alt keyup ctrl"));
            }
            eventually(shortcut, || input(events).len() >= 7);
            settle();
            let keys: Vec<_> =
                input(events).into_iter().filter(|event| event.0 != codes::EV_ABS).collect();
            assert_eq!(keys.iter().filter(|entry| entry.0 == codes::EV_KEY).count(), 4, "{keys:?}");
            assert_eq!(keys[..7], modifiers_only(), "{shortcut}");
            clear(events);
        }
        xdotool("key F11 key F11");
        settle();
        assert!(!input(events).iter().any(|entry| entry.0 == codes::EV_KEY));
        clear(events);
        // No shortcut: all of it is the scanout's, before and after one of ours.
        xdotool("keydown ctrl keydown alt key u key a keyup alt keyup ctrl");
        let again = [
            key(KEY_LEFTCTRL, 1),
            key(KEY_LEFTALT, 1),
            key(KEY_A, 1),
            key(KEY_A, 0),
            key(KEY_LEFTALT, 0),
            key(KEY_LEFTCTRL, 0),
        ];
        expect_input(events, &[modifiers_only(), again.concat()].concat());
    });
}

fn another_modifier_for_shortcuts() {
    let mut options = options();
    options.sdl.shortcut_modifier = "scrolllock".parse().unwrap();
    with_window(options, (160, 100), |display, events, _, _| {
        xdotool("keydown ctrl keydown alt key u keyup alt keyup ctrl");
        eventually("keys", || input(events).len() == 12);
        clear(events);
        xdotool("keydown Scroll_Lock key f keyup Scroll_Lock");
        eventually("full screen", || size(display) == SCREEN_SIZE);
        settle();
        assert!(!input(events).iter().any(|entry| entry.0 == codes::EV_KEY), "{events:?}");
    });
}

/// A frame of a quarter of the screen's area, in each scaling by its key.
fn pointer_is_in_pixels_of_the_frame() {
    let mut options = options();
    options.sdl.fullscreen = true;
    with_window(options, (100, 100), |display, events, _, _| {
        eventually("full screen", || size(display) == SCREEN_SIZE);
        // Fit: 200x200, 60 from the left.
        xdotool("mousemove 60 0");
        expect_input(events, &at(0, 0));
        xdotool("mousemove 161 99");
        expect_input(events, &at(50, 49));
        xdotool("mousemove 259 199");
        expect_input(events, &at(99, 99));
        xdotool("mousemove 260 199");
        xdotool("mousemove 59 20");
        settle();
        assert_eq!(input(events), [], "beside the picture");
        for (x, y, frame) in [
            // Integer: the same.
            (62, 4, Some((1, 2))),
            // 1:1: at 110, 50.
            (110, 50, Some((0, 0))),
            // Stretch: 320x200.
            (319, 199, Some((99, 99))),
        ] {
            xdotool("mousemove 5 5 keydown ctrl keydown alt key z keyup alt keyup ctrl");
            settle();
            clear(events);
            xdotool(&format!("mousemove {x} {y}"));
            let frame: (i32, i32) = frame.unwrap();
            expect_input(events, &at(frame.0, frame.1));
        }
    });
}

/// Without a window manager's help.
fn pointer_in_a_larger_window() {
    with_window(options(), (100, 50), |display, events, _, window| {
        xdotool(&format!("windowsize --sync {window} 300 150 windowmove --sync {window} 5 10"));
        eventually("the size", || size(display) == (300, 150));
        xdotool("mousemove 100 100");
        settle();
        clear(events);
        xdotool("mousemove 5 10");
        expect_input(events, &at(0, 0));
        xdotool("mousemove 157 84");
        expect_input(events, &at(50, 24));
        xdotool("mousemove 304 159");
        expect_input(events, &at(99, 49));
    });
}

fn buttons_and_wheel() {
    let mut options = options();
    options.sdl.fullscreen = true;
    with_window(options, (100, 100), |display, events, _, _| {
        eventually("full screen", || size(display) == SCREEN_SIZE);
        xdotool("mousemove 61 1 sleep 0.1 mousemove 60 0");
        settle();
        clear(events);
        let button = |code, value| -> Vec<_> {
            let [x, y, syn] = at(0, 0);
            vec![x, y, (codes::EV_KEY, code, value), syn]
        };
        for (number, code) in [(1, codes::BTN_LEFT), (2, codes::BTN_MIDDLE), (3, codes::BTN_RIGHT)]
        {
            xdotool(&format!("click {number}"));
            expect_input(events, &[button(code, 1), button(code, 0)].concat());
        }
        let turn = |units, code, notches| {
            let units = (codes::EV_REL, units, notches * 120);
            [units, (codes::EV_REL, code, notches), SYN]
        };
        for (number, events_of) in [
            (4, turn(codes::REL_WHEEL_HI_RES, codes::REL_WHEEL, 1)),
            (5, turn(codes::REL_WHEEL_HI_RES, codes::REL_WHEEL, -1)),
            (6, turn(codes::REL_HWHEEL_HI_RES, codes::REL_HWHEEL, -1)),
            (7, turn(codes::REL_HWHEEL_HI_RES, codes::REL_HWHEEL, 1)),
        ] {
            xdotool(&format!("click {number}"));
            expect_input(events, &events_of);
        }
        // Dragged out and let go there.
        xdotool("mousedown 1");
        expect_input(events, &button(codes::BTN_LEFT, 1));
        xdotool("mousemove 10 20");
        expect_input(events, &at(0, 10));
        xdotool("mouseup 1");
        let [x, y, syn] = at(0, 10);
        expect_input(events, &[x, y, (codes::EV_KEY, codes::BTN_LEFT, 0), syn]);
        // And beside the picture nothing begins.
        xdotool("click 1 click 4");
        settle();
        assert_eq!(input(events), []);
    });
}

fn grab_makes_the_pointer_relative() {
    with_window(options(), (320, 200), |_, events, _, window| {
        xdotool("mousemove 100 100");
        expect_input(events, &at(100, 100));
        xdotool("keydown ctrl keydown alt key g keyup alt keyup ctrl");
        eventually("the grab", || title(window).ends_with(" - grabbed, Ctrl+Alt+G releases"));
        settle();
        clear(events);
        xdotool("mousemove_relative 7 3");
        let moved = |axis| -> i32 {
            let moves = input(events);
            moves.iter().filter(|e| e.0 == codes::EV_REL && e.1 == axis).map(|e| e.2).sum()
        };
        eventually("relative motion", || (moved(codes::REL_X), moved(codes::REL_Y)) == (7, 3));
        assert!(!input(events).iter().any(|event| event.0 == codes::EV_ABS), "{events:?}");
        settle();
        clear(events);
        xdotool("click 1");
        let click = [key(codes::BTN_LEFT, 1), key(codes::BTN_LEFT, 0)].concat();
        expect_input(events, &click);
        // All keys but the shortcuts are the scanout's.
        xdotool("key F11");
        expect_input(events, &[key(87, 1), key(87, 0)].concat());
        xdotool("keydown ctrl keydown alt key g keyup alt keyup ctrl");
        eventually("the release", || !title(window).contains("grabbed"));
        settle();
        assert!(!input(events).iter().any(|event| event.1 == KEY_G && event.0 == codes::EV_KEY));
        clear(events);
        xdotool("mousemove 30 40");
        expect_input(events, &at(30, 40));
    });
}

/// As a touch screen does; there is none in Xvfb.
fn touch(kind: sdl2::sys::SDL_EventType, finger: i64, x: f32, y: f32) {
    let finger = sdl2::sys::SDL_TouchFingerEvent {
        type_: kind as u32,
        timestamp: 0,
        touchId: 1,
        fingerId: finger,
        x,
        y,
        dx: 0.0,
        dy: 0.0,
        pressure: 1.0,
        windowID: 1,
    };
    let mut event = sdl2::sys::SDL_Event { tfinger: finger };
    // SAFETY: the event is whole, and SDL copies it; its queue has a lock.
    assert_eq!(unsafe { sdl2::sys::SDL_PushEvent(&raw mut event) }, 1);
}

fn fingers_touch_the_frame() {
    use sdl2::sys::SDL_EventType::{SDL_FINGERDOWN, SDL_FINGERMOTION, SDL_FINGERUP};
    let mut options = options();
    options.sdl.fullscreen = true;
    with_window(options, (100, 100), |display, events, _, _| {
        eventually("full screen", || size(display) == SCREEN_SIZE);
        let abs = |code, value| (codes::EV_ABS, code, value);
        let position = |x, y| [abs(codes::ABS_MT_POSITION_X, x), abs(codes::ABS_MT_POSITION_Y, y)];
        let slot = |slot| abs(codes::ABS_MT_SLOT, slot);
        let id = |id| abs(codes::ABS_MT_TRACKING_ID, id);
        touch(SDL_FINGERDOWN, 5, 0.5, 0.5);
        let [x, y] = position(50, 50);
        expect_input(events, &[slot(0), id(0), x, y, (codes::EV_KEY, codes::BTN_TOUCH, 1), SYN]);
        touch(SDL_FINGERDOWN, 9, 0.25, 0.0);
        let [x, y] = position(10, 0);
        expect_input(events, &[slot(1), id(1), x, y, SYN]);
        // Beyond the left edge of the picture.
        touch(SDL_FINGERMOTION, 9, 0.0, 0.75);
        let [x, y] = position(0, 75);
        expect_input(events, &[slot(1), x, y, SYN]);
        touch(SDL_FINGERUP, 5, 0.5, 0.5);
        expect_input(events, &[slot(0), id(-1), SYN]);
        touch(SDL_FINGERUP, 9, 0.0, 0.75);
        expect_input(events, &[slot(1), id(-1), (codes::EV_KEY, codes::BTN_TOUCH, 0), SYN]);
    });
}

/// The window system's pointer is over the picture, unless the scanout has one of its own.
/// Pixels about the place 100,100 of the screen that are not the frame's.
fn foreign_pixels() -> usize {
    let pixels = screen();
    let near = (90..120).flat_map(|y| (90..120).map(move |x| y * 320 + x));
    near.filter(|&at| pixels[at] != GREEN).count()
}

fn one_pointer_at_a_time() {
    with_window(options(), (320, 200), |display, _, _, _| {
        xdotool("mousemove 100 100");
        eventually("the window system's pointer", || foreign_pixels() > 10);
        let image = CursorImage::new(1, 1, &[255; 4], 0, 0).unwrap();
        display.set_cursor(0, image).unwrap();
        display.move_cursor(0, 105, 105, true).unwrap();
        eventually("the scanout's pointer", || on_screen(105, 105) == [255; 3]);
        eventually("no other", || foreign_pixels() == 1);
        display.move_cursor(0, 105, 105, false).unwrap();
        eventually("the window system's again", || foreign_pixels() > 10);
    });
}

/// As above, where there is a pointer to be seen.
fn pointer_over_the_picture_by_option() {
    let mut options = options();
    options.sdl.host_pointer = HostPointer::Hide;
    with_window(options, (320, 200), |_, events, _, _| {
        xdotool("mousemove 100 100 click 1");
        eventually("the click", || input(events).contains(&(codes::EV_KEY, codes::BTN_LEFT, 0)));
        eventually("no pointer", || foreign_pixels() == 0);
    });
}

/// A frame of 100x50, in quarters: red, green, blue, white.
fn quarters() -> Canvas {
    let canvas = Canvas::new(FrameLayout::packed(100, 50, PixelFormat::Xrgb8888));
    for y in 0..50 {
        for x in 0..100 {
            canvas.put(
                x,
                y,
                match (x < 50, y < 25) {
                    (true, true) => [0, 0, 255, 0],
                    (false, true) => [0, 255, 0, 0],
                    (true, false) => [255, 0, 0, 0],
                    (false, false) => [255, 255, 255, 0],
                },
            );
        }
    }
    canvas
}

/// Where the picture is: its first and last column and row.
fn bounds(display: &DisplayHandle) -> (u32, u32, u32, u32) {
    let picture = display.screenshot(0).unwrap();
    let (width, height) = (picture.width(), picture.height());
    let is_lit = |x: u32, y: u32| picture.pixel(x, y) != Some(BLACK);
    let columns: Vec<u32> = (0..width).filter(|&x| (0..height).any(|y| is_lit(x, y))).collect();
    let rows: Vec<u32> = (0..height).filter(|&y| (0..width).any(|x| is_lit(x, y))).collect();
    (columns[0], rows[0], columns[columns.len() - 1], rows[rows.len() - 1])
}

const SCALINGS: [(Scaling, (u32, u32, u32, u32)); 4] = [
    (Scaling::Fit, (0, 20, 319, 179)),
    (Scaling::Integer, (10, 25, 309, 174)),
    (Scaling::OneToOne, (110, 75, 209, 124)),
    (Scaling::Stretch, (0, 0, 319, 199)),
];

fn scalings_by_option() {
    // One display a process: all four in one, by their order.
    let mut options = options();
    options.sdl.fullscreen = true;
    options.sdl.scaling = Scaling::Integer;
    options.sdl.filter = Filter::Nearest;
    with_display(options, |display| {
        let canvas = quarters();
        show(display, 0, &canvas);
        eventually("full screen", || size(display) == SCREEN_SIZE);
        assert_eq!(bounds(display), SCALINGS[1].1);
        let picture = display.screenshot(0).unwrap();
        // Three times each pixel, none mixed.
        assert_eq!(picture.pixel(10 + 149, 25 + 74), Some(RED));
        assert_eq!(picture.pixel(10 + 150, 25 + 74), Some(GREEN));
        assert_eq!(picture.pixel(10 + 149, 25 + 75), Some([0, 0, 255]));
        assert_eq!(picture.pixel(10 + 150, 25 + 75), Some([255; 3]));
    });
}

fn scaling_and_filter_by_key() {
    let mut options = options();
    options.sdl.fullscreen = true;
    with_window(options, (100, 50), |display, _, _, _| {
        show(display, 0, &quarters());
        eventually("full screen", || size(display) == SCREEN_SIZE);
        let mixed = || {
            let picture = display.screenshot(0).unwrap();
            let plain = [BLACK, RED, GREEN, [0, 0, 255], [255; 3]];
            picture.as_rgb().as_chunks::<3>().0.iter().filter(|p| !plain.contains(p)).count()
        };
        for (scaling, expected) in SCALINGS {
            eventually(&scaling.to_string(), || bounds(display) == expected);
            if scaling == Scaling::Fit {
                assert!(mixed() > 0, "linear");
                xdotool("keydown ctrl keydown alt key n keyup alt keyup ctrl");
                eventually("nearest", || mixed() == 0);
            }
            xdotool("keydown ctrl keydown alt key z keyup alt keyup ctrl");
        }
        eventually("fit again", || bounds(display) == SCALINGS[0].1);
    });
}

fn full_screen_by_key() {
    with_window(options(), (160, 100), |display, events, _, _| {
        for keys in ["key F11", "keydown ctrl keydown alt key f keyup alt keyup ctrl"] {
            assert_eq!(size(display), (160, 100));
            clear(events);
            xdotool(keys);
            eventually("full screen", || size(display) == SCREEN_SIZE);
            eventually("that on the screen", || {
                on_screen(0, 0) == GREEN && on_screen(319, 199) == GREEN
            });
            eventually("its report", || resized(events) == [SCREEN_SIZE]);
            xdotool(keys);
            eventually("a window", || size(display) == (160, 100));
            eventually("its report", || resized(events) == [SCREEN_SIZE, (160, 100)]);
            settle();
            assert_eq!(resized(events).len(), 2);
        }
    });
}

fn sizes_by_key() {
    with_window(options(), (100, 80), |display, events, _, window| {
        let press = |key: &str, expected| {
            xdotool(&format!("keydown ctrl keydown alt key {key} keyup alt keyup ctrl"));
            eventually(key, || size(display) == expected);
        };
        press("equal", (125, 100));
        press("equal", (150, 120));
        press("equal", (200, 160));
        press("minus", (150, 120));
        press("u", (100, 80));
        press("minus", (75, 60));
        settle();
        assert_eq!(resized(events), [], "the window's own sizes are no news");
        xdotool(&format!("windowsize {window} 111 99"));
        eventually("the user's size", || resized(events) == [(111, 99)]);
        press("u", (100, 80));
        press("equal", (125, 100));
        settle();
        assert_eq!(resized(events), [(111, 99)]);
    });
}

/// A window manager that is slow to say that the window has another size.
fn sizes_by_key_however_late() {
    with_window(options(), (100, 80), |display, events, _, window| {
        for (key, expected) in [("equal", (125, 100)), ("equal", (150, 120)), ("u", (100, 80))] {
            signal_window_manager("STOP");
            xdotool(&format!("keydown ctrl keydown alt key {key} keyup alt keyup ctrl"));
            thread::sleep(Duration::from_millis(200));
            signal_window_manager("CONT");
            eventually(key, || size(display) == expected);
            settle();
            assert_eq!(resized(events), [], "the window's own sizes are no news");
        }
        xdotool(&format!("windowsize {window} 111 99"));
        eventually("the user's size", || resized(events) == [(111, 99)]);
    });
}

fn screenshot_by_key() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options();
    options.sdl.screenshot_directory = Some(directory.path().into());
    with_window(options, (100, 80), move |display, events, canvas, _| {
        canvas.put(3, 4, [0, 0, 255, 0]);
        flush(display, 0, canvas.bounds());
        xdotool("keydown ctrl keydown alt key i key s key s keyup alt keyup ctrl");
        let saved = || {
            let path = |event| match event {
                DisplayEvent::ScreenshotSaved { scanout: 0, path } => Some(path),
                _ => None,
            };
            events.list().into_iter().filter_map(path).collect::<Vec<_>>()
        };
        eventually("two screenshots", || saved().len() == 2);
        let expected = display.screenshot(0).unwrap();
        for path in saved() {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with("test-0-20") && name.ends_with(".png"), "{name}");
            assert_eq!(path.parent(), Some(directory.path()));
            assert_eq!(std::fs::read(&path).unwrap(), expected.to_png().unwrap());
        }
        assert_ne!(saved()[0], saved()[1]);
        assert_eq!(expected.pixel(3, 4), Some(RED));
    });
}

fn overlay_by_key() {
    with_window(options(), SCREEN_SIZE, |display, _, canvas, _| {
        let plain = display.screenshot(0).unwrap();
        assert_eq!(plain.as_rgb(), GREEN.repeat((SCREEN_SIZE.0 * SCREEN_SIZE.1) as usize));
        let press = || xdotool("keydown ctrl keydown alt key i keyup alt keyup ctrl");
        press();
        let is_shown = || screen()[..320 * 50].contains(&[255; 3]);
        eventually("the overlay on the screen", is_shown);
        assert_eq!(on_screen(319, 199), GREEN, "only at the top left");
        display.screenshot(0).unwrap().compare(&plain, 0).unwrap();
        let before = screen();
        for _ in 0..10 {
            flush(display, 0, canvas.bounds());
            thread::sleep(Duration::from_millis(50));
        }
        eventually("other figures", || screen() != before && is_shown());
        press();
        eventually("no overlay", || screen().iter().all(|&pixel| pixel == GREEN));
    });
}

fn quit_by_key() {
    let events = Events::default();
    let (presenter, display) = Presenter::open(options(), events.sink()).unwrap();
    let seen = events.clone();
    let thread = thread::spawn(move || {
        let canvas = Canvas::filled(80, 60, RED);
        show(&display, 0, &canvas);
        show(&display, 3, &canvas);
        xdotool(&format!("windowfocus --sync {}", x_window("test:3")));
        settle();
        clear(&seen);
        xdotool("keydown ctrl keydown alt key q keyup alt keyup ctrl");
    });
    presenter.run().unwrap();
    thread.join().unwrap();
    let closed: Vec<DisplayEvent> = events
        .list()
        .into_iter()
        .filter(|event| matches!(event, DisplayEvent::CloseRequested { .. }))
        .collect();
    let close = |scanout| DisplayEvent::CloseRequested { scanout };
    assert_eq!(closed, [close(0), close(3)]);
    assert!(!input(&events).contains(&(codes::EV_KEY, 16, 1)), "KEY_Q");
}

fn resizes_are_reported_and_followed() {
    with_window(options(), (100, 80), |display, events, _, window| {
        let taller = Canvas::filled(100, 90, RED);
        show(display, 0, &taller);
        assert_eq!(size(display), (100, 90));
        settle();
        assert_eq!(resized(events), [], "its own resizing is no news");
        // As a drag does; it takes about a second.
        let start = Instant::now();
        let sizes = (0..40u32).map(|step| (101 + step, 91 + step));
        for (width, height) in sizes {
            xdotool(&format!("windowsize --sync {window} {width} {height}"));
            thread::sleep(Duration::from_millis(15));
        }
        let took = start.elapsed();
        eventually("the last size", || resized(events).last() == Some(&(140, 130)));
        settle();
        let reports = resized(events);
        let most = took.as_millis() / 300 + 2;
        assert!((2..=most).contains(&(reports.len() as u128)), "{reports:?} in {took:?}");
        assert_eq!(reports.last(), Some(&(140, 130)));
        // An answer to one of the earlier reports: the window is the user's.
        let early = Canvas::filled(reports[0].0, reports[0].1, RED);
        show(display, 0, &early);
        assert_eq!(size(display), (140, 130));
        // The answer to the last one: pixel by pixel.
        let answer = Canvas::filled(140, 130, BLACK);
        answer.put(77, 33, [0, 0, 255, 0]);
        show(display, 0, &answer);
        assert_eq!(size(display), (140, 130));
        let picture = display.screenshot(0).unwrap();
        let expected = (0..130 * 140).flat_map(|i| if i == 33 * 140 + 77 { RED } else { BLACK });
        assert_eq!(picture.as_rgb(), expected.collect::<Vec<u8>>());
        // The scanout's own idea.
        show(display, 0, &Canvas::filled(60, 50, RED));
        eventually("the frame's size", || size(display) == (60, 50));
        settle();
        assert_eq!(resized(events), reports);
    });
}

fn maximised_windows_are_followed() {
    with_window(options(), (160, 100), |display, events, _, _| {
        xdotool("key super+m");
        eventually("the report", || resized(events).len() == 1);
        let maximised = resized(events)[0];
        // The screen's width, and its height less the title bar.
        assert!(maximised.0 >= 310 && (150..200).contains(&maximised.1), "{maximised:?}");
        assert_eq!(size(display), maximised);
        // The client follows, 1:1.
        let answer = Canvas::filled(maximised.0, maximised.1, RED);
        answer.put(maximised.0 - 1, maximised.1 - 1, [0, 255, 0, 0]);
        show(display, 0, &answer);
        assert_eq!(size(display), maximised);
        let picture = display.screenshot(0).unwrap();
        assert_eq!(picture.pixel(0, 0), Some(RED));
        assert_eq!(picture.pixel(maximised.0 - 1, maximised.1 - 1), Some(GREEN));
        assert_eq!(picture.pixel(maximised.0 - 2, maximised.1 - 1), Some(RED));
        // A mode that is its own idea: the window stays.
        show(display, 0, &Canvas::filled(80, 50, RED));
        assert_eq!(size(display), maximised);
        xdotool("key super+m");
        eventually("the window's size again", || resized(events).len() == 2);
        settle();
        assert_eq!(resized(events), [maximised, (160, 100)]);
        assert_eq!(size(display), (160, 100));
    });
}

fn resizes_need_not_be_reported() {
    let mut options = options();
    options.sdl.report_resize = false;
    with_window(options, (100, 80), |display, events, _, window| {
        xdotool(&format!("windowsize --sync {window} 200 160"));
        eventually("the size", || size(display) == (200, 160));
        xdotool("key F11");
        eventually("full screen", || size(display) == SCREEN_SIZE);
        settle();
        show(display, 0, &Canvas::filled(90, 70, RED));
        xdotool("key F11");
        eventually("the frame's size", || size(display) == (90, 70));
        settle();
        assert_eq!(resized(events), []);
    });
}

fn size_and_position_by_option() {
    let mut options = options();
    options.sdl.size = Some((150, 90));
    options.sdl.position = Some((13, 21));
    with_window(options, (300, 180), |display, events, canvas, window| {
        assert_eq!(size(display), (150, 90));
        let geometry = |window: &str| {
            let text = xdotool(&format!("getwindowgeometry --shell {window}"));
            let value = |name: &str| -> i32 {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().parse().unwrap()
            };
            (value("X="), value("Y="), value("WIDTH="), value("HEIGHT="))
        };
        assert_eq!(geometry(window), (13, 21, 150, 90));
        show(display, 1, canvas);
        assert_eq!(geometry(&x_window("test:1")), (45, 53, 150, 90));
        // A mode that is the scanout's own does not change it.
        show(display, 0, &Canvas::filled(200, 120, RED));
        assert_eq!(size(display), (150, 90));
        assert_eq!(resized(events), []);
    });
}

fn title_says_rates_and_grab() {
    with_window(options(), (100, 80), |display, _, canvas, window| {
        assert_eq!(title(window), "test - 100x80");
        let (stop, stopped) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                while stopped
                    .recv_timeout(Duration::from_millis(20))
                    .is_err_and(|error| error == mpsc::RecvTimeoutError::Timeout)
                {
                    // Two updates, one present.
                    display.flush(0, Rect::new(0, 0, 1, 1), || {}).unwrap();
                    flush(display, 0, canvas.bounds());
                }
            });
            eventually("rates", || {
                let title = title(window);
                let rates = title.strip_prefix("test - 100x80 - ").and_then(|rates| {
                    let (presents, updates) = rates.split_once(" FPS, ")?;
                    let updates = updates.strip_suffix(" UPS")?;
                    Some((presents.parse::<f64>().ok()?, updates.parse::<f64>().ok()?))
                });
                rates.is_some_and(|(presents, updates)| presents > 5.0 && updates > presents)
            });
            drop(stop);
        });
        let statistics = display.statistics(0).unwrap();
        assert!(statistics.updates_per_second > statistics.frames_per_second);
        eventually("no rates", || title(window) == "test - 100x80");
        display.source_lost();
        eventually("a stale frame", || title(window) == "test - 100x80 - last frame");
    });
}

fn bytes_copied_are_those_damaged() {
    with_display(options(), |display| {
        let canvas = Canvas::filled(300, 150, GREEN);
        show(display, 0, &canvas);
        let whole = 300 * 150 * 4;
        let bytes = || {
            let statistics = display.statistics(0).unwrap();
            (statistics.damaged_bytes, statistics.copied_bytes)
        };
        assert_eq!(bytes(), (whole, whole));
        let mut expected = whole;
        for (rect, pixels) in [
            (Rect::new(0, 0, 1, 1), 1),
            (Rect::new(10, 20, 30, 40), 1200),
            // Clipped.
            (Rect::new(299, 149, u32::MAX, u32::MAX), 1),
            (Rect::new(300, 0, 5, 5), 0),
            (canvas.bounds(), 300 * 150),
        ] {
            flush(display, 0, rect);
            expected += pixels * 4;
            assert_eq!(bytes(), (expected, expected), "{rect:?}");
        }
    });
}
