//! What the fuzz targets play: each module takes bytes, makes of them what its hostile side does, and
//! lets the product's own code cope. A panic is a finding. See docs/fuzzing.md.

pub mod back_end;
pub mod control;
pub mod control_socket;
pub mod driver;
pub mod fds;
pub mod front_end;
pub mod gpu_socket;
pub mod input;
pub mod options;
pub mod rings;
pub mod state;
pub mod words;

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use arbitrary::{Arbitrary, Unstructured};

/// A target: its name, and what plays an input. False: the bytes are no input.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All targets.
pub const TARGETS: [Target; 9] = [
    ("control", control::run),
    ("rings", rings::run),
    ("front_end", front_end::run),
    ("back_end", back_end::run),
    ("gpu_socket", gpu_socket::run),
    ("state", state::run),
    ("control_socket", control_socket::run),
    ("options", options::run),
    ("input", input::run),
];

/// Whether what is played is printed.
pub static PRINTS: AtomicBool = AtomicBool::new(false);

/// Plays the bytes as an `I`. False: they are none.
fn play<I: for<'a> Arbitrary<'a> + Debug>(bytes: &[u8], play: impl FnOnce(I)) -> bool {
    // What is too short for any would be filled up with zeros.
    if bytes.len() < I::size_hint(0).0 {
        return false;
    }
    let Ok(input) = I::arbitrary_take_rest(Unstructured::new(bytes)) else { return false };
    if PRINTS.load(Ordering::Relaxed) {
        println!("{input:#?}");
    }
    play(input);
    true
}

/// The entry point that libFuzzer calls, for a module of this crate.
#[macro_export]
macro_rules! libfuzzer {
    ($target:ident) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| -> libfuzzer_sys::Corpus {
            match $crate::$target::run(bytes) {
                true => libfuzzer_sys::Corpus::Keep,
                false => libfuzzer_sys::Corpus::Reject,
            }
        });
    };
}
