//! What tests of SDL windows share.
//!
//! SDL belongs to the main thread and a process has one, so these tests have no harness: each case
//! runs in a process of its own.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use sdl2::event::EventSender;
use virtio_loopback_display::{
    DisplayEvent, DisplayHandle, DisplayKind, Frame, FrameLayout, Options, PixelBuffer,
    PixelFormat, Presenter, Rect, RendererChoice,
};

/// Says which case this process is to run.
const CASE: &str = "DISPLAY_TEST_CASE";
/// The directory of Xvfb's frame buffer.
const SCREEN: &str = "DISPLAY_TEST_SCREEN";
pub const SCREEN_SIZE: (u32, u32) = (320, 200);

pub const RED: [u8; 3] = [255, 0, 0];
pub const GREEN: [u8; 3] = [0, 255, 0];
pub const BLACK: [u8; 3] = [0; 3];

/// Set if GL is to draw.
const GL: &str = "DISPLAY_TEST_GL";
/// The window manager's process.
const MANAGER: &str = "DISPLAY_TEST_MANAGER";
/// Exit code of a case that this machine has not the means for.
const SKIPPED: u8 = 77;
/// If set, every machine has the means: a case that is skipped has failed.
const ALL: &str = "NO_TEST_SKIPPED";

pub enum On {
    Dummy,
    X11,
    /// X11, and somebody who types and clicks (xdotool).
    User,
    /// The same, with a pointer that is to be seen.
    Pointer,
    /// The same, with a window manager (openbox).
    Desktop,
    /// X11, drawing by GL, which Mesa emulates where there is no GPU.
    Gl,
    /// The same, and somebody who types and clicks.
    GlUser,
}

/// The test's `main`.
pub fn main(cases: &[(&str, On, fn())]) -> ExitCode {
    if let Ok(name) = env::var(CASE) {
        let case = cases.iter().find(|case| case.0 == name).expect("no such case");
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
    for (name, on, _) in cases {
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
    let programs: &[&str] = match on {
        On::Dummy | On::X11 | On::Gl => &[],
        On::User | On::Pointer | On::GlUser => &["xdotool"],
        On::Desktop => &["xdotool", "openbox"],
    };
    for program in programs {
        if Command::new(program).arg("--version").output().is_err() {
            println!("{name}: there is no {program} (package {program})");
            return "skipped";
        }
    }
    let xvfb = match on {
        On::Dummy => None,
        On::X11 | On::User | On::Pointer | On::Desktop | On::Gl | On::GlUser => {
            match Xvfb::start(on) {
                Ok(xvfb) => Some(xvfb),
                Err(error) => {
                    println!("{name}: Xvfb (package xvfb) does not start: {error}");
                    return "skipped";
                }
            }
        }
    };
    if let Some(xvfb) = &xvfb {
        command.env("DISPLAY", &xvfb.display).env(SCREEN, xvfb.directory.path());
    }
    if let Some(manager) = xvfb.as_ref().and_then(|xvfb| xvfb.manager.as_ref()) {
        command.env(MANAGER, manager.id().to_string());
    }
    if let On::Gl | On::GlUser = on {
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

/// Super+M maximises, and back.
const OPENBOX: &str = r#"<openbox_config xmlns="http://openbox.org/3.4/rc"><keyboard>
<keybind key="W-m"><action name="ToggleMaximize"/></keybind>
</keyboard></openbox_config>"#;

/// Sends a signal, such as `STOP`, to the window manager of [`On::Desktop`].
#[allow(dead_code, reason = "some tests have none")]
pub fn signal_window_manager(signal: &str) {
    let manager = env::var(MANAGER).unwrap();
    let status = Command::new("kill").args(["-s", signal, &manager]).status().unwrap();
    assert!(status.success());
}

struct Xvfb {
    process: Child,
    manager: Option<Child>,
    directory: tempfile::TempDir,
    display: String,
}

impl Xvfb {
    fn start(on: &On) -> std::io::Result<Xvfb> {
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
        // With -retro the root window has a pointer's picture, otherwise none.
        command.arg(if matches!(on, On::Pointer) { "-retro" } else { "-nocursor" });
        let mut process = command.spawn()?;
        let mut number = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut number)?;
        let display = format!(":{}", number.trim());
        let mut manager = None;
        if let On::Desktop = on {
            let config = directory.path().join("openbox.xml");
            std::fs::write(&config, OPENBOX)?;
            let mut command = Command::new("openbox");
            command.arg("--sm-disable").arg("--config-file").arg(config).env("DISPLAY", &display);
            manager = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
            // Which only a window manager can answer.
            let mut question = Command::new("xdotool");
            question.arg("get_desktop").env("DISPLAY", &display);
            question.stdout(Stdio::null()).stderr(Stdio::null());
            eventually("openbox", || question.status().unwrap().success());
        }
        Ok(Xvfb { process, manager, directory, display })
    }
}

impl Drop for Xvfb {
    fn drop(&mut self) {
        for process in self.manager.iter_mut().chain([&mut self.process]) {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

fn abort_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("the case takes more than {limit:?}");
        std::process::abort();
    });
}

pub fn options() -> Options {
    let mut options = Options::new(DisplayKind::Sdl, "test");
    let gl = env::var_os(GL).is_some();
    options.sdl.renderer = if gl { RendererChoice::Accelerated } else { RendererChoice::Software };
    if env::var_os("DISPLAY").is_none() {
        options.sdl.video_driver = Some("dummy".into());
    }
    options
}

/// Runs the presenter here and `script` beside it, then quits.
pub fn with_display(options: Options, script: impl FnOnce(&DisplayHandle) + Send + 'static) {
    with_events(options, |_| {}, move |display, _| script(display));
}

pub fn with_events(
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
pub struct Canvas {
    pub buffer: PixelBuffer,
    pub layout: FrameLayout,
}

impl Canvas {
    pub fn new(layout: FrameLayout) -> Canvas {
        let buffer = PixelBuffer::new(layout.end().unwrap().unwrap()).unwrap();
        Canvas { buffer, layout }
    }

    pub fn filled(width: u32, height: u32, rgb: [u8; 3]) -> Canvas {
        let canvas = Canvas::new(FrameLayout::packed(width, height, PixelFormat::Xrgb8888));
        canvas.fill(rgb);
        canvas
    }

    pub fn fill(&self, [r, g, b]: [u8; 3]) {
        let pixels = (self.layout.width * self.layout.height) as usize;
        self.buffer.write(0, &[b, g, r, 0].repeat(pixels)).unwrap();
    }

    pub fn put(&self, x: u32, y: u32, bytes: [u8; 4]) {
        let row = u64::from(y) * u64::from(self.layout.stride);
        self.buffer.write(self.layout.offset + row + u64::from(x) * 4, &bytes).unwrap();
    }

    pub fn frame(&self) -> Frame {
        Frame::new(self.buffer.memory().clone(), self.layout).unwrap()
    }

    pub fn bounds(&self) -> Rect {
        self.layout.bounds()
    }
}

/// Flushes and waits until the pixels have been read.
pub fn flush(display: &DisplayHandle, scanout: u32, damage: Rect) {
    let (done, latched) = mpsc::channel();
    display.flush(scanout, damage, move || done.send(()).unwrap()).unwrap();
    latched.recv_timeout(Duration::from_secs(10)).expect("done must run");
}

pub fn show(display: &DisplayHandle, scanout: u32, canvas: &Canvas) {
    display.set_scanout(scanout, Some(canvas.frame())).unwrap();
    flush(display, scanout, canvas.bounds());
}

pub fn pixel(display: &DisplayHandle, scanout: u32, x: u32, y: u32) -> [u8; 3] {
    display.screenshot(scanout).unwrap().pixel(x, y).unwrap()
}

/// Waits for something the window system does in its own time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What `on_event` was called with.
#[derive(Clone, Default, Debug)]
pub struct Events(pub Arc<Mutex<Vec<DisplayEvent>>>);

impl Events {
    pub fn sink(&self) -> impl Fn(DisplayEvent) + Send + 'static {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push(event)
    }

    pub fn list(&self) -> Vec<DisplayEvent> {
        self.0.lock().unwrap().clone()
    }
}

/// What is on Xvfb's screen, in rows of R, G, B.
pub fn screen() -> Vec<[u8; 3]> {
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

pub fn on_screen(x: u32, y: u32) -> [u8; 3] {
    screen()[(y * SCREEN_SIZE.0 + x) as usize]
}

/// Each pixel different from its neighbours.
pub fn test_card() -> Canvas {
    let (width, height) = SCREEN_SIZE;
    let canvas = Canvas::filled(width, height, BLACK);
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| [x as u8, y as u8, 77, 0]));
    canvas.buffer.write(0, &pixels.collect::<Vec<_>>().concat()).unwrap();
    canvas
}
