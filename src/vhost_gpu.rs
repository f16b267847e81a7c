//! The vhost-user-gpu socket: what a GPU backend tells its front-end about scanouts and cursors.
//!
//! The protocol is QEMU's `docs/interop/vhost-user-gpu.rst`. The *back-end* sends the requests, the
//! front-end owns the display and answers. [`message`] has the bytes, [`decode`] turns a received
//! frame into a [`Request`], [`Channel`] carries frames and file descriptors, and [`Client`] is the
//! back-end's side with its replies in order.
//!
//! Two requests are ours ([`message::F_MEMORY_SCANOUT`]): they name pixels inside a file both sides
//! can map, so that a frame costs no copy even where no dma-buf exists.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod channel;
mod client;
mod decode;
pub mod message;

pub use channel::{Channel, ChannelError, Frame, Limits};
pub use client::{Client, ClientError, REPLY_TIMEOUT};
pub use decode::{DecodeError, Request, decode, payload_bound};

#[cfg(test)]
mod tests;
