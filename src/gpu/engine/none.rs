//! A program without 3D.

use std::os::fd::OwnedFd;
use std::path::Path;

use vm_memory::GuestMemory;

use super::super::backing::Backing;
use super::super::error::EngineError;
use super::super::host_visible::Exported;
use super::super::memfd::Memfd;
use super::super::rect::Rect;
use super::super::texture_scanouts::Export;
use super::super::wire::{ResourceCreate3d, ResourceCreateBlob, TransferHost3d};
use super::{Capset, Direction, SignalHandler, StartError, Timeline};

/// There is none.
#[derive(Debug)]
pub(in super::super) enum Engine {}

type Result<T> = std::result::Result<T, EngineError>;

impl Engine {
    pub(in super::super) fn start(
        _: Option<&Path>,
        _: Option<OwnedFd>,
        _: &SignalHandler,
    ) -> std::result::Result<Self, StartError> {
        Err(StartError::NotBuilt)
    }

    pub(in super::super) fn poll_descriptor(&self) -> Option<OwnedFd> {
        match *self {}
    }

    pub(in super::super) fn poll(&mut self) {
        match *self {}
    }

    pub(in super::super) fn capsets(&self) -> &[Capset] {
        match *self {}
    }

    pub(in super::super) fn capset(&self, _: Capset, _: u32) -> Result<Vec<u8>> {
        match *self {}
    }

    pub(in super::super) fn create_context(&mut self, _: u32, _: u32, _: &str) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn destroy_context(&mut self, _: u32) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn attach(&mut self, _: u32, _: u32) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn detach(&mut self, _: u32, _: u32) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn create_resource(&mut self, _: &ResourceCreate3d) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn create_blob<M: GuestMemory>(
        &mut self,
        _: &ResourceCreateBlob,
        _: Option<(&Backing, &M)>,
    ) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn attach_backing<M: GuestMemory>(
        &mut self,
        _: u32,
        _: &Backing,
        _: &M,
    ) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn detach_backing(&mut self, _: u32) {
        match *self {}
    }

    pub(in super::super) fn unref(&mut self, _: u32) {
        match *self {}
    }

    pub(in super::super) fn export_memory(&mut self, _: u32, _: u64) -> Result<Exported> {
        match *self {}
    }

    pub(in super::super) fn transfer(&mut self, _: Direction, _: &TransferHost3d) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn read_pixels(
        &mut self,
        _: u32,
        _: Rect,
        _: u32,
        _: &Memfd,
    ) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn export(&mut self, _: u32) -> Option<Export> {
        match *self {}
    }

    pub(in super::super) fn submit(&mut self, _: u32, _: &mut [u32]) -> Result<()> {
        match *self {}
    }

    pub(in super::super) fn create_fence(&mut self, _: Timeline) -> Result<u64> {
        match *self {}
    }
}
