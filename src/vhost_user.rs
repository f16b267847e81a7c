//! Numbers of the vhost-user protocol (QEMU `docs/interop/vhost-user.rst`) that both ends here use
//! beside the `vhost` crate.

use vhost::vhost_user::message::VhostUserHeaderFlag;

/// Header flags: version 1 of the protocol.
pub const FLAG_VERSION: u32 = 1;
/// Header flags: where the version is.
pub const FLAG_VERSION_MASK: u32 = VhostUserHeaderFlag::VERSION.bits();
/// Header flag: this is a reply.
pub const FLAG_REPLY: u32 = VhostUserHeaderFlag::REPLY.bits();
/// Header flag: a reply is wanted.
pub const FLAG_NEED_REPLY: u32 = VhostUserHeaderFlag::NEED_REPLY.bits();

/// Front-end request: nothing, with the display socket.
pub const GPU_SET_SOCKET: u32 = 33;
