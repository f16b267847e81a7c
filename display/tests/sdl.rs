//! SDL windows, on SDL's dummy driver and on a real X server (Xvfb).

mod common;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use sdl2::event::{Event, WindowEvent};
use virtio_loopback_display::{
    ClosePolicy, CursorImage, DisplayError, DisplayEvent, FrameLayout, Origin, PixelFormat,
    PixelMemory, Presenter, Rect, Signal,
};

use common::*;

const CASES: &[(&str, On, fn())] = &[
    ("formats_strides_and_offsets", On::Dummy, formats_strides_and_offsets),
    ("only_damage_is_read", On::Dummy, only_damage_is_read),
    ("a_new_source_is_read_whole", On::Dummy, a_new_source_is_read_whole),
    ("bottom_left_origin", On::Dummy, bottom_left_origin),
    ("cursor_blends_and_clips", On::Dummy, cursor_blends_and_clips),
    ("last_picture_stays", On::Dummy, last_picture_stays),
    ("off_shows_what_was_flushed", On::Dummy, off_shows_what_was_flushed_and_reads_no_more),
    ("mode_set_resizes_the_window", On::Dummy, mode_set_resizes_the_window),
    ("scanouts_have_their_own_windows", On::Dummy, scanouts_have_their_own_windows),
    ("flushes_melt_into_presents", On::Dummy, flushes_melt_into_presents),
    ("done_runs_on_every_path", On::Dummy, done_runs_on_every_path),
    ("errors_are_typed", On::Dummy, errors_are_typed),
    ("closing_the_last_window_ends_run", On::Dummy, closing_the_last_window_ends_run),
    ("close_can_be_left_to_the_receiver", On::Dummy, close_can_be_left_to_the_receiver),
    ("no_window_system_is_one_clear_line", On::Dummy, no_window_system_is_one_clear_line),
    ("x11_shows_the_pixels", On::X11, x11_shows_the_pixels),
    ("x11_idle_costs_nothing", On::X11, x11_idle_costs_nothing),
    ("x11_large_modes_are_fitted", On::X11, x11_large_modes_are_fitted),
    ("x11_fullscreen_keeps_the_aspect", On::X11, x11_fullscreen_keeps_the_aspect),
    ("gl_formats_strides_and_offsets", On::Gl, formats_strides_and_offsets),
    ("gl_only_damage_is_read", On::Gl, only_damage_is_read),
    ("gl_bottom_left_origin", On::Gl, bottom_left_origin),
    ("gl_cursor_blends_and_clips", On::Gl, cursor_blends_and_clips),
    ("gl_scanouts_have_their_own_windows", On::Gl, scanouts_have_their_own_windows),
    ("gl_shows_the_pixels", On::Gl, x11_shows_the_pixels),
];

fn main() -> ExitCode {
    common::main(CASES)
}

fn formats_strides_and_offsets() {
    with_display(options(), |display| {
        let [r, g, b] = [0x11, 0x22, 0xf3];
        for (format, bytes) in [
            (PixelFormat::Xrgb8888, [b, g, r, 0xff]),
            (PixelFormat::Argb8888, [b, g, r, 0]),
            (PixelFormat::Xbgr8888, [r, g, b, 0]),
            (PixelFormat::Abgr8888, [r, g, b, 0x80]),
            (PixelFormat::Bgrx8888, [0xff, r, g, b]),
            (PixelFormat::Bgra8888, [0, r, g, b]),
            (PixelFormat::Rgbx8888, [0, b, g, r]),
            (PixelFormat::Rgba8888, [1, b, g, r]),
        ] {
            let packed = FrameLayout::packed(20, 10, format);
            let canvas = Canvas::new(FrameLayout { offset: 4100, stride: 96, ..packed });
            canvas.put(19, 9, bytes);
            canvas.put(3, 0, bytes);
            show(display, 0, &canvas);
            let picture = display.screenshot(0).unwrap();
            let mut expected = vec![0; 20 * 10 * 3];
            expected[(9 * 20 + 19) * 3..][..3].copy_from_slice(&[r, g, b]);
            expected[3 * 3..][..3].copy_from_slice(&[r, g, b]);
            assert_eq!((picture.width(), picture.height()), (20, 10));
            assert_eq!(picture.as_rgb(), expected, "{format}");
            assert_eq!(display.statistics(0).unwrap().format, format);
        }
    });
}

fn only_damage_is_read() {
    with_display(options(), |display| {
        let canvas = Canvas::filled(32, 16, BLACK);
        show(display, 0, &canvas);
        for (x, y) in [(1, 1), (30, 14), (10, 10)] {
            canvas.put(x, y, [0, 0, 255, 0]);
        }
        display.flush(0, Rect::new(30, 14, u32::MAX, u32::MAX), || {}).unwrap();
        flush(display, 0, Rect::new(1, 1, 1, 1));
        assert_eq!(pixel(display, 0, 1, 1), RED);
        assert_eq!(pixel(display, 0, 30, 14), RED);
        assert_eq!(pixel(display, 0, 10, 10), BLACK, "read without having been flushed");
        // The same source again is no reason to read it.
        display.set_scanout(0, Some(canvas.frame())).unwrap();
        flush(display, 0, Rect::new(0, 0, 1, 1));
        assert_eq!(pixel(display, 0, 10, 10), BLACK, "read without having been flushed");
    });
}

fn a_new_source_is_read_whole() {
    with_display(options(), |display| {
        let (front, back) = (Canvas::filled(8, 8, RED), Canvas::filled(8, 8, GREEN));
        show(display, 0, &front);
        display.set_scanout(0, Some(back.frame())).unwrap();
        assert_eq!(pixel(display, 0, 7, 7), RED, "not before it is flushed");
        flush(display, 0, Rect::new(0, 0, 1, 1));
        assert_eq!(pixel(display, 0, 7, 7), GREEN);
    });
}

fn bottom_left_origin() {
    with_display(options(), |display| {
        let packed = FrameLayout::packed(6, 4, PixelFormat::Xrgb8888);
        let canvas = Canvas::new(FrameLayout { origin: Origin::BottomLeft, ..packed });
        show(display, 0, &canvas);
        // Row 0 in memory is row 3 of the picture.
        canvas.put(2, 0, [0, 0, 255, 0]);
        canvas.put(2, 3, [0, 0, 255, 0]);
        flush(display, 0, Rect::new(0, 3, 6, 1));
        assert_eq!(pixel(display, 0, 2, 3), RED);
        assert_eq!(pixel(display, 0, 2, 0), BLACK, "read without having been flushed");
        flush(display, 0, Rect::new(0, 0, 6, 1));
        assert_eq!(pixel(display, 0, 2, 0), RED);
    });
}

fn cursor_blends_and_clips() {
    with_display(options(), |display| {
        let canvas = Canvas::filled(100, 80, GREEN);
        // Known before there is a window.
        display.set_cursor(0, CursorImage::new(1, 1, &[255; 4], 0, 0).unwrap()).unwrap();
        display.move_cursor(0, 7, 7, true).unwrap();
        show(display, 0, &canvas);
        assert_eq!(pixel(display, 0, 7, 7), [255; 3]);
        display.move_cursor(0, 7, 7, false).unwrap();
        let plain = display.screenshot(0).unwrap();
        // Left half opaque white, right half of half transparent red.
        let row = [[[255; 4]; 32], [[0, 0, 128, 128]; 32]].concat();
        let image = CursorImage::new(64, 64, row.as_flattened().repeat(64).as_slice(), 5, 5);
        display.set_cursor(0, image.unwrap()).unwrap();
        display.screenshot(0).unwrap().compare(&plain, 0).unwrap();

        display.move_cursor(0, 10, 12, true).unwrap();
        let picture = display.screenshot(0).unwrap();
        assert_eq!(picture.pixel(9, 12), Some(GREEN));
        assert_eq!(picture.pixel(10, 11), Some(GREEN));
        assert_eq!(picture.pixel(10, 12), Some([255; 3]));
        assert_eq!(picture.pixel(10 + 63, 12 + 64), Some(GREEN));
        let [r, g, b] = picture.pixel(10 + 63, 12 + 63).unwrap();
        assert!(r.abs_diff(128) <= 1 && g.abs_diff(127) <= 1 && b == 0, "{r} {g} {b}");

        display.move_cursor(0, -63, -63, true).unwrap();
        let picture = display.screenshot(0).unwrap();
        let [r, ..] = picture.pixel(0, 0).unwrap();
        assert!(r.abs_diff(128) <= 1, "{r}");
        assert_eq!(picture.pixel(1, 0), Some(GREEN));
        display.move_cursor(0, 99, 79, true).unwrap();
        assert_eq!(pixel(display, 0, 99, 79), [255; 3]);
        for (x, y) in [(100, 0), (-64, 0), (i32::MIN, i32::MAX)] {
            display.move_cursor(0, x, y, true).unwrap();
            display.screenshot(0).unwrap().compare(&plain, 0).unwrap();
        }
        display.move_cursor(0, 0, 0, false).unwrap();
        display.screenshot(0).unwrap().compare(&plain, 0).unwrap();
        let statistics = display.statistics(0).unwrap();
        assert_eq!((statistics.updates, statistics.presents), (1, 1), "moves are no frames");
    });
}

fn last_picture_stays() {
    with_display(options(), |display| {
        let show_and_forget = |scanout, rgb| -> Weak<PixelMemory> {
            let canvas = Canvas::filled(8, 8, rgb);
            show(display, scanout, &canvas);
            Arc::downgrade(canvas.buffer.memory())
        };
        let released = |memory: &Weak<PixelMemory>| {
            eventually("an ended frame releases its memory", || memory.upgrade().is_none());
        };
        let memory = show_and_forget(0, RED);
        display.set_scanout(0, None).unwrap();
        released(&memory);
        assert_eq!(pixel(display, 0, 4, 4), RED);
        assert_eq!(display.statistics(0).unwrap().signal, Signal::Off);

        let memory = show_and_forget(0, GREEN);
        assert_eq!(display.statistics(0).unwrap().signal, Signal::Live);
        display.source_lost();
        released(&memory);
        assert_eq!(pixel(display, 0, 4, 4), GREEN);
        assert_eq!(display.statistics(0).unwrap().signal, Signal::Lost);
    });
}

/// A driver may use the memory again as soon as its scanout is off: what it draws there then must not
/// show, and what it flushed before must.
fn off_shows_what_was_flushed_and_reads_no_more() {
    with_display(options(), |display| {
        for round in 0..50 {
            let canvas = Canvas::filled(64, 64, BLACK);
            show(display, 0, &canvas);
            let colour = if round % 2 == 0 { RED } else { GREEN };
            canvas.fill(colour);
            display.flush(0, canvas.bounds(), || {}).unwrap();
            display.set_scanout(0, None).unwrap();
            canvas.fill([1, 2, 3]);
            let picture = display.screenshot(0).unwrap();
            assert_eq!(picture.as_rgb(), colour.repeat(64 * 64), "round {round}");
            assert_eq!(display.statistics(0).unwrap().signal, Signal::Off);
        }
    });
}

fn mode_set_resizes_the_window() {
    with_display(options(), |display| {
        for (width, height) in [(64, 48), (300, 200), (1, 1), (64, 48)] {
            let canvas = Canvas::filled(width, height, RED);
            show(display, 0, &canvas);
            let picture = display.screenshot(0).unwrap();
            assert_eq!((picture.width(), picture.height()), (width, height));
            assert_eq!(picture.pixel(width - 1, height - 1), Some(RED));
        }
    });
}

fn scanouts_have_their_own_windows() {
    with_display(options(), |display| {
        let canvases: Vec<Canvas> =
            (0..16u8).map(|i| Canvas::filled(16 + u32::from(i), 16, [i * 16, 0, 255])).collect();
        for (id, canvas) in (0..).zip(&canvases) {
            show(display, id, canvas);
        }
        for (id, i) in (0..).zip(0..16u8) {
            let picture = display.screenshot(id).unwrap();
            assert_eq!(picture.width(), 16 + id);
            assert_eq!(picture.pixel(0, 0), Some([i * 16, 0, 255]));
        }
    });
}

fn flushes_melt_into_presents() {
    with_display(options(), |display| {
        let canvas = Canvas::filled(64, 64, RED);
        show(display, 0, &canvas);
        let count = Arc::new(AtomicU32::new(0));
        for i in 0..20_000 {
            let count = count.clone();
            let done = move || {
                count.fetch_add(1, Ordering::Relaxed);
            };
            display.flush(0, Rect::new(i % 64, i / 64 % 64, 1, 1), done).unwrap();
        }
        flush(display, 0, canvas.bounds());
        eventually("every done", || count.load(Ordering::Relaxed) == 20_000);
        display.screenshot(0).unwrap();
        let statistics = display.statistics(0).unwrap();
        assert_eq!(statistics.updates, 20_002);
        assert!(statistics.presents < 20_002, "{statistics:?}");
        assert!(statistics.presents >= 2 && statistics.frames_per_second > 0.0, "{statistics:?}");
    });
}

fn done_runs_on_every_path() {
    let count = Arc::new(AtomicU32::new(0));
    let done = |expected: u32| {
        let count = count.clone();
        move || assert_eq!(count.fetch_add(1, Ordering::SeqCst), expected)
    };
    let canvas = Canvas::filled(8, 8, RED);
    let (presenter, display) = Presenter::open(options(), |_| {}).unwrap();
    assert!(matches!(
        display.flush(16, canvas.bounds(), done(0)),
        Err(DisplayError::UnknownScanout(16))
    ));
    assert!(matches!(display.flush(0, canvas.bounds(), done(1)), Err(DisplayError::NoPicture(0))));
    display.set_scanout(0, Some(canvas.frame())).unwrap();
    display.flush(0, Rect::new(8, 8, 1, 1), done(2)).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3, "nothing to wait for");
    display.flush(0, canvas.bounds(), done(3)).unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3, "not before the pixels are read");
    // The source goes away before they are.
    display.set_scanout(0, None).unwrap();
    display.set_scanout(1, Some(canvas.frame())).unwrap();
    display.flush(1, canvas.bounds(), done(4)).unwrap();
    // Never run.
    drop(presenter);
    assert_eq!(count.load(Ordering::SeqCst), 5);
    assert!(matches!(display.flush(1, canvas.bounds(), done(5)), Err(DisplayError::Closed)));
    assert_eq!(count.load(Ordering::SeqCst), 6);
}

fn errors_are_typed() {
    let (presenter, display) = Presenter::open(options(), |_| {}).unwrap();
    let canvas = Canvas::filled(8, 8, RED);
    let outside = |result: Result<(), DisplayError>| {
        assert!(matches!(result, Err(DisplayError::UnknownScanout(u32::MAX))));
    };
    outside(display.set_scanout(u32::MAX, Some(canvas.frame())));
    outside(display.move_cursor(u32::MAX, 0, 0, true));
    outside(display.screenshot(u32::MAX).map(drop));
    assert!(display.statistics(u32::MAX).is_none());
    let screenshot = {
        let display = display.clone();
        thread::spawn(move || display.screenshot(0))
    };
    let quitter = display.clone();
    let thread = thread::spawn(move || {
        let result = quitter.screenshot(0);
        quitter.quit();
        result
    });
    presenter.run().unwrap();
    assert!(matches!(thread.join().unwrap(), Err(DisplayError::NoPicture(0))));
    let result = screenshot.join().unwrap();
    assert!(matches!(result, Err(DisplayError::NoPicture(0) | DisplayError::Closed)));
    assert!(matches!(display.screenshot(0), Err(DisplayError::Closed)));
    assert!(matches!(display.set_scanout(0, Some(canvas.frame())), Err(DisplayError::Closed)));
    assert!(display.set_cursor(0, CursorImage::new(1, 1, &[0; 4], 0, 0).unwrap()).is_ok());
    display.source_lost();
    display.quit();
}

fn window_event(window_id: u32, win_event: WindowEvent) -> Event {
    Event::Window { timestamp: 0, window_id, win_event }
}

fn closing_the_last_window_ends_run() {
    let events = Events::default();
    let (presenter, display) = Presenter::open(options(), events.sink()).unwrap();
    let sender = sdl2::init().unwrap().event().unwrap().event_sender();
    let seen = events.clone();
    let thread = thread::spawn(move || {
        let canvas = Canvas::filled(8, 8, RED);
        show(&display, 0, &canvas);
        show(&display, 5, &canvas);
        sender.push_event(window_event(1, WindowEvent::Close)).unwrap();
        // The dummy driver has no events: something else must make the presenter look.
        flush(&display, 0, canvas.bounds());
        eventually("close", || seen.list().len() == 1);
        // A closed window's pixels are still taken.
        flush(&display, 0, canvas.bounds());
        flush(&display, 5, canvas.bounds());
        sender.push_event(window_event(2, WindowEvent::Close)).unwrap();
        let _ = display.flush(5, canvas.bounds(), || {});
    });
    presenter.run().unwrap();
    thread.join().unwrap();
    let close = |scanout| DisplayEvent::CloseRequested { scanout };
    assert_eq!(events.list(), [close(0), close(5)]);
}

fn close_can_be_left_to_the_receiver() {
    let events = Events::default();
    let mut options = options();
    options.sdl.on_close = ClosePolicy::Report;
    let seen = events.clone();
    with_events(options, events.sink(), move |display, sender| {
        let canvas = Canvas::filled(8, 8, RED);
        show(display, 2, &canvas);
        for times in 1..=2 {
            sender.push_event(window_event(1, WindowEvent::Close)).unwrap();
            flush(display, 2, canvas.bounds());
            eventually("close", || seen.list().len() == times);
        }
        assert_eq!(pixel(display, 2, 0, 0), RED);
    });
    assert_eq!(events.list(), vec![DisplayEvent::CloseRequested { scanout: 2 }; 2]);
}

fn no_window_system_is_one_clear_line() {
    let mut options = options();
    options.sdl.video_driver = None;
    let Err(error) = Presenter::open(options, |_| {}) else { panic!("there is no display") };
    assert!(matches!(error, DisplayError::NoWindowSystem { .. }));
    let text = error.to_string();
    assert!(text.starts_with("cannot open an SDL window: "), "{text}");
    assert!(
        text.ends_with("; set DISPLAY or WAYLAND_DISPLAY, or use --display headless"),
        "{text}"
    );
    assert!(!text.contains('\n'), "{text}");
}

/// A mode as large as the screen, so the window covers it and screen and frame must be the same.
fn x11_shows_the_pixels() {
    with_display(options(), |display| {
        let canvas = test_card();
        show(display, 0, &canvas);
        let expected = display.screenshot(0).unwrap();
        assert_eq!(expected.pixel(300, 150), Some([77, 150, 300_u32 as u8]));
        let (pixels, _) = expected.as_rgb().as_chunks::<3>();
        eventually("the frame on the screen", || screen() == pixels);

        canvas.put(200, 100, [0, 0, 255, 0]);
        flush(display, 0, Rect::new(200, 100, 1, 1));
        eventually("the damage on the screen", || on_screen(200, 100) == RED);

        let image = CursorImage::new(2, 2, &[255; 16], 0, 0).unwrap();
        display.set_cursor(0, image).unwrap();
        display.move_cursor(0, 50, 60, true).unwrap();
        eventually("the cursor on the screen", || on_screen(51, 61) == [255; 3]);
        display.move_cursor(0, 150, 60, true).unwrap();
        eventually("the cursor has left", || on_screen(51, 61) != [255; 3]);
    });
}

/// CPU time and voluntary context switches of the process so far.
fn activity() -> (u64, u64) {
    let status = |line: &str, text: &str| -> Option<u64> {
        text.lines().find_map(|l| l.strip_prefix(line))?.trim().parse().ok()
    };
    let mut switches = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let text = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        switches += status("voluntary_ctxt_switches:", &text).unwrap();
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    (ticks, switches)
}

fn x11_idle_costs_nothing() {
    with_display(options(), |display| {
        let canvas = test_card();
        for _ in 0..100 {
            show(display, 0, &canvas);
            flush(display, 0, canvas.bounds());
            thread::sleep(Duration::from_millis(5));
        }
        assert!(display.statistics(0).unwrap().frames_per_second > 0.0);
        // The rate leaves the title two seconds after the last frame.
        thread::sleep(Duration::from_millis(2500));
        let idle = |_| {
            let before = activity();
            thread::sleep(Duration::from_secs(5));
            let after = activity();
            (after.0 - before.0, after.1 - before.1)
        };
        // No clock tick of CPU time, and hardly a wake-up: this thread's sleep is one. A busy
        // machine may be late with the last frame, and what is not idle is never idle.
        let spans: Vec<_> = (0..3)
            .map(idle)
            .scan(false, |found, span| {
                let go_on = !*found;
                *found = span.0 == 0 && span.1 <= 3;
                go_on.then_some(span)
            })
            .collect();
        let last = spans.last().copied().unwrap();
        assert!(last.0 == 0 && last.1 <= 3, "(ticks, wake-ups) in 5 s each: {spans:?}");
        assert_eq!(display.statistics(0).unwrap().frames_per_second, 0.0);
    });
}

fn x11_large_modes_are_fitted() {
    with_display(options(), |display| {
        // Twice as wide as the screen and as high.
        let (width, height) = SCREEN_SIZE;
        let canvas = Canvas::filled(width * 2, height, RED);
        show(display, 0, &canvas);
        let picture = display.screenshot(0).unwrap();
        assert_eq!((picture.width(), picture.height()), (width, height / 2));
        assert_eq!(picture.as_rgb(), RED.repeat((width * height / 2) as usize));
        eventually("the frame in the middle of the screen", || {
            on_screen(0, height / 4) == RED && on_screen(width - 1, height * 3 / 4 - 1) == RED
        });
    });
}

fn x11_fullscreen_keeps_the_aspect() {
    let mut options = options();
    options.sdl.fullscreen = true;
    with_display(options, |display| {
        let (width, height) = SCREEN_SIZE;
        // A square: the height fits, with a border of 60 at each side.
        let canvas = Canvas::filled(100, 100, RED);
        show(display, 0, &canvas);
        eventually("full screen", || {
            let picture = display.screenshot(0).unwrap();
            (picture.width(), picture.height()) == (width, height)
        });
        let picture = display.screenshot(0).unwrap();
        let border = (width - height) / 2;
        assert_eq!(picture.pixel(border - 1, 100), Some(BLACK));
        assert_eq!(picture.pixel(border, 0), Some(RED));
        assert_eq!(picture.pixel(width - border - 1, height - 1), Some(RED));
        assert_eq!(picture.pixel(width - border, 100), Some(BLACK));
    });
}
