//! The wire against the kernel's header: `golden.c` fills its structs, `golden.txt` is what it
//! printed, and here the same fields are filled again.

use std::process::Command as Process;

use super::*;

const GOLDEN: &str = include_str!("golden.txt");

/// The sequence of numbers `golden.c` fills fields with.
#[derive(Default)]
struct Sequence(u32);

impl Sequence {
    fn next(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }

    fn u8(&mut self) -> u8 {
        self.next() as u8
    }

    fn u32(&mut self) -> U32 {
        U32::new(0xa0b0_c000 + self.next())
    }

    fn u64(&mut self) -> U64 {
        U64::new(0xa1b2_c3d4_e5f6_0000 + u64::from(self.next()))
    }

    fn hdr(&mut self) -> CtrlHdr {
        CtrlHdr {
            type_: self.u32(),
            flags: self.u32(),
            fence_id: self.u64(),
            ctx_id: self.u32(),
            ring_idx: self.u8(),
            padding: [self.u8(), self.u8(), self.u8()],
        }
    }

    fn rect(&mut self) -> WireRect {
        WireRect { x: self.u32(), y: self.u32(), width: self.u32(), height: self.u32() }
    }

    fn pos(&mut self) -> CursorPos {
        CursorPos { scanout_id: self.u32(), x: self.u32(), y: self.u32(), padding: self.u32() }
    }

    fn wire_box(&mut self) -> WireBox {
        WireBox {
            x: self.u32(),
            y: self.u32(),
            z: self.u32(),
            w: self.u32(),
            h: self.u32(),
            d: self.u32(),
        }
    }

    fn four(&mut self) -> [U32; 4] {
        std::array::from_fn(|_| self.u32())
    }

    /// Zeros between a first and a last byte.
    fn ends<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes[0] = self.u8();
        bytes[N - 1] = self.u8();
        bytes
    }
}

fn golden(name: &str) -> &'static str {
    let mut lines = GOLDEN.lines().filter_map(|line| line.split_once(' '));
    lines.find(|line| line.0 == name).unwrap_or_else(|| panic!("no golden line for {name}")).1
}

#[track_caller]
fn assert_golden<T: IntoBytes + Immutable>(name: &str, fill: impl FnOnce(&mut Sequence) -> T) {
    let value = fill(&mut Sequence::default());
    let hex: String = value.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden(name), "{name}");
}

#[test]
fn structs_of_2d_commands_are_the_kernel_s() {
    assert_golden("ctrl_hdr", |s| s.hdr());
    assert_golden("rect", |s| s.rect());
    for name in
        ["unref", "detach_backing", "assign_uuid", "unmap_blob"].map(|n| format!("resource_{n}"))
    {
        assert_golden(&name, |s| ResourceRequest {
            hdr: s.hdr(),
            resource_id: s.u32(),
            padding: s.u32(),
        });
    }
    assert_golden("resource_create_2d", |s| ResourceCreate2d {
        hdr: s.hdr(),
        resource_id: s.u32(),
        format: s.u32(),
        width: s.u32(),
        height: s.u32(),
    });
    assert_golden("set_scanout", |s| SetScanout {
        hdr: s.hdr(),
        r: s.rect(),
        scanout_id: s.u32(),
        resource_id: s.u32(),
    });
    assert_golden("resource_flush", |s| ResourceFlush {
        hdr: s.hdr(),
        r: s.rect(),
        resource_id: s.u32(),
        padding: s.u32(),
    });
    assert_golden("transfer_to_host_2d", |s| TransferToHost2d {
        hdr: s.hdr(),
        r: s.rect(),
        offset: s.u64(),
        resource_id: s.u32(),
        padding: s.u32(),
    });
    assert_golden("mem_entry", |s| MemEntry { addr: s.u64(), length: s.u32(), padding: s.u32() });
    assert_golden("resource_attach_backing", |s| ResourceAttachBacking {
        hdr: s.hdr(),
        resource_id: s.u32(),
        nr_entries: s.u32(),
    });
}

#[test]
fn structs_of_cursors_and_displays_are_the_kernel_s() {
    assert_golden("cursor_pos", |s| s.pos());
    assert_golden("update_cursor", |s| UpdateCursor {
        hdr: s.hdr(),
        pos: s.pos(),
        resource_id: s.u32(),
        hot_x: s.u32(),
        hot_y: s.u32(),
        padding: s.u32(),
    });
    assert_golden("resp_display_info", |s| RespDisplayInfo {
        hdr: s.hdr(),
        pmodes: std::array::from_fn(|_| DisplayOne {
            r: s.rect(),
            enabled: s.u32(),
            flags: s.u32(),
        }),
    });
    assert_golden("cmd_get_edid", |s| GetEdid { hdr: s.hdr(), scanout: s.u32(), padding: s.u32() });
    assert_golden("resp_edid", |s| RespEdid {
        hdr: s.hdr(),
        size: s.u32(),
        padding: s.u32(),
        edid: s.ends(),
    });
    assert_golden("config", |s| Config {
        events_read: s.u32(),
        events_clear: s.u32(),
        num_scanouts: s.u32(),
        num_capsets: s.u32(),
    });
}

#[test]
fn structs_of_blobs_and_uuids_are_the_kernel_s() {
    assert_golden("resp_resource_uuid", |s| RespResourceUuid { hdr: s.hdr(), uuid: s.ends() });
    assert_golden("resource_create_blob", |s| ResourceCreateBlob {
        hdr: s.hdr(),
        resource_id: s.u32(),
        blob_mem: s.u32(),
        blob_flags: s.u32(),
        nr_entries: s.u32(),
        blob_id: s.u64(),
        size: s.u64(),
    });
    assert_golden("set_scanout_blob", |s| SetScanoutBlob {
        hdr: s.hdr(),
        r: s.rect(),
        scanout_id: s.u32(),
        resource_id: s.u32(),
        width: s.u32(),
        height: s.u32(),
        format: s.u32(),
        padding: s.u32(),
        strides: s.four(),
        offsets: s.four(),
    });
    assert_golden("resource_map_blob", |s| ResourceMapBlob {
        hdr: s.hdr(),
        resource_id: s.u32(),
        padding: s.u32(),
        offset: s.u64(),
    });
    assert_golden("resp_map_info", |s| RespMapInfo {
        hdr: s.hdr(),
        map_info: s.u32(),
        padding: s.u32(),
    });
}

#[test]
fn structs_of_3d_commands_are_the_kernel_s() {
    assert_golden("ctx_resource", |s| ResourceRequest {
        hdr: s.hdr(),
        resource_id: s.u32(),
        padding: s.u32(),
    });
    assert_golden("get_capset_info", |s| GetCapsetInfo {
        hdr: s.hdr(),
        capset_index: s.u32(),
        padding: s.u32(),
    });
    assert_golden("resp_capset_info", |s| RespCapsetInfo {
        hdr: s.hdr(),
        capset_id: s.u32(),
        capset_max_version: s.u32(),
        capset_max_size: s.u32(),
        padding: s.u32(),
    });
    assert_golden("get_capset", |s| GetCapset {
        hdr: s.hdr(),
        capset_id: s.u32(),
        capset_version: s.u32(),
    });
    assert_golden("resp_capset", |s| RespCapset { hdr: s.hdr() });
    assert_golden("ctx_create", |s| CtxCreate {
        hdr: s.hdr(),
        nlen: s.u32(),
        context_init: s.u32(),
        debug_name: s.ends(),
    });
    assert_golden("ctx_destroy", |s| CtxDestroy { hdr: s.hdr() });
    assert_golden("box", |s| s.wire_box());
    assert_golden("transfer_host_3d", |s| TransferHost3d {
        hdr: s.hdr(),
        box_: s.wire_box(),
        offset: s.u64(),
        resource_id: s.u32(),
        level: s.u32(),
        stride: s.u32(),
        layer_stride: s.u32(),
    });
    assert_golden("resource_create_3d", |s| ResourceCreate3d {
        hdr: s.hdr(),
        resource_id: s.u32(),
        target: s.u32(),
        format: s.u32(),
        bind: s.u32(),
        width: s.u32(),
        height: s.u32(),
        depth: s.u32(),
        array_size: s.u32(),
        last_level: s.u32(),
        nr_samples: s.u32(),
        flags: s.u32(),
        padding: s.u32(),
    });
    assert_golden("cmd_submit", |s| CmdSubmit { hdr: s.hdr(), size: s.u32(), padding: s.u32() });
}

/// `CamelCase2d` as `CAMEL_CASE_2D`.
fn c_name(variant: impl std::fmt::Debug) -> String {
    let mut name = String::new();
    let mut digits = false;
    for letter in format!("{variant:?}").chars() {
        let begins_word = letter.is_ascii_uppercase() || (letter.is_ascii_digit() && !digits);
        if begins_word && !name.is_empty() {
            name.push('_');
        }
        digits = letter.is_ascii_digit();
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn golden_number(name: &str) -> u32 {
    let value = golden(&format!("VIRTIO_GPU_{name}"));
    // printf's %#x writes zero without a prefix.
    u32::from_str_radix(value.trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn numbers_are_the_kernel_s() {
    for &command in Command::ALL {
        assert_eq!(command.raw(), golden_number(&format!("CMD_{}", c_name(command))));
        assert_eq!(Command::from_raw(command.raw()), Some(command));
    }
    for &resp in RespType::ALL {
        assert_eq!(resp.raw(), golden_number(&format!("RESP_{}", c_name(resp))));
    }
    for (&format, name) in Format::ALL.iter().zip([
        "B8G8R8A8", "B8G8R8X8", "A8R8G8B8", "X8R8G8B8", "R8G8B8A8", "X8B8G8R8", "A8B8G8R8",
        "R8G8B8X8",
    ]) {
        assert_eq!(format!("{format:?}").to_uppercase(), name);
        assert_eq!(format.raw(), golden_number(&format!("FORMAT_{name}_UNORM")));
    }
    for (mem, name) in
        BlobMem::ALL.iter().zip(["BLOB_MEM_GUEST", "BLOB_MEM_HOST3D", "BLOB_MEM_HOST3D_GUEST"])
    {
        assert_eq!(mem.raw(), golden_number(name));
    }
    for (value, name) in [
        (CapsetId::Virgl.raw(), "CAPSET_VIRGL"),
        (CapsetId::Virgl2.raw(), "CAPSET_VIRGL2"),
        (feature::VIRGL, "F_VIRGL"),
        (feature::EDID, "F_EDID"),
        (feature::RESOURCE_UUID, "F_RESOURCE_UUID"),
        (feature::RESOURCE_BLOB, "F_RESOURCE_BLOB"),
        (feature::CONTEXT_INIT, "F_CONTEXT_INIT"),
        (flag::FENCE, "FLAG_FENCE"),
        (flag::INFO_RING_IDX, "FLAG_INFO_RING_IDX"),
        (MAX_SCANOUTS as u32, "MAX_SCANOUTS"),
        (u32::from(SHM_ID_HOST_VISIBLE), "SHM_ID_HOST_VISIBLE"),
        (EVENT_DISPLAY, "EVENT_DISPLAY"),
        (RESOURCE_FLAG_Y_0_TOP, "RESOURCE_FLAG_Y_0_TOP"),
        (CONTEXT_INIT_CAPSET_ID_MASK, "CONTEXT_INIT_CAPSET_ID_MASK"),
        (blob_flag::USE_MAPPABLE, "BLOB_FLAG_USE_MAPPABLE"),
        (blob_flag::USE_SHAREABLE, "BLOB_FLAG_USE_SHAREABLE"),
        (blob_flag::USE_CROSS_DEVICE, "BLOB_FLAG_USE_CROSS_DEVICE"),
        (map_cache::MASK, "MAP_CACHE_MASK"),
        (map_cache::NONE, "MAP_CACHE_NONE"),
        (map_cache::CACHED, "MAP_CACHE_CACHED"),
        (map_cache::UNCACHED, "MAP_CACHE_UNCACHED"),
        (map_cache::WC, "MAP_CACHE_WC"),
    ] {
        assert_eq!(value, golden_number(name), "{name}");
    }
}

#[test]
fn fourccs_are_drm_s() {
    // include/uapi/drm/drm_fourcc.h: the bits of a little-endian word, highest first.
    for (format, fourcc) in [
        (Format::B8g8r8a8, b"AR24"), // ARGB8888
        (Format::B8g8r8x8, b"XR24"), // XRGB8888
        (Format::A8r8g8b8, b"BA24"), // BGRA8888
        (Format::X8r8g8b8, b"BX24"), // BGRX8888
        (Format::R8g8b8a8, b"AB24"), // ABGR8888
        (Format::X8b8g8r8, b"RX24"), // RGBX8888
        (Format::A8b8g8r8, b"RA24"), // RGBA8888
        (Format::R8g8b8x8, b"XB24"), // XBGR8888
    ] {
        assert_eq!(format.drm_fourcc().to_le_bytes(), *fourcc, "{format:?}");
        assert_eq!(format.opaque().opaque(), format.opaque());
    }
    assert_eq!(Format::R8g8b8a8.opaque(), Format::R8g8b8x8);
}

/// Where there is a C compiler and the kernel's header, `golden.txt` is what `golden.c` prints.
#[test]
fn golden_file_is_what_the_header_says() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gpu/wire/golden.c");
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("golden");
    let header = "/usr/include/linux/virtio_gpu.h";
    let compiler = Process::new("cc").arg("--version").output();
    if compiler.is_err() || !std::path::Path::new(header).exists() {
        let all = std::env::var_os("NO_TEST_SKIPPED").is_some();
        assert!(!all, "needs cc and {header}");
        eprintln!("golden.txt not compared with the header: needs cc and {header}");
        return;
    }
    let built = Process::new("cc").arg("-o").arg(&program).arg(source).status().unwrap();
    assert!(built.success());
    let printed = Process::new(&program).output().unwrap().stdout;
    assert_eq!(String::from_utf8(printed).unwrap(), GOLDEN);
}
