//! Scanouts of textures, without the kernel: pixel by pixel, as copies or, where there is `/dev/udmabuf`
//! for Mesa's software renderer or a GPU, as dma-bufs that the display maps. The box has the former.
#![cfg(feature = "virgl")]

#[allow(dead_code, reason = "not all of it is used here")]
mod common;

use common::three_d::{assert_is, device, drawing_to, restarting_device, texture};
use rustix::process::{Pid, Signal, kill_process};
use virtio_loopback_gpu::driver::three_d::VirglCommands;
use virtio_loopback_gpu::driver::{Buffer, BufferKind, BufferSpec, GpuDriver};
use virtio_loopback_gpu::gpu::Rect;
use virtio_loopback_gpu::gpu::wire::Format;
use virtio_loopback_gpu::sync::lock;

/// Colours, and what OpenGL makes of them.
const COLOURS: [([f32; 4], [u8; 3]); 3] = [
    ([1.0, 0.0, 0.0, 1.0], [0xff, 0, 0]),
    ([0.0, 1.0, 0.0, 1.0], [0, 0xff, 0]),
    ([0.0, 0.2, 1.0, 1.0], [0, 0x33, 0xff]),
];

/// Whether the display of this process has mapped dma-bufs.
fn maps_dma_bufs() -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap().contains("/dmabuf:")
}

/// Draws a colour to the target of a context that draws to one already.
fn clear(gpu: &mut GpuDriver, context: u32, colour: [f32; 4]) {
    let mut commands = VirglCommands::new();
    commands.clear(colour);
    gpu.submit_3d(context, commands.words(), None).unwrap();
}

/// Two textures, each with a context that draws to it.
fn pair(gpu: &mut GpuDriver, width: u32, height: u32) -> [Buffer; 2] {
    [1, 2].map(|context| {
        let texture = texture(gpu, width, height);
        let commands = drawing_to(gpu, context, &texture);
        gpu.submit_3d(context, commands.words(), None).unwrap();
        texture
    })
}

#[test]
fn the_display_maps_dma_bufs_where_they_can_be_made() {
    let (device, mut gpu) = device(&["64x48"]);
    let [texture, _] = pair(&mut gpu, 64, 48);
    clear(&mut gpu, 1, COLOURS[0].0);
    gpu.show_buffer(0, &texture).unwrap();
    gpu.flush(texture.resource_id(), texture.rect()).unwrap();
    assert_is(&device.picture(), COLOURS[0].1);
    // Only root can say of a backend that is another user's, and only a GPU makes them otherwise.
    let expected =
        std::fs::metadata("/dev/udmabuf").is_ok() && rustix::process::geteuid().is_root();
    let gpus = std::fs::metadata("/dev/dri").is_ok();
    assert!(gpus || maps_dma_bufs() == expected, "dma-bufs are expected: {expected}");
    if let Ok(wanted) = std::env::var("EXPECT_DMA_BUFS") {
        assert_eq!(maps_dma_bufs().to_string(), wanted);
    }
    device.stop().unwrap();
}

#[test]
fn every_format_is_shown_with_its_colours_from_where_the_scanout_begins() {
    let (device, mut gpu) = device(&["40x32"]);
    let mut shown = Vec::new();
    for &format in Format::ALL {
        let spec = BufferSpec::new(BufferKind::Texture, 64, 48, format);
        // Not all of them are formats of OpenGL's.
        let Ok(texture) = gpu.create_buffer(spec) else { continue };
        let context = 1 + format.raw();
        let mut commands = drawing_to(&mut gpu, context, &texture);
        commands.clear([1.0, 0.5, 0.2, 1.0]);
        // Drawn before another context writes to it.
        gpu.submit_3d(context, commands.words(), Some(u64::from(context))).unwrap();
        gpu.finish().unwrap();
        // Row 5 of the texture is red 0x10 more than what was drawn; as bytes in the format's order.
        let mark = marked(format);
        texture.fill(Rect { x: 0, y: 5, width: 64, height: 1 }, mark).unwrap();
        let row = Rect { x: 0, y: 5, width: 64, height: 1 };
        gpu.transfer_to_host_3d(&texture, row).unwrap();
        let part = Rect { x: 9, y: 4, width: 40, height: 32 };
        gpu.set_scanout(0, texture.resource_id(), part).unwrap();
        gpu.flush(texture.resource_id(), texture.rect()).unwrap();
        let picture = device.picture();
        for (x, y) in (0..40 * 32).map(|index| (index % 40, index / 40)) {
            let wanted = if y == 1 { [0x11, 0x22, 0x33] } else { [0xff, 0x80, 0x33] };
            assert_eq!(picture.pixel(x, y), Some(wanted), "{format:?} at {x}, {y}");
        }
        shown.push(format);
        gpu.set_scanout(0, 0, part).unwrap();
        gpu.destroy_context(context).unwrap();
        gpu.destroy_buffer(texture).unwrap();
    }
    for format in [Format::B8g8r8x8, Format::B8g8r8a8, Format::R8g8b8x8, Format::R8g8b8a8] {
        assert!(shown.contains(&format), "{format:?} is not among {shown:?}");
    }
    device.stop().unwrap();
}

/// The little-endian word of red 0x11, green 0x22, blue 0x33, opaque.
fn marked(format: Format) -> u32 {
    u32::from_le_bytes(match format {
        Format::B8g8r8a8 | Format::B8g8r8x8 => [0x33, 0x22, 0x11, 0xff],
        Format::A8r8g8b8 | Format::X8r8g8b8 => [0xff, 0x11, 0x22, 0x33],
        Format::R8g8b8a8 | Format::R8g8b8x8 => [0x11, 0x22, 0x33, 0xff],
        Format::A8b8g8r8 | Format::X8b8g8r8 => [0xff, 0x33, 0x22, 0x11],
    })
}

#[test]
fn a_texture_is_shown_with_its_first_flush() {
    let (device, mut gpu) = device(&["64x48"]);
    let [first, second] = pair(&mut gpu, 64, 48);
    clear(&mut gpu, 1, COLOURS[0].0);
    gpu.show_buffer(0, &first).unwrap();
    gpu.flush(first.resource_id(), first.rect()).unwrap();
    clear(&mut gpu, 2, COLOURS[1].0);
    gpu.show_buffer(0, &second).unwrap();
    assert_is(&device.picture(), COLOURS[0].1);
    // All of it, whatever the damage.
    gpu.flush(second.resource_id(), Rect { x: 60, y: 40, width: 1, height: 1 }).unwrap();
    assert_is(&device.picture(), COLOURS[1].1);
    // The driver's own pages may become something else at once.
    let blob =
        gpu.create_buffer(BufferSpec::new(BufferKind::Blob, 64, 48, Format::B8g8r8x8)).unwrap();
    blob.fill(blob.rect(), 0x0012_3456).unwrap();
    gpu.show_buffer(0, &blob).unwrap();
    gpu.flush(blob.resource_id(), blob.rect()).unwrap();
    assert_is(&device.picture(), [0x12, 0x34, 0x56]);
    gpu.show_buffer(0, &first).unwrap();
    blob.fill(blob.rect(), 0).unwrap();
    gpu.flush(first.resource_id(), first.rect()).unwrap();
    assert_is(&device.picture(), COLOURS[0].1);
    device.stop().unwrap();
}

#[test]
fn an_answered_flush_is_what_is_seen() {
    let (device, mut gpu) = device(&["256x192"]);
    let textures = pair(&mut gpu, 256, 192);
    for frame in 0..60 {
        let texture = &textures[frame % 2];
        let (colour, wanted) = COLOURS[frame % 3];
        clear(&mut gpu, 1 + frame as u32 % 2, colour);
        gpu.set_scanout(0, texture.resource_id(), texture.rect()).unwrap();
        gpu.submit_flush(texture.resource_id(), texture.rect(), frame % 4 == 0).unwrap();
        gpu.finish().unwrap();
        assert_is(&device.picture(), wanted);
    }
    device.stop().unwrap();
}

#[test]
fn a_texture_that_goes_while_it_is_shown_loses_nothing() {
    let (device, mut gpu) = device(&["64x48"]);
    for round in 0..30 {
        let [first, second] = pair(&mut gpu, 64, 48);
        let (colour, wanted) = COLOURS[round % 3];
        clear(&mut gpu, 1, COLOURS[(round + 1) % 3].0);
        clear(&mut gpu, 2, colour);
        gpu.show_buffer(0, &first).unwrap();
        gpu.submit_flush(first.resource_id(), first.rect(), true).unwrap();
        // Not flushed yet, when the one that is seen goes.
        gpu.show_buffer(0, &second).unwrap();
        gpu.destroy_buffer(first).unwrap();
        gpu.flush(second.resource_id(), second.rect()).unwrap();
        assert_is(&device.picture(), wanted);
        gpu.destroy_buffer(second).unwrap();
        // The last picture stays when the scanout goes off.
        assert_is(&device.picture(), wanted);
        gpu.destroy_context(1).unwrap();
        gpu.destroy_context(2).unwrap();
        gpu.finish().unwrap();
    }
    assert_eq!(lock(&device.shared).restarts, 0);
    device.stop().unwrap();
}

#[test]
fn the_last_frame_outlives_the_renderer() {
    let (device, mut gpu) = restarting_device(&["64x48"]);
    let [first, second] = pair(&mut gpu, 64, 48);
    clear(&mut gpu, 1, COLOURS[0].0);
    clear(&mut gpu, 2, COLOURS[1].0);
    for texture in [&first, &second] {
        gpu.show_buffer(0, texture).unwrap();
        gpu.flush(texture.resource_id(), texture.rect()).unwrap();
    }
    assert_is(&device.picture(), COLOURS[1].1);
    kill_process(Pid::from_raw(device.backend_id.unwrap() as i32).unwrap(), Signal::KILL).unwrap();
    // A client that does not know goes on with its flips.
    for texture in [&first, &second, &first, &second] {
        gpu.show_buffer(0, texture).unwrap();
        gpu.flush(texture.resource_id(), texture.rect()).unwrap();
        let picture = device.picture();
        let pixel = picture.pixel(0, 0).unwrap();
        assert!(COLOURS[..2].iter().any(|(_, colour)| *colour == pixel), "{pixel:?}");
        assert_is(&picture, pixel);
    }
    assert_eq!(lock(&device.shared).restarts, 1);
    // What 2D commands write to it is seen again.
    first.fill(first.rect(), 0x0065_4321).unwrap();
    gpu.transfer_to_host_2d(first.resource_id(), first.rect(), 0).unwrap();
    gpu.show_buffer(0, &first).unwrap();
    gpu.flush(first.resource_id(), first.rect()).unwrap();
    assert_is(&device.picture(), [0x65, 0x43, 0x21]);
    device.stop().unwrap();
}
