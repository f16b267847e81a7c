//! OpenGL without the kernel: the software driver speaks virgl's protocol, and what the backend renders
//! is compared pixel by pixel.
#![cfg(feature = "virgl")]

#[allow(dead_code, reason = "not all of it is used here")]
mod common;

use common::{Device, program};
use virtio_loopback_gpu::adapter::BackendChoice;
use virtio_loopback_gpu::driver::three_d::VirglCommands;
use virtio_loopback_gpu::driver::{Buffer, BufferKind, BufferSpec, GpuDriver};
use virtio_loopback_gpu::gpu::Rect;
use virtio_loopback_gpu::gpu::wire::{CapsetId, Format};

const ALL: u64 = u64::MAX;

fn device(modes: &[&str]) -> (Device, GpuDriver) {
    let arguments = vec!["--render=virgl".into()];
    let backend = BackendChoice::Child { program: program(), arguments };
    let mut device = Device::with_backend(modes, backend);
    let gpu = GpuDriver::start(device.driver.take().unwrap(), ALL).unwrap();
    (device, gpu)
}

fn texture(gpu: &mut GpuDriver, width: u32, height: u32) -> Buffer {
    let format = Format::B8g8r8x8;
    gpu.create_buffer(BufferSpec::new(BufferKind::Texture, width, height, format)).unwrap()
}

/// A context that draws to a texture.
fn drawing_to(gpu: &mut GpuDriver, context: u32, texture: &Buffer) -> VirglCommands {
    gpu.create_context(context, "test").unwrap();
    gpu.attach_to_context(context, texture.resource_id()).unwrap();
    let mut commands = VirglCommands::new();
    commands.draw_to(1, texture.resource_id(), texture.spec().format);
    commands
}

#[test]
fn capsets_are_virgls() {
    let (device, mut gpu) = device(&["64x48"]);
    assert_eq!(gpu.config().unwrap().num_capsets.get(), 2);
    for (index, id) in [(0, CapsetId::Virgl), (1, CapsetId::Virgl2)] {
        let info = gpu.capset_info(index).unwrap();
        assert_eq!(info.capset_id.get(), id.raw());
        let size = info.capset_max_size.get();
        let capset = gpu.capset(id.raw(), info.capset_max_version.get(), size).unwrap();
        // Both begin with the version that the renderer has.
        let version = u32::from_le_bytes(*capset.first_chunk().unwrap());
        assert_eq!(version, info.capset_max_version.get());
    }
    assert!(gpu.capset_info(2).is_err());
    assert!(gpu.capset(CapsetId::CrossDomain.raw(), 0, 16).is_err());
    device.stop().unwrap();
}

#[test]
fn what_is_rendered_is_shown() {
    let (device, mut gpu) = device(&["64x48"]);
    let texture = texture(&mut gpu, 64, 48);
    let mut commands = drawing_to(&mut gpu, 1, &texture);
    commands.clear([1.0, 0.5, 0.0, 1.0]);
    gpu.submit_3d(1, commands.words(), Some(1)).unwrap();
    gpu.finish().unwrap();
    gpu.show_buffer(0, &texture).unwrap();
    gpu.flush(texture.resource_id(), texture.rect()).unwrap();
    let picture = device.picture();
    assert_eq!(picture.as_rgb().chunks(3).collect::<Vec<_>>(), vec![[0xff, 0x80, 0]; 64 * 48]);

    // Only what is flushed is read.
    let mut again = VirglCommands::new();
    again.clear([0.0, 0.0, 1.0, 1.0]);
    gpu.submit_3d(1, again.words(), Some(2)).unwrap();
    gpu.finish().unwrap();
    gpu.flush(texture.resource_id(), Rect { x: 3, y: 5, width: 7, height: 2 }).unwrap();
    let picture = device.picture();
    for (x, y) in [(2, 5), (3, 4), (10, 5), (3, 7)] {
        assert_eq!(picture.pixel(x, y), Some([0xff, 0x80, 0]), "at {x}, {y}");
    }
    for (x, y) in [(3, 5), (9, 6)] {
        assert_eq!(picture.pixel(x, y), Some([0, 0, 0xff]), "at {x}, {y}");
    }
    device.stop().unwrap();
}

#[test]
fn transfers_go_both_ways_and_are_not_upside_down() {
    let (device, mut gpu) = device(&["64x48"]);
    let texture = texture(&mut gpu, 64, 48);
    let whole = texture.rect();
    for y in 0..48 {
        let row = Rect { x: 0, y, width: 64, height: 1 };
        texture.fill(row, 0x0010_2000 + y).unwrap();
    }
    gpu.transfer_to_host_3d(&texture, whole).unwrap();
    gpu.show_buffer(0, &texture).unwrap();
    gpu.flush(texture.resource_id(), whole).unwrap();
    let picture = device.picture();
    for y in [0, 1, 46, 47] {
        assert_eq!(picture.pixel(5, y), Some([0x10, 0x20, y as u8]), "row {y}");
    }
    texture.fill(whole, 0).unwrap();
    let part = Rect { x: 4, y: 40, width: 8, height: 4 };
    gpu.transfer_from_host_3d(&texture, part).unwrap();
    for (x, y) in (0..64 * 48).map(|index| (index % 64, index / 64)) {
        let pixel = texture.pixel(x, y).unwrap();
        let inside = (4..12).contains(&x) && (40..44).contains(&y);
        assert_eq!(pixel & 0x00ff_ffff, if inside { 0x0010_2000 + y } else { 0 }, "at {x}, {y}");
    }
    device.stop().unwrap();
}
