//! The display behind a hostile front-end.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use virtio_loopback_gpu::vhost_gpu::message::request;
use virtio_loopback_gpu::vhost_gpu::{Channel, Frame, payload_bound};
use zerocopy::IntoBytes;

use super::input::Reply;
use crate::fds::send_with;

/// A thread that answers as the script says, and rightly when that is over.
pub struct Display {
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    pub fn new(stream: UnixStream, features: u64, script: Vec<Reply>) -> Self {
        let channel = Channel::new(stream.try_clone().unwrap());
        let serve = move || {
            let (mut script, mut silent) = (script.into_iter(), false);
            while let Ok(frame) = channel.receive(|header| payload_bound(header.request)) {
                let Some(right) = answer(&frame, features) else { continue };
                let reply = script.next().unwrap_or(Reply::Right);
                silent |= matches!(reply, Reply::Missing);
                if silent {
                    continue;
                }
                if !send(&channel, frame.header.request, right, &reply) {
                    let _ = channel.stream().shutdown(Shutdown::Both);
                    break;
                }
            }
        };
        Self { stream, thread: Some(std::thread::spawn(serve)) }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The payload of the answer to a request, if it gets one.
fn answer(frame: &Frame, features: u64) -> Option<Vec<u8>> {
    match frame.header.request {
        request::GET_PROTOCOL_FEATURES => Some(features.as_bytes().to_vec()),
        request::GET_DISPLAY_INFO => Some(vec![0; 408]),
        request::GET_EDID => {
            let mut edid = vec![0_u32; 264];
            edid[6] = 128;
            Some(edid.as_bytes().to_vec())
        }
        request::DMABUF_UPDATE => Some(Vec::new()),
        // Off: it has no width.
        request::MEMORY_SCANOUT if frame.payload[28..32] == [0; 4] => Some(Vec::new()),
        _ => None,
    }
}

/// False: it hangs up.
fn send(channel: &Channel, request: u32, right: Vec<u8>, reply: &Reply) -> bool {
    let (mut number, mut flags, mut payload, mut times) = (request, 4, right, 1);
    match reply {
        Reply::Right | Reply::Missing => {}
        Reply::Twice => times = 2,
        Reply::Odd { request, flags: bits } => {
            number ^= u32::from(*request);
            flags ^= u32::from(*bits);
        }
        Reply::Size(change) => {
            payload.resize(payload.len().saturating_add_signed((*change).into()), 0);
        }
        // The size of an EDID, and a width of the second scanout.
        Reply::Word(word) => match payload.get_mut(24..28) {
            Some(bytes) => bytes.copy_from_slice(&word.value().to_ne_bytes()),
            None => payload.fill(word.value() as u8),
        },
        Reply::Bytes(bytes) => {
            return send_with(channel.stream(), &bytes[..bytes.len().min(1024)], &[]);
        }
        Reply::HangUp => return false,
    }
    let mut frame = [number, flags, payload.len() as u32].as_bytes().to_vec();
    frame.extend(payload);
    (0..times).all(|_| send_with(channel.stream(), &frame, &[]))
}
