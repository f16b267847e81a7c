//! A GPU backend that answers all that it is asked, and does with the driver's commands what its
//! arguments say.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use virtio_loopback_gpu::gpu::Counters;
use virtio_loopback_gpu::vhost_gpu::Channel;
use zerocopy::IntoBytes;

/// Features of a 2D device on rings of virtio 1 with indirect descriptors, and of vhost-user.
const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 28 | 1 << 1;
/// MQ, REPLY_ACK, CONFIG, RESET_DEVICE.
const PROTOCOL: u64 = 1 << 0 | 1 << 3 | 1 << 9 | 1 << 13;

/// What it does with commands.
#[derive(Debug, Clone, Copy)]
struct Conduct {
    /// Starts them at all.
    takes: bool,
    /// Gives them back when they have been started for so long.
    holds: Duration,
}

/// The control queue.
#[derive(Default)]
struct Ring {
    size: u16,
    avail: u64,
    used: u64,
    next_avail: u16,
    next_used: u16,
    call: Option<File>,
    /// Commands that were started, and when.
    started: Vec<(u16, Instant)>,
}

/// Runs as `backend --fd 0 CONDUCT [MARK]`. With `stuck-once`, whoever finds no file at MARK makes it.
pub fn run(arguments: &[String]) {
    let conduct = match arguments {
        [name] if name == "stuck" => Conduct { takes: false, holds: Duration::ZERO },
        [name] if name == "slow" => Conduct { takes: true, holds: Duration::from_secs(20) },
        [name, mark] if name == "stuck-once" => {
            let first = !Path::new(mark).exists();
            std::fs::write(mark, "").unwrap();
            Conduct { takes: !first, holds: Duration::ZERO }
        }
        other => panic!("{other:?}"),
    };
    serve(conduct);
}

fn serve(conduct: Conduct) {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let channel = Channel::new(UnixStream::from(stdin));
    let poll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    epoll::add(&poll, channel.stream(), EventData::new_u64(0), EventFlags::IN).unwrap();
    let (mut state, mut memory, mut kick, mut display) = (None, None, None, None);
    let mut ring = Ring::default();
    loop {
        let mut events = Vec::with_capacity(4);
        // As long as something is held, to see when it has been held for long enough.
        let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        let timeout = (!ring.started.is_empty()).then_some(&tick);
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), timeout).unwrap();
        for event in &events {
            if event.data.u64() == 1 {
                continue;
            }
            let Ok(frame) = channel.receive(|_| 4096) else { return };
            let (header, payload) = (frame.header, &frame.payload);
            let fd: Option<OwnedFd> = frame.fds.into_iter().next();
            let word = |at: usize| u32::from_le_bytes(*payload[at..].first_chunk().unwrap());
            let long = |at: usize| u64::from_le_bytes(*payload[at..].first_chunk().unwrap());
            match header.request {
                5 => memory = fd.map(File::from),
                8 if word(0) == 0 => ring.size = word(4) as u16,
                9 if word(0) == 0 => (ring.used, ring.avail) = (long(16), long(24)),
                10 if word(0) == 0 => ring.next_avail = word(4) as u16,
                12 if payload[0] == 0 => {
                    let fd = fd.unwrap();
                    epoll::add(&poll, &fd, EventData::new_u64(1), EventFlags::IN | EventFlags::ET)
                        .unwrap();
                    ring.next_used = ring.next_avail;
                    kick = Some(fd);
                }
                13 if payload[0] == 0 => ring.call = fd.map(File::from),
                33 => display = fd,
                0x564c_0001 => state = fd.map(File::from),
                _ => {}
            }
            if let Some(answer) = answer(header.request, payload, header.flags & 8 != 0) {
                channel.send(header.request, 5, &[&answer], &[]).unwrap();
            }
        }
        if let (Some(memory), Some(state), Some(_), true) = (&memory, &state, &kick, conduct.takes)
        {
            ring.take(memory, state);
            ring.give_back(memory, conduct.holds);
        }
        let _ = &display;
    }
}

/// The payload of the right answer.
fn answer(request: u32, payload: &[u8], wants_answer: bool) -> Option<Vec<u8>> {
    match request {
        1 => Some(FEATURES.as_bytes().to_vec()),
        15 => Some(PROTOCOL.as_bytes().to_vec()),
        // GET_VRING_BASE and GET_CONFIG: any number, and zeros.
        11 | 24 => Some(payload.to_vec()),
        _ => wants_answer.then(|| vec![0; 8]),
    }
}

impl Ring {
    /// Starts what there is.
    fn take(&mut self, memory: &File, state: &File) {
        while read_u16(memory, self.avail + 2) != self.next_avail {
            let entry = self.avail + 4 + u64::from(self.next_avail % self.size) * 2;
            self.started.push((read_u16(memory, entry), Instant::now()));
            self.next_avail = self.next_avail.wrapping_add(1);
        }
        Counters::set_taken(state, 0, self.next_avail).unwrap();
    }

    /// Gives back, with nothing written, what was started so long ago.
    fn give_back(&mut self, memory: &File, age: Duration) {
        let old = |(_, at): &(u16, Instant)| at.elapsed() >= age;
        while let Some(index) = self.started.iter().position(old) {
            let (head, _) = self.started.remove(index);
            let entry = self.used + 4 + u64::from(self.next_used % self.size) * 8;
            memory.write_all_at([u32::from(head), 0].as_bytes(), entry).unwrap();
            self.next_used = self.next_used.wrapping_add(1);
            memory.write_all_at(&self.next_used.to_le_bytes(), self.used + 2).unwrap();
            let call = self.call.as_mut().unwrap();
            std::io::Write::write_all(call, &1_u64.to_ne_bytes()).unwrap();
        }
    }
}

fn read_u16(memory: &File, offset: u64) -> u16 {
    let mut bytes = [0; 2];
    memory.read_exact_at(&mut bytes, offset).unwrap();
    u16::from_le_bytes(bytes)
}
