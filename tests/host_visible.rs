//! Blobs of the renderer's memory that the driver maps, under a front-end of our own that has a window
//! for them. What they hold is Vulkan's (Venus'): commands that the renderer reads from the window, and
//! its replies.

#[allow(dead_code, reason = "not all of it is used here")]
mod common;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "foreign/front_end.rs"]
mod front_end;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "foreign/region.rs"]
mod region;
#[cfg(feature = "virgl")]
#[path = "foreign/venus.rs"]
mod venus;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::TIMEOUT;
use front_end::{BackendProcess, Display, FrontEnd};
use virtio_loopback_gpu::driver::three_d::map_blob;
use virtio_loopback_gpu::driver::{GpuDriver, Submission, header};
use virtio_loopback_gpu::gpu::wire::{self, ResourceRequest, RespType};
use zerocopy::{Immutable, IntoBytes};

/// What a command is answered with.
fn answer<R: IntoBytes + Immutable>(gpu: &mut GpuDriver, request: &R) -> u32 {
    // Room for a map_info besides.
    gpu.control().submit(request, Submission { response: 32, ..Submission::plain() }).unwrap();
    gpu.control().kick().unwrap();
    let completion = gpu.control().wait(TIMEOUT).unwrap().expect("no answer");
    completion.header.unwrap().type_.get()
}

fn unmap(id: u32) -> ResourceRequest {
    let hdr = header(wire::Command::ResourceUnmapBlob);
    ResourceRequest { hdr, resource_id: id.into(), padding: 0.into() }
}

#[test]
fn without_a_window_there_is_nothing_to_map_to() {
    let (display, socket) = Display::new(0);
    let (front_end, mut gpu) = FrontEnd::start(&socket);
    display.negotiated();
    let unspec = RespType::ErrUnspec.raw();
    assert_eq!(answer(&mut gpu, &map_blob(1, 0)), unspec);
    assert_eq!(answer(&mut gpu, &unmap(1)), unspec);
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn options_that_make_no_sense_are_told_of() {
    for (options, code, words) in [
        (&["--venus"][..], 2, "--host-visible"),
        (&["--host-visible=3M", "--render=virgl"], 2, "a power of two from 1M to 64G"),
        (&["--host-visible=1M"], 2, "--host-visible is for blobs of a renderer's"),
        (&["--host-visible=1M", "--venus"], 2, "--venus is virglrenderer's"),
        (
            &[
                "--host-visible=1M",
                "--venus",
                "--render=virgl",
                "--sandbox=off",
                "--render-server=/nonexistent",
            ],
            1,
            "no render server of virglrenderer at /nonexistent: install it",
        ),
    ] {
        let (backend, stream) = BackendProcess::start_with(options);
        let (ended, text) = backend.end();
        drop(stream);
        assert_eq!(ended, Some(code), "{options:?}: {text}");
        assert!(text.contains(words), "{options:?}: {text}");
    }
}

/// A render server that is a script, for which a shell has to be executed, too: how it ends.
fn start_script(sandbox: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let script = directory.path().join("server");
    std::fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(common::program());
    command.args(["render-server", sandbox, "--"]).arg(&script).stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_render_server_can_execute_nothing_else() {
    let (code, text) = start_script("--sandbox=strict");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the render server cannot be started: Permission denied"), "{text}");
    let (code, text) = start_script("--sandbox=off");
    assert_eq!(code, Some(0), "{text}");
}
