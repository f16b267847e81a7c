//! A front-end that sends anything to the backend's vhost-user socket, with any descriptors, while the
//! rings run: the event loop neither panics nor goes round in circles, answers in whole messages,
//! keeps no descriptor, and as long as it goes on, serves a front-end that begins anew.

mod display;
mod input;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, OFlags};
use virtio_loopback_gpu::backend::EventLoopError;
use virtio_loopback_gpu::backend::fuzzing::{EventLoop, Layout, MEMORY, QUEUE_SIZE};
use virtio_loopback_gpu::gpu::wire::{Command, Format};
use virtio_loopback_gpu::gpu::{Limits, StateFile};
use virtio_loopback_gpu::vhost_gpu::{Channel, ChannelError};
use zerocopy::IntoBytes;

use self::display::Display;
use self::input::{
    EVENTFD_REQUESTS, Fds, Features, Flags, Input, Kind, OURS, RING_REQUESTS, Region, Reply, Step,
};
use crate::driver::{Driver, RESPONSE};
use crate::fds::{count_open, send_with};

/// Protocol features: CONFIG, MQ, REPLY_ACK, RESET_DEVICE.
const PROTOCOL: u64 = 0x2209;

/// What the front-end has open.
struct Files {
    memory: File,
    small: OwnedFd,
    kicks: [OwnedFd; 2],
    call: OwnedFd,
    state: File,
    pixels: OwnedFd,
    socket: UnixStream,
    pipe: OwnedFd,
    null: File,
    directory: File,
    path: OwnedFd,
}

fn memfd(size: u64) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("fuzz", flags).unwrap();
    rustix::fs::ftruncate(&file, size).unwrap();
    file
}

fn new_eventfd() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

impl Files {
    fn new(limits: &Limits) -> Self {
        let pixels = memfd(64 * 64 * 4);
        rustix::fs::fcntl_add_seals(&pixels, rustix::fs::SealFlags::SHRINK).unwrap();
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        Self {
            memory: memfd(MEMORY).into(),
            small: memfd(4096),
            kicks: [new_eventfd(), new_eventfd()],
            call: new_eventfd(),
            state: StateFile::create(limits).unwrap(),
            pixels,
            socket: UnixStream::pair().unwrap().0,
            pipe: rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap().0,
            null: File::open("/dev/null").unwrap(),
            directory: File::open("/").unwrap(),
            path: rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).unwrap(),
        }
    }
}

/// The front-end, and the driver and the display behind it.
struct FrontEnd {
    channel: Channel,
    backend: EventLoop,
    files: Files,
    driver: Driver,
    display: Option<Display>,
    limits: Limits,
    /// The next command's first descriptor.
    head: u16,
    /// Messages that the backend has not served yet.
    waiting: usize,
    ended: bool,
}

impl FrontEnd {
    fn new(limits: Limits) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let files = Files::new(&limits);
        let driver = Driver::new(files.memory.try_clone().unwrap());
        let backend = EventLoop::new(theirs, limits.clone());
        let channel = Channel::new(ours);
        Self {
            channel,
            backend,
            files,
            driver,
            display: None,
            limits,
            head: 0,
            waiting: 0,
            ended: false,
        }
    }

    fn file(&self, kind: Kind) -> BorrowedFd<'_> {
        match kind {
            Kind::Memory => self.files.memory.as_fd(),
            Kind::SmallFile => self.files.small.as_fd(),
            Kind::Eventfd => self.files.kicks[0].as_fd(),
            Kind::Kick => self.files.kicks[1].as_fd(),
            Kind::Call => self.files.call.as_fd(),
            Kind::State => self.files.state.as_fd(),
            Kind::Pixels => self.files.pixels.as_fd(),
            Kind::Socket => self.files.socket.as_fd(),
            Kind::Pipe => self.files.pipe.as_fd(),
            Kind::Null => self.files.null.as_fd(),
            Kind::Directory => self.files.directory.as_fd(),
            Kind::Path => self.files.path.as_fd(),
            Kind::Itself => self.channel.stream().as_fd(),
        }
    }

    fn send(&mut self, number: u32, flags: u32, payload: &[u8], fds: Fds, proper: &[Kind]) {
        let mut message = [number, flags, payload.len() as u32].as_bytes().to_vec();
        message.extend(payload);
        self.send_bytes(&message, fds, proper);
    }

    fn send_bytes(&mut self, bytes: &[u8], fds: Fds, proper: &[Kind]) {
        let kinds = match fds {
            Fds::Proper => proper.to_vec(),
            Fds::None => Vec::new(),
            Fds::One(kind) => vec![kind],
            Fds::Several { count, kinds } => {
                kinds.into_iter().cycle().take(usize::from(count % 12)).collect()
            }
        };
        let fds: Vec<_> = kinds.iter().map(|&kind| self.file(kind)).collect();
        if !bytes.is_empty() && send_with(self.channel.stream(), bytes, &fds) {
            self.waiting += 1 + bytes.len() / 12;
        }
    }

    /// What is there is served, and the answers are taken.
    fn turn(&mut self) {
        // The display's answers are messages, too.
        let settled = self.backend.settle(self.waiting + 256);
        self.waiting = 0;
        self.ended = match settled {
            Ok(()) => false,
            Err(EventLoopError::Connection(_)) => true,
            Err(error) => panic!("{error}"),
        };
        self.take_answers();
    }

    /// The requests that the backend's answers are to; they are whole, and replies.
    fn take_answers(&self) -> Vec<(u32, Vec<u8>)> {
        let mut answers = Vec::new();
        loop {
            match self.channel.receive_within(Duration::ZERO, |_| 4096) {
                Ok(frame) => {
                    assert_eq!(frame.header.flags & 7, 5);
                    assert!(frame.fds.is_empty());
                    answers.push((frame.header.request, frame.payload));
                }
                Err(ChannelError::Timeout | ChannelError::Closed) => return answers,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn memory_table(&mut self, flags: Flags, regions: &[Region], said: i8, fds: Fds) {
        let regions = &regions[..regions.len().min(10)];
        let said = (regions.len() as i32).saturating_add(said.into());
        let mut payload = [said.cast_unsigned(), 0].as_bytes().to_vec();
        for region in regions {
            let Region { guest, size, user, offset } = region;
            let words = [guest.value(), size.value(), user.value(), offset.value()];
            payload.extend(words.as_bytes());
        }
        self.send(5, flags.value(), &payload, fds, &vec![Kind::Memory; regions.len()]);
    }

    /// What our adapter does for a driver that starts, with the file of what an earlier backend has
    /// left if it is `kept`.
    fn start(&mut self, kept: bool) {
        self.driver.begin();
        self.head = 0;
        for request in [3, 1, 15] {
            self.send(request, 1, &[], Fds::None, &[]);
        }
        if kept {
            self.send(OURS[0], 1, &[], Fds::Proper, &[Kind::State]);
        }
        self.send(16, 1, PROTOCOL.as_bytes(), Fds::None, &[]);
        // All of the device but EVENT_IDX.
        self.send(2, 9, (1_u64 << 30 | 1 << 32 | 1 << 28).as_bytes(), Fds::None, &[]);
        let table = [1, MEMORY, 0, 0, 0];
        let payload = [&[table[0]][..], &[0, table[1], 0, 0]].concat();
        self.send(5, 9, payload.as_bytes(), Fds::Proper, &[Kind::Memory]);
        for ring in [0_u32, 1] {
            let Layout { descriptors, available, used } = Layout::of(ring as u16);
            self.send(8, 9, [ring, QUEUE_SIZE.into()].as_bytes(), Fds::None, &[]);
            self.send(10, 9, [ring, 0].as_bytes(), Fds::None, &[]);
            let mut addresses = [ring, 0].as_bytes().to_vec();
            addresses.extend([descriptors, used, available, 0].as_bytes());
            self.send(9, 9, &addresses, Fds::None, &[]);
            self.send(13, 9, u64::from(ring).as_bytes(), Fds::Proper, &[Kind::Call]);
            self.files.kicks[ring as usize] = new_eventfd();
            let kick = [Kind::Eventfd, Kind::Kick][ring as usize];
            self.send(12, 9, u64::from(ring).as_bytes(), Fds::Proper, &[kick]);
            self.send(18, 9, [ring, 1].as_bytes(), Fds::None, &[]);
            self.turn();
        }
    }

    /// Another backend in the place of this one, with the same rings.
    fn replace(&mut self, pixels: bool, repeated: [u8; 2]) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.channel = Channel::new(ours);
        self.backend = EventLoop::new(theirs, self.limits.clone());
        self.waiting = 0;
        if pixels {
            self.send(OURS[0], 1, &[], Fds::Proper, &[Kind::State]);
            self.send(OURS[1], 1, 1_u64.as_bytes(), Fds::Proper, &[Kind::Pixels]);
        }
        for (ring, count) in (0_u32..).zip(repeated) {
            self.send(OURS[2], 1, [ring, count.into()].as_bytes(), Fds::None, &[]);
        }
        self.start(!pixels);
    }

    /// Offers a command at the next two descriptors.
    fn offer(&mut self, queue: u16, command: Command, body: &[u32], room: u32) {
        self.driver.offer(queue, self.head, command, body, room);
        self.head = (self.head + 2) % QUEUE_SIZE;
        self.kick(queue);
    }

    fn kick(&self, queue: u16) {
        rustix::io::write(&self.files.kicks[usize::from(queue)], &1_u64.to_ne_bytes()).unwrap();
    }

    fn connect_display(&mut self, fds: Fds, features: u64, script: Vec<Reply>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let display = Display::new(ours, features, script);
        self.files.socket = theirs;
        self.send(33, 1, &[], fds, &[Kind::Socket]);
        self.turn();
        // The backend has it, or nobody.
        self.files.socket = UnixStream::pair().unwrap().0;
        self.display = Some(display);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Request { number, flags, words, size, fds } => {
                let mut payload: Vec<u8> =
                    words.iter().take(64).flat_map(|word| word.value().to_ne_bytes()).collect();
                payload.resize(number.size().saturating_add_signed(size.into()), 0);
                let proper = [Kind::State, Kind::Pixels][usize::from(number.value() == OURS[1])];
                self.send(number.value(), flags.value(), &payload, fds, &[proper]);
            }
            Step::Memory { flags, regions, said, fds } => {
                self.memory_table(flags, &regions, said, fds);
            }
            Step::Ring { request, flags, ring, value } => {
                let number = RING_REQUESTS[usize::from(request) % RING_REQUESTS.len()];
                let payload = [ring.value(), value.value()];
                self.send(number, flags.value(), payload.as_bytes(), Fds::None, &[]);
            }
            Step::Addresses { flags, ring, addresses: [descriptors, used, available] } => {
                let proper = Layout::of((ring.value() % 2) as u16);
                let mut payload = [ring.value(), 0].as_bytes().to_vec();
                payload.extend(descriptors.value(proper.descriptors).to_ne_bytes());
                payload.extend(used.value(proper.used).to_ne_bytes());
                payload.extend(available.value(proper.available).to_ne_bytes());
                payload.extend([0; 8]);
                self.send(9, flags.value(), &payload, Fds::None, &[]);
            }
            Step::Eventfd { request, flags, ring, none, fds } => {
                let number = EVENTFD_REQUESTS[usize::from(request) % EVENTFD_REQUESTS.len()];
                let payload = u64::from(ring.value()) | u64::from(none) << 8;
                self.send(number, flags.value(), payload.as_bytes(), fds, &[Kind::Kick]);
            }
            Step::Features { flags, protocol, bits } => {
                let number = if protocol { 16 } else { 2 };
                self.send(number, flags.value(), bits.value().as_bytes(), Fds::None, &[]);
            }
            Step::Config { set, flags, offset, size, bytes } => {
                let mut payload = [offset.value(), size.value(), 0].as_bytes().to_vec();
                payload.resize(12 + usize::from(bytes), 0);
                self.send(24 + u32::from(set), flags.value(), &payload, Fds::None, &[]);
            }
            Step::Start => self.start(true),
            Step::Replace { pixels, repeated } => self.replace(pixels, repeated),
            Step::Display { fds, features, script } => {
                let features = match features {
                    Features::All => u64::MAX,
                    Features::None => 0,
                    Features::Any(bits) => bits.value(),
                };
                self.connect_display(fds, features, script);
            }
            Step::Bytes { bytes, fds } => {
                self.send_bytes(&bytes[..bytes.len().min(4096)], fds, &[]);
            }
            other => self.drive(other),
        }
    }

    /// What the driver does.
    fn drive(&mut self, step: Step) {
        match step {
            Step::Command { queue, command, body, room } => {
                let command = Command::ALL[usize::from(command) % Command::ALL.len()];
                let mut body: Vec<u32> = body.iter().take(64).map(|word| word.value()).collect();
                if room % 4 != 3 {
                    body = Driver::natural(command, body);
                }
                self.offer(queue.into(), command, &body, room.into());
                self.turn();
            }
            Step::Show { scanout, id, side, blob } => {
                let (number, flushes) = (u32::from(scanout % 4), usize::from(id / 4));
                let (id, side) = (u32::from(id % 4) + 1, u32::from(side % 64) + 1);
                let mut commands = match scanout {
                    ..128 => Driver::showing(number, id, side, side, blob),
                    128.. => Driver::pointing(number, id, blob),
                };
                if scanout < 128 {
                    let flush = commands[commands.len() - 1].clone();
                    commands.extend(std::iter::repeat_n(flush, flushes));
                }
                for (command, body) in commands {
                    self.offer(Driver::queue_of(command), command, &body, 24);
                    self.turn();
                }
            }
            Step::Write { address, bytes } => {
                self.driver.write(address.into(), &bytes[..bytes.len().min(4096)]);
            }
            Step::Kick { queue } => self.kick(queue.into()),
            _ => {
                // The display may have something to say.
                if self.display.is_some() {
                    std::thread::sleep(Duration::from_micros(200));
                }
                self.turn();
            }
        }
    }

    /// After a reset a front-end that begins anew is served, and its driver, too.
    fn verify(&mut self) {
        self.turn();
        if self.ended {
            return;
        }
        // It may have taken RESET_DEVICE out.
        self.send(16, 1, PROTOCOL.as_bytes(), Fds::None, &[]);
        self.send(34, 9, &[], Fds::None, &[]);
        self.start(false);
        assert!(!self.ended);
        self.driver.write(RESPONSE, &[0xff; 4]);
        let body = [1, Format::B8g8r8x8.raw(), 4, 4];
        self.driver.offer(0, 0, Command::ResourceCreate2d, &body, 24);
        self.kick(0);
        // A display that hangs may have its time.
        for _ in 0..4 {
            self.turn();
            if self.driver.response() != u32::MAX {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!self.ended);
        assert_eq!(self.driver.response(), 0x1100);
    }
}

fn sequence(input: Input) {
    let limits = Limits {
        scanouts: 3,
        resources: 16,
        bytes: 4 << 20,
        files: 8,
        dimension: 2048,
        backing_entries: 64,
        total_backing_entries: 256,
        command: 2048,
        contexts: 1,
    };
    let mut front_end = FrontEnd::new(limits);
    if input.proper {
        front_end.start(true);
        assert!(!front_end.ended);
    }
    for step in input.steps.into_iter().take(100) {
        front_end.step(step);
        if front_end.ended {
            return;
        }
    }
    front_end.verify();
}

/// Plays the bytes; false: they are no input.
pub fn run(bytes: &[u8]) -> bool {
    let before = count_open();
    let played = crate::play(bytes, sequence);
    assert_eq!(count_open(), before, "descriptors are left over");
    played
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 flushes that wait for a display that says nothing after it has told its features.
    #[test]
    fn a_display_that_falls_silent() {
        let display = Step::Display {
            fds: Fds::Proper,
            features: Features::All,
            script: vec![Reply::Right, Reply::Missing],
        };
        let show = Step::Show { scanout: 0, id: u8::MAX, side: 1, blob: true };
        sequence(Input { proper: true, steps: vec![display, show] });
    }
}
