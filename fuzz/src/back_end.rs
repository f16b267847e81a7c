//! A backend that answers anything to the adapter's front-end: each call takes the right answers and
//! refuses all others, neither waits nor panics, keeps no descriptor, and asks for nothing but what
//! the protocol has.

use std::fs::File;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use loopback_driver_glue::{MemoryWindow, QueueInfo};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use virtio_loopback_gpu::adapter::FrontEndError;
use virtio_loopback_gpu::adapter::fuzzing::{FrontEnd, Step as Watched, Work};
use virtio_loopback_gpu::vhost_gpu::{Channel, ChannelError};
use zerocopy::IntoBytes;

use crate::fds::{count_open, send_with};
use crate::words::{Long, Word};

#[derive(Arbitrary, Debug)]
struct Input {
    /// Answers to GET_FEATURES and GET_PROTOCOL_FEATURES.
    offered: [Offer; 2],
    hello: [Answer; 2],
    watched: bool,
    /// Nobody waits for answers any more when one is missing; else it hangs up then.
    called_off: bool,
    steps: Vec<Step>,
}

/// Feature bits.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Offer {
    All,
    Without(u8),
    Only(Long),
}

/// What the adapter does, and the answers that it gets.
#[derive(Arbitrary, Debug)]
enum Step {
    Config(Answer),
    Start {
        rings: [bool; 2],
        features: Long,
        answers: Vec<Answer>,
    },
    Stop(Vec<Answer>),
    DisplaySocket,
    State(Answer),
    Memory(Answer),
    Repeated(Answer),
    /// The driver kicks, and time passes.
    Watch {
        kicks: bool,
        seconds: u8,
        buffers: bool,
    },
    /// The socket is readable.
    Heard(Answer),
    /// It says something unasked.
    Unasked(Vec<u8>),
}

/// An answer.
#[derive(Arbitrary, Debug, Clone)]
enum Answer {
    Right,
    Missing,
    /// Right, but for this.
    Number(Word),
    Flags(Word),
    /// More bytes, or fewer, as announced or not.
    Size {
        change: i8,
        announced: bool,
    },
    Descriptors(u8),
    Status(Long),
    Bytes(Vec<u8>),
}

const GET_FEATURES: u32 = 1;
const SET_FEATURES: u32 = 2;
const SET_MEM_TABLE: u32 = 5;
const GET_VRING_BASE: u32 = 11;
const GET_PROTOCOL_FEATURES: u32 = 15;
const GET_CONFIG: u32 = 24;
const RESET_DEVICE: u32 = 34;
/// Of each ring: its size, base, addresses, call, kick, and that it is enabled.
const RING_REQUESTS: [u32; 6] = [8, 10, 9, 13, 12, 18];
const SET_STATE: u32 = 0x564c_0001;
const RESTORE_MEMORY: u32 = 0x564c_0002;
const SET_REPEATED: u32 = 0x564c_0003;

/// Protocol features: REPLY_ACK and RESET_DEVICE, CONFIG.
const REPLY_ACK: u64 = 1 << 3;
const CONFIG: u64 = 1 << 9;
const RESET: u64 = 1 << 13;
const PROTOCOL_FEATURES: u64 = 1 << 30;

impl Offer {
    fn value(self) -> u64 {
        match self {
            Self::All => u64::MAX,
            Self::Without(bit) => !(1 << (bit % 64)),
            Self::Only(bits) => bits.value(),
        }
    }
}

/// The backend's end of the socket, and what holds of it.
struct BackEnd {
    channel: Channel,
    protocol: u64,
    /// All answers so far were right.
    right: bool,
    /// What it wrote may be anything, right answers included.
    garbled: bool,
    /// What it sends along; the front-end ends its waits when it is readable.
    file: OwnedFd,
    called_off: bool,
}

impl BackEnd {
    /// Writes the answer to a request whose right one is these bytes.
    fn answer(&mut self, request: u32, right: &[u8], answer: Option<&Answer>) {
        let answer = answer.unwrap_or(&Answer::Right);
        let mut payload = right.to_vec();
        let (mut number, mut flags, mut size) = (request, 5, right.len());
        let mut fds = 0;
        match answer {
            Answer::Right => {}
            Answer::Missing => {
                self.right = false;
                return;
            }
            Answer::Number(word) => number = word.value(),
            Answer::Flags(word) => flags = word.value(),
            Answer::Size { change, announced } => {
                payload.resize(right.len().saturating_add_signed((*change).into()), 0x55);
                match *announced {
                    true => size = payload.len(),
                    false => self.garbled |= payload.len() != size,
                }
            }
            Answer::Descriptors(count) => fds = usize::from(count % 8),
            Answer::Status(value) if right.len() == 8 => {
                payload = value.value().as_bytes().to_vec();
            }
            Answer::Status(_) => {}
            Answer::Bytes(bytes) => {
                self.unasked(bytes);
                return;
            }
        }
        // The flags but for those that mean nothing in an answer.
        let same = number == request && flags & 7 == 5 && payload.len() == right.len();
        let acknowledged = right != [0; 8] || payload == right;
        self.right &= same && size == right.len() && fds == 0 && acknowledged;
        let mut frame = [number, flags, size as u32].as_bytes().to_vec();
        frame.extend(payload);
        self.send(&frame, fds);
    }

    fn send(&self, bytes: &[u8], fds: usize) {
        assert!(send_with(self.channel.stream(), bytes, &vec![self.file.as_fd(); fds]));
    }

    /// Says anything.
    fn unasked(&mut self, bytes: &[u8]) {
        self.right = false;
        self.garbled = true;
        let bytes = &bytes[..bytes.len().min(4096)];
        assert!(bytes.is_empty() || send_with(self.channel.stream(), bytes, &[]));
    }

    /// The numbers of the requests that have come, which are as the protocol has them.
    fn requests(&self) -> Vec<u32> {
        let mut numbers = Vec::new();
        loop {
            match self.channel.receive_within(Duration::ZERO, |_| 4096) {
                Ok(frame) => {
                    assert_eq!(frame.header.flags & !8, 1);
                    assert!(frame.fds.len() <= 1);
                    numbers.push(frame.header.request);
                }
                Err(ChannelError::Timeout | ChannelError::Closed) => return numbers,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The answer to a request that is acknowledged, if it is.
    fn acknowledge(&mut self, request: u32, answer: Option<&Answer>) {
        if self.protocol & REPLY_ACK != 0 {
            self.answer(request, &[0; 8], answer);
        }
    }

    /// No answer comes after a wrong one, and none is waited for.
    fn hang_up_if_wrong(&self) {
        if !self.right && self.called_off {
            rustix::io::write(&self.file, &1_u64.to_ne_bytes()).unwrap();
        } else if !self.right {
            self.channel.stream().shutdown(Shutdown::Write).unwrap();
        }
    }
}

impl Answer {
    /// For an answer whose value is another part of the input.
    fn without_status(&self) -> Self {
        match self {
            Self::Status(_) => Self::Right,
            other => other.clone(),
        }
    }
}

/// The adapter's side.
struct Adapter {
    front_end: FrontEnd,
    window: File,
    now: Instant,
    /// A driver has started the rings, and the device was not reset since.
    used: bool,
    started: Vec<u16>,
    /// The backend was asked whether it is there, and has not answered.
    pinged: bool,
    ever_pinged: bool,
}

/// Bytes of the driver's memory.
const WINDOW: u64 = 1 << 20;

fn ring(index: u16) -> (u16, QueueInfo) {
    let base = 0x1000 + u64::from(index) * 0x4000;
    let (desc, avail, used) = (base, base + 0x1000, base + 0x2000);
    let info = QueueInfo { size: 64, ready: true, next_avail: 7, ..QueueInfo::default() };
    (index, QueueInfo { desc, avail, used, ..info })
}

impl Adapter {
    fn start(
        &mut self,
        backend: &mut BackEnd,
        ready: [bool; 2],
        features: u64,
        answers: &[Answer],
    ) -> Result<(), FrontEndError> {
        let window = MemoryWindow { fd: self.window.as_fd(), size: WINDOW };
        let mut rings = [0, 1].map(ring);
        for (ring, ready) in rings.iter_mut().zip(ready) {
            ring.1.ready = ready;
        }
        if self.used {
            let result = self.front_end.start(features, window, &rings);
            assert!(matches!(result, Err(FrontEndError::OneDriverOnly)), "{result:?}");
            return Ok(());
        }
        let mut answers = answers.iter();
        let ready = rings.iter().filter(|ring| ring.1.ready);
        let requests = ready.clone().flat_map(|_| RING_REQUESTS);
        for request in [SET_FEATURES, SET_MEM_TABLE].into_iter().chain(requests) {
            backend.acknowledge(request, answers.next());
        }
        self.used = true;
        backend.hang_up_if_wrong();
        let started = self.front_end.start(features, window, &rings)?;
        self.started = started.iter().map(|ring| ring.index).collect();
        assert!(self.started.iter().eq(ready.map(|ring| &ring.0)));
        Ok(())
    }

    fn stop(&mut self, backend: &mut BackEnd, answers: &[Answer]) -> Result<(), FrontEndError> {
        let mut answers = answers.iter();
        for index in std::mem::take(&mut self.started) {
            let state = [u32::from(index), 9];
            backend.answer(GET_VRING_BASE, state.as_bytes(), answers.next());
        }
        let resets = backend.protocol & RESET != 0;
        if resets {
            backend.acknowledge(RESET_DEVICE, answers.next());
        }
        backend.hang_up_if_wrong();
        self.front_end.stop()?;
        self.used &= !resets;
        Ok(())
    }

    fn config(&mut self, backend: &mut BackEnd, answer: &Answer) -> Result<(), FrontEndError> {
        let config = [0_u32, 16, 0, 5, 6, 7, 8];
        let has_config = backend.protocol & CONFIG != 0;
        if has_config {
            backend.answer(GET_CONFIG, config.as_bytes(), Some(answer));
        }
        backend.hang_up_if_wrong();
        match self.front_end.config() {
            Err(FrontEndError::Missing(_)) => assert!(!has_config),
            Ok(found) if backend.right => assert_eq!(found.as_bytes(), config[3..].as_bytes()),
            found => drop(found?),
        }
        Ok(())
    }

    fn watch(&mut self, kicks: bool, seconds: u8, buffers: bool) -> Result<(), FrontEndError> {
        self.now += Duration::from_secs(u64::from(seconds % 16));
        if kicks {
            self.front_end.kicked(self.now);
        }
        // It is always the same command that is next.
        let next = [buffers.then_some(7), None];
        match self.front_end.check(self.now, || Work { buffers, next })? {
            Watched::Wait | Watched::Ask => {}
            Watched::GiveUp => assert!(self.ever_pinged, "nobody asked it"),
            Watched::Stuck(queue) => assert!(self.ever_pinged && buffers && queue == 0),
        }
        let timeout = self.front_end.check_timeout(self.now);
        assert!(timeout.is_none_or(|left| left <= Duration::from_secs(30)));
        // It listens for kicks, or asks from time to time, or does not watch at all.
        assert!(self.front_end.kicks().is_none() || timeout.is_none());
        Ok(())
    }

    fn step(&mut self, backend: &mut BackEnd, step: &Step) -> Result<(), FrontEndError> {
        if self.pinged && !matches!(step, Step::Watch { .. } | Step::Heard(_)) {
            backend.answer(GET_FEATURES, &[0xff; 8], None);
            self.pinged = false;
            assert!(self.front_end.take_answer()?);
        }
        match step {
            Step::Config(answer) => self.config(backend, answer),
            Step::Start { rings, features, answers } => {
                self.start(backend, *rings, features.value(), answers)
            }
            Step::Stop(answers) => self.stop(backend, answers),
            Step::DisplaySocket => self.front_end.set_display_socket(&UnixStream::pair()?.0),
            Step::State(answer) => {
                backend.acknowledge(SET_STATE, Some(answer));
                backend.hang_up_if_wrong();
                self.front_end.set_state(self.window.as_fd())
            }
            Step::Memory(answer) => {
                backend.acknowledge(RESTORE_MEMORY, Some(answer));
                backend.hang_up_if_wrong();
                self.front_end.restore_memory(7, self.window.as_fd())
            }
            Step::Repeated(answer) => {
                backend.acknowledge(SET_REPEATED, Some(answer));
                backend.hang_up_if_wrong();
                self.front_end.set_repeated(1, 2)
            }
            Step::Watch { kicks, seconds, buffers } => self.watch(*kicks, *seconds, *buffers),
            Step::Heard(answer) => {
                let expected = std::mem::take(&mut self.pinged);
                if expected {
                    backend.answer(GET_FEATURES, &[0xff; 8], Some(answer));
                }
                backend.hang_up_if_wrong();
                let heard = self.front_end.take_answer()?;
                assert!(heard == expected || !backend.right);
                // One that has hung up instead has answered wrong.
                if expected && !heard { Err(FrontEndError::Missing("answer")) } else { Ok(()) }
            }
            Step::Unasked(bytes) => {
                backend.unasked(bytes);
                backend.hang_up_if_wrong();
                self.front_end.set_repeated(1, 2)
            }
        }
    }
}

fn sequence(input: Input) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stop = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let (channel, file) = (Channel::new(ours), stop.try_clone().unwrap());
    let (right, garbled, called_off) = (true, false, input.called_off);
    let mut backend = BackEnd { channel, protocol: 0, right, garbled, file, called_off };
    let [features, protocol] = input.offered.map(Offer::value);
    backend.answer(GET_FEATURES, features.as_bytes(), Some(&input.hello[0].without_status()));
    let is_complete = features & PROTOCOL_FEATURES != 0;
    if is_complete {
        let answer = input.hello[1].without_status();
        backend.answer(GET_PROTOCOL_FEATURES, protocol.as_bytes(), Some(&answer));
    }
    backend.hang_up_if_wrong();
    let front_end = match FrontEnd::connect(theirs, stop) {
        Ok(front_end) => front_end,
        Err(error) => return assert!(!backend.right || !is_complete, "{error:?}"),
    };
    if !backend.right {
        return assert!(backend.garbled);
    }
    assert_eq!(front_end.features() & !features, 0);
    backend.protocol = protocol;
    let window = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC).unwrap();
    let (now, started, used) = (Instant::now(), Vec::new(), false);
    let (pinged, ever_pinged) = (false, false);
    let window = window.into();
    let mut adapter = Adapter { front_end, window, now, used, started, pinged, ever_pinged };
    if input.watched {
        adapter.front_end.watch().unwrap();
    }
    for step in input.steps.iter().take(100) {
        backend.requests();
        let result = adapter.step(&mut backend, step);
        if !backend.right {
            match result {
                Ok(()) => assert!(backend.garbled, "{step:?}"),
                Err(error) => {
                    assert!(!error.is_timeout() && (called_off || !error.is_interrupted()))
                }
            }
            break;
        }
        if let Err(error) = result {
            panic!("{step:?}: {error:?}");
        }
        if let Step::Watch { .. } = step {
            let asked = backend.requests().contains(&GET_FEATURES);
            adapter.pinged |= asked;
            adapter.ever_pinged |= asked;
        }
    }
}

/// Plays the bytes; false: they are no input.
pub fn run(bytes: &[u8]) -> bool {
    let before = count_open();
    let played = crate::play(bytes, sequence);
    assert_eq!(count_open(), before, "descriptors are left over");
    played
}
