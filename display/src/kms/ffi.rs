//! Mappings of dumb buffers that live as long as their buffer. This module holds the presenter's
//! `unsafe`.

use std::io;

use drm::control::Device as _;
use drm::control::dumbbuffer::{DumbBuffer, DumbMapping};

use super::card::Card;

/// Maps a dumb buffer until the mapping is dropped.
pub(super) fn map(card: &Card, buffer: &mut DumbBuffer) -> io::Result<DumbMapping<'static>> {
    let mapping = card.map_dumb_buffer(buffer)?;
    // SAFETY: the lifetime is that of the borrow of `buffer`, which is a description of the buffer only:
    // nothing in the mapping points to it. The mapped bytes stay where they are until the mapping itself
    // is dropped and unmaps them, also if the buffer is destroyed before, for a mapping keeps the
    // buffer's memory (drm_gem_mmap takes a reference). The two types differ in nothing else.
    Ok(unsafe { std::mem::transmute::<DumbMapping<'_>, DumbMapping<'static>>(mapping) })
}
