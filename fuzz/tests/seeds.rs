//! Every seed of every target through the code it is for, and then for a few seconds what becomes of
//! seeds by chance: always the same chances. The short form of fuzzing, without libFuzzer.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use virtio_loopback_gpu_fuzz::TARGETS;

/// How long inputs are made by chance.
const TIME: Duration = Duration::from_secs(3);
/// The longest of them, in bytes.
const LONGEST: usize = 1024;

/// Descriptors are counted, so that no two targets may run at once.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// xorshift64*.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A seed with the end of another, or of nothing known, and some bytes changed.
    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        input.truncate(self.below(input.len() + 1));
        match self.below(3) {
            0 => {
                let other = &seeds[self.below(seeds.len())];
                input.extend(&other[self.below(other.len() + 1)..]);
            }
            1 => (0..self.below(64)).for_each(|_| input.push(self.next() as u8)),
            _ => {}
        }
        input.truncate(LONGEST);
        for _ in 0..self.below(8).min(input.len()) {
            let at = self.below(input.len());
            input[at] = self.next() as u8;
        }
        input
    }
}

/// Names the input that is being played, should it panic.
struct Playing<'a> {
    input: &'a [u8],
    name: &'a str,
}

impl Drop for Playing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was {}: {:02x?}", self.name, self.input);
        }
    }
}

fn play(name: &str) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, run) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut seeds = Vec::new();
    for path in &paths {
        let input = std::fs::read(path).unwrap();
        {
            let _playing = Playing { input: &input, name: path.to_str().unwrap() };
            assert!(run(&input), "{} is no input any more", path.display());
        }
        seeds.push(input);
    }
    assert!(!seeds.is_empty());
    let (mut chance, mut made) = (Chance(0x9e37_79b9_7f4a_7c15), 0);
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let input = chance.input(&seeds);
        let _playing = Playing { input: &input, name: "made by chance" };
        run(&input);
        made += 1;
    }
    println!("{name}: {} seeds, {made} inputs made by chance", seeds.len());
}

macro_rules! targets {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                play(stringify!($name));
            }
        )+

        #[test]
        fn no_target_is_missing() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),+]);
        }
    };
}

targets! { control rings front_end back_end gpu_socket state control_socket options input }
