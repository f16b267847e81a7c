//! Requests and the exact bytes of their responses.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::testing::{
    QueueId, UNTOUCHED, blob_request, flush_request, header, resource_request, with_entries,
};
use super::wire::*;
use super::*;

/// Requests that need nothing to be there, and the type of their responses.
#[test]
fn each_type_on_the_control_queue_has_its_response() {
    use RespType as R;
    let mut fixture = Fixture::default();
    for (type_, expected) in [
        (0x0000, R::ErrUnspec),
        (0x00ff, R::ErrUnspec),
        (0x0101, R::ErrInvalidResourceId),
        (0x0102, R::ErrInvalidResourceId),
        // Scanout 0, resource 0: off.
        (0x0103, R::OkNodata),
        (0x0104, R::ErrInvalidResourceId),
        (0x0105, R::ErrInvalidResourceId),
        (0x0106, R::ErrInvalidResourceId),
        (0x0107, R::ErrInvalidResourceId),
        (0x0108, R::ErrInvalidParameter),
        (0x0109, R::ErrInvalidParameter),
        // The display has none.
        (0x010a, R::ErrUnspec),
        (0x010b, R::ErrInvalidResourceId),
        (0x010c, R::ErrInvalidResourceId),
        (0x010d, R::OkNodata),
        (0x010e, R::ErrUnspec),
        (0x0200, R::ErrUnspec),
        (0x0201, R::ErrUnspec),
        (0x0202, R::ErrUnspec),
        (0x0203, R::ErrUnspec),
        (0x0204, R::ErrUnspec),
        (0x0205, R::ErrUnspec),
        (0x0206, R::ErrUnspec),
        (0x0207, R::ErrUnspec),
        (0x0208, R::ErrUnspec),
        (0x0209, R::ErrUnspec),
        (0x020a, R::ErrUnspec),
        (0x0300, R::ErrUnspec),
        (0x0301, R::ErrUnspec),
        (0x1100, R::ErrUnspec),
        (u32::MAX, R::ErrUnspec),
    ] {
        let mut request = [0; 96];
        request[..4].copy_from_slice(&u32::to_le_bytes(type_));
        assert_eq!(fixture.run(&request), expected, "{type_:#x}");
    }
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn features_and_configuration_are_those_of_the_2d_profile() {
    let gpu = Gpu::new(Limits { scanouts: 3, ..Limits::default() }, Renderer::TwoD);
    assert_eq!(gpu.features(), 0b1110);
    assert_eq!(gpu.config().as_bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    let gpu = Gpu::new(Limits { scanouts: 99, ..Limits::default() }, Renderer::TwoD);
    assert_eq!(gpu.config().num_scanouts.get(), 16);
}

#[test]
fn fence_context_and_ring_are_echoed() {
    let mut fixture = Fixture::default();
    let request = |flags: u32| CtrlHdr {
        flags: flags.into(),
        fence_id: 0x1122_3344_5566_7788.into(),
        ctx_id: 0x99aa_bbcc.into(),
        ring_idx: 0xdd,
        ..resource_request(Command::ResourceUnref, 1).hdr
    };
    let mut respond = |flags: u32| {
        let body = ResourceRequest { hdr: request(flags), ..Default::default() };
        fixture.control(&body).bytes().to_vec()
    };
    let plain = [0x03, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(respond(0), plain);
    assert_eq!(respond(flag::INFO_RING_IDX), plain);
    let fence = [
        0x03, 0x12, 0, 0, 1, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xcc, 0xbb,
        0xaa, 0x99, 0, 0, 0, 0,
    ];
    assert_eq!(respond(flag::FENCE), fence);
    // Unknown flags are not.
    assert_eq!(respond(flag::FENCE | 0xffff_fffc), fence);
    let ring = [
        0x03, 0x12, 0, 0, 3, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xcc, 0xbb,
        0xaa, 0x99, 0xdd, 0, 0, 0,
    ];
    assert_eq!(respond(flag::FENCE | flag::INFO_RING_IDX), ring);
}

#[test]
fn fence_is_echoed_by_responses_with_a_body() {
    let mut fixture = Fixture::default();
    fixture.display.edid = Some(vec![7; 128]);
    fixture.create_2d(5, BGRX, 1, 1);
    let fenced =
        |command| CtrlHdr { flags: flag::FENCE.into(), fence_id: 77.into(), ..header(command) };
    for (request, expected, length) in [
        (fenced(Command::GetDisplayInfo), RespType::OkDisplayInfo, 408),
        (fenced(Command::GetEdid), RespType::OkEdid, 1056),
        (fenced(Command::ResourceAssignUuid), RespType::OkResourceUuid, 40),
    ] {
        let request = ResourceRequest { hdr: request, resource_id: 5.into(), padding: U32::ZERO };
        let answer = fixture.control(&request);
        assert_eq!(answer.bytes().len(), length);
        let echoed = CtrlHdr {
            type_: expected.into(),
            flags: flag::FENCE.into(),
            fence_id: 77.into(),
            ..CtrlHdr::default()
        };
        assert_eq!(answer.bytes()[..24], *echoed.as_bytes());
    }
}

#[test]
fn display_info_is_the_display_s() {
    let mut fixture = Fixture::default();
    let answer = fixture.control(&header(Command::GetDisplayInfo));
    let mut expected = vec![0; 408];
    expected[..2].copy_from_slice(&[0x01, 0x11]);
    expected[32..36].copy_from_slice(&1280u32.to_le_bytes());
    expected[36..40].copy_from_slice(&720u32.to_le_bytes());
    expected[40] = 1;
    assert_eq!(answer.bytes(), expected);
}

#[test]
fn edid_is_padded_with_zeros() {
    let mut fixture = Fixture::default();
    let request = GetEdid { hdr: header(Command::GetEdid), ..GetEdid::default() };
    for length in [0, 128, 1024] {
        let edid = pattern(length);
        fixture.display.edid = Some(edid.clone());
        let answer = fixture.control(&request);
        let mut expected = vec![0; 1056];
        expected[..2].copy_from_slice(&[0x04, 0x11]);
        expected[24..28].copy_from_slice(&(length as u32).to_le_bytes());
        expected[32..32 + length].copy_from_slice(&edid);
        assert_eq!(answer.bytes(), expected);
    }
    fixture.display.edid = Some(vec![0; 1025]);
    assert_eq!(fixture.run(request.as_bytes()), RespType::ErrUnspec);
}

#[test]
fn uuid_is_a_v4_one_and_stays() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 1, 1);
    fixture.create_2d(2, BGRX, 1, 1);
    let mut uuid = |id| {
        let request = resource_request(Command::ResourceAssignUuid, id);
        let response: RespResourceUuid = fixture.control(&request).as_();
        assert_eq!(response.hdr.type_.get(), 0x1105);
        uuid::Uuid::from_bytes(response.uuid)
    };
    let (first, second) = (uuid(1), uuid(2));
    assert_eq!(first.get_version_num(), 4);
    assert_eq!(first.get_variant(), uuid::Variant::RFC4122);
    assert_ne!(first, second);
    assert_eq!(uuid(1), first);
}

#[test]
fn resources_of_all_eight_formats_are_made_and_no_others() {
    let mut fixture = Fixture::default();
    for format in 0..300 {
        let expected =
            if Format::from_raw(format).is_some() { OK } else { RespType::ErrInvalidParameter };
        assert_eq!(fixture.create_2d(format + 1, format, 3, 3), expected, "{format}");
    }
    assert_eq!(fixture.gpu.resources.iter().count(), 8);
}

#[test]
fn resource_ids_are_not_0_and_used_once() {
    let mut fixture = Fixture::default();
    let invalid = RespType::ErrInvalidResourceId;
    assert_eq!(fixture.create_2d(0, BGRX, 4, 4), invalid);
    assert_eq!(fixture.create_blob(0, 16, &[(FREE, 16)]), invalid);
    assert_eq!(fixture.create_2d(u32::MAX, BGRX, 4, 4), OK);
    assert_eq!(fixture.create_2d(u32::MAX, BGRX, 8, 8), invalid);
    assert_eq!(fixture.create_blob(u32::MAX, 16, &[(FREE, 16)]), invalid);
    assert_eq!(fixture.unref(u32::MAX), OK);
    assert_eq!(fixture.unref(u32::MAX), invalid);
    assert_eq!(fixture.create_blob(u32::MAX, 16, &[(FREE, 16)]), OK);
}

#[test]
fn resources_have_pixels() {
    let mut fixture = Fixture::default();
    for (width, height) in [(0, 4), (4, 0), (0, 0)] {
        assert_eq!(fixture.create_2d(1, BGRX, width, height), RespType::ErrInvalidParameter);
    }
    assert_eq!(fixture.create_blob(1, 0, &[(FREE, 16)]), RespType::ErrInvalidParameter);
}

#[test]
fn backing_is_attached_once_and_detached_once() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4, 4);
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 1), RespType::ErrUnspec);
    assert_eq!(fixture.attach(1, &[(FREE, 64)]), OK);
    assert_eq!(fixture.attach(1, &[(FREE, 64)]), RespType::ErrUnspec);
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 1), OK);
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 1), RespType::ErrUnspec);
    assert_eq!(fixture.attach(1, &[(FREE, 64)]), OK);
}

#[test]
fn blob_may_be_detached_and_attached_again() {
    let mut fixture = Fixture::default();
    fixture.create_blob(1, 4096, &[(FREE, 4096)]);
    assert_eq!(fixture.attach(1, &[(FREE, 4096)]), RespType::ErrUnspec);
    assert_eq!(fixture.resource(Command::ResourceDetachBacking, 1), OK);
    assert_eq!(fixture.transfer(1, rect(0, 0, 4, 4), 0), RespType::ErrUnspec);
    assert_eq!(fixture.attach(1, &[(FREE, 4095)]), RespType::ErrInvalidParameter);
    assert_eq!(fixture.attach(1, &[(FREE, 4096)]), OK);
}

#[test]
fn backing_entries_must_be_driver_memory() {
    use super::testing::MEMORY;
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4, 4);
    for entries in [
        &[][..],
        &[(FREE, 0)],
        &[(FREE, 64), (FREE + 64, 0)],
        &[(MEMORY, 1)],
        &[(MEMORY - 16, 17)],
        &[(FREE, 64), (MEMORY - 16, 17)],
        &[(u64::MAX, 1)],
        &[(u64::MAX - 15, 16)],
        &[(FREE, u32::MAX)],
    ] {
        assert_eq!(fixture.attach(1, entries), RespType::ErrInvalidParameter, "{entries:x?}");
        let blob = fixture.create_blob(2, 1, entries);
        assert_eq!(blob, RespType::ErrInvalidParameter, "{entries:x?}");
    }
    assert_eq!(fixture.attach(1, &[(MEMORY - 64, 64)]), OK);
    assert_eq!(fixture.gpu.resources.usage().backing_entries, 1);
}

#[test]
fn blobs_are_guest_memory_with_known_flags() {
    let mut fixture = Fixture::default();
    let mut create = |change: &dyn Fn(&mut ResourceCreateBlob)| {
        let mut request = blob_request(1, 64, 1);
        change(&mut request);
        let type_ = fixture.run(&with_entries(&request, &[(FREE, 64)]));
        fixture.unref(1);
        type_
    };
    assert_eq!(create(&|_| ()), OK);
    assert_eq!(create(&|request| request.blob_flags = 7.into()), OK);
    assert_eq!(create(&|request| request.blob_flags = 0.into()), OK);
    for mem in [0, 2, 3, 4, u32::MAX] {
        let type_ = create(&|request| request.blob_mem = mem.into());
        assert_eq!(type_, RespType::ErrInvalidParameter, "{mem}");
    }
    for flags in [8, 0x8000_0000] {
        let type_ = create(&|request| request.blob_flags = flags.into());
        assert_eq!(type_, RespType::ErrInvalidParameter, "{flags}");
    }
    for size in [0, 65, u64::MAX] {
        let type_ = create(&|request| request.size = size.into());
        assert_eq!(type_, RespType::ErrInvalidParameter, "{size}");
    }
}

#[test]
fn every_request_may_be_split_anywhere() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4, 4);
    let request = flush_request(1, rect(0, 0, 4, 4));
    for first in 1..48 {
        let answer = fixture.submit_split(QueueId::Control, request.as_bytes(), &[first], 24);
        assert_eq!(answer.as_::<CtrlHdr>().type_.get(), OK.raw(), "{first}");
    }
    let answer = fixture.submit_split(QueueId::Control, request.as_bytes(), &[1; 48], 24);
    assert_eq!(answer.as_::<CtrlHdr>().type_.get(), OK.raw());
    // Buffers of no length are allowed.
    let answer = fixture.submit_split(QueueId::Control, request.as_bytes(), &[0, 3, 0, 0], 24);
    assert_eq!(answer.as_::<CtrlHdr>().type_.get(), OK.raw());
}

#[test]
fn truncated_requests_are_refused_and_change_nothing() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4, 4);
    fixture.attach(1, &[(FREE, 64)]);
    for (command, length) in [
        (Command::ResourceCreate2d, size_of::<ResourceCreate2d>()),
        (Command::ResourceUnref, size_of::<ResourceRequest>()),
        (Command::SetScanout, size_of::<SetScanout>()),
        (Command::ResourceFlush, size_of::<ResourceFlush>()),
        (Command::TransferToHost2d, size_of::<TransferToHost2d>()),
        (Command::ResourceAttachBacking, size_of::<ResourceAttachBacking>()),
        (Command::ResourceDetachBacking, size_of::<ResourceRequest>()),
        (Command::GetEdid, size_of::<GetEdid>()),
        (Command::ResourceAssignUuid, size_of::<ResourceRequest>()),
        (Command::ResourceCreateBlob, size_of::<ResourceCreateBlob>()),
        (Command::SetScanoutBlob, size_of::<SetScanoutBlob>()),
    ] {
        let mut request = vec![1; length];
        request[..24].copy_from_slice(header(command).as_bytes());
        for cut in 1..length {
            // Without a whole header there is no type.
            let expected =
                if cut < 24 { RespType::ErrUnspec } else { RespType::ErrInvalidParameter };
            assert_eq!(fixture.run(&request[..cut]), expected, "{command:?} of {cut} bytes");
        }
    }
    assert_eq!(fixture.gpu.resources.iter().count(), 1);
    assert_eq!(fixture.gpu.resources.usage().backing_entries, 1);
    assert_eq!(fixture.display.take(), []);
}

#[test]
fn responses_are_written_whole_or_not_at_all() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4, 4);
    let display_info = header(Command::GetDisplayInfo);
    for room in [0, 1, 23, 24, 25, 407] {
        let answer = fixture.submit_split(QueueId::Control, display_info.as_bytes(), &[], room);
        if room < 24 {
            assert_eq!(answer.completion.written, 0);
        } else {
            assert_eq!(answer.as_::<CtrlHdr>().type_.get(), RespType::ErrUnspec.raw());
        }
        let written = answer.completion.written as usize;
        assert!(answer.buffer[written..].iter().all(|&byte| byte == UNTOUCHED));
    }
    let answer = fixture.submit_split(QueueId::Control, display_info.as_bytes(), &[], 409);
    assert_eq!(answer.completion.written, 408);
    assert_eq!(answer.buffer[408], UNTOUCHED);
    // Executed all the same.
    let unref = resource_request(Command::ResourceUnref, 1);
    let answer = fixture.submit_split(QueueId::Control, unref.as_bytes(), &[], 0);
    assert_eq!(answer.completion.written, 0);
    assert_eq!(fixture.unref(1), RespType::ErrInvalidResourceId);
}

#[test]
fn reset_returns_everything() {
    let mut fixture = Fixture::default();
    fixture.create_2d(1, BGRX, 4, 4);
    fixture.attach(1, &[(FREE, 64)]);
    fixture.set_scanout(2, 1, rect(0, 0, 4, 4));
    fixture.set_scanout(7, 1, rect(0, 0, 2, 2));
    fixture.create_blob(2, 4096, &[(FREE, 4096)]);
    fixture.create_2d(3, BGRX, 64, 64);
    fixture.cursor(&testing::cursor_request(5, 3, 0, 0));
    fixture.display.take();
    fixture.gpu.reset(&mut fixture.display);
    assert_eq!(
        fixture.display.take(),
        [Call::SetScanout(2, None), Call::SetScanout(7, None), Call::CursorHide(5, 0, 0)]
    );
    assert_eq!(fixture.gpu.resources.iter().count(), 0);
    assert_eq!(*fixture.gpu.resources.usage(), Default::default());
    assert_eq!(fixture.unref(1), RespType::ErrInvalidResourceId);
    fixture.gpu.reset(&mut fixture.display);
    assert_eq!(fixture.display.take(), []);
}
