//! OpenGL without the kernel: the software driver speaks virgl's protocol, and what the backend renders
//! is compared pixel by pixel.
#![cfg(feature = "virgl")]

#[allow(dead_code, reason = "not all of it is used here")]
mod common;

use std::time::{Duration, Instant};

use common::three_d::{ALL, assert_is, device, drawing_to, restarting_device, texture};
use common::{Device, TIMEOUT, program};
use rustix::process::{Pid, Signal, kill_process};
use virtio_loopback_gpu::adapter::BackendChoice;
use virtio_loopback_gpu::driver::three_d::{VirglCommands, create_3d, in_context, transfer_3d};
use virtio_loopback_gpu::driver::{
    Buffer, BufferKind, BufferSpec, GpuDriver, Submission, transfer_to_host_2d,
};
use virtio_loopback_gpu::gpu::wire::{
    CapsetId, CmdSubmit, Command, CtxCreate, Format, ResourceCreate3d, ResourceRequest, RespType,
    TransferHost3d,
};
use virtio_loopback_gpu::gpu::{Counter, LimitKind, Rect};
use virtio_loopback_gpu::sync::lock;
use zerocopy::{Immutable, IntoBytes};

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

/// What a command is answered with.
fn answer<R: IntoBytes + Immutable>(gpu: &mut GpuDriver, request: &R) -> u32 {
    let ticket = gpu.control().submit(request, Submission::plain()).unwrap();
    gpu.control().kick().unwrap();
    let completion = gpu.control().wait(TIMEOUT).unwrap().unwrap();
    assert_eq!(completion.ticket, ticket);
    completion.header.unwrap().type_.get()
}

#[test]
fn the_picture_outlives_a_backend_and_contexts_do_not() {
    let (device, mut gpu) = restarting_device(&["64x48"]);
    let texture = texture(&mut gpu, 64, 48);
    let mut commands = drawing_to(&mut gpu, 1, &texture);
    commands.clear([0.0, 1.0, 0.0, 1.0]);
    gpu.submit_3d(1, commands.words(), Some(1)).unwrap();
    gpu.finish().unwrap();
    gpu.show_buffer(0, &texture).unwrap();
    gpu.flush(texture.resource_id(), texture.rect()).unwrap();
    assert_is(&device.picture(), [0, 0xff, 0]);
    let spec = BufferSpec::new(BufferKind::Blob, 64, 48, Format::B8g8r8x8);
    let blob = gpu.create_buffer(spec).unwrap();

    kill_process(Pid::from_raw(device.backend_id.unwrap() as i32).unwrap(), Signal::KILL).unwrap();
    // The context is lost, which is an error and no more, with a fence that signals.
    gpu.submit_3d(1, commands.words(), Some(2)).unwrap();
    gpu.control().kick().unwrap();
    let completion = gpu.control().wait(TIMEOUT).unwrap().unwrap();
    let header = completion.header.unwrap();
    assert_eq!(header.type_.get(), RespType::ErrInvalidContextId.raw());
    assert_eq!((completion.fence, header.fence_id.get()), (Some(2), 2));
    assert_eq!(lock(&device.shared).restarts, 1);
    // The last picture of the texture is there, and can be shown.
    assert_is(&device.picture(), [0, 0xff, 0]);
    gpu.flush(texture.resource_id(), texture.rect()).unwrap();
    gpu.show_buffer(0, &texture).unwrap();
    assert_is(&device.picture(), [0, 0xff, 0]);
    gpu.destroy_buffer(texture).unwrap();

    // Another context draws, and can have the driver's blobs.
    let texture = common::three_d::texture(&mut gpu, 64, 48);
    let mut commands = drawing_to(&mut gpu, 2, &texture);
    gpu.attach_to_context(2, blob.resource_id()).unwrap();
    gpu.detach_from_context(2, blob.resource_id()).unwrap();
    gpu.destroy_buffer(blob).unwrap();
    commands.clear([1.0, 0.0, 0.0, 1.0]);
    gpu.submit_3d(2, commands.words(), Some(3)).unwrap();
    gpu.finish().unwrap();
    gpu.show_buffer(0, &texture).unwrap();
    gpu.flush(texture.resource_id(), texture.rect()).unwrap();
    assert_is(&device.picture(), [0xff, 0, 0]);
    device.stop().unwrap();
}

#[test]
fn an_image_that_a_context_uses_is_a_texture() {
    let (device, mut gpu) = device(&["64x48"]);
    let spec = BufferSpec::new(BufferKind::Classic, 64, 48, Format::B8g8r8x8);
    let image = gpu.create_buffer(spec).unwrap();
    image.fill(image.rect(), 0x0020_4060).unwrap();
    gpu.transfer_to_host_2d(image.resource_id(), image.rect(), 0).unwrap();
    gpu.show_buffer(0, &image).unwrap();
    gpu.flush(image.resource_id(), image.rect()).unwrap();
    assert_is(&device.picture(), [0x20, 0x40, 0x60]);
    let mut commands = drawing_to(&mut gpu, 1, &image);
    // What was in it is in it still.
    gpu.flush(image.resource_id(), image.rect()).unwrap();
    assert_is(&device.picture(), [0x20, 0x40, 0x60]);
    // The context draws to it, and 2D commands do, too.
    commands.clear([1.0, 0.0, 1.0, 1.0]);
    gpu.submit_3d(1, commands.words(), Some(1)).unwrap();
    gpu.finish().unwrap();
    gpu.flush(image.resource_id(), image.rect()).unwrap();
    assert_is(&device.picture(), [0xff, 0, 0xff]);
    let part = Rect { x: 8, y: 40, width: 16, height: 4 };
    gpu.transfer_to_host_2d(image.resource_id(), part, image.offset_of(8, 40)).unwrap();
    gpu.flush(image.resource_id(), image.rect()).unwrap();
    let picture = device.picture();
    for (x, y) in (0..64 * 48).map(|index| (index % 64, index / 64)) {
        let inside = (8..24).contains(&x) && (40..44).contains(&y);
        let wanted = if inside { [0x20, 0x40, 0x60] } else { [0xff, 0, 0xff] };
        assert_eq!(picture.pixel(x, y), Some(wanted), "at {x}, {y}");
    }
    gpu.destroy_context(1).unwrap();
    gpu.destroy_buffer(image).unwrap();
    device.stop().unwrap();
}

#[test]
fn fences_come_in_order_and_none_is_lost() {
    let (device, mut gpu) = device(&["64x48"]);
    let texture = texture(&mut gpu, 512, 512);
    let commands = drawing_to(&mut gpu, 1, &texture);
    let mut drawing = VirglCommands::new();
    for _ in 0..8 {
        drawing.clear([0.5, 0.5, 0.5, 1.0]);
    }
    gpu.submit_3d(1, commands.words(), None).unwrap();
    for fence in 1..=200 {
        gpu.submit_3d(1, drawing.words(), Some(fence)).unwrap();
        if fence % 16 == 0 {
            gpu.submit_transfer(texture.resource_id(), texture.rect(), 0).unwrap();
        }
    }
    gpu.control().kick().unwrap();
    let mut fences = Vec::new();
    while gpu.control().outstanding() > 0 {
        let completion = gpu.control().wait(TIMEOUT).unwrap().expect("a fence is lost");
        assert_eq!(completion.header.unwrap().type_.get(), RespType::OkNodata.raw());
        fences.extend(completion.fence);
    }
    assert_eq!(fences, (1..=200).collect::<Vec<u64>>());
    device.stop().unwrap();
}

#[test]
fn fences_behind_queries_do_not_wait() {
    /// Commands and an object of `virgl_protocol.h`.
    const CREATE: u8 = 1;
    const BEGIN_QUERY: u8 = 19;
    const END_QUERY: u8 = 20;
    const GET_QUERY_RESULT: u8 = 21;
    const QUERY: u8 = 9;
    /// The resource of the result is a custom one: memory.
    const BIND_CUSTOM: u32 = 1 << 17;
    let (device, mut gpu) = device(&["64x48"]);
    let texture = texture(&mut gpu, 1024, 1024);
    let id = 100;
    let mut request = create_3d(id, Format::R8g8b8a8, 64, 1);
    // A buffer of bytes.
    (request.target, request.format, request.flags) = (0.into(), 64.into(), 0.into());
    request.bind.set(BIND_CUSTOM);
    gpu.create_3d(&request).unwrap();
    let mut commands = drawing_to(&mut gpu, 1, &texture);
    gpu.attach_to_context(1, id).unwrap();
    for handle in 10..20 {
        // An occlusion query.
        commands.command(CREATE, QUERY, &[handle, 0, 0, id]);
    }
    gpu.submit_3d(1, commands.words(), Some(1)).unwrap();
    gpu.finish().unwrap();
    let start = Instant::now();
    let mut frame = VirglCommands::new();
    for handle in 10..20 {
        frame.command(BEGIN_QUERY, 0, &[handle]);
        frame.clear([1.0, 0.5, 0.0, 1.0]);
        frame.command(END_QUERY, 0, &[handle]);
        frame.command(GET_QUERY_RESULT, 0, &[handle, 0]);
    }
    for fence in 2..12 {
        gpu.submit_3d(1, frame.words(), Some(fence)).unwrap();
        gpu.finish().unwrap();
    }
    // virglrenderer waits 5 s for somebody to poll it.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    device.stop().unwrap();
}

#[test]
fn a_context_that_is_destroyed_or_a_reset_in_the_middle_loses_nothing() {
    let (mut device, mut gpu) = device(&["64x48"]);
    for round in 0..4 {
        let texture = texture(&mut gpu, 512, 512);
        let mut commands = drawing_to(&mut gpu, 7, &texture);
        for _ in 0..8 {
            commands.clear([0.5, 0.5, 0.5, 1.0]);
        }
        for fence in 1..=20 {
            gpu.submit_3d(7, commands.words(), Some(fence)).unwrap();
        }
        if round % 2 == 0 {
            // Behind those on the queue; all of them are answered.
            gpu.destroy_context(7).unwrap();
            let mut left = 20;
            while let Some(completion) = gpu.control().wait(TIMEOUT).unwrap() {
                assert!(completion.fence.is_some());
                left -= 1;
                if left == 0 {
                    break;
                }
            }
            assert_eq!(gpu.control().outstanding(), 0);
            gpu.destroy_buffer(texture).unwrap();
        } else {
            gpu.control().kick().unwrap();
            let (driver, result) = gpu.reset(TIMEOUT);
            result.unwrap();
            gpu = GpuDriver::start(driver, ALL).unwrap();
        }
    }
    device.driver = None;
    device.stop().unwrap();
}

#[test]
fn a_cursor_can_be_a_texture() {
    let (device, mut gpu) = device(&["256x192"]);
    let spec = BufferSpec::new(BufferKind::Texture, 64, 64, Format::B8g8r8a8);
    let cursor = gpu.create_buffer(spec).unwrap();
    cursor.fill(cursor.rect(), 0xff00_ff80).unwrap();
    gpu.transfer_to_host_3d(&cursor, cursor.rect()).unwrap();
    let screen = texture(&mut gpu, 256, 192);
    gpu.show_buffer(0, &screen).unwrap();
    gpu.flush(screen.resource_id(), screen.rect()).unwrap();
    gpu.update_cursor(0, (10, 20), cursor.resource_id(), (0, 0)).unwrap();
    device.wait_for_picture(|picture| picture.pixel(12, 22) == Some([0, 0xff, 0x80]));
    assert_eq!(device.picture().pixel(9, 20), Some([0, 0, 0]));
    device.stop().unwrap();
}

#[test]
fn bad_numbers_are_errors_for_that_command_only() {
    let (device, mut gpu) = device(&["64x48"]);
    let texture = texture(&mut gpu, 64, 48);
    let commands = drawing_to(&mut gpu, 1, &texture);
    let id = texture.resource_id();
    let resource = |command, context, id: u32| ResourceRequest {
        hdr: in_context(command, context),
        resource_id: id.into(),
        padding: 0.into(),
    };
    let context = RespType::ErrInvalidContextId.raw();
    let (no_resource, parameter) =
        (RespType::ErrInvalidResourceId.raw(), RespType::ErrInvalidParameter.raw());
    // Contexts: taken, 0, of others, none; capsets that are not offered, although rutabaga has them.
    let create = |number, init: u32| CtxCreate {
        hdr: in_context(Command::CtxCreate, number),
        context_init: init.into(),
        ..CtxCreate::default()
    };
    assert_eq!(answer(&mut gpu, &create(1, 2)), context);
    assert_eq!(answer(&mut gpu, &create(0, 2)), context);
    for init in [5, 4, 3, 6, 255, 0x100 | 2] {
        assert_eq!(answer(&mut gpu, &create(9, init)), parameter, "{init:#x}");
    }
    let long = CtxCreate { nlen: 65.into(), ..create(9, 2) };
    assert_eq!(answer(&mut gpu, &long), parameter);
    assert_eq!(answer(&mut gpu, &in_context(Command::CtxDestroy, 9)), context);
    assert_eq!(answer(&mut gpu, &in_context(Command::CtxDestroy, 0)), context);
    assert_eq!(answer(&mut gpu, &resource(Command::CtxAttachResource, 9, id)), context);
    assert_eq!(answer(&mut gpu, &resource(Command::CtxAttachResource, 1, 0)), no_resource);
    assert_eq!(answer(&mut gpu, &resource(Command::CtxDetachResource, 1, 77)), no_resource);
    // Submissions: for no context, longer than they are, odd, empty.
    let submit = |number, size: u32| CmdSubmit {
        hdr: in_context(Command::Submit3d, number),
        size: size.into(),
        padding: 0.into(),
    };
    assert_eq!(answer(&mut gpu, &submit(9, 0)), context);
    // CVE-2017-6210: a stream for context 0, which is virglrenderer's own.
    assert_eq!(answer(&mut gpu, &submit(0, 0)), context);
    assert_eq!(answer(&mut gpu, &submit(1, 4)), parameter);
    assert_eq!(answer(&mut gpu, &submit(1, u32::MAX)), parameter);
    assert_eq!(answer(&mut gpu, &submit(1, 2)), parameter);
    assert_eq!(answer(&mut gpu, &submit(1, 0)), RespType::OkNodata.raw());
    // Textures that cannot be.
    let changed = |change: fn(&mut ResourceCreate3d)| {
        let mut request = create_3d(50, Format::B8g8r8x8, 64, 48);
        change(&mut request);
        request
    };
    type Change = fn(&mut ResourceCreate3d);
    let refused: [(Change, u32); 7] = [
        (|request| request.resource_id.set(0), no_resource),
        (|request| request.width.set(0), parameter),
        (|request| request.depth.set(0), parameter),
        (|request| request.width.set(u32::MAX), RespType::ErrOutOfMemory.raw()),
        (|request| request.array_size.set(u32::MAX), RespType::ErrOutOfMemory.raw()),
        (|request| request.nr_samples.set(u32::MAX), RespType::ErrOutOfMemory.raw()),
        (|request| request.target.set(77), RespType::ErrUnspec.raw()),
    ];
    for (change, wanted) in refused {
        let request = changed(change);
        assert_eq!(answer(&mut gpu, &request), wanted, "{request:?}");
    }
    // Transfers beyond the texture or its backing.
    let transfers: [fn(&mut TransferHost3d); 6] = [
        |transfer| transfer.box_.w.set(65),
        |transfer| transfer.box_.x.set(u32::MAX),
        |transfer| transfer.box_.d.set(2),
        |transfer| transfer.offset.set(u64::MAX),
        |transfer| transfer.stride.set(u32::MAX),
        |transfer| transfer.level.set(1),
    ];
    for change in transfers {
        for command in [Command::TransferToHost3d, Command::TransferFromHost3d] {
            let mut request = transfer_3d(command, &texture, texture.rect());
            change(&mut request);
            assert_ne!(answer(&mut gpu, &request), RespType::OkNodata.raw(), "{request:?}");
        }
    }
    // The same by a 2D command.
    for offset in [u64::MAX, u64::from(u32::MAX), 1 << 32] {
        let request = transfer_to_host_2d(id, texture.rect(), offset);
        assert_eq!(answer(&mut gpu, &request), parameter, "{offset:#x}");
    }
    // And after all that, it draws.
    gpu.submit_3d(1, commands.words(), Some(1)).unwrap();
    gpu.finish().unwrap();
    device.stop().unwrap();
}

/// Commands of a virgl stream that virglrenderer has had holes in, or that make no sense: the context is
/// lost at worst, and the one beside it draws on.
#[test]
fn hostile_streams_hurt_their_own_context_only() {
    let (device, mut gpu) = device(&["64x48"]);
    let shown = texture(&mut gpu, 64, 48);
    let mut drawing = drawing_to(&mut gpu, 1, &shown);
    drawing.clear([0.0, 0.0, 1.0, 1.0]);
    let target = texture(&mut gpu, 64, 48);
    let mut streams: Vec<(&str, Vec<u32>)> = Vec::new();
    let mut add = |name, build: &dyn Fn(&mut VirglCommands)| {
        let mut commands = VirglCommands::new();
        build(&mut commands);
        streams.push((name, commands.words().to_vec()));
    };
    let id = target.resource_id();
    // virgl_protocol.h: commands, and types of objects.
    const CREATE_OBJECT: u8 = 1;
    const BIND_OBJECT: u8 = 2;
    const SET_VIEWPORT_STATE: u8 = 4;
    const SET_FRAMEBUFFER_STATE: u8 = 5;
    const SET_VERTEX_BUFFERS: u8 = 6;
    const CLEAR: u8 = 7;
    const DRAW_VBO: u8 = 8;
    const RESOURCE_INLINE_WRITE: u8 = 9;
    const SET_CONSTANT_BUFFER: u8 = 12;
    const BLIT: u8 = 16;
    const RESOURCE_COPY_REGION: u8 = 17;
    const SET_SUB_CTX: u8 = 28;
    const LAUNCH_GRID: u8 = 37;
    const TRANSFER3D: u8 = 43;
    const COPY_TRANSFER3D: u8 = 45;
    const SHADER: u8 = 4;
    const VERTEX_ELEMENTS: u8 = 5;
    const SAMPLER_VIEW: u8 = 6;
    let shader = |length: u32, text: &[u8]| {
        // Its handle, kind, length in bytes, tokens, and no streamout; then the text.
        let mut payload = vec![5, 0, length, 300, 0];
        payload.extend(text.chunks(4).map(|word| {
            let mut bytes = [0; 4];
            bytes[..word.len()].copy_from_slice(word);
            u32::from_le_bytes(bytes)
        }));
        payload
    };
    let endless = [b"FRAG\nDCL ".as_slice(), &[b'A'; 3000], b"\nEND\n"].concat();
    let long = shader(endless.len() as u32, &endless);
    let overflow = shader(0x7fff_fffc, b"FRAG\nEND\n");
    add("CVE-2017-5937, a clear of nothing", &|c| {
        c.command(CLEAR, 0, &[u32::MAX, 0, 0, 0, 0, 0, 0, 0]);
    });
    add("CVE-2017-5956, a draw of nothing", &|c| {
        c.command(DRAW_VBO, 0, &[u32::MAX; 12]);
    });
    add("CVE-2017-5957, more colour buffers than there are", &|c| {
        c.command(SET_FRAMEBUFFER_STATE, 0, &[200, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    });
    add("CVE-2017-5994, more vertex elements than there are", &|c| {
        c.command(CREATE_OBJECT, VERTEX_ELEMENTS, &[6; 1 + 4 * 200]);
    });
    add("CVE-2017-6209, an identifier that is too long", &|c| {
        c.command(CREATE_OBJECT, SHADER, &long);
    });
    add("CVE-2017-6355, a shader that is longer than it is", &|c| {
        c.command(CREATE_OBJECT, SHADER, &overflow);
    });
    add("CVE-2019-18388, an inline write to no resource", &|c| {
        c.command(RESOURCE_INLINE_WRITE, 0, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0]);
    });
    add("CVE-2019-18389, an inline write beyond the texture", &|c| {
        c.command(RESOURCE_INLINE_WRITE, 0, &[id, 0, 0, 0x7fff_0000, 0, 60, 40, 0, 64, 48, 1, 0]);
    });
    add("CVE-2019-18390, a blit beyond the textures", &|c| {
        let blit = [0xff, 0, 0, id, 0, 1, 0, 0, 0, 1000, 1000, 1, id, 0, 1, 0, 0, 0, 9999, 9999, 1];
        c.command(BLIT, 0, &blit);
    });
    add("CVE-2019-18391, a transfer beyond its backing", &|c| {
        c.command(TRANSFER3D, 0, &[id, 0, 0, 0xffff_0000, 0, 0, 0, 0, 64, 48, 1, 0xffff_0000, 1]);
    });
    add("CVE-2020-8002, a grid without a shader", &|c| {
        c.command(LAUNCH_GRID, 0, &[1, 1, 1, 1, 1, 1, 0, 0]);
    });
    add("CVE-2022-0135, a copy beyond the textures", &|c| {
        c.command(RESOURCE_COPY_REGION, 0, &[id, 0, 60, 44, 0, id, 0, 50, 40, 0, 9999, 9999, 9]);
    });
    add("CVE-2025-2509, a vertex element of a format that there is not", &|c| {
        c.command(CREATE_OBJECT, VERTEX_ELEMENTS, &[6, 0, 0, 0, u32::MAX]);
    });
    add("a viewport of a number that there is not", &|c| {
        c.command(SET_VIEWPORT_STATE, 0, &[u32::MAX, 0, 0, 0, 0, 0, 0]);
    });
    add("vertices in no resource", &|c| {
        c.command(SET_VERTEX_BUFFERS, 0, &[4, 0, 0xdead]).command(DRAW_VBO, 0, &[0; 12]);
    });
    add("a copying transfer from no resource", &|c| {
        c.command(COPY_TRANSFER3D, 0, &[id, 0, 0, 0, 0, 0, 0, 0, 64, 48, 1, 0, 0xdead, 1]);
    });
    add("an object that is not there", &|c| {
        c.command(BIND_OBJECT, 1, &[0xdead]);
    });
    add("a sub-context that is not there", &|c| {
        c.command(SET_SUB_CTX, 0, &[99]);
    });
    add("a view of no resource", &|c| {
        c.command(CREATE_OBJECT, SAMPLER_VIEW, &[8, 0xdead, 1, 0, 0, 0]);
    });
    add("constants of no shader", &|c| {
        c.command(SET_CONSTANT_BUFFER, 0, &[99, 99]);
    });
    add("a command that there is not", &|c| {
        c.command(250, 250, &[1, 2, 3]);
    });
    streams.push(("a header alone", vec![0xffff_0007]));
    streams.push(("nothing but ones", vec![u32::MAX; 64]));
    streams.push(("a length beyond the end, again", vec![0xffff_0101, 1, 2, 3]));
    for (number, (name, words)) in (10..).zip(&streams) {
        gpu.create_context(number, name).unwrap();
        gpu.attach_to_context(number, id).unwrap();
        gpu.submit_3d(number, words, Some(u64::from(number))).unwrap();
        gpu.control().kick().unwrap();
        let completion = gpu.control().wait(TIMEOUT).unwrap();
        let completion = completion.unwrap_or_else(|| panic!("{name}: no fence"));
        assert_eq!(completion.fence, Some(number.into()), "{name}");
        gpu.submit_3d(1, drawing.words(), Some(1000 + u64::from(number))).unwrap();
        gpu.finish().unwrap();
        if number % 2 == 0 {
            gpu.destroy_context(number).unwrap();
        }
    }
    gpu.show_buffer(0, &shown).unwrap();
    gpu.flush(shown.resource_id(), shown.rect()).unwrap();
    assert_is(&device.picture(), [0, 0, 0xff]);
    assert_eq!(lock(&device.shared).restarts, 0);
    device.stop().unwrap();
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// `VIRGL_CYCLES` has another number: 10,000 is what the project promises.
#[test]
fn contexts_resources_blobs_and_fences_leave_nothing_behind() {
    let cycles = std::env::var("VIRGL_CYCLES").map_or(1000, |number| number.parse().unwrap());
    let (device, mut gpu) = device(&["64x48"]);
    let mut fence = 0;
    let mut cycle = |gpu: &mut GpuDriver| {
        let texture = texture(gpu, 64, 48);
        let mut commands = drawing_to(gpu, 1, &texture);
        commands.clear([1.0, 0.0, 0.0, 1.0]);
        fence += 1;
        gpu.submit_3d(1, commands.words(), Some(fence)).unwrap();
        gpu.finish().unwrap();
        let spec = BufferSpec::new(BufferKind::Blob, 64, 48, Format::B8g8r8x8);
        let blob = gpu.create_buffer(spec).unwrap();
        gpu.attach_to_context(1, blob.resource_id()).unwrap();
        gpu.show_buffer(0, &texture).unwrap();
        gpu.flush(texture.resource_id(), texture.rect()).unwrap();
        gpu.detach_from_context(1, texture.resource_id()).unwrap();
        gpu.destroy_context(1).unwrap();
        gpu.destroy_buffer(texture).unwrap();
        gpu.destroy_buffer(blob).unwrap();
    };
    (0..300).for_each(|_| cycle(&mut gpu));
    let backend = device.backend_id.unwrap();
    let before = resident(backend);
    (0..cycles).for_each(|_| cycle(&mut gpu));
    let after = resident(backend);
    println!("{cycles} cycles: {before} bytes before, {after} after");
    // Less than half a page per cycle of the thousand, a few hundred bytes of the ten thousand.
    assert!(after.saturating_sub(before) < 2 << 20, "{before} bytes before, {after} after");
    let counters = lock(&device.shared).counters().unwrap();
    for kind in [LimitKind::Resources, LimitKind::Bytes, LimitKind::Files, LimitKind::Contexts] {
        assert_eq!(counters.of(kind).used, 0, "{kind}");
    }
    device.stop().unwrap();
}

#[test]
fn contexts_and_textures_are_limited() {
    let arguments = vec!["--render=virgl".into(), "--limit=contexts=3,bytes=100K".into()];
    let backend = BackendChoice::Child { program: program(), arguments };
    let mut device = Device::with_backend(&["64x48"], backend);
    let mut gpu = GpuDriver::start(device.driver.take().unwrap(), ALL).unwrap();
    let context = |number: u32| CtxCreate {
        hdr: in_context(Command::CtxCreate, number),
        context_init: 2.into(),
        ..CtxCreate::default()
    };
    let (ok, memory) = (RespType::OkNodata.raw(), RespType::ErrOutOfMemory.raw());
    for number in 1..=3 {
        assert_eq!(answer(&mut gpu, &context(number)), ok);
    }
    assert_eq!(answer(&mut gpu, &context(4)), memory);
    gpu.destroy_context(2).unwrap();
    assert_eq!(answer(&mut gpu, &context(4)), ok);
    assert_eq!(answer(&mut gpu, &create_3d(1, Format::B8g8r8x8, 200, 200)), memory);
    assert_eq!(answer(&mut gpu, &create_3d(1, Format::B8g8r8x8, 100, 100)), ok);
    // 40,000 bytes, and as many for the copy that is shown.
    let rect = Rect { x: 0, y: 0, width: 100, height: 100 };
    gpu.set_scanout(0, 1, rect).unwrap();
    assert_eq!(answer(&mut gpu, &create_3d(2, Format::B8g8r8x8, 100, 100)), memory);
    let counters = lock(&device.shared).counters().unwrap();
    assert_eq!(counters.of(LimitKind::Contexts), Counter { used: 3, peak: 3, refused: 1 });
    assert_eq!(counters.of(LimitKind::Bytes), Counter { used: 80_000, peak: 80_000, refused: 2 });
    gpu.unref(1).unwrap();
    assert_eq!(answer(&mut gpu, &create_3d(2, Format::B8g8r8x8, 100, 100)), ok);
    device.stop().unwrap();
}

/// With an environment in which Mesa looks for a place to keep shaders.
#[test]
fn a_backend_that_somebody_else_has_started_renders_too() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let mut backend = std::process::Command::new(program())
        .args(["backend", "--virgl", "--socket-path"])
        .arg(&socket)
        .env("HOME", directory.path())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut device = Device::with_backend(&["64x48"], BackendChoice::Socket(socket));
    let mut gpu = GpuDriver::start(device.driver.take().unwrap(), ALL).unwrap();
    let texture = texture(&mut gpu, 64, 48);
    let mut commands = drawing_to(&mut gpu, 1, &texture);
    commands.clear([0.0, 1.0, 1.0, 1.0]);
    gpu.submit_3d(1, commands.words(), Some(1)).unwrap();
    gpu.finish().unwrap();
    gpu.show_buffer(0, &texture).unwrap();
    gpu.flush(texture.resource_id(), texture.rect()).unwrap();
    assert_is(&device.picture(), [0, 0xff, 0xff]);
    drop(gpu);
    device.stop().unwrap();
    assert!(backend.wait().unwrap().success());
}

#[test]
fn what_is_no_render_node_is_told_of() {
    for node in ["/dev/null", "/dev/dri/renderD99"] {
        let output = std::process::Command::new(program())
            .args(["demo", "--display=headless", "--frames=1", "--render=virgl"])
            .arg(format!("--render-node={node}"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(&format!("{node} is no render node")), "{stderr}");
    }
}

#[test]
fn contexts_that_take_turns_read_what_they_drew() {
    let (device, mut gpu) = device(&["64x48"]);
    let contexts = [1, 2, 3];
    let textures = contexts.map(|context| {
        let texture = texture(&mut gpu, 256, 192);
        let commands = drawing_to(&mut gpu, context, &texture);
        gpu.submit_3d(context, commands.words(), None).unwrap();
        texture
    });
    let read = |texture: &Buffer, context: u32| {
        let request = transfer_3d(Command::TransferFromHost3d, texture, texture.rect());
        TransferHost3d { hdr: in_context(Command::TransferFromHost3d, context), ..request }
    };
    for round in 0..100_u32 {
        for (context, texture) in contexts.iter().zip(&textures) {
            let mut commands = VirglCommands::new();
            let level = (round * 7 + context * 50) % 256;
            commands.clear([level as f32 / 255.0, 0.0, 1.0, 1.0]);
            gpu.submit_3d(*context, commands.words(), None).unwrap();
            texture.fill(texture.rect(), 0).unwrap();
        }
        for (context, texture) in contexts.iter().zip(&textures) {
            gpu.control().submit(&read(texture, *context), Submission::plain()).unwrap();
        }
        gpu.finish().unwrap();
        for (context, texture) in contexts.iter().zip(&textures) {
            let level = (round * 7 + context * 50) % 256;
            for (x, y) in [(0, 0), (255, 191), (128, 96), (3, 190), (250, 7)] {
                let pixel = texture.pixel(x, y).unwrap() & 0x00ff_ffff;
                assert_eq!(pixel, level << 16 | 0xff, "round {round}, context {context}, {x}, {y}");
            }
        }
    }
    device.stop().unwrap();
}

#[test]
fn a_context_draws_on_when_others_come_and_go() {
    let (device, mut gpu) = device(&["64x48"]);
    let texture = texture(&mut gpu, 64, 48);
    let commands = drawing_to(&mut gpu, 1, &texture);
    gpu.submit_3d(1, commands.words(), None).unwrap();
    gpu.show_buffer(0, &texture).unwrap();
    let clear = |gpu: &mut GpuDriver, level: u8| {
        let mut clear = VirglCommands::new();
        clear.clear([f32::from(level) / 255.0, 0.0, 1.0, 1.0]);
        gpu.submit_3d(1, clear.words(), Some(u64::from(level))).unwrap();
    };
    let others: [fn(&mut GpuDriver); 4] = [
        |gpu| gpu.create_context(2, "other").unwrap(),
        |gpu| gpu.create_context(3, "another").unwrap(),
        |gpu| gpu.destroy_context(2).unwrap(),
        |gpu| gpu.destroy_context(3).unwrap(),
    ];
    for level in 0..20 {
        clear(&mut gpu, 100);
        // The renderer is not to stay in the context that comes or goes.
        others[usize::from(level) % others.len()](&mut gpu);
        clear(&mut gpu, level);
        gpu.finish().unwrap();
        gpu.flush(texture.resource_id(), texture.rect()).unwrap();
        assert_is(&device.picture(), [level, 0, 0xff]);
    }
    device.stop().unwrap();
}
