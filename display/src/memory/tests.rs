use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;

fn memfd(len: u64, seals: SealFlags) -> File {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let file = File::from(fd.unwrap());
    file.set_len(len).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

fn bytes(memory: &PixelMemory, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read().copy(offset, &mut bytes).unwrap();
    bytes
}

#[test]
fn sees_what_is_written_after_mapping() {
    let file = memfd(3 * 4096, SealFlags::SHRINK);
    let memory = PixelMemory::map(file.as_fd(), 4096, 4096).unwrap();
    assert_eq!(memory.len(), 4096);
    file.write_all_at(&[1, 2, 3, 4], 4096 + 100).unwrap();
    assert_eq!(bytes(&memory, 99, 6), [0, 1, 2, 3, 4, 0]);
}

#[test]
fn refuses_files_whose_pages_can_vanish() {
    let unsealed = memfd(4096, SealFlags::GROW);
    let map = |fd: &dyn AsFd| PixelMemory::map(fd.as_fd(), 0, 4096);
    assert!(matches!(map(&unsealed), Err(MemoryError::NotSealed)));

    let regular = tempfile::tempfile().unwrap();
    regular.set_len(4096).unwrap();
    assert!(matches!(map(&regular), Err(MemoryError::NotSealed)));
    // The caller's word is enough.
    PixelMemory::map_trusted(regular.as_fd(), 0, 4096).unwrap();

    let (pipe, _) = std::io::pipe().unwrap();
    assert!(matches!(map(&pipe), Err(MemoryError::NotSealed)));
    let zero = File::open("/dev/zero").unwrap();
    assert!(matches!(map(&zero), Err(MemoryError::NotSealed)));
}

#[test]
fn a_mapped_memfd_cannot_shrink() {
    let file = memfd(4096, SealFlags::SHRINK);
    let memory = PixelMemory::map(file.as_fd(), 0, 4096).unwrap();
    file.write_all_at(&[7], 4095).unwrap();
    assert!(file.set_len(0).is_err());
    drop(file);
    assert_eq!(bytes(&memory, 4095, 1), [7]);
}

#[test]
fn ranges_are_checked() {
    let file = memfd(8192, SealFlags::SHRINK);
    let map = |offset, len| PixelMemory::map(file.as_fd(), offset, len);
    assert!(matches!(map(0, 0), Err(MemoryError::Empty)));
    assert!(matches!(map(0, 8193), Err(MemoryError::OutOfRange { size: 8192, .. })));
    assert!(matches!(map(8192, 1), Err(MemoryError::OutOfRange { .. })));
    assert!(matches!(map(4096, u64::MAX), Err(MemoryError::OutOfRange { .. })));
    assert!(matches!(map(4, 8), Err(MemoryError::Unaligned(4))));
    let huge = PixelMemory::map_trusted(file.as_fd(), 0, u64::MAX);
    assert!(matches!(huge, Err(MemoryError::OutOfRange { .. })));

    let memory = map(4096, 100).unwrap();
    let access = memory.read();
    assert!(access.pointer(0, 100).is_ok());
    assert!(access.pointer(99, 2).is_err());
    assert!(access.pointer(u64::MAX, 1).is_err());
    assert!(access.copy(101, &mut [0]).is_err());
}

#[test]
fn a_part_of_a_mapping_keeps_it_alive() {
    let file = memfd(8192, SealFlags::SHRINK);
    file.write_all_at(b"part", 5000).unwrap();
    let mapping: Arc<dyn SharedMapping> = Arc::new(Mapping::new(file.as_fd(), 0, 8192).unwrap());
    let memory = PixelMemory::within(mapping.clone(), 5000, 4).unwrap();
    for (offset, len) in [(0, 0), (0, 8193), (8192, 1), (u64::MAX, 2)] {
        assert!(PixelMemory::within(mapping.clone(), offset, len).is_err());
    }
    drop((mapping, file));
    assert_eq!(bytes(&memory, 0, 4), b"part");
}

#[test]
fn buffer_writes_are_bounded_and_visible() {
    let buffer = PixelBuffer::new(16).unwrap();
    buffer.write(4, &[1, 2, 3]).unwrap();
    assert!(buffer.write(15, &[9, 9]).is_err());
    assert!(buffer.write(u64::MAX, &[9]).is_err());
    assert_eq!(bytes(buffer.memory(), 0, 16), [0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(PixelBuffer::new(0).is_err());
}
