//! SDL windows, on SDL's dummy driver and on a real X server (Xvfb).
//!
//! SDL belongs to the main thread and a process has one, so this has no test harness: each case
//! runs in a process of its own.

use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use sdl2::event::{Event, EventSender, WindowEvent};
use virtio_loopback_display::{
    ClosePolicy, CursorImage, DisplayError, DisplayEvent, DisplayHandle, DisplayKind, Frame,
    FrameLayout, Options, Origin, PixelBuffer, PixelFormat, PixelMemory, Presenter, Rect,
    RendererChoice, Signal,
};

/// Says which case this process is to run.
const CASE: &str = "DISPLAY_TEST_CASE";
/// The directory of Xvfb's frame buffer.
const SCREEN: &str = "DISPLAY_TEST_SCREEN";
const SCREEN_SIZE: (u32, u32) = (320, 200);

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLACK: [u8; 3] = [0; 3];

/// Set if GL is to draw.
const GL: &str = "DISPLAY_TEST_GL";
/// Exit code of a case that this machine has not the means for.
const SKIPPED: u8 = 77;
/// If set, every machine has the means: a case that is skipped has failed.
const ALL: &str = "NO_TEST_SKIPPED";

enum On {
    Dummy,
    X11,
    /// X11, drawing by GL, which Mesa emulates where there is no GPU.
    Gl,
}

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
    ("x11_resize_is_reported", On::X11, x11_resize_is_reported),
    ("x11_fullscreen_keeps_the_aspect", On::X11, x11_fullscreen_keeps_the_aspect),
    ("gl_formats_strides_and_offsets", On::Gl, formats_strides_and_offsets),
    ("gl_only_damage_is_read", On::Gl, only_damage_is_read),
    ("gl_bottom_left_origin", On::Gl, bottom_left_origin),
    ("gl_cursor_blends_and_clips", On::Gl, cursor_blends_and_clips),
    ("gl_scanouts_have_their_own_windows", On::Gl, scanouts_have_their_own_windows),
    ("gl_shows_the_pixels", On::Gl, x11_shows_the_pixels),
];

fn main() -> ExitCode {
    if let Ok(name) = env::var(CASE) {
        let case = CASES.iter().find(|case| case.0 == name).expect("no such case");
        abort_after(Duration::from_secs(60));
        if env::var_os(GL).is_some() && !has_gl() {
            println!("{name}: SDL finds no GL (package libgl1-mesa-dri)");
            return ExitCode::from(SKIPPED);
        }
        case.2();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let all = env::var_os(ALL).is_some();
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    for (name, on, _) in CASES {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let outcome = run_case(name, on);
        println!("test {name} ... {outcome}");
        match outcome {
            "ok" => passed += 1,
            "skipped" if !all => skipped += 1,
            _ => failed.push(*name),
        }
    }
    // As the usual test harness does, for whoever counts.
    let failures = failed.len();
    println!("failures:\n    {}", failed.join("\n    "));
    let word = if failures == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failures} failed; {skipped} ignored");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_case(name: &str, on: &On) -> &'static str {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env(CASE, name).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    command.env_remove("SDL_VIDEODRIVER");
    let xvfb = match on {
        On::Dummy => None,
        On::X11 | On::Gl => match Xvfb::start() {
            Ok(xvfb) => Some(xvfb),
            Err(error) => {
                println!("{name}: Xvfb (package xvfb) does not start: {error}");
                return "skipped";
            }
        },
    };
    if let Some(xvfb) = &xvfb {
        command.env("DISPLAY", &xvfb.display).env(SCREEN, xvfb.directory.path());
    }
    if let On::Gl = on {
        command.env(GL, "1");
    }
    match command.status().unwrap().code() {
        Some(0) => "ok",
        Some(code) if code == i32::from(SKIPPED) => "skipped",
        _ => "FAILED",
    }
}

fn has_gl() -> bool {
    let video = sdl2::init().unwrap().video().unwrap();
    let window = video.window("probe", 16, 16).hidden().opengl().build();
    window.is_ok_and(|window| window.gl_create_context().is_ok())
}

struct Xvfb {
    process: Child,
    directory: tempfile::TempDir,
    display: String,
}

impl Xvfb {
    fn start() -> std::io::Result<Xvfb> {
        let directory = tempfile::tempdir()?;
        let (width, height) = SCREEN_SIZE;
        let mut command = Command::new("Xvfb");
        command
            // Without -noreset a client that comes while the last one leaves is thrown out.
            .args(["-displayfd", "1", "-noreset", "-nolisten", "tcp", "-screen", "0"])
            .arg(format!("{width}x{height}x24"))
            .arg("-fbdir")
            .arg(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut process = command.spawn()?;
        let mut number = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut number)?;
        let display = format!(":{}", number.trim());
        Ok(Xvfb { process, directory, display })
    }
}

impl Drop for Xvfb {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn abort_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("the case takes more than {limit:?}");
        std::process::abort();
    });
}

fn options() -> Options {
    let mut options = Options::new(DisplayKind::Sdl, "test");
    let gl = env::var_os(GL).is_some();
    options.sdl.renderer = if gl { RendererChoice::Accelerated } else { RendererChoice::Software };
    if env::var_os("DISPLAY").is_none() {
        options.sdl.video_driver = Some("dummy".into());
    }
    options
}

/// Runs the presenter here and `script` beside it, then quits.
fn with_display(options: Options, script: impl FnOnce(&DisplayHandle) + Send + 'static) {
    with_events(options, |_| {}, move |display, _| script(display));
}

fn with_events(
    options: Options,
    on_event: impl Fn(DisplayEvent) + Send + 'static,
    script: impl FnOnce(&DisplayHandle, EventSender) + Send + 'static,
) {
    let (presenter, display) = Presenter::open(options, on_event).unwrap();
    let events = sdl2::init().unwrap().event().unwrap().event_sender();
    let thread = thread::spawn(move || {
        let _quit = Quit(display.clone());
        script(&display, events);
    });
    presenter.run().unwrap();
    thread.join().unwrap();
}

/// Ends the presenter also when a script fails.
struct Quit(DisplayHandle);

impl Drop for Quit {
    fn drop(&mut self) {
        self.0.quit();
    }
}

/// A frame and the means to draw into it.
struct Canvas {
    buffer: PixelBuffer,
    layout: FrameLayout,
}

impl Canvas {
    fn new(layout: FrameLayout) -> Canvas {
        let buffer = PixelBuffer::new(layout.end().unwrap().unwrap()).unwrap();
        Canvas { buffer, layout }
    }

    fn filled(width: u32, height: u32, rgb: [u8; 3]) -> Canvas {
        let canvas = Canvas::new(FrameLayout::packed(width, height, PixelFormat::Xrgb8888));
        canvas.fill(rgb);
        canvas
    }

    fn fill(&self, [r, g, b]: [u8; 3]) {
        let pixels = (self.layout.width * self.layout.height) as usize;
        self.buffer.write(0, &[b, g, r, 0].repeat(pixels)).unwrap();
    }

    fn put(&self, x: u32, y: u32, bytes: [u8; 4]) {
        let row = u64::from(y) * u64::from(self.layout.stride);
        self.buffer.write(self.layout.offset + row + u64::from(x) * 4, &bytes).unwrap();
    }

    fn frame(&self) -> Frame {
        Frame::new(self.buffer.memory().clone(), self.layout).unwrap()
    }

    fn bounds(&self) -> Rect {
        self.layout.bounds()
    }
}

/// Flushes and waits until the pixels have been read.
fn flush(display: &DisplayHandle, scanout: u32, damage: Rect) {
    let (done, latched) = mpsc::channel();
    display.flush(scanout, damage, move || done.send(()).unwrap()).unwrap();
    latched.recv_timeout(Duration::from_secs(10)).expect("done must run");
}

fn show(display: &DisplayHandle, scanout: u32, canvas: &Canvas) {
    display.set_scanout(scanout, Some(canvas.frame())).unwrap();
    flush(display, scanout, canvas.bounds());
}

fn pixel(display: &DisplayHandle, scanout: u32, x: u32, y: u32) -> [u8; 3] {
    display.screenshot(scanout).unwrap().pixel(x, y).unwrap()
}

/// Waits for something the window system does in its own time.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
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

/// What `on_event` was called with.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<DisplayEvent>>>);

impl Events {
    fn sink(&self) -> impl Fn(DisplayEvent) + Send + 'static {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push(event)
    }

    fn list(&self) -> Vec<DisplayEvent> {
        self.0.lock().unwrap().clone()
    }
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

/// What is on Xvfb's screen, in rows of R, G, B.
fn screen() -> Vec<[u8; 3]> {
    let directory = env::var_os(SCREEN).unwrap();
    let dump = std::fs::read(Path::new(&directory).join("Xvfb_screen0")).unwrap();
    // XWDFile.h: big-endian words; header_size is word 0, bytes_per_line 12, ncolors 19, and a
    // colour map entry has 12 bytes.
    let word = |index: usize| -> usize {
        u32::from_be_bytes(dump[index * 4..][..4].try_into().unwrap()) as usize
    };
    let pixels = &dump[word(0) + word(19) * 12..];
    let (width, height) = (SCREEN_SIZE.0 as usize, SCREEN_SIZE.1 as usize);
    (0..height)
        .flat_map(|y| pixels[y * word(12)..][..width * 4].as_chunks::<4>().0)
        .map(|&[b, g, r, _]| [r, g, b])
        .collect()
}

fn on_screen(x: u32, y: u32) -> [u8; 3] {
    screen()[(y * SCREEN_SIZE.0 + x) as usize]
}

/// Each pixel different from its neighbours.
fn test_card() -> Canvas {
    let (width, height) = SCREEN_SIZE;
    let canvas = Canvas::filled(width, height, BLACK);
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| [x as u8, y as u8, 77, 0]));
    canvas.buffer.write(0, &pixels.collect::<Vec<_>>().concat()).unwrap();
    canvas
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

fn x11_resize_is_reported() {
    let events = Events::default();
    let seen = events.clone();
    with_events(options(), events.sink(), move |display, sender| {
        let canvas = Canvas::filled(100, 80, RED);
        show(display, 4, &canvas);
        let taller = Canvas::filled(100, 90, RED);
        show(display, 4, &taller);
        display.screenshot(4).unwrap();
        assert_eq!(seen.list(), [], "its own resizing is no news");
        sender.push_event(window_event(1, WindowEvent::Resized(123, 45))).unwrap();
        eventually("resize", || !seen.list().is_empty());
    });
    let resized = DisplayEvent::Resized { scanout: 4, width: 123, height: 45 };
    assert_eq!(events.list(), [resized]);
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
