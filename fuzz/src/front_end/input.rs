//! What a hostile front-end does.

use arbitrary::Arbitrary;

use crate::words::{Long, Word};

#[derive(Arbitrary, Debug)]
pub struct Input {
    /// Whether it begins as front-ends do.
    pub proper: bool,
    pub steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
pub enum Step {
    /// A request whose payload is of the size that it has, or another.
    Request {
        number: Number,
        flags: Flags,
        words: Vec<Word>,
        size: i8,
        fds: Fds,
    },
    /// SET_MEM_TABLE; it may say another number of regions, and have another number of files.
    Memory {
        flags: Flags,
        regions: Vec<Region>,
        said: i8,
        fds: Fds,
    },
    /// What a ring is set up with.
    Ring {
        request: u8,
        flags: Flags,
        ring: Index,
        value: Word,
    },
    Addresses {
        flags: Flags,
        ring: Index,
        addresses: [Place; 3],
    },
    Eventfd {
        request: u8,
        flags: Flags,
        ring: Index,
        none: bool,
        fds: Fds,
    },
    /// SET_FEATURES, or SET_PROTOCOL_FEATURES.
    Features {
        flags: Flags,
        protocol: bool,
        bits: Long,
    },
    /// GET_CONFIG, or SET_CONFIG.
    Config {
        set: bool,
        flags: Flags,
        offset: Word,
        size: Word,
        bytes: u8,
    },
    /// All of a driver's start, as our adapter does it.
    Start,
    /// The backend is replaced, as our adapter does it; `repeated` of the chains may have been used.
    Replace {
        pixels: bool,
        repeated: [u8; 2],
    },
    /// The display socket, and what is answered there.
    Display {
        fds: Fds,
        features: Features,
        script: Vec<Reply>,
    },
    /// Any bytes.
    Bytes {
        bytes: Vec<u8>,
        fds: Fds,
    },
    /// A command on a ring, and its kick.
    Command {
        queue: bool,
        command: u8,
        body: Vec<Word>,
        room: u16,
    },
    /// A resource on a scanout, flushed once and then `id / 4` times; or, with a scanout from 128, a
    /// cursor.
    Show {
        scanout: u8,
        id: u8,
        side: u8,
        blob: bool,
    },
    Write {
        address: u16,
        bytes: Vec<u8>,
    },
    Kick {
        queue: bool,
    },
    /// The backend looks at what there is.
    Turn,
}

/// A request, one of the protocol's or of ours most of the time.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Number {
    Standard(u8),
    Ours(u8),
    Any(u32),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Flags {
    Plain,
    NeedReply,
    Any(Word),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Index {
    Control,
    Cursor,
    Any(Word),
}

/// An address, most of the time in memory.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Place {
    Proper,
    Page(u8),
    Any(Long),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Region {
    pub guest: Long,
    pub size: Long,
    pub user: Long,
    pub offset: Long,
}

/// Descriptors of a message.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Fds {
    Proper,
    None,
    One(Kind),
    Several { count: u8, kinds: [Kind; 2] },
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Kind {
    Memory,
    SmallFile,
    Eventfd,
    Kick,
    Call,
    State,
    Pixels,
    Socket,
    Pipe,
    Null,
    Directory,
    Path,
    Itself,
}

/// Features of the display.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Features {
    All,
    None,
    Any(Long),
}

/// What the display does when it owes an answer.
#[derive(Arbitrary, Debug)]
pub enum Reply {
    Right,
    /// Nothing, and nothing either from then on.
    Missing,
    Twice,
    /// With these bits of the header changed.
    Odd {
        request: u8,
        flags: u8,
    },
    Size(i8),
    Word(Word),
    Bytes(Vec<u8>),
    HangUp,
}

/// Bytes of payload of the requests 0 to 44.
pub const SIZES: [u8; 45] = [
    0, 0, 8, 0, 0, 40, 16, 0, 8, 40, 8, 8, 8, 8, 8, 0, 8, 0, 8, 8, 8, 0, 32, 8, 28, 28, 0, 0, 0, 0,
    0, 20, 20, 0, 0, 8, 0, 40, 40, 8, 0, 16, 8, 0, 0,
];

pub const OURS: [u32; 3] = [0x564c_0001, 0x564c_0002, 0x564c_0003];
pub const OUR_SIZES: [usize; 3] = [0, 8, 8];

/// Requests that name a ring and a number: SET_VRING_NUM, _BASE, GET_VRING_BASE, SET_VRING_ENABLE,
/// and ours.
pub const RING_REQUESTS: [u32; 5] = [8, 10, 11, 18, OURS[2]];
/// Requests that bring an eventfd: SET_VRING_KICK, _CALL, _ERR.
pub const EVENTFD_REQUESTS: [u32; 3] = [12, 13, 14];

impl Number {
    pub fn value(self) -> u32 {
        match self {
            Self::Standard(number) => u32::from(number) % SIZES.len() as u32,
            Self::Ours(index) => OURS[usize::from(index) % OURS.len()],
            Self::Any(number) => number,
        }
    }

    /// Bytes of its payload.
    pub fn size(self) -> usize {
        match self {
            Self::Standard(number) => SIZES[usize::from(number) % SIZES.len()].into(),
            Self::Ours(index) => OUR_SIZES[usize::from(index) % OUR_SIZES.len()],
            Self::Any(_) => 16,
        }
    }
}

impl Flags {
    pub fn value(self) -> u32 {
        match self {
            Self::Plain => 1,
            Self::NeedReply => 9,
            Self::Any(word) => word.value(),
        }
    }
}

impl Index {
    pub fn value(self) -> u32 {
        match self {
            Self::Control => 0,
            Self::Cursor => 1,
            Self::Any(word) => word.value(),
        }
    }
}

impl Place {
    pub fn value(self, proper: u64) -> u64 {
        match self {
            Self::Proper => proper,
            Self::Page(page) => u64::from(page) * 4096,
            Self::Any(value) => value.value(),
        }
    }
}
