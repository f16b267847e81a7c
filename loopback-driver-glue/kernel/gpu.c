// SPDX-License-Identifier: GPL-2.0
/*
 * What is special about a GPU (virtio 1.3, section 5.7): the null device's
 * answers, and bounds for what the virtio_gpu driver believes unchecked.
 */
#include "compat.h"
#include <linux/virtio_gpu.h>
#include <linux/virtio_ids.h>
#include <uapi/linux/virtio_ring.h>
#include "internal.h"

#define GPU_QUEUES	2	/* control and cursor */

/*
 * The driver waits, unkillably and with the card held against its removal, for
 * as many free descriptors as a command has parts. With indirect tables a
 * command takes one; without them one that is longer than the ring would wait
 * for good.
 */
#define GPU_MIN_CONTROL_SIZE	16
#define GPU_MIN_CURSOR_SIZE	2

/*
 * Bounds. The driver allocates capset_max_size bytes, once for each version up
 * to capset_max_version that a client asks for, and keeps them for good: so
 * both must be small. The largest capset today (virgl, version 2) has less
 * than 2 KiB; versions are 0, 1 and 2. Capset ids index the bits of a word.
 */
#define GPU_MAX_CAPSET_SIZE	0x4000
#define GPU_MAX_CAPSET_VERSION	16
#define GPU_MAX_CAPSET_ID	31
#define GPU_MAX_CAPSETS		32
/* The driver's own largest mode (XRES_MAX, YRES_MAX). */
#define GPU_MAX_MODE		8192

static bool gpu_valid_create(const struct virtio_loopback_create *create)
{
	return create->num_queues == GPU_QUEUES &&
	       create->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) &&
	       create->queue_size[0] >= GPU_MIN_CONTROL_SIZE &&
	       create->queue_size[1] >= GPU_MIN_CURSOR_SIZE;
}

static u32 config_field(const u8 *config, size_t offset)
{
	__le32 value;

	memcpy(&value, config + offset, sizeof(value));
	return le32_to_cpu(value);
}

/*
 * The driver refuses 0 scanouts, and allocates and queries (5 seconds each if
 * nobody answers) as many capsets as it is told.
 */
static bool gpu_valid_config(const u8 *config, u32 config_len)
{
	u32 scanouts, capsets;

	if (config_len < offsetofend(struct virtio_gpu_config, num_capsets))
		return false;
	scanouts = config_field(config, offsetof(struct virtio_gpu_config,
						 num_scanouts));
	capsets = config_field(config, offsetof(struct virtio_gpu_config,
						num_capsets));
	return scanouts >= 1 && scanouts <= VIRTIO_GPU_MAX_SCANOUTS &&
	       capsets <= GPU_MAX_CAPSETS;
}

/* Writing events_clear clears bits of events_read, nothing else is writable. */
static bool gpu_driver_wrote(struct vlb_config *config, u32 offset,
			     const void *buf, u32 len)
{
	const u8 *bits = buf;
	u32 first = offsetof(struct virtio_gpu_config, events_clear), i;

	for (i = 0; i < len; i++)
		if (offset + i >= first && offset + i < first + sizeof(__le32))
			config->bytes[offset + i - first] &= ~bits[i];
	return true;
}

static const struct virtio_gpu_ctrl_hdr *
command_of(struct vlb_bounce *bounce, const struct vlb_chain *chain)
{
	if (chain->out_len < sizeof(struct virtio_gpu_ctrl_hdr))
		return NULL;
	return vlb_bounce_origin(bounce, chain->out_addr - VLB_BOUNCE_BASE,
				 sizeof(struct virtio_gpu_ctrl_hdr));
}

#define FENCE_FLAGS	(VIRTIO_GPU_FLAG_FENCE | VIRTIO_GPU_FLAG_INFO_RING_IDX)

/* The response is tagged with its command: that decides how it is read. */
static void gpu_seen(struct vlb_bounce *bounce, const struct vlb_chain *chain)
{
	const struct virtio_gpu_ctrl_hdr *hdr = command_of(bounce, chain);
	struct vlb_tag tag;

	if (!hdr || !chain->in_len)
		return;
	tag = (struct vlb_tag){
		.type = le32_to_cpu(hdr->type),
		.flags = le32_to_cpu(hdr->flags) & FENCE_FLAGS,
		.fence_id = le64_to_cpu(hdr->fence_id),
		.ctx_id = le32_to_cpu(hdr->ctx_id),
		.ring_idx = hdr->ring_idx,
	};
	vlb_bounce_tag(bounce, chain->in_addr - VLB_BOUNCE_BASE, &tag);
}

/*
 * "Done, no data", and zeros where data is expected: no display, no capset, an
 * empty EDID. An error would fill the kernel log. The fence comes back, or
 * whoever waits for it waits for good.
 */
static u32 gpu_answer(struct vlb_bounce *bounce, const struct vlb_chain *chain)
{
	const struct virtio_gpu_ctrl_hdr *hdr = command_of(bounce, chain);
	struct virtio_gpu_ctrl_hdr answer = {
		.type = cpu_to_le32(VIRTIO_GPU_RESP_OK_NODATA),
	};
	int len;

	if (!chain->in_len)
		return 0;
	if (hdr) {
		answer.flags = hdr->flags &
			       cpu_to_le32(FENCE_FLAGS);
		answer.fence_id = hdr->fence_id;
		answer.ctx_id = hdr->ctx_id;
		answer.ring_idx = hdr->ring_idx;
	}
	len = vlb_bounce_write(bounce, chain->in_addr - VLB_BOUNCE_BASE,
			       &answer, sizeof(answer));
	return max(len, 0);
}

/* Returns 1 if the value had to be cut. */
static u32 cut(__le32 *value, u32 most)
{
	if (le32_to_cpu(*value) <= most)
		return 0;
	*value = cpu_to_le32(most);
	return 1;
}

static u32 filter_display_info(struct virtio_gpu_resp_display_info *resp)
{
	u32 i, cuts = 0;

	for (i = 0; i < ARRAY_SIZE(resp->pmodes); i++) {
		cuts += cut(&resp->pmodes[i].enabled, 1);
		cuts += cut(&resp->pmodes[i].r.width, GPU_MAX_MODE);
		cuts += cut(&resp->pmodes[i].r.height, GPU_MAX_MODE);
	}
	return cuts;
}

static u32 filter_capset_info(struct virtio_gpu_resp_capset_info *resp)
{
	return cut(&resp->capset_id, GPU_MAX_CAPSET_ID) +
	       cut(&resp->capset_max_version, GPU_MAX_CAPSET_VERSION) +
	       cut(&resp->capset_max_size, GPU_MAX_CAPSET_SIZE);
}

static u32 filter_edid(struct virtio_gpu_resp_edid *resp)
{
	return cut(&resp->size, sizeof(resp->edid));
}

/*
 * The fence of a response is that of its command. With another one, or none,
 * the driver would signal fences of commands still under way, or never signal
 * this one, and whoever waits for it waits for good: in the middle of a commit,
 * with locks that the removal of the card needs.
 */
static u32 filter_fence(const struct vlb_tag *tag,
			struct virtio_gpu_ctrl_hdr *resp)
{
	u32 flags = le32_to_cpu(resp->flags);
	u32 wrong = (flags & FENCE_FLAGS) != tag->flags;

	resp->flags = cpu_to_le32((flags & ~FENCE_FLAGS) | tag->flags);
	if (!(tag->flags & VIRTIO_GPU_FLAG_FENCE))
		return wrong;
	wrong += le64_to_cpu(resp->fence_id) != tag->fence_id;
	wrong += le32_to_cpu(resp->ctx_id) != tag->ctx_id;
	wrong += resp->ring_idx != tag->ring_idx;
	resp->fence_id = cpu_to_le64(tag->fence_id);
	resp->ctx_id = cpu_to_le32(tag->ctx_id);
	resp->ring_idx = tag->ring_idx;
	return wrong;
}

static u32 gpu_filter(const struct vlb_tag *tag, void *resp, u32 len)
{
	u32 wrong;

	if (len < sizeof(struct virtio_gpu_ctrl_hdr))
		return 0;
	wrong = filter_fence(tag, resp);
	if (tag->type == VIRTIO_GPU_CMD_GET_DISPLAY_INFO &&
	    len >= sizeof(struct virtio_gpu_resp_display_info))
		wrong += filter_display_info(resp);
	if (tag->type == VIRTIO_GPU_CMD_GET_CAPSET_INFO &&
	    len >= sizeof(struct virtio_gpu_resp_capset_info))
		wrong += filter_capset_info(resp);
	if (tag->type == VIRTIO_GPU_CMD_GET_EDID &&
	    len >= sizeof(struct virtio_gpu_resp_edid))
		wrong += filter_edid(resp);
	return wrong;
}

const struct vlb_type_ops vlb_gpu_ops = {
	.device_id = VIRTIO_ID_GPU,
	.max_config = VIRTIO_LOOPBACK_MAX_CONFIG,
	.card = true,
	.valid_create = gpu_valid_create,
	.valid_config = gpu_valid_config,
	.driver_wrote = gpu_driver_wrote,
	.seen = gpu_seen,
	.answer = gpu_answer,
	.filter = gpu_filter,
};
