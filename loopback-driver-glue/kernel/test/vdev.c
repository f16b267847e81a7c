// SPDX-License-Identifier: GPL-2.0
/* Device side for tests, see vdev.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vdev.h"

#define MAX_COMMAND	65536
#define MAX_PARTS	2048
#define RESPONSE_ROOM	2048

void vdev_defaults(struct virtio_loopback_create *create,
		   struct virtio_gpu_config *config, const char *name)
{
	memset(config, 0, sizeof(*config));
	config->num_scanouts = 1;
	memset(create, 0, sizeof(*create));
	create->device_id = 16;
	create->vendor_id = 0x1af4;
	create->features = VDEV_FEATURES;
	create->config = (uintptr_t)config;
	create->config_len = 16;
	create->num_queues = VDEV_QUEUES;
	create->queue_size[0] = 1024;
	create->queue_size[1] = 16;
	snprintf(create->name, sizeof(create->name), "%s", name);
}

static int open_queue(struct vdev *dev, int i)
{
	struct vdev_queue *q = &dev->queues[i];
	struct virtio_loopback_queue_fds fds = { .queue = i };

	q->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	fds.kick = q->kick;
	fds.call = q->call;
	if (q->kick < 0 || q->call < 0)
		return -1;
	return ioctl(dev->session, VIRTIO_LOOPBACK_SET_QUEUE_FDS, &fds);
}

int vdev_open(struct vdev *dev, const struct virtio_loopback_create *create)
{
	struct virtio_loopback_create args = *create;

	dev->session = dev->memory = -1;
	dev->control = open("/dev/virtio-loopback", O_RDWR | O_CLOEXEC);
	if (dev->control < 0 ||
	    ioctl(dev->control, VIRTIO_LOOPBACK_CREATE, &args))
		return -1;
	dev->index = args.index;
	return vdev_attach(dev);
}

int vdev_attach(struct vdev *dev)
{
	struct stat st;
	int i;

	dev->session = ioctl(dev->control, VIRTIO_LOOPBACK_ATTACH, 0);
	if (dev->session < 0)
		return -1;
	dev->memory = ioctl(dev->session, VIRTIO_LOOPBACK_GET_MEM_FD, 0);
	if (dev->memory < 0 || fstat(dev->memory, &st))
		return -1;
	dev->window_size = st.st_size;
	dev->window = mmap(NULL, dev->window_size, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_NORESERVE, dev->memory, 0);
	if (dev->window == MAP_FAILED)
		return -1;
	for (i = 0; i < VDEV_QUEUES; i++)
		if (open_queue(dev, i))
			return -1;
	return 0;
}

void vdev_close(struct vdev *dev)
{
	vdev_detach(dev);
	close(dev->control);
}

void vdev_detach(struct vdev *dev)
{
	int i;

	if (dev->window && dev->window != MAP_FAILED)
		munmap(dev->window, dev->window_size);
	for (i = 0; i < VDEV_QUEUES; i++) {
		close(dev->queues[i].kick);
		close(dev->queues[i].call);
	}
	close(dev->memory);
	close(dev->session);
	dev->live = false;
}

struct vdev_resource *vdev_resource(struct vdev *dev, uint32_t id)
{
	return &dev->resources[id % VDEV_RESOURCES];
}

static void note_blob(struct vdev *dev, const void *cmd)
{
	const struct virtio_gpu_resource_create_blob *blob = cmd;
	struct vdev_resource *res = vdev_resource(dev, blob->resource_id);

	res->id = blob->resource_id;
	res->entries = blob->nr_entries;
	res->size = blob->size;
	memcpy(&res->first, blob + 1, sizeof(res->first));
	if (dev->verbose)
		fprintf(stderr, "CREATE_BLOB %u: %llu bytes, %u entries, first %llx+%x\n",
			res->id, (unsigned long long)res->size, res->entries,
			(unsigned long long)res->first.addr, res->first.length);
}

/* Writes the response, returns its length. */
static uint32_t answer(struct vdev *dev, const void *cmd, void *to,
		       uint32_t room)
{
	const struct virtio_gpu_ctrl_hdr *hdr = cmd;
	uint64_t resp[RESPONSE_ROOM / 8] = { 0 };
	struct virtio_gpu_ctrl_hdr *out = (void *)resp;
	uint32_t len = sizeof(*out);

	out->type = VIRTIO_GPU_RESP_OK_NODATA;
	out->flags = hdr->flags & VIRTIO_GPU_FLAG_FENCE;
	out->fence_id = hdr->fence_id;
	out->ctx_id = hdr->ctx_id;
	switch (hdr->type) {
	case VIRTIO_GPU_CMD_GET_DISPLAY_INFO: {
		struct virtio_gpu_resp_display_info *info = (void *)resp;

		out->type = VIRTIO_GPU_RESP_OK_DISPLAY_INFO;
		info->pmodes[0].enabled = 1;
		info->pmodes[0].r.width = 1024;
		info->pmodes[0].r.height = 768;
		len = sizeof(*info);
		break;
	}
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
		note_blob(dev, cmd);
		break;
	case VIRTIO_GPU_CMD_SET_SCANOUT_BLOB:
		memcpy(&dev->last_scanout, cmd, sizeof(dev->last_scanout));
		break;
	case VIRTIO_GPU_CMD_RESOURCE_FLUSH:
		memcpy(&dev->last_flush, cmd, sizeof(dev->last_flush));
		dev->flushes++;
		break;
	}
	if (dev->respond)
		dev->respond(dev, hdr->type, resp, &len);
	memcpy(to, resp, room < RESPONSE_ROOM ? room : RESPONSE_ROOM);
	return len;
}

struct command {
	uint8_t bytes[MAX_COMMAND];
	uint32_t len;
	uint8_t *resp;
	uint32_t room;
};

static void add_part(struct vdev *dev, struct command *cmd,
		     const struct vring_desc *desc)
{
	uint8_t *at = dev->window + desc->addr;
	uint32_t n = desc->len;

	/* some tests write nonsense there */
	if (desc->addr > dev->window_size || n > dev->window_size - desc->addr)
		return;

	if (desc->flags & VRING_DESC_F_WRITE) {
		if (!cmd->resp) {
			cmd->resp = at;
			cmd->room = n;
		}
		return;
	}
	if (n > MAX_COMMAND - cmd->len)
		n = MAX_COMMAND - cmd->len;
	memcpy(cmd->bytes + cmd->len, at, n);
	cmd->len += n;
}

static void gather(struct vdev *dev, struct vdev_queue *q, uint16_t head,
		   struct command *cmd)
{
	const struct vring_desc *table = q->ring.desc;
	unsigned int i = head, left = MAX_PARTS;

	cmd->len = 0;
	cmd->resp = NULL;
	cmd->room = 0;
	if (table[i].flags & VRING_DESC_F_INDIRECT &&
	    table[i].addr < dev->window_size - (1 << 20)) {
		table = (const void *)(dev->window + table[i].addr);
		i = 0;
	}
	while (left--) {
		add_part(dev, cmd, &table[i]);
		if (!(table[i].flags & VRING_DESC_F_NEXT))
			break;
		i = table[i].next;
		if (table == q->ring.desc)
			i %= q->ring.num;
	}
}

static void process(struct vdev *dev, int i)
{
	struct vdev_queue *q = &dev->queues[i];
	static __thread struct command cmd;
	unsigned int done = 0;
	uint64_t one = 1;

	if (!dev->live)
		return;
	for (;;) {
		uint16_t idx = __atomic_load_n(&q->ring.avail->idx,
					       __ATOMIC_ACQUIRE);
		struct vring_used_elem *elem;

		if (q->seen == idx) {
			/* ask for a kick, look again */
			vring_avail_event(&q->ring) = idx;
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			if (__atomic_load_n(&q->ring.avail->idx,
					    __ATOMIC_ACQUIRE) == idx)
				break;
			continue;
		}
		gather(dev, q, q->ring.avail->ring[q->seen % q->ring.num] %
		       q->ring.num, &cmd);
		dev->commands++;
		q->seen++;
		if (dev->hold)
			continue;
		elem = &q->ring.used->ring[q->ring.used->idx % q->ring.num];
		elem->id = q->ring.avail->ring[(uint16_t)(q->seen - 1) %
					       q->ring.num];
		elem->len = cmd.resp ? answer(dev, cmd.bytes, cmd.resp,
					      cmd.room) : 0;
		__atomic_store_n(&q->ring.used->idx, q->ring.used->idx + 1,
				 __ATOMIC_RELEASE);
		done++;
	}
	if (done && write(q->call, &one, sizeof(one)) != sizeof(one))
		perror("call");
}

static int start_queues(struct vdev *dev)
{
	int i;

	for (i = 0; i < VDEV_QUEUES; i++) {
		struct vdev_queue *q = &dev->queues[i];

		memset(&q->info, 0, sizeof(q->info));
		q->info.queue = i;
		if (ioctl(dev->session, VIRTIO_LOOPBACK_QUEUE_INFO, &q->info))
			return -1;
		q->ring.num = q->info.size;
		q->ring.desc = (void *)(dev->window + q->info.desc);
		q->ring.avail = (void *)(dev->window + q->info.avail);
		q->ring.used = (void *)(dev->window + q->info.used);
		q->seen = q->info.next_avail;
	}
	dev->live = true;
	for (i = 0; i < VDEV_QUEUES; i++)
		process(dev, i);
	return 0;
}

int vdev_restart(struct vdev *dev, uint32_t action)
{
	int i;

	dev->live = false;
	for (i = 0; i < VDEV_QUEUES; i++) {
		struct virtio_loopback_outstanding args = { i, action, 0 };

		dev->restarted[i] = ioctl(dev->session,
					  VIRTIO_LOOPBACK_OUTSTANDING, &args);
		if (dev->restarted[i] < 0)
			return -1;
	}
	return start_queues(dev);
}

uint32_t vdev_resource_at(struct vdev *dev, unsigned int entry)
{
	const struct virtio_gpu_resource_create_blob *blob;
	struct vdev_queue *q = &dev->queues[0];
	static struct command cmd;

	gather(dev, q, q->ring.avail->ring[entry % q->ring.num], &cmd);
	blob = (const void *)cmd.bytes;
	return blob->resource_id;
}

static int take_event(struct vdev *dev)
{
	struct virtio_loopback_event event;

	if (read(dev->session, &event, sizeof(event)) != sizeof(event))
		return -1;
	dev->last_event = event;
	if (dev->verbose)
		fprintf(stderr, "event %u, value %llx\n", event.type,
			(unsigned long long)event.value);
	switch (event.type) {
	case VIRTIO_LOOPBACK_EVENT_DRIVER_OK:
		dev->features = event.value;
		if (dev->restart)
			return vdev_restart(dev, dev->restart);
		return start_queues(dev);
	case VIRTIO_LOOPBACK_EVENT_RESET:
		dev->live = false;
		dev->resets++;
		if (dev->ignore_reset)
			return 0;
		/* too late is not our problem */
		if (ioctl(dev->session, VIRTIO_LOOPBACK_ACK, &event.sequence) &&
		    errno != ESTALE)
			return -1;
		return 0;
	}
	return 0;
}

long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

int vdev_serve(struct vdev *dev, int ms, const volatile int *stop)
{
	long long end = now_ms() + ms;
	struct pollfd fds[1 + VDEV_QUEUES];
	uint64_t count;
	int i;

	while (now_ms() < end && !(stop && *stop)) {
		fds[0] = (struct pollfd){ dev->session, POLLIN, 0 };
		for (i = 0; i < VDEV_QUEUES; i++)
			fds[1 + i] = (struct pollfd){ dev->queues[i].kick,
						      POLLIN, 0 };
		if (poll(fds, 1 + VDEV_QUEUES, 20) < 0 && errno != EINTR)
			return -1;
		if (fds[0].revents & POLLIN && take_event(dev))
			return -1;
		for (i = 0; i < VDEV_QUEUES; i++)
			if (fds[1 + i].revents & POLLIN &&
			    read(dev->queues[i].kick, &count, 8) == 8)
				process(dev, i);
	}
	return 0;
}
