use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;

fn memory(pages: u64) -> Memory {
    Memory::new(pages * PAGE_SIZE).unwrap()
}

/// What another process sees in the file.
fn file_bytes(memory: &Memory, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::from(memory.fd().try_clone_to_owned().unwrap())
        .read_exact_at(&mut bytes, address)
        .unwrap();
    bytes
}

#[test]
fn addresses_are_offsets_into_the_file() {
    let memory = memory(8);
    let region = memory.allocate(PAGE_SIZE).unwrap();
    region.write(10, b"pixels").unwrap();
    assert_eq!(file_bytes(&memory, region.address() + 10, 6), b"pixels");
    memory.write(region.address() + 12, b"ZZ").unwrap();
    let mut bytes = [0; 6];
    region.read(10, &mut bytes).unwrap();
    assert_eq!(&bytes, b"piZZls");
}

#[test]
fn indices_are_little_endian() {
    let memory = memory(2);
    let region = memory.allocate(16).unwrap();
    region.store_u16(2, 0x1234, Ordering::Release).unwrap();
    assert_eq!(file_bytes(&memory, region.address(), 4), [0, 0, 0x34, 0x12]);
    assert_eq!(region.load_u16(2, Ordering::Acquire).unwrap(), 0x1234);
    assert!(matches!(
        region.load_u16(3, Ordering::Acquire),
        Err(MemoryError::Misaligned { address }) if address == PAGE_SIZE + 3
    ));
}

#[test]
fn the_size_is_sealed() {
    let memory = memory(4);
    assert!(rustix::fs::ftruncate(memory.fd(), PAGE_SIZE).is_err());
    assert!(rustix::fs::ftruncate(memory.fd(), 8 * PAGE_SIZE).is_err());
    assert!(rustix::fs::fcntl_add_seals(memory.fd(), SealFlags::WRITE).is_err());
}

#[test]
fn accesses_beyond_the_end_are_refused() {
    let memory = memory(3);
    let region = memory.allocate(1).unwrap();
    assert_eq!(region.size(), PAGE_SIZE);
    region.write(PAGE_SIZE, b"").unwrap();
    for (offset, length) in [(PAGE_SIZE, 1), (PAGE_SIZE - 1, 2), (u64::MAX, 2)] {
        let mut bytes = vec![0; length];
        assert!(matches!(
            region.read(offset, &mut bytes),
            Err(MemoryError::OutOfBounds { offset: o, .. }) if o == offset
        ));
        assert!(region.write(offset, &bytes).is_err());
    }
    assert!(memory.write(3 * PAGE_SIZE - 1, b"ab").is_err());
    assert!(region.load_u16(PAGE_SIZE, Ordering::Acquire).is_err());
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for bytes in [0, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE + 7, u64::MAX, 1 << 63] {
        assert!(matches!(Memory::new(bytes), Err(MemoryError::Size { .. })), "{bytes}");
    }
    assert!(matches!(memory(2).allocate(0), Err(MemoryError::Size { bytes: 0 })));
    assert!(matches!(memory(2).allocate(u64::MAX), Err(MemoryError::Size { .. })));
}

#[test]
fn dropped_pages_come_back_zeroed_and_in_one_piece() {
    let memory = memory(8);
    assert_eq!(memory.free_bytes(), 7 * PAGE_SIZE);
    let regions: Vec<_> = (0..7).map(|_| memory.allocate(PAGE_SIZE).unwrap()).collect();
    for region in &regions {
        assert_ne!(region.address(), 0);
        region.write(0, &[0xff; PAGE_SIZE as usize]).unwrap();
    }
    assert!(matches!(memory.allocate(1), Err(MemoryError::OutOfMemory { bytes: 1 })));
    // Give them back in an order that joins runs from both sides.
    let mut slots: Vec<_> = regions.into_iter().map(Some).collect();
    for index in [1, 3, 5, 2, 6, 0, 4] {
        slots[index] = None;
    }
    let all = memory.allocate(7 * PAGE_SIZE).unwrap();
    let mut bytes = vec![1; all.size() as usize];
    all.read(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
}
