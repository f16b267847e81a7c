//! The answers of an input device, as the kernel module takes them at CREATE.

use std::collections::BTreeMap;

use zerocopy::{FromBytes, IntoBytes};

use super::codes::{EV_ABS, EV_KEY, EV_LED, EV_REL, EV_REP};
use super::names::cut;
use super::wire::{AbsInfo, DevIds, EntryHeader, select};

/// Longest name and serial number, in bytes: the driver has 64 with the final NUL.
pub const MAX_TEXT: usize = 63;

/// What a device is and can say.
#[derive(Debug, Clone, Default)]
pub struct Capabilities {
    /// What users see, of printable characters.
    pub name: String,
    /// The kernel's `uniq`, likewise; may be empty.
    pub serial: String,
    /// Bus, vendor, product, version.
    pub ids: DevIds,
    /// `INPUT_PROP_*`.
    pub properties: Vec<u16>,
    /// Keys and buttons.
    pub keys: Vec<u16>,
    /// Relative axes.
    pub relative: Vec<u16>,
    /// Absolute axes with their ranges.
    pub absolute: BTreeMap<u8, AbsInfo>,
    /// Lights.
    pub leds: Vec<u16>,
    /// Whether the driver shall repeat keys that are held. Then the device must not.
    pub repeats: bool,
}

impl Capabilities {
    /// Whether the device can say this.
    #[must_use]
    pub fn has(&self, kind: u16, code: u16) -> bool {
        match kind {
            EV_KEY => self.keys.contains(&code),
            EV_REL => self.relative.contains(&code),
            EV_ABS => u8::try_from(code).is_ok_and(|axis| self.absolute.contains_key(&axis)),
            _ => false,
        }
    }

    /// The entries of `struct virtio_loopback_input_entry`, one after the other.
    #[must_use]
    pub fn table(&self) -> Vec<u8> {
        let mut table = Vec::new();
        put(&mut table, select::ID_NAME, 0, text(&self.name));
        put(&mut table, select::ID_SERIAL, 0, text(&self.serial));
        put(&mut table, select::ID_DEVIDS, 0, self.ids.as_bytes());
        put(&mut table, select::PROP_BITS, 0, &bits(&self.properties));
        put_bits(&mut table, EV_KEY, &bits(&self.keys));
        put_bits(&mut table, EV_REL, &bits(&self.relative));
        let axes: Vec<u16> = self.absolute.keys().copied().map(u16::from).collect();
        put_bits(&mut table, EV_ABS, &bits(&axes));
        put_bits(&mut table, EV_LED, &bits(&self.leds));
        if self.repeats {
            // The driver looks only whether there are any bits.
            put_bits(&mut table, EV_REP, &[0b11]);
        }
        for (axis, info) in &self.absolute {
            put(&mut table, select::ABS_INFO, *axis, info.as_bytes());
        }
        table
    }
}

/// As much of a text as the driver has room for.
fn text(text: &str) -> &[u8] {
    cut(text, MAX_TEXT).as_bytes()
}

/// Codes as bits, the first in the lowest bit of the first byte.
fn bits(codes: &[u16]) -> Vec<u8> {
    let bytes = codes.iter().max().map_or(0, |code| usize::from(*code) / 8 + 1);
    let mut bits = vec![0_u8; bytes];
    for code in codes {
        if let Some(byte) = bits.get_mut(usize::from(*code) / 8) {
            *byte |= 1 << (code % 8);
        }
    }
    bits
}

fn put_bits(table: &mut Vec<u8>, kind: u16, bits: &[u8]) {
    // Types have five bits.
    put(table, select::EV_BITS, kind as u8, bits);
}

/// Adds an answer. No answer is the same as an empty one.
fn put(table: &mut Vec<u8>, select: u8, subsel: u8, answer: &[u8]) {
    let Ok(size) = u8::try_from(answer.len()) else { return };
    if size > 0 {
        let header = EntryHeader { select, subsel, size, reserved: 0 };
        table.extend(header.as_bytes());
        table.extend(answer);
    }
}

/// The answer to a question in a table; empty if it has none, or if it is cut off.
#[must_use]
pub fn answer(table: &[u8], select: u8, subsel: u8) -> &[u8] {
    let mut left = table;
    while let Ok((header, rest)) = EntryHeader::ref_from_prefix(left) {
        let Some((answer, rest)) = rest.split_at_checked(header.size.into()) else { break };
        if (header.select, header.subsel) == (select, subsel) {
            return answer;
        }
        left = rest;
    }
    &[]
}
