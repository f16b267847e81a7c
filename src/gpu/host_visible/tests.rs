use std::sync::{Arc, Mutex};

use super::*;
use crate::sync::lock;

/// What it was asked for, and how it answers.
#[derive(Debug, Default)]
struct Asked {
    mapped: Vec<(u64, u64)>,
    unmapped: Vec<(u64, u64)>,
    answer: Option<HostVisibleError>,
}

#[derive(Debug, Clone, Default)]
struct Owner(Arc<Mutex<Asked>>);

impl Owner {
    fn answer(&self) -> Result<(), HostVisibleError> {
        lock(&self.0).answer.map_or(Ok(()), Err)
    }
}

impl HostVisible for Owner {
    fn map(&mut self, _: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), HostVisibleError> {
        lock(&self.0).mapped.push((offset, length));
        self.answer()
    }

    fn unmap(&mut self, offset: u64, length: u64) -> Result<(), HostVisibleError> {
        lock(&self.0).unmapped.push((offset, length));
        self.answer()
    }
}

const PAGES: u64 = 16;

/// A window of 16 pages, its owner, and the size of a page.
fn window() -> (Window, Owner, u64) {
    let owner = Owner::default();
    let page = rustix::param::page_size() as u64;
    (Window::new(Box::new(owner.clone()), PAGES * page), owner, page)
}

fn map(window: &mut Window, id: u32, offset: u64, size: u64) -> Result<(), CommandError> {
    window.map(id, std::io::stderr().as_fd(), offset, size)
}

fn is_out_of_range(result: &Result<(), CommandError>) -> bool {
    matches!(result, Err(CommandError::OutOfRange(_)))
}

#[test]
fn what_is_mapped_overlaps_nothing_and_is_within_the_window() {
    let (mut window, owner, page) = window();
    map(&mut window, 1, 4 * page, 2 * page).unwrap();
    for (offset, size) in [
        (4 * page, 1),
        (5 * page, page),
        (3 * page, page + 1),
        (0, 16 * page),
        (3 * page, 4 * page),
        (16 * page, 1),
        (15 * page, page + 1),
        (0, 16 * page + 1),
        (0, u64::MAX),
        (u64::MAX - page + 1, page),
        (u64::MAX - page + 1, u64::MAX),
        (1, page),
        (page / 2, page),
    ] {
        assert!(is_out_of_range(&map(&mut window, 2, offset, size)), "{offset:#x} {size:#x}");
    }
    assert_eq!(lock(&owner.0).mapped, [(4 * page, 2 * page)]);
    // Neighbours on both sides, and up to the end; half a page takes a whole one.
    map(&mut window, 2, 3 * page, page / 2).unwrap();
    map(&mut window, 3, 6 * page, page).unwrap();
    map(&mut window, 4, 7 * page, 9 * page).unwrap();
    assert_eq!(
        lock(&owner.0).mapped[1..],
        [(3 * page, page), (6 * page, page), (7 * page, 9 * page)]
    );
}

#[test]
fn a_resource_is_mapped_once_and_unmapped_once() {
    let (mut window, owner, page) = window();
    map(&mut window, 7, 0, page).unwrap();
    assert!(matches!(map(&mut window, 7, page, page), Err(CommandError::Mapped(7))));
    window.unmap(7).unwrap();
    assert!(matches!(window.unmap(7), Err(CommandError::NotMapped(7))));
    assert_eq!(lock(&owner.0).unmapped, [(0, page)]);
    // The range is free again.
    map(&mut window, 8, 0, page).unwrap();
    map(&mut window, 7, page, page).unwrap();
    window.clear();
    assert_eq!(lock(&owner.0).unmapped.len(), 3);
    map(&mut window, 9, 0, 16 * page).unwrap();
}

#[test]
fn what_an_owner_refuses_to_map_leaves_its_range_free() {
    let (mut window, owner, page) = window();
    lock(&owner.0).answer = Some(HostVisibleError::Refused);
    let refused = CommandError::HostVisible(HostVisibleError::Refused);
    assert_eq!(map(&mut window, 1, 0, page).unwrap_err().resp_type(), refused.resp_type());
    lock(&owner.0).answer = None;
    map(&mut window, 1, 0, page).unwrap();
}

#[test]
fn a_range_of_which_nobody_knows_what_is_in_it_is_not_used_again() {
    for lost in [HostVisibleError::Lost, HostVisibleError::Refused] {
        let (mut window, owner, page) = window();
        map(&mut window, 1, 0, page).unwrap();
        lock(&owner.0).answer = Some(lost);
        assert!(matches!(window.unmap(1), Err(CommandError::HostVisible(error)) if error == lost));
        lock(&owner.0).answer = None;
        assert!(is_out_of_range(&map(&mut window, 1, 0, page)));
        map(&mut window, 1, page, page).unwrap();
    }
    let (mut window, owner, page) = window();
    lock(&owner.0).answer = Some(HostVisibleError::Lost);
    assert!(map(&mut window, 1, 0, page).is_err());
    lock(&owner.0).answer = None;
    assert!(is_out_of_range(&map(&mut window, 1, 0, page)));
}
