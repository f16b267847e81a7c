//! A state file that holds anything: a device that goes on from it neither panics nor goes over its
//! limits, and what it makes of the file is what another device makes of it afterwards.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use arbitrary::Arbitrary;
use virtio_loopback_gpu::gpu::testing::{FREE, Fixture, Recorder, cursor_request};
use virtio_loopback_gpu::gpu::wire::{Command, Format};
use virtio_loopback_gpu::gpu::{Limits, Rect, StateFile};

const LIMITS: Limits = Limits {
    scanouts: 3,
    resources: 8,
    bytes: 1 << 20,
    files: 4,
    dimension: 512,
    backing_entries: 6,
    total_backing_entries: 12,
    command: 4096,
    contexts: 1,
};

/// Bytes of the file that mean something: all but most of the first page.
const RESOURCES: u64 = 4096;
const END: u64 = RESOURCES + 8 * 64 + 12 * 24;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Whether there are records of real resources beneath.
    filled: bool,
    changes: Vec<Change>,
    steps: Vec<Step>,
}

/// A word of the file.
#[derive(Arbitrary, Debug)]
enum Change {
    Header {
        word: u8,
        value: u32,
    },
    Scanout {
        number: u8,
        word: u8,
        value: u32,
    },
    Resource {
        slot: u8,
        word: u8,
        value: u32,
    },
    Piece {
        number: u8,
        address: u16,
        length: u32,
        next: u8,
    },
    Counter {
        word: u8,
        value: u32,
    },
    /// How the command with a descriptor was answered.
    Answered {
        head: u8,
        type_: u16,
    },
}

/// A command to the device that has gone on.
#[derive(Arbitrary, Debug)]
enum Step {
    Create { id: u8, blob: bool },
    Unref(u8),
    Attach { id: u8, entries: u8 },
    Detach(u8),
    Transfer(u8),
    Show { scanout: u8, id: u8 },
    Cursor { scanout: u8, id: u8 },
    Again(bool),
}

fn fill(fixture: &mut Fixture<Recorder>) {
    fixture.create_2d(1, Format::B8g8r8x8 as u32, 16, 16);
    fixture.attach(1, &[(FREE, 512), (FREE + 4096, 512)]);
    fixture.transfer(1, Rect::of_size(16, 16), 0);
    fixture.set_scanout(0, 1, Rect::of_size(16, 16));
    fixture.create_blob(2, 4096, &[(FREE, 2048), (FREE + 4096, 2048)]);
    fixture.create_blob(3, 64 * 64 * 4, &[(FREE, 64 * 64 * 4)]);
}

fn change(file: &File, change: &Change) {
    let put = |offset: u64, bytes: &[u8]| file.write_all_at(bytes, offset).unwrap();
    match *change {
        // Magic and version are left alone.
        Change::Header { word, value } => {
            put(12 + u64::from(word % 5) * 4, &value.to_ne_bytes());
        }
        Change::Scanout { number, word, value } => {
            let offset = 64 + u64::from(number % 3) * 48 + u64::from(word % 12) * 4;
            put(offset, &value.to_ne_bytes());
        }
        Change::Resource { slot, word, value } => {
            let offset = RESOURCES + u64::from(slot % 8) * 64 + u64::from(word % 16) * 4;
            put(offset, &value.to_ne_bytes());
        }
        Change::Piece { number, address, length, next } => {
            let offset = RESOURCES + 8 * 64 + u64::from(number % 12) * 24;
            let words = [FREE + u64::from(address) * 512, length.into(), next.into()];
            for (index, word) in (0_u64..).zip(words) {
                put(offset + index * 8, &word.to_ne_bytes());
            }
        }
        Change::Counter { word, value } => {
            put(1024 + u64::from(word) % 48 * 4, &value.to_ne_bytes());
        }
        Change::Answered { head, type_ } => {
            put(2048 + u64::from(head) * 2, &type_.to_ne_bytes());
        }
    }
}

fn step(fixture: &mut Fixture<Recorder>, step: &Step) {
    match *step {
        Step::Create { id, blob: true } => drop(fixture.create_blob(id.into(), 64, &[(FREE, 64)])),
        Step::Create { id, .. } => {
            let _ = fixture.create_2d(id.into(), Format::B8g8r8x8 as u32, 8, 8);
        }
        Step::Unref(id) => drop(fixture.unref(id.into())),
        Step::Attach { id, entries } => {
            let piece = |index| (FREE + u64::from(index) * 8192, 4096);
            let entries: Vec<_> = (0..entries % 8).map(piece).collect();
            let _ = fixture.attach(id.into(), &entries);
        }
        Step::Detach(id) => drop(fixture.resource(Command::ResourceDetachBacking, id.into())),
        Step::Transfer(id) => drop(fixture.transfer(id.into(), Rect::of_size(8, 8), 0)),
        Step::Show { scanout, id } => {
            let _ = fixture.set_scanout(scanout.into(), id.into(), Rect::of_size(8, 8));
        }
        Step::Cursor { scanout, id } => {
            let _ = fixture.cursor(&cursor_request(scanout.into(), id.into(), 1, 1));
        }
        Step::Again(again) => fixture.again = again,
    }
}

/// Plays the bytes; false: they are no input.
pub fn run(bytes: &[u8]) -> bool {
    crate::play(bytes, sequence)
}

fn sequence(input: Input) {
    let mut fixture = Fixture::with(LIMITS, Recorder::default());
    let file = StateFile::create(&LIMITS).unwrap();
    assert!(file.metadata().unwrap().len() >= END);
    fixture.restore(file.try_clone().unwrap(), HashMap::new());
    if input.filled {
        fill(&mut fixture);
    }
    for entry in &input.changes {
        change(&file, entry);
    }
    let pixels = fixture.display.pixels();
    fixture.display = Recorder::default();
    fixture.restore(file.try_clone().unwrap(), pixels);
    fixture.verify();
    fixture.gpu.show_again(&mut fixture.display);
    for entry in &input.steps {
        step(&mut fixture, entry);
        fixture.verify();
    }
    let contents = fixture.contents();
    let pixels = fixture.display.pixels();
    let restored = fixture.restore(file, pixels);
    fixture.verify();
    assert_eq!(restored.dropped, 0);
    assert_eq!(fixture.contents(), contents);
}
