//! The host-visible region: a window of the driver's into which blobs of the renderer's memory are
//! mapped (virtio 1.3, 5.7.2 and 5.7.6.7, RESOURCE_MAP_BLOB).
//!
//! Who owns the window, and how a file gets into it, is the caller's affair: [`HostVisible`]. Here is
//! what is where in it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use vm_memory::GuestMemory;

use super::chain::Request;
use super::engine::Capset;
use super::error::CommandError;
use super::resource::{HostBlob, Kind};
use super::wire::{CapsetId, ResourceMapBlob, ResourceRequest, RespMapInfo, RespType, map_cache};
use super::{CommandResult, Gpu, Outcome};

/// A window that files can be mapped into.
pub trait HostVisible: fmt::Debug + Send {
    /// Shows the first `length` bytes of a file at byte `offset` of the window. Both are whole pages.
    ///
    /// # Errors
    ///
    /// The file is not there then, unless it is [`HostVisibleError::Lost`].
    fn map(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        length: u64,
    ) -> Result<(), HostVisibleError>;

    /// Takes away what was mapped there.
    ///
    /// # Errors
    ///
    /// It may be there still.
    fn unmap(&mut self, offset: u64, length: u64) -> Result<(), HostVisibleError>;
}

/// Why the window does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostVisibleError {
    /// Its owner does not want to.
    #[error("the owner of the window refuses")]
    Refused,
    /// Its owner does not answer, or not any more: nobody knows what is in the window.
    #[error("the owner of the window does not answer")]
    Lost,
}

/// Memory of a blob that can be mapped elsewhere.
#[derive(Debug)]
pub(super) struct Exported {
    pub(super) file: OwnedFd,
    /// Value of [`map_cache`].
    pub(super) cache: u32,
}

/// A window and what is in it.
#[derive(Debug)]
pub(super) struct Window {
    owner: Box<dyn HostVisible>,
    size: u64,
    page: u64,
    /// By offset.
    ranges: BTreeMap<u64, Range>,
    /// Offsets of the resources that are mapped.
    offsets: HashMap<u32, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    length: u64,
}

impl Window {
    fn new(owner: Box<dyn HostVisible>, size: u64) -> Self {
        // Always a power of two.
        let page = rustix::param::page_size() as u64;
        Self { owner, size, page, ranges: BTreeMap::new(), offsets: HashMap::new() }
    }

    /// Maps a blob of `size` bytes.
    fn map(
        &mut self,
        id: u32,
        file: BorrowedFd<'_>,
        offset: u64,
        size: u64,
    ) -> Result<(), CommandError> {
        let length = self.check(id, offset, size)?;
        match self.owner.map(file, offset, length) {
            Ok(()) => {
                self.ranges.insert(offset, Range { length });
                self.offsets.insert(id, offset);
                Ok(())
            }
            Err(error) => {
                if error == HostVisibleError::Lost {
                    // It may have got there: nothing else is to be put over it.
                    self.ranges.insert(offset, Range { length });
                }
                Err(error.into())
            }
        }
    }

    /// Length of the range that a blob would have at `offset`, if it can be there.
    fn check(&self, id: u32, offset: u64, size: u64) -> Result<u64, CommandError> {
        if self.offsets.contains_key(&id) {
            return Err(CommandError::Mapped(id));
        }
        let length = size.checked_next_multiple_of(self.page);
        let end = length.and_then(|length| offset.checked_add(length));
        let (Some(length), Some(end)) = (length, end.filter(|&end| end <= self.size)) else {
            return Err(CommandError::OutOfRange("offset in the host-visible region"));
        };
        if !offset.is_multiple_of(self.page) {
            return Err(CommandError::OutOfRange("offset within a page"));
        }
        // Ranges do not overlap, so the last one that begins before the end is the only one that can
        // reach into this one.
        let last = self.ranges.range(..end).next_back();
        if last.is_some_and(|(start, range)| start + range.length > offset) {
            return Err(CommandError::OutOfRange("offset where another blob is"));
        }
        Ok(length)
    }

    /// Takes a blob out. What cannot be taken out keeps its range, and nothing else can be put there.
    fn unmap(&mut self, id: u32) -> Result<(), CommandError> {
        let offset = self.offsets.remove(&id).ok_or(CommandError::NotMapped(id))?;
        let length = self.ranges.get(&offset).map_or(0, |range| range.length);
        self.owner.unmap(offset, length)?;
        self.ranges.remove(&offset);
        Ok(())
    }

    /// Takes all blobs out.
    fn clear(&mut self) {
        for id in self.offsets.keys().copied().collect::<Vec<_>>() {
            if let Err(error) = self.unmap(id) {
                log::warn!("resource {id} stays in the host-visible region: {error}");
            }
        }
    }
}

impl Gpu {
    /// Has a window of `size` bytes for the driver from now on. A second one takes the place of the
    /// first; what is mapped there counts as mapped here.
    pub fn set_host_visible(&mut self, owner: Box<dyn HostVisible>, size: u64) {
        match &mut self.window {
            Some(window) => window.owner = owner,
            None => self.window = Some(Window::new(owner, size)),
        }
    }

    /// Whether a window would be of use: there are no blobs of host memory without 3D.
    pub fn has_host_blobs(&self) -> bool {
        !self.renderer.capsets().is_empty()
    }

    /// Capsets that contexts can be made for. Vulkan's rings and replies are in mapped blobs.
    pub(super) fn capsets(&self) -> &[Capset] {
        let all = self.renderer.capsets();
        if self.window.is_some() {
            return all;
        }
        // Rutabaga has it last.
        let venus = all.iter().position(|capset| capset.id == CapsetId::Venus.raw());
        venus.and_then(|index| all.get(..index)).unwrap_or(all)
    }

    pub(super) fn resource_map_blob<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let body: ResourceMapBlob = request.body()?;
        let (id, offset) = (body.resource_id.get(), body.offset.get());
        let window = self.window.as_mut().ok_or(CommandError::NotOffered)?;
        let blob = self.resources.host_blob(id)?;
        let HostBlob { bytes, exported, .. } = blob;
        window.check(id, offset, *bytes)?;
        let exported = match exported {
            Some(exported) => exported,
            None => {
                let three_d = self.renderer.three_d().ok_or(CommandError::NotOffered)?;
                exported.insert(three_d.engine.export_memory(id, *bytes)?)
            }
        };
        window.map(id, exported.file.as_fd(), offset, *bytes)?;
        let hdr = request.reply(RespType::OkMapInfo);
        let map_info = (exported.cache & map_cache::MASK).into();
        let response = RespMapInfo { hdr, map_info, padding: 0.into() };
        let answered = request.respond(&response);
        if answered.is_err() {
            // The driver does not know of it.
            let _ = window.unmap(id);
        }
        Ok(Outcome::Answered(answered?))
    }

    pub(super) fn resource_unmap_blob<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let id = request.body::<ResourceRequest>()?.resource_id.get();
        let window = self.window.as_mut().ok_or(CommandError::NotOffered)?;
        let Kind::HostBlob(_) = self.resources.get(id)?.kind else {
            return Err(CommandError::WrongKind(id));
        };
        window.unmap(id)?;
        Ok(Outcome::Done)
    }

    /// Takes a resource out of the window, if it is there.
    pub(super) fn leave_host_visible(&mut self, id: u32) {
        if let Some(window) = &mut self.window {
            match window.unmap(id) {
                Ok(()) | Err(CommandError::NotMapped(_)) => {}
                Err(error) => log::warn!("resource {id} stays in the window: {error}"),
            }
        }
    }

    /// Takes all resources out of the window.
    pub(super) fn clear_host_visible(&mut self) {
        if let Some(window) = &mut self.window {
            window.clear();
        }
    }
}

#[cfg(test)]
mod tests;
