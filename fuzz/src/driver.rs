//! The driver's side of the rings, in plain memory that the device has as a file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use virtio_loopback_gpu::backend::fuzzing::{FREE, Layout, MEMORY, QUEUE_SIZE};
use virtio_loopback_gpu::gpu::wire::{Command, Format};
use zerocopy::IntoBytes;

/// Where commands and their responses are, one page each.
pub const REQUEST: u64 = FREE;
pub const RESPONSE: u64 = FREE + 0x1000;

/// The driver.
pub struct Driver {
    memory: File,
    /// Index of the available ring of each queue.
    available: [u16; 2],
}

impl Driver {
    /// A driver that has this memory, and empty rings there.
    pub fn new(memory: File) -> Self {
        Self { memory, available: [0; 2] }
    }

    /// Writes to the memory; what is beyond it is left out.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let room = usize::try_from(MEMORY.saturating_sub(address)).unwrap();
        self.memory.write_all_at(&bytes[..bytes.len().min(room)], address).unwrap();
    }

    /// Offers a head.
    pub fn push(&mut self, queue: u16, head: u16) {
        let entry = self.available[usize::from(queue)] % QUEUE_SIZE;
        self.write(Layout::of(queue).available + 4 + 2 * u64::from(entry), &head.to_le_bytes());
        self.set_index(queue, self.available[usize::from(queue)].wrapping_add(1));
    }

    /// Sets the index of the available ring.
    pub fn set_index(&mut self, queue: u16, index: u16) {
        self.available[usize::from(queue)] = index;
        self.write(Layout::of(queue).available + 2, &index.to_le_bytes());
    }

    fn descriptor(&self, queue: u16, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        let table = Layout::of(queue).descriptors;
        self.write(table + 16 * u64::from(index % QUEUE_SIZE), &bytes);
    }

    /// Offers a command, at two descriptors; its response has `room` bytes.
    pub fn offer(&mut self, queue: u16, head: u16, command: Command, body: &[u32], room: u32) {
        let mut request = vec![0_u32; 6];
        request[0] = command.raw();
        request.extend(body);
        self.write(REQUEST, request.as_bytes());
        let next = (head + 1) % QUEUE_SIZE;
        self.descriptor(queue, head, REQUEST, request.as_bytes().len() as u32, 1, next);
        self.descriptor(queue, next, RESPONSE, room, 2, 0);
        self.push(queue, head);
    }

    /// The commands that put a resource of the driver's memory on a scanout, and flush it.
    pub fn showing(
        scanout: u32,
        id: u32,
        width: u32,
        height: u32,
        blob: bool,
    ) -> Vec<(Command, Vec<u32>)> {
        let format = Format::B8g8r8x8.raw();
        let (address, bytes) = (FREE as u32 + 0x1_0000, width * height * 4);
        let mut commands = if blob {
            let create = vec![id, 1, 0, 1, 0, 0, bytes, 0, address, 0, bytes, 0];
            let frame = [0, 0, width, height, scanout, id, width, height, format, 0];
            let show = [&frame[..], &[width * 4, 0, 0, 0, 0, 0, 0, 0]].concat();
            vec![(Command::ResourceCreateBlob, create), (Command::SetScanoutBlob, show)]
        } else {
            vec![
                (Command::ResourceCreate2d, vec![id, format, width, height]),
                (Command::ResourceAttachBacking, vec![id, 1, address, 0, bytes, 0]),
                (Command::TransferToHost2d, vec![0, 0, width, height, 0, 0, id, 0]),
                (Command::SetScanout, vec![0, 0, width, height, scanout, id]),
            ]
        };
        commands.push((Command::ResourceFlush, vec![0, 0, width, height, id, 0]));
        commands
    }

    /// The commands that make a classic resource of the driver's memory the cursor of a scanout, move it
    /// and, with `hides`, hide it.
    pub fn pointing(scanout: u32, id: u32, hides: bool) -> Vec<(Command, Vec<u32>)> {
        let mut commands = Self::showing(scanout, id, 64, 64, false);
        commands.truncate(3);
        commands.push((Command::UpdateCursor, vec![scanout, 1, 2, 0, id, 3, 4, 0]));
        let id = if hides { 0 } else { id };
        commands.push((Command::MoveCursor, vec![scanout, 5, 6, 0, id, 0, 0, 0]));
        commands
    }

    /// The queue that a command of those above is for.
    pub fn queue_of(command: Command) -> u16 {
        u16::from(matches!(command, Command::UpdateCursor | Command::MoveCursor))
    }

    /// The words of a command's body, as many as it has, which these begin.
    pub fn natural(command: Command, mut words: Vec<u32>) -> Vec<u32> {
        let count = match command {
            Command::GetDisplayInfo => 0,
            Command::ResourceCreate2d => 4,
            Command::SetScanout | Command::ResourceFlush => 6,
            Command::TransferToHost2d | Command::UpdateCursor | Command::MoveCursor => 8,
            Command::SetScanoutBlob => 18,
            Command::ResourceAttachBacking => 2 + 4 * words.get(1).map_or(0, |&count| count % 8),
            Command::ResourceCreateBlob => 8 + 4 * words.get(3).map_or(0, |&count| count % 8),
            _ => 2,
        };
        words.resize(count as usize, 0);
        words
    }

    /// Clears the rings, as a driver does that begins.
    pub fn begin(&mut self) {
        self.write(0, &[0; FREE as usize]);
        self.available = [0; 2];
    }

    /// The type of the last response.
    pub fn response(&self) -> u32 {
        let mut response = [0; 4];
        self.memory.read_exact_at(&mut response, RESPONSE).unwrap();
        u32::from_le_bytes(response)
    }
}
