use std::os::unix::fs::FileExt;

use vm_memory::Bytes;

use super::*;

const PAGE: u64 = 4096;

fn region(guest_addr: u64, pages: u64, user_addr: u64, file_page: u64) -> VhostUserMemoryRegion {
    VhostUserMemoryRegion::new(guest_addr, pages * PAGE, user_addr, file_page * PAGE)
}

fn map(table: &[VhostUserMemoryRegion]) -> Result<(Memory, Vec<File>), VhostUserError> {
    let files: Vec<_> = table.iter().map(|_| tempfile::tempfile().unwrap()).collect();
    for file in &files {
        file.set_len(16 * PAGE).unwrap();
    }
    let copies = files.iter().map(|file| file.try_clone().unwrap()).collect();
    Ok((Memory::map(table, copies)?, files))
}

/// Two neighbours, the second listed first, and one apart.
fn three() -> (Memory, Vec<File>) {
    let table = [
        region(0x3000, 2, 0x7000_0000, 1),
        region(0x1000, 2, 0x6000_0000, 0),
        region(0x10_0000, 1, 0x5000_0000, 3),
    ];
    map(&table).unwrap()
}

#[test]
fn bytes_end_up_in_the_file_of_their_region() {
    let (memory, files) = three();
    memory.write_slice(b"apart", GuestAddress(0x10_0ffb)).unwrap();
    let mut bytes = [0; 5];
    files[2].read_exact_at(&mut bytes, 3 * PAGE + 0xffb).unwrap();
    assert_eq!(&bytes, b"apart");
}

#[test]
fn a_range_over_two_regions_is_two_slices() {
    let (memory, files) = three();
    memory.write_slice(b"both sides", GuestAddress(0x2ffc)).unwrap();
    let (mut low, mut high) = ([0; 4], [0; 6]);
    files[1].read_exact_at(&mut low, 2 * PAGE - 4).unwrap();
    files[0].read_exact_at(&mut high, PAGE).unwrap();
    assert_eq!((&low, &high), (b"both", b" sides"));
    let slices = memory.get_slices(GuestAddress(0x2ffc), 10, Permissions::Read).unwrap();
    let lengths: Vec<_> = slices.map(|slice| slice.unwrap().len()).collect();
    assert_eq!(lengths, [4, 6]);
    assert!(memory.check_range(GuestAddress(0x1000), 0x4000, Permissions::Write));
}

#[test]
fn what_no_region_has_is_an_error_and_the_last() {
    let (memory, _files) = three();
    for (address, length) in [(0, 1), (0xfff, 2), (0x4fff, 2), (0x10_1000, 1), (u64::MAX, 2)] {
        assert!(!memory.check_range(GuestAddress(address), length, Permissions::Read));
    }
    let mut slices = memory.get_slices(GuestAddress(0x4fff), 2, Permissions::Read).unwrap();
    assert_eq!(slices.next().unwrap().unwrap().len(), 1);
    assert!(slices.next().unwrap().is_err());
    assert!(slices.next().is_none());
    assert!(memory.check_range(GuestAddress(0x5000), 0, Permissions::Read));
}

#[test]
fn a_table_that_overlaps_or_wraps_is_refused() {
    for table in [
        [region(0x1000, 2, 0, 0), region(0x2000, 2, 0, 0)],
        [region(0x2000, 2, 0, 0), region(0x1000, 2, 0, 0)],
        [region(0x1000, 4, 0, 0), region(0x2000, 1, 0, 0)],
        [region(0x1000, 1, 0, 0), region(u64::MAX - PAGE + 2, 1, 0, 0)],
    ] {
        assert!(map(&table).is_err());
    }
}

#[test]
fn addresses_are_translated() {
    let (memory, _files) = three();
    assert_eq!(memory.guest_address(0x6000_1fff), Some(0x2fff));
    assert_eq!(memory.guest_address(0x6000_2000), None);
    assert_eq!(memory.guest_address(0x7000_0000), Some(0x3000));
    assert_eq!(memory.locate(0x3010, 0x20), Some((PAGE + 0x10, PAGE + 0x30)));
    assert_eq!(memory.locate(0x10_0000, PAGE), Some((3 * PAGE, 4 * PAGE)));
    // Over the end of one region, into the next or not.
    assert_eq!(memory.locate(0x2ffc, 8), None);
    assert_eq!(memory.locate(0x10_0000, PAGE + 1), None);
    assert_eq!(memory.locate(0, 1), None);
}
