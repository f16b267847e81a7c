/*
 * The bytes of golden.txt, made from the kernel's own header. Every field gets the next number of
 * one sequence, in the order of the fields, so a field at another place or of another size shows.
 */
#include <endian.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <linux/virtio_gpu.h>

static unsigned int count;

#define NEXT8 (++count & 0xff)
#define NEXT32 htole32(0xa0b0c000u + ++count)
#define NEXT64 htole64(0xa1b2c3d4e5f60000ull + ++count)

static void print(const char *name, const void *bytes, size_t size)
{
	const unsigned char *byte = bytes;

	printf("%s ", name);
	while (size--)
		printf("%02x", *byte++);
	printf("\n");
}

#define BEGIN(name) { struct virtio_gpu_##name value; const char *label = #name; \
	memset(&value, 0, sizeof(value)); count = 0;
#define F8(field) value.field = NEXT8;
#define F32(field) value.field = NEXT32;
#define F64(field) value.field = NEXT64;
#define HDR F32(hdr.type) F32(hdr.flags) F64(hdr.fence_id) F32(hdr.ctx_id) F8(hdr.ring_idx) \
	F8(hdr.padding[0]) F8(hdr.padding[1]) F8(hdr.padding[2])
#define RECT(field) F32(field.x) F32(field.y) F32(field.width) F32(field.height)
#define END(size) print(label, &value, size); }
#define NUMBER(name) printf("VIRTIO_GPU_%s %#x\n", #name, (unsigned int)VIRTIO_GPU_##name)

static void print_common_structs(void)
{
	BEGIN(ctrl_hdr)
		F32(type) F32(flags) F64(fence_id) F32(ctx_id) F8(ring_idx) F8(padding[0]) F8(padding[1])
		F8(padding[2])
	END(sizeof(value))
	BEGIN(rect)
		F32(x) F32(y) F32(width) F32(height)
	END(sizeof(value))
	BEGIN(cursor_pos)
		F32(scanout_id) F32(x) F32(y) F32(padding)
	END(sizeof(value))
	BEGIN(update_cursor)
		HDR F32(pos.scanout_id) F32(pos.x) F32(pos.y) F32(pos.padding) F32(resource_id) F32(hot_x)
		F32(hot_y) F32(padding)
	END(sizeof(value))
	BEGIN(resource_unref)
		HDR F32(resource_id) F32(padding)
	END(sizeof(value))
	BEGIN(resource_detach_backing)
		HDR F32(resource_id) F32(padding)
	END(sizeof(value))
	BEGIN(resource_assign_uuid)
		HDR F32(resource_id) F32(padding)
	END(sizeof(value))
	BEGIN(ctx_resource)
		HDR F32(resource_id) F32(padding)
	END(sizeof(value))
	BEGIN(resource_unmap_blob)
		HDR F32(resource_id) F32(padding)
	END(sizeof(value))
}

static void print_display_structs(void)
{
	BEGIN(resource_create_2d)
		HDR F32(resource_id) F32(format) F32(width) F32(height)
	END(sizeof(value))
	BEGIN(set_scanout)
		HDR RECT(r) F32(scanout_id) F32(resource_id)
	END(sizeof(value))
	BEGIN(resource_flush)
		HDR RECT(r) F32(resource_id) F32(padding)
	END(sizeof(value))
	BEGIN(transfer_to_host_2d)
		HDR RECT(r) F64(offset) F32(resource_id) F32(padding)
	END(sizeof(value))
	BEGIN(mem_entry)
		F64(addr) F32(length) F32(padding)
	END(sizeof(value))
	BEGIN(resource_attach_backing)
		HDR F32(resource_id) F32(nr_entries)
	END(sizeof(value))
	BEGIN(resp_display_info) HDR
		for (int i = 0; i < VIRTIO_GPU_MAX_SCANOUTS; i++) {
			RECT(pmodes[i].r) F32(pmodes[i].enabled) F32(pmodes[i].flags)
		}
	END(sizeof(value))
}

static void print_query_structs(void)
{
	BEGIN(get_capset_info)
		HDR F32(capset_index) F32(padding)
	END(sizeof(value))
	BEGIN(resp_capset_info)
		HDR F32(capset_id) F32(capset_max_version) F32(capset_max_size) F32(padding)
	END(sizeof(value))
	BEGIN(get_capset)
		HDR F32(capset_id) F32(capset_version)
	END(sizeof(value))
	BEGIN(resp_capset)
		HDR
	END(sizeof(value))
	BEGIN(cmd_get_edid)
		HDR F32(scanout) F32(padding)
	END(sizeof(value))
	BEGIN(resp_edid)
		HDR F32(size) F32(padding) F8(edid[0]) F8(edid[1023])
	END(sizeof(value))
}

static void print_blob_structs(void)
{
	BEGIN(resp_resource_uuid)
		HDR F8(uuid[0]) F8(uuid[15])
	END(sizeof(value))
	BEGIN(resource_create_blob)
		HDR F32(resource_id) F32(blob_mem) F32(blob_flags) F32(nr_entries) F64(blob_id) F64(size)
	END(sizeof(value))
	BEGIN(set_scanout_blob)
		HDR RECT(r) F32(scanout_id) F32(resource_id) F32(width) F32(height) F32(format) F32(padding)
		F32(strides[0]) F32(strides[1]) F32(strides[2]) F32(strides[3]) F32(offsets[0])
		F32(offsets[1]) F32(offsets[2]) F32(offsets[3])
	END(sizeof(value))
}

static void print_context_structs(void)
{
	BEGIN(ctx_create)
		HDR F32(nlen) F32(context_init) F8(debug_name[0]) F8(debug_name[63])
	END(sizeof(value))
	BEGIN(ctx_destroy)
		HDR
	END(sizeof(value))
	BEGIN(box)
		F32(x) F32(y) F32(z) F32(w) F32(h) F32(d)
	END(sizeof(value))
	BEGIN(transfer_host_3d)
		HDR F32(box.x) F32(box.y) F32(box.z) F32(box.w) F32(box.h) F32(box.d) F64(offset)
		F32(resource_id) F32(level) F32(stride) F32(layer_stride)
	END(sizeof(value))
	BEGIN(resource_create_3d)
		HDR F32(resource_id) F32(target) F32(format) F32(bind) F32(width) F32(height) F32(depth)
		F32(array_size) F32(last_level) F32(nr_samples) F32(flags) F32(padding)
	END(sizeof(value))
	BEGIN(cmd_submit)
		HDR F32(size) F32(padding)
	END(sizeof(value))
	BEGIN(resource_map_blob)
		HDR F32(resource_id) F32(padding) F64(offset)
	END(sizeof(value))
	BEGIN(resp_map_info)
		HDR F32(map_info) F32(padding)
	END(sizeof(value))
}

static void print_config_struct(void)
{
	/* Kernels from 7.2 on know fields after these. */
	BEGIN(config)
		F32(events_read) F32(events_clear) F32(num_scanouts) F32(num_capsets)
	END(offsetof(struct virtio_gpu_config, num_capsets) + 4)
}

static void print_commands(void)
{
	NUMBER(CMD_GET_DISPLAY_INFO);
	NUMBER(CMD_RESOURCE_CREATE_2D);
	NUMBER(CMD_RESOURCE_UNREF);
	NUMBER(CMD_SET_SCANOUT);
	NUMBER(CMD_RESOURCE_FLUSH);
	NUMBER(CMD_TRANSFER_TO_HOST_2D);
	NUMBER(CMD_RESOURCE_ATTACH_BACKING);
	NUMBER(CMD_RESOURCE_DETACH_BACKING);
	NUMBER(CMD_GET_CAPSET_INFO);
	NUMBER(CMD_GET_CAPSET);
	NUMBER(CMD_GET_EDID);
	NUMBER(CMD_RESOURCE_ASSIGN_UUID);
	NUMBER(CMD_RESOURCE_CREATE_BLOB);
	NUMBER(CMD_SET_SCANOUT_BLOB);
	NUMBER(CMD_CTX_CREATE);
	NUMBER(CMD_CTX_DESTROY);
	NUMBER(CMD_CTX_ATTACH_RESOURCE);
	NUMBER(CMD_CTX_DETACH_RESOURCE);
	NUMBER(CMD_RESOURCE_CREATE_3D);
	NUMBER(CMD_TRANSFER_TO_HOST_3D);
	NUMBER(CMD_TRANSFER_FROM_HOST_3D);
	NUMBER(CMD_SUBMIT_3D);
	NUMBER(CMD_RESOURCE_MAP_BLOB);
	NUMBER(CMD_RESOURCE_UNMAP_BLOB);
	NUMBER(CMD_UPDATE_CURSOR);
	NUMBER(CMD_MOVE_CURSOR);
}

static void print_responses(void)
{
	NUMBER(RESP_OK_NODATA);
	NUMBER(RESP_OK_DISPLAY_INFO);
	NUMBER(RESP_OK_CAPSET_INFO);
	NUMBER(RESP_OK_CAPSET);
	NUMBER(RESP_OK_EDID);
	NUMBER(RESP_OK_RESOURCE_UUID);
	NUMBER(RESP_OK_MAP_INFO);
	NUMBER(RESP_ERR_UNSPEC);
	NUMBER(RESP_ERR_OUT_OF_MEMORY);
	NUMBER(RESP_ERR_INVALID_SCANOUT_ID);
	NUMBER(RESP_ERR_INVALID_RESOURCE_ID);
	NUMBER(RESP_ERR_INVALID_CONTEXT_ID);
	NUMBER(RESP_ERR_INVALID_PARAMETER);
}

static void print_lists(void)
{
	NUMBER(BLOB_MEM_GUEST);
	NUMBER(BLOB_MEM_HOST3D);
	NUMBER(BLOB_MEM_HOST3D_GUEST);
	NUMBER(CAPSET_VIRGL);
	NUMBER(CAPSET_VIRGL2);
	NUMBER(FORMAT_B8G8R8A8_UNORM);
	NUMBER(FORMAT_B8G8R8X8_UNORM);
	NUMBER(FORMAT_A8R8G8B8_UNORM);
	NUMBER(FORMAT_X8R8G8B8_UNORM);
	NUMBER(FORMAT_R8G8B8A8_UNORM);
	NUMBER(FORMAT_X8B8G8R8_UNORM);
	NUMBER(FORMAT_A8B8G8R8_UNORM);
	NUMBER(FORMAT_R8G8B8X8_UNORM);
}

static void print_features_and_flags(void)
{
	NUMBER(F_VIRGL);
	NUMBER(F_EDID);
	NUMBER(F_RESOURCE_UUID);
	NUMBER(F_RESOURCE_BLOB);
	NUMBER(F_CONTEXT_INIT);
	NUMBER(FLAG_FENCE);
	NUMBER(FLAG_INFO_RING_IDX);
	NUMBER(MAX_SCANOUTS);
	NUMBER(SHM_ID_HOST_VISIBLE);
	NUMBER(EVENT_DISPLAY);
	NUMBER(RESOURCE_FLAG_Y_0_TOP);
	NUMBER(CONTEXT_INIT_CAPSET_ID_MASK);
	NUMBER(BLOB_FLAG_USE_MAPPABLE);
	NUMBER(BLOB_FLAG_USE_SHAREABLE);
	NUMBER(BLOB_FLAG_USE_CROSS_DEVICE);
	NUMBER(MAP_CACHE_MASK);
	NUMBER(MAP_CACHE_NONE);
	NUMBER(MAP_CACHE_CACHED);
	NUMBER(MAP_CACHE_UNCACHED);
	NUMBER(MAP_CACHE_WC);
}

int main(void)
{
	print_common_structs();
	print_display_structs();
	print_query_structs();
	print_blob_structs();
	print_context_structs();
	print_config_struct();
	print_commands();
	print_responses();
	print_lists();
	print_features_and_flags();
	return 0;
}
