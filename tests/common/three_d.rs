//! Devices that render.

use std::time::Duration;

use virtio_loopback_display::Picture;
use virtio_loopback_gpu::adapter::{BackendChoice, RestartPolicy};
use virtio_loopback_gpu::driver::three_d::VirglCommands;
use virtio_loopback_gpu::driver::{Buffer, BufferKind, BufferSpec, GpuDriver};
use virtio_loopback_gpu::gpu::wire::Format;

use super::{Device, program};

/// Every feature.
pub const ALL: u64 = u64::MAX;

/// A device with OpenGL.
pub fn device(modes: &[&str]) -> (Device, GpuDriver) {
    let arguments = vec!["--render=virgl".into()];
    let backend = BackendChoice::Child { program: program(), arguments };
    let mut device = Device::with_backend(modes, backend);
    let gpu = GpuDriver::start(device.driver.take().unwrap(), ALL).unwrap();
    (device, gpu)
}

/// One of the format that Linux shows.
pub fn texture(gpu: &mut GpuDriver, width: u32, height: u32) -> Buffer {
    let format = Format::B8g8r8x8;
    gpu.create_buffer(BufferSpec::new(BufferKind::Texture, width, height, format)).unwrap()
}

/// A context that draws to a texture.
pub fn drawing_to(gpu: &mut GpuDriver, context: u32, texture: &Buffer) -> VirglCommands {
    gpu.create_context(context, "test").unwrap();
    gpu.attach_to_context(context, texture.resource_id()).unwrap();
    let mut commands = VirglCommands::new();
    commands.draw_to(1, texture.resource_id(), texture.spec().format);
    commands
}

/// A device with OpenGL whose backend is replaced when it dies.
pub fn restarting_device(modes: &[&str]) -> (Device, GpuDriver) {
    let arguments = vec!["--render=virgl".into()];
    let backend = BackendChoice::Child { program: program(), arguments };
    let restarts = RestartPolicy { delay: Duration::ZERO, ..RestartPolicy::default() };
    let mut device = Device::with_restarts(modes, backend, restarts);
    let gpu = GpuDriver::start(device.driver.take().unwrap(), ALL).unwrap();
    (device, gpu)
}

/// All of a picture has this colour.
pub fn assert_is(picture: &Picture, colour: [u8; 3]) {
    let other = picture.as_rgb().chunks(3).position(|pixel| pixel != colour);
    assert_eq!(other, None, "the first pixel that is not {colour:?}");
}
