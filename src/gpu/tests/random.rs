//! Random commands: the device against a model that copies byte by byte, and what must always hold.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use super::testing::{MEMORY, cursor_request, scanout_blob_request, wire_rect};
use super::wire::*;
use super::*;

/// Steele, Lea, Flood: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end)) as u32
    }

    /// Mostly below `end`, sometimes at a limit.
    fn around(&mut self, end: u32) -> u32 {
        match self.below(20) {
            0 => end,
            1 => end.wrapping_add(1),
            2 => u32::MAX - self.below(4),
            3 => 0,
            _ => self.below(end.max(1)),
        }
    }

    fn rect(&mut self, width: u32, height: u32) -> Rect {
        let (x, y) = (self.around(width), self.around(height));
        let (right, bottom) = (width.saturating_sub(x), height.saturating_sub(y));
        Rect { x, y, width: self.around(right + 1), height: self.around(bottom + 1) }
    }

    /// 1 to 5 pieces of memory, touching or not.
    fn entries(&mut self) -> Vec<(u64, u32)> {
        let mut entries: Vec<(u64, u32)> = Vec::new();
        for _ in 0..1 + self.below(5) {
            let after = entries.last().map(|&(addr, length)| addr + u64::from(length));
            let addr = match (self.below(3), after) {
                (0, Some(after)) => after,
                _ => FREE + u64::from(self.below(1 << 20)),
            };
            entries.push((addr, 1 + self.below(20_000)));
        }
        entries
    }
}

/// What the device should hold, in the simplest form.
struct Image {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    backing: Option<Vec<(u64, u32)>>,
}

impl Image {
    /// Whether the transfer succeeds; does it.
    fn transfer(&mut self, memory: &[u8], rect: Rect, offset: u64) -> bool {
        let Some(entries) = &self.backing else { return false };
        let (x, y) = (u64::from(rect.x), u64::from(rect.y));
        let (width, height) = (u64::from(rect.width), u64::from(rect.height));
        if x + width > u64::from(self.width) || y + height > u64::from(self.height) {
            return false;
        }
        let backing: Vec<u8> = entries
            .iter()
            .flat_map(|&(addr, length)| &memory[addr as usize..][..length as usize])
            .copied()
            .collect();
        let stride = u64::from(self.width) * 4;
        let mut pixels = self.pixels.clone();
        for row in 0..height {
            for byte in 0..width * 4 {
                let from = u128::from(offset) + u128::from(row * stride + byte);
                let Some(value) = backing.get(usize::try_from(from).unwrap_or(usize::MAX)) else {
                    return false;
                };
                pixels[((y + row) * stride + x * 4 + byte) as usize] = *value;
            }
        }
        self.pixels = pixels;
        true
    }
}

/// A device, the model of its images, and the driver's memory once more.
struct Pair {
    fixture: Fixture<Recorder>,
    images: BTreeMap<u32, Image>,
    memory: Vec<u8>,
    random: Random,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let limits = Limits {
            resources: 6,
            bytes: 400_000,
            files: 4,
            dimension: 200,
            backing_entries: 5,
            total_backing_entries: 20,
            command: 1 << 20,
            contexts: 1,
            scanouts: 3,
        };
        let fixture = Fixture::with(limits, Recorder::default());
        let mut memory = vec![0; MEMORY as usize];
        memory[FREE as usize..][..2 << 20].copy_from_slice(&pattern(2 << 20));
        fixture.write(FREE, &memory[FREE as usize..][..2 << 20]);
        Self { fixture, images: BTreeMap::new(), memory, random: Random(seed) }
    }

    fn step(&mut self) {
        let id = self.random.around(7);
        match self.random.below(14) {
            0 | 1 => self.create_2d(id),
            2 => self.create_blob(id),
            3 | 4 => self.attach(id),
            5 => {
                if self.fixture.resource(Command::ResourceDetachBacking, id) == OK
                    && let Some(image) = self.images.get_mut(&id)
                {
                    assert!(image.backing.take().is_some());
                }
            }
            6..=8 => self.transfer(id),
            9 => self.show(id),
            10 | 11 => {
                let area = self.random.rect(100, 100);
                self.fixture.flush(id, area);
            }
            12 => {
                let scanout = self.random.around(3);
                self.fixture.cursor(&cursor_request(scanout, id, 3, 4));
            }
            _ => self.destroy(id),
        }
    }

    fn create_2d(&mut self, id: u32) {
        let (width, height) = (self.random.around(150), self.random.around(150));
        if self.fixture.create_2d(id, BGRX, width, height) == OK {
            let pixels = vec![0; (width * height * 4) as usize];
            let image = Image { width, height, pixels, backing: None };
            assert!(self.images.insert(id, image).is_none());
        }
    }

    fn create_blob(&mut self, id: u32) {
        let entries = self.random.entries();
        let length: u32 = entries.iter().map(|entry| entry.1).sum();
        let size = u64::from(self.random.around(length + 1));
        let type_ = self.fixture.create_blob(id, size, &entries);
        assert!(type_ != OK || (size > 0 && size <= u64::from(length)));
    }

    fn attach(&mut self, id: u32) {
        let entries = self.random.entries();
        if self.fixture.attach(id, &entries) == OK
            && let Some(image) = self.images.get_mut(&id)
        {
            assert!(image.backing.replace(entries).is_none());
        }
    }

    fn transfer(&mut self, id: u32) {
        let (width, height) = self.images.get(&id).map_or((9, 9), |i| (i.width, i.height));
        let rect = self.random.rect(width, height);
        let natural = u64::from(rect.y) * u64::from(width) * 4 + u64::from(rect.x) * 4;
        let offset = match self.random.below(4) {
            0 => u64::from(self.random.around(10_000)),
            1 => u64::MAX - u64::from(self.random.below(100_000)),
            _ => natural,
        };
        let type_ = self.fixture.transfer(id, rect, offset);
        if let Some(image) = self.images.get_mut(&id) {
            // Over the limit of files the device does nothing.
            if type_ != RespType::ErrOutOfMemory {
                let succeeds = image.transfer(&self.memory, rect, offset);
                assert_eq!(type_ == OK, succeeds, "{type_:?} {rect:?} {offset}");
            }
        }
    }

    fn show(&mut self, id: u32) {
        let scanout = self.random.around(3);
        let (width, height) = (1 + self.random.around(100) % 120, 1 + self.random.below(100));
        if self.random.below(2) == 0 {
            let rect = self.random.rect(width, height);
            self.fixture.set_scanout(scanout, id, rect);
        } else {
            let stride = (width * 4).saturating_add(self.random.below(3) * 4);
            let mut request = scanout_blob_request(scanout, id, width, height, stride);
            request.offsets[0] = (self.random.around(100) & !3).into();
            request.r = wire_rect(self.random.rect(width, height));
            self.fixture.run(request.as_bytes());
        }
    }

    fn destroy(&mut self, id: u32) {
        if self.random.below(8) == 0 {
            self.fixture.gpu.reset(&mut self.fixture.display);
            self.images.clear();
        } else if self.fixture.unref(id) == OK {
            self.images.remove(&id);
        }
    }

    /// Shows each image and compares all its pixels.
    fn compare(&mut self) {
        for (&id, image) in &self.images {
            let all = Rect::of_size(image.width, image.height);
            if self.fixture.set_scanout(0, id, all) == OK {
                assert_eq!(self.fixture.pixels(0), image.pixels);
            }
        }
    }
}

#[test]
fn device_agrees_with_a_model_that_copies_byte_by_byte() {
    for seed in 0..12 {
        let mut pair = Pair::new(seed);
        for step in 0..1_500 {
            pair.step();
            pair.fixture.verify();
            if step % 50 == 0 {
                pair.compare();
            }
        }
    }
}
