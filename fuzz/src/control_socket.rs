//! The control socket, from either end: a client that sends anything to the device, and a device that
//! answers anything. Each takes or refuses it, without waiting for more, and says so in whole lines.

use std::cell::OnceCell;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use arbitrary::Arbitrary;
use virtio_loopback_gpu::control::fuzzing::{self, Device, Effect};
use virtio_loopback_gpu::control::{
    Answer, InputDeviceStatus, InputSourceStatus, InputStatus, KeepStatus, LimitStatus,
    MonitorStatus, Request, SandboxStatus, ScanoutRequest, ScanoutStatus, Status,
};
use virtio_loopback_gpu::one_line;

#[derive(Arbitrary, Debug)]
enum Input {
    /// What a client sends, and a status for it.
    Client { sends: Text, status: AnyStatus },
    /// What the device sends to one that asked for this.
    Device { asked: Asked, sends: Text, rest: Vec<u8>, more: u16 },
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Asked {
    Status,
    Screenshot,
    Quit,
    Detach,
    Frame,
    Scanout,
}

/// Bytes, with those likelier that are JSON.
#[derive(Arbitrary, Debug)]
enum Text {
    /// What a client sends.
    Request {
        which: Asked,
        scanout: u8,
    },
    /// What a device sends.
    Done,
    Png(u8),
    Error(String),
    Bytes(Vec<u8>),
    Plain(String),
    Pieces(Vec<Piece>),
    Status(AnyStatus),
    Long {
        piece: Piece,
        times: u16,
    },
}

/// A piece of JSON.
#[derive(Arbitrary, Debug)]
enum Piece {
    Known(u8),
    Number(i64),
    Fraction(f64),
    String(String),
    Byte(u8),
}

const KNOWN: [&[u8]; 32] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b"\"",
    b"\\",
    b" ",
    b"null",
    b"true",
    b"\"command\"",
    b"\"status\"",
    b"\"screenshot\"",
    b"\"scanout\"",
    b"\"quit\"",
    b"{\"command\":\"status\"}\n",
    b"{\"command\":\"quit\"}\n",
    b"{\"command\":\"screenshot\",\"scanout\":",
    b"\"done\"",
    b"\"done\"\n",
    b"{\"png\":{\"length\":",
    b"}}\n",
    b"{\"error\":{\"message\":",
    b"{\"status\":",
    b"\"png\"",
    b"\"length\"",
    b"\"name\"",
    b"\"scanouts\"",
    b"\"transport\"",
    b"1e999",
];

/// Strings and numbers of a status.
#[derive(Arbitrary, Debug, Clone)]
struct AnyStatus {
    words: [String; 4],
    list: Vec<String>,
    sandbox: Option<(u32, bool, Option<u32>)>,
    pid: Option<u32>,
    scanouts: Vec<(u32, u32, u16, Option<u64>)>,
    figures: Vec<(String, u64)>,
    monitors: Vec<Option<String>>,
}

fn limit_of(limit: u64) -> LimitStatus {
    LimitStatus { limit, used: Some(limit / 2), peak: None, refused: Some(0) }
}

fn input_of(pid: Option<u32>, names: &[String]) -> InputStatus {
    let device = |(scanout, name): (u32, &String)| InputDeviceStatus {
        scanout,
        kind: name.clone(),
        driver: pid.is_some(),
        node: pid.map(|_| name.clone()),
        seat: Some(name.clone()),
        lost_frames: scanout.into(),
    };
    let source = |name: &String| InputSourceStatus {
        path: name.clone(),
        name: pid.map(|_| name.clone()),
        scanout: 0,
        state: "gone".into(),
        grabbed: false,
    };
    InputStatus {
        passes_windows: pid.map(|pid| pid % 2 == 0),
        devices: (0..).zip(names).map(device).collect(),
        sources: names.iter().map(source).collect(),
    }
}

impl AnyStatus {
    fn status(self) -> Status {
        let [name, state, driver_features, mode] = self.words;
        let scanout = |(scanout, width, frames, last): (u32, u32, u16, _)| ScanoutStatus {
            scanout,
            signal: "live".into(),
            width,
            height: width,
            format: "XR24".into(),
            updates: width.into(),
            presents: scanout.into(),
            damaged_bytes: u64::from(frames) * 4,
            copied_bytes: u64::from(frames),
            vblanks: [width.into(), 0, scanout.into()],
            frames_per_second: f64::from(frames) / 4.0,
            updates_per_second: f64::from(frames) / 2.0,
            last_present_ms: last,
        };
        let sandbox = |(uid, flag, landlock_abi)| SandboxStatus {
            mode,
            uid,
            no_new_privs: flag,
            seccomp: !flag,
            capabilities: "0".into(),
            landlock_abi,
        };
        Status {
            name,
            version: "0".into(),
            pid: 1,
            backend_pid: self.pid,
            backend_restarts: 0,
            sandbox: self.sandbox.map(sandbox),
            keep: self.pid.map(|pid| KeepStatus {
                seconds: pid.into(),
                by: "keeper".into(),
                keeper_pid: Some(pid),
            }),
            cgroup: self.list.first().cloned(),
            input: self.pid.is_some().then(|| input_of(self.pid, &self.list)),
            limits: self
                .figures
                .iter()
                .map(|(name, limit)| (name.clone(), limit_of(*limit)))
                .collect(),
            state,
            driver_features,
            driver_feature_names: self.list.clone(),
            nodes: self.list,
            monitors: (0..)
                .zip(&self.monitors)
                .map(|(scanout, monitor)| MonitorStatus { scanout, monitor: monitor.clone() })
                .collect(),
            scanouts: self.scanouts.into_iter().map(scanout).collect(),
            transport: self.figures.into_iter().collect(),
        }
    }
}

impl Piece {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Known(index) => KNOWN[usize::from(*index) % KNOWN.len()].to_vec(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Fraction(number) => number.to_string().into_bytes(),
            Self::String(text) => serde_json::to_vec(text).unwrap(),
            Self::Byte(byte) => vec![*byte],
        }
    }
}

impl Text {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Request { which, scanout } => line(&match which {
                Asked::Status => Request::Status,
                Asked::Screenshot => Request::Screenshot { scanout: scanout.into() },
                Asked::Quit => Request::Quit,
                Asked::Detach => Request::Detach,
                Asked::Frame => Request::Frame { scanout: scanout.into() },
                Asked::Scanout => Request::Scanout(match scanout % 4 {
                    0 => ScanoutRequest::Add { monitor: "800x600@0,600".into() },
                    1 => ScanoutRequest::Set { scanout: 2, monitor: "640x480,name=x".into() },
                    2 => ScanoutRequest::Move { scanout: scanout.into(), x: 1, y: 2 },
                    _ => ScanoutRequest::Remove { scanout: u32::from(scanout) / 4 },
                }),
            }),
            Self::Done => line(&Answer::Done),
            Self::Png(length) => line(&Answer::Png { length: length.into() }),
            Self::Error(message) => line(&Answer::Error { message }),
            Self::Bytes(bytes) => bytes,
            Self::Plain(text) => text.into_bytes(),
            Self::Pieces(pieces) => pieces.iter().flat_map(Piece::bytes).collect(),
            Self::Status(status) => line(&Answer::Status(Box::new(status.status()))),
            Self::Long { piece, times } => piece.bytes().repeat(usize::from(times)),
        }
    }
}

fn line(message: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap();
    line.push(b'\n');
    line
}

/// What a line asks for: the first one that was sent, or all there is without its end.
fn first_line(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    end.map_or(bytes, |end| &bytes[..end])
}

/// Writes what the socket takes and hangs up. What it took.
fn send(mut stream: &UnixStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while let Ok(length) = stream.write(&bytes[sent..]) {
        if length == 0 {
            break;
        }
        sent += length;
    }
    stream.shutdown(Shutdown::Write).unwrap();
    stream.set_nonblocking(false).unwrap();
    sent
}

thread_local! {
    static DEVICE: OnceCell<Device> = const { OnceCell::new() };
}

fn from_client(bytes: &[u8], status: &Status) {
    let (client, server) = UnixStream::pair().unwrap();
    let sent = send(&client, bytes);
    let (effect, result) =
        DEVICE.with(|device| device.get_or_init(Device::new).serve(&server, status));
    drop(server);
    let request = serde_json::from_slice::<Request>(first_line(&bytes[..sent])).ok();
    let mut answer = Vec::new();
    let read = (&client).read_to_end(&mut answer);
    if let Err(error) = result {
        // It was no text, and so the client got no answer.
        assert_eq!((effect, answer.as_slice()), (Effect::default(), &[][..]), "{error}");
        return;
    }
    // Hung up on with what came after the line unread.
    let reset = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
    assert!(read.is_ok() || read.is_err_and(reset));
    let expected = Effect {
        asked: request == Some(Request::Status),
        told_to_end: matches!(request, Some(Request::Quit | Request::Detach)),
        kept: matches!(request, Some(Request::Quit | Request::Detach)),
    };
    assert_eq!(effect, expected, "{request:?}");
    let line = first_line(&answer);
    let rest = &answer[(line.len() + 1).min(answer.len())..];
    match (request, serde_json::from_slice(line)) {
        (Some(Request::Status), Ok(Answer::Status(told))) => assert_eq!(*told, *status),
        (Some(Request::Quit | Request::Detach), Ok(Answer::Done)) => {}
        (Some(Request::Screenshot { scanout: 0 }), Ok(Answer::Png { length })) => {
            assert_eq!((rest.len() as u64, &rest[..4]), (length, &b"\x89PNG"[..]));
            return;
        }
        (Some(Request::Frame { scanout: 0 }), Ok(Answer::Frame { width: 5, height: 3 })) => {
            assert_eq!(rest, [0; 5 * 3 * 3]);
            return;
        }
        (
            Some(Request::Screenshot { scanout: 1.. } | Request::Frame { scanout: 1.. }) | None,
            Ok(Answer::Error { message }),
        ) => assert!(!message.is_empty()),
        (Some(Request::Scanout(_)), Ok(Answer::Changed { scanout })) => assert!(scanout < 3),
        (Some(Request::Scanout(_)), Ok(Answer::Error { message })) => assert!(!message.is_empty()),
        (request, answer) => panic!("{answer:?} to {request:?}"),
    }
    assert!(rest.is_empty());
}

fn from_device(asked: Asked, bytes: &[u8]) {
    let (device, client) = UnixStream::pair().unwrap();
    let sent = &bytes[..send(&device, bytes)];
    let answer = serde_json::from_slice::<Answer>(first_line(sent)).ok();
    let rest = sent.get(first_line(sent).len() + 1..).unwrap_or_default();
    let (result, expected) = match asked {
        Asked::Status => {
            let status = fuzzing::status(client).inspect(|status| {
                assert!(!status.to_string().is_empty());
                assert_eq!(answer, Some(Answer::Status(Box::new(status.clone()))));
            });
            (status.map(|_| ()), matches!(answer, Some(Answer::Status(_))))
        }
        Asked::Screenshot => {
            let png = fuzzing::screenshot(client, 0).inspect(|png| {
                assert_eq!(answer, Some(Answer::Png { length: png.len() as u64 }));
                assert_eq!(png, &rest[..png.len()]);
            });
            let whole = |length: u64| rest.len() as u64 >= length;
            let expected = matches!(answer, Some(Answer::Png { length }) if whole(length));
            (png.map(|_| ()), expected)
        }
        Asked::Frame => {
            let frame = fuzzing::frame(client, 0).inspect(|frame| {
                let (width, height) = (frame.width, frame.height);
                assert_eq!(answer, Some(Answer::Frame { width, height }));
                assert_eq!(frame.rgb, rest[..frame.rgb.len()]);
            });
            let whole = |width: u32, height: u32| {
                rest.len() as u64 >= u64::from(width) * u64::from(height) * 3
            };
            let expected =
                matches!(answer, Some(Answer::Frame { width, height }) if whole(width, height));
            (frame.map(|_| ()), expected)
        }
        Asked::Scanout => {
            let request = ScanoutRequest::Remove { scanout: 0 };
            let changed = fuzzing::change_scanout(client, request).inspect(|&scanout| {
                assert_eq!(answer, Some(Answer::Changed { scanout }));
            });
            (changed.map(|_| ()), matches!(answer, Some(Answer::Changed { .. })))
        }
        Asked::Quit | Asked::Detach => {
            (fuzzing::quit(client), matches!(answer, Some(Answer::Done)) && rest.is_empty())
        }
    };
    assert_eq!(result.is_ok(), expected, "{result:?}");
    if let Err(error) = result {
        assert!(!one_line(&error).contains('\n'));
    }
}

/// Plays the bytes; false: they are no input.
pub fn run(bytes: &[u8]) -> bool {
    crate::play(bytes, |input| match input {
        Input::Client { sends, status } => from_client(&sends.bytes(), &status.status()),
        Input::Device { asked, sends, rest, more } => {
            let mut bytes = sends.bytes();
            bytes.extend(rest);
            bytes.resize(bytes.len() + usize::from(more), 0x55);
            from_device(asked, &bytes);
        }
    })
}
