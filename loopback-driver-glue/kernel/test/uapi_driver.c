// SPDX-License-Identifier: GPL-2.0
/* The real virtio_gpu on top: events, queues, resets, and device sides that lie. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <dirent.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <drm.h>
#include <drm_mode.h>
#include <virtgpu_drm.h>

#include "harness.h"

static struct virtio_loopback_create create;
static struct virtio_gpu_config config;
static struct served s;

static void start(const char *name)
{
	vdev_defaults(&create, &config, name);
	serve_start(&s, &create, true);
}

static void test_events(void)
{
	struct virtio_loopback_event event;
	struct pollfd p = { .events = POLLIN };
	struct vdev dev = { 0 };
	uint32_t last;

	vdev_defaults(&create, &config, "events");
	EXPECT(!vdev_open(&dev, &create));
	p.fd = dev.session;
	EXPECT(poll(&p, 1, 10000) == 1);
	EXPECT(read(dev.session, &event, sizeof(event)) == sizeof(event));
	EXPECT(event.type == VIRTIO_LOOPBACK_EVENT_FEATURES_OK);
	EXPECT(event.value == create.features && !event.reserved);
	last = event.sequence;
	EXPECT(read(dev.session, &event, sizeof(event)) == sizeof(event));
	EXPECT(event.type == VIRTIO_LOOPBACK_EVENT_DRIVER_OK);
	EXPECT(event.sequence == last + 1 && event.value == create.features);
	EXPECT(!fcntl(dev.session, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(read(dev.session, &event, sizeof(event)), EAGAIN);
	EXPECT(status_of(&dev).driver_status == 0xf);
	EXPECT(status_of(&dev).driver_features == create.features);
	/* the driver waits for its first answers meanwhile */
	EXPECT(WAIT_FOR(status_of(&dev).outstanding > 0, 10000));
	vdev_close(&dev);
}

/* A display change reaches the driver, which answers by writing events_clear. */
static void test_config_change(void)
{
	__u32 display = VIRTIO_GPU_EVENT_DISPLAY;
	struct virtio_loopback_config_set set = { 0, 4, (uintptr_t)&display };
	unsigned int before;

	start("change");
	before = s.dev.commands;
	EXPECT(!ioctl(s.dev.session, VIRTIO_LOOPBACK_CONFIG_SET, &set));
	EXPECT(WAIT_FOR(s.dev.last_event.type ==
			VIRTIO_LOOPBACK_EVENT_CONFIG_WRITTEN, 5000));
	EXPECT(s.dev.last_event.offset == 4 && s.dev.last_event.length == 4);
	EXPECT(s.dev.last_event.value == VIRTIO_GPU_EVENT_DISPLAY);
	EXPECT(s.dev.commands > before);
	/* events_read is clear again: the driver has nothing more to ask */
	sleep_ms(100);
	before = s.dev.commands;
	display = 0;
	EXPECT(!ioctl(s.dev.session, VIRTIO_LOOPBACK_CONFIG_SET, &set));
	sleep_ms(300);
	EXPECT(s.dev.commands == before);
}

/* Frames, by flush and fence: thousands of commands, none lost. */
static void test_frames(void)
{
	struct dumb d;
	unsigned int i;
	int card;

	start("frames");
	card = open_card(s.dev.index);
	EXPECT(!dumb_create(&d, card, 1024, 768));
	EXPECT(!dumb_show(&d, 1024, 768));
	EXPECT(s.dev.last_scanout.width == 1024);
	for (i = 0; i < 500; i++) {
		fill_pattern(d.pixels, 4096, i);
		EXPECT(!dumb_dirty(&d));
	}
	EXPECT(WAIT_FOR(s.dev.flushes >= 500, 5000));
	EXPECT(WAIT_FOR(status_of(&s.dev).outstanding == 0, 10000));
	EXPECT(WAIT_FOR(status_of(&s.dev).bounce_used == 0, 10000));
	EXPECT(status_of(&s.dev).bad_used == 0);
}

/* The name of the virtio device, "virtioN". */
static void virtio_name(uint32_t index, char *name, size_t size)
{
	struct dirent *entry;
	char path[128];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/devices/platform/virtio-loopback.%u",
		 index);
	dir = opendir(path);
	EXPECT(dir);
	name[0] = 0;
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, "virtio", 6))
			snprintf(name, size, "%.31s", entry->d_name);
	closedir(dir);
	EXPECT(name[0]);
}

static void bind_driver(const char *file)
{
	char name[32], path[64];
	int fd;

	virtio_name(s.dev.index, name, sizeof(name));
	snprintf(path, sizeof(path), "/sys/bus/virtio/drivers/virtio_gpu/%s",
		 file);
	fd = open(path, O_WRONLY);
	EXPECT(fd >= 0);
	EXPECT(write(fd, name, strlen(name)) == (ssize_t)strlen(name));
	close(fd);
}

static void draw_one(void)
{
	int card = open_card(s.dev.index);
	struct dumb d;

	EXPECT(!dumb_create(&d, card, 1024, 768));
	EXPECT(!dumb_show(&d, 1024, 768));
	EXPECT(!dumb_dirty(&d));
	dumb_destroy(&d);
	close(card);
}

/* The smallest queues a GPU may have: the driver waits, but never for good. */
static void test_small_queues(void)
{
	struct dumb d;
	int card, i;

	vdev_defaults(&create, &config, "small");
	create.queue_size[0] = 16;
	create.queue_size[1] = 2;
	serve_start(&s, &create, true);
	card = open_card(s.dev.index);
	/* a table of entries that takes many descriptors in one command */
	EXPECT(!dumb_create(&d, card, 4096, 4096));
	dumb_destroy(&d);
	EXPECT(!dumb_create(&d, card, 1024, 768));
	EXPECT(!dumb_show(&d, 1024, 768));
	for (i = 0; i < 50; i++)
		EXPECT(!dumb_dirty(&d));
	EXPECT(WAIT_FOR(s.dev.flushes >= 50, 5000));
}

/* Unbind and bind, several times on one session. */
static void test_rebind(void)
{
	unsigned int i;

	start("rebind");
	for (i = 0; i < 5; i++) {
		long long t = now_ms();

		draw_one();
		bind_driver("unbind");
		EXPECT(now_ms() - t < 5000);
		EXPECT(s.dev.resets == i + 1);
		EXPECT(WAIT_FOR(s.dev.last_event.type ==
				VIRTIO_LOOPBACK_EVENT_UNBOUND, 10000));
		EXPECT(status_of(&s.dev).bounce_used == 0);
		EXPECT(status_of(&s.dev).driver_status == 1);
		/* no driver, no memory: also not the rings */
		EXPECT(!s.dev.window[s.dev.queues[0].info.avail + 2]);
		bind_driver("bind");
		EXPECT(WAIT_FOR(card_number(s.dev.index, "card") >= 0, 10000));
	}
	draw_one();
	EXPECT(status_of(&s.dev).reset_timeouts == 0);
}

/* Nobody acknowledges: the reset goes on at the deadline. */
static void test_reset_timeout(void)
{
	long long t;

	vdev_defaults(&create, &config, "timeout");
	create.reset_timeout_ms = 700;
	serve_start(&s, &create, true);
	s.dev.ignore_reset = true;
	t = now_ms();
	bind_driver("unbind");
	t = now_ms() - t;
	EXPECT(t >= 700 && t < 5000);
	EXPECT(status_of(&s.dev).reset_timeouts == 1);
	/* and it is too late now */
	EXPECT_ERRNO(ioctl(s.dev.session, VIRTIO_LOOPBACK_ACK,
			   &s.dev.last_event.sequence), ESTALE);
	s.dev.ignore_reset = false;
	bind_driver("bind");
	EXPECT(WAIT_FOR(card_number(s.dev.index, "card") >= 0, 10000));
	draw_one();
}

/* Reset with commands in flight that are never answered: none leaks. */
static void test_reset_in_flight(void)
{
	struct dumb d[20];
	int card, i;

	start("in_flight");
	card = open_card(s.dev.index);
	s.dev.hold = true;
	for (i = 0; i < 20; i++)
		EXPECT(!dumb_create(&d[i], card, 64, 64));
	EXPECT(WAIT_FOR(status_of(&s.dev).outstanding >= 20, 10000));
	bind_driver("unbind");
	EXPECT(status_of(&s.dev).outstanding == 0);
	EXPECT(status_of(&s.dev).bounce_used == 0);
	/* the client goes on with a dead card, and closes it */
	d[0].pixels[0] = 1;
	close(card);
	s.dev.hold = false;
	bind_driver("bind");
	EXPECT(WAIT_FOR(card_number(s.dev.index, "card") >= 0, 10000));
	draw_one();
}

/* Kick and call are the same eventfd: each kick is a call, nothing locks up. */
static void test_same_eventfd(void)
{
	struct virtio_loopback_queue_fds fds = { 0 };
	struct dumb d;
	int card, i;

	start("same_fd");
	card = open_card(s.dev.index);
	EXPECT(!dumb_create(&d, card, 1024, 768));
	EXPECT(!dumb_show(&d, 1024, 768));
	fds.kick = fds.call = s.dev.queues[0].kick;
	EXPECT(!ioctl(s.dev.session, VIRTIO_LOOPBACK_SET_QUEUE_FDS, &fds));
	/* our side is not told any more: the session's end releases the client */
	s.dev.hold = true;
	for (i = 0; i < 20; i++) {
		uint64_t one = 1;

		EXPECT(write(fds.kick, &one, 8) == 8);
		EXPECT(!dumb_create(&d, card, 64, 64));
	}
	serve_stop(&s);
	vdev_close(&s.dev);
}

/* The eventfds are closed under the module's hands. */
static void test_closed_eventfds(void)
{
	struct dumb d;
	int card, i;

	start("closed_fd");
	card = open_card(s.dev.index);
	serve_stop(&s);
	for (i = 0; i < VDEV_QUEUES; i++) {
		close(s.dev.queues[i].kick);
		close(s.dev.queues[i].call);
	}
	for (i = 0; i < 10; i++)
		EXPECT(!dumb_create(&d, card, 64, 64));
	vdev_close(&s.dev);
}

/* Writes nonsense into the used ring of a device that is being drawn to. */
static void test_hostile_used(void)
{
	struct vdev_queue *q = &s.dev.queues[0];
	uint64_t one = 1;
	struct dumb d;
	unsigned int i, k;
	int card;

	start("hostile");
	card = open_card(s.dev.index);
	EXPECT(!dumb_create(&d, card, 1024, 768));
	EXPECT(!dumb_show(&d, 1024, 768));
	s.dev.hold = true;
	for (i = 0; i < 400; i++) {
		struct dumb small;

		if (i % 20 == 0)
			EXPECT(!dumb_create(&small, card, 64, 64));
		for (k = 0; k < 8; k++) {
			struct vring_used_elem *elem;

			elem = &q->ring.used->ring[rand() % q->ring.num];
			elem->id = rand() % 3 ? rand() % q->ring.num :
						(uint32_t)rand() << 8;
			elem->len = rand();
		}
		__atomic_store_n(&q->ring.used->idx, rand() % 5 ?
				 q->ring.used->idx + rand() % 4 : rand(),
				 __ATOMIC_RELEASE);
		EXPECT(write(q->call, &one, 8) == 8);
	}
	EXPECT(status_of(&s.dev).bad_used > 100);
	/* whatever it did, the driver can be given back what is left */
	serve_stop(&s);
	close(s.dev.session);
	close(card);
}

/* The smallest block that passes for an EDID. */
static void make_edid(uint8_t *edid)
{
	static const uint8_t start[] = {
		0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x59, 0x01,
	};
	unsigned int i, sum = 0;

	memset(edid, 0, 128);
	memcpy(edid, start, sizeof(start));
	edid[18] = 1;
	edid[19] = 4;
	for (i = 0; i < 127; i++)
		sum += edid[i];
	edid[127] = -sum;
}

static void lie(struct vdev *dev, uint32_t type, void *resp, uint32_t *len)
{
	struct virtio_gpu_resp_display_info *info = resp;
	struct virtio_gpu_resp_capset_info *capset = resp;
	struct virtio_gpu_resp_edid *edid = resp;
	int i;

	(void)dev;
	switch (type) {
	case VIRTIO_GPU_CMD_GET_DISPLAY_INFO:
		for (i = 0; i < VIRTIO_GPU_MAX_SCANOUTS; i++) {
			info->pmodes[i].enabled = 0x80000001;
			info->pmodes[i].r.width = ~0u;
			info->pmodes[i].r.height = ~0u - i;
		}
		break;
	case VIRTIO_GPU_CMD_GET_CAPSET_INFO:
		capset->hdr.type = VIRTIO_GPU_RESP_OK_CAPSET_INFO;
		capset->capset_id = 0x12345678;
		capset->capset_max_version = ~0u;
		capset->capset_max_size = ~0u;
		*len = sizeof(*capset);
		break;
	case VIRTIO_GPU_CMD_GET_EDID:
		edid->hdr.type = VIRTIO_GPU_RESP_OK_EDID;
		edid->size = ~0u;
		make_edid(edid->edid);
		*len = ~0u;
		break;
	}
}

/* Values the driver would believe, and allocate or read by, are cut. */
static void test_lying_responses(void)
{
	struct drm_virtgpu_get_caps caps = { 0 };
	static uint8_t buf[1 << 20];
	int card;

	vdev_defaults(&create, &config, "liar");
	create.features |= 1ULL << VIRTIO_GPU_F_EDID | 1ULL << VIRTIO_GPU_F_VIRGL;
	config.num_capsets = 1;
	s.dev.respond = lie;
	serve_start(&s, &create, true);
	EXPECT(status_of(&s.dev).filtered_values >=
	       3 * VIRTIO_GPU_MAX_SCANOUTS + 3 + 1);
	EXPECT(status_of(&s.dev).clamped_used >= 1);
	card = open_render(s.dev.index);
	EXPECT(card >= 0);
	/* the capset the driver now believes in, and the limits of that */
	caps.cap_set_id = 31;
	caps.cap_set_ver = 17;
	caps.size = sizeof(buf);
	caps.addr = (uintptr_t)buf;
	EXPECT_ERRNO(ioctl(card, DRM_IOCTL_VIRTGPU_GET_CAPS, &caps), EINVAL);
	caps.cap_set_ver = 16;
	EXPECT(!ioctl(card, DRM_IOCTL_VIRTGPU_GET_CAPS, &caps));
}

/* No fence, or a wrong one, by turns. */
static void lie_about_fence(struct vdev *dev, uint32_t type, void *resp,
			    uint32_t *len)
{
	static unsigned int count;
	struct virtio_gpu_ctrl_hdr *hdr = resp;

	(void)dev;
	(void)len;
	if (type != VIRTIO_GPU_CMD_RESOURCE_FLUSH)
		return;
	count++;
	if (count & 1)
		hdr->flags = 0;
	if (count & 2)
		hdr->fence_id = count & 4 ? 0 : ~0ULL;
}

/*
 * A client waits for the fence of its flush, at the flush (for at most 50 ms)
 * and, for good, before the next. It gets the fence of its command, however the
 * response looks.
 */
static void test_lying_fences(void)
{
	struct dumb d;
	uint64_t t;
	int card, i;

	vdev_defaults(&create, &config, "fences");
	s.dev.respond = lie_about_fence;
	serve_start(&s, &create, true);
	card = open_card(s.dev.index);
	EXPECT(!dumb_create(&d, card, 1024, 768));
	EXPECT(!dumb_show(&d, 1024, 768));
	t = now_ms();
	for (i = 0; i < 200; i++)
		EXPECT(!dumb_dirty(&d));
	/* 50 ms each if no fence came */
	EXPECT(now_ms() - t < 200 * 50 / 2);
	EXPECT(s.dev.flushes >= 200);
	EXPECT(status_of(&s.dev).filtered_values >= 150);
}

static void answer_capset(struct vdev *dev, uint32_t type, void *resp,
			  uint32_t *len)
{
	struct virtio_gpu_resp_capset_info *capset = resp;

	(void)dev;
	if (type != VIRTIO_GPU_CMD_GET_CAPSET_INFO)
		return;
	capset->hdr.type = VIRTIO_GPU_RESP_OK_CAPSET_INFO;
	capset->capset_id = 1;
	capset->capset_max_size = 308;
	*len = sizeof(*capset);
}

static void start_virgl(const char *name)
{
	vdev_defaults(&create, &config, name);
	create.features |= 1ULL << VIRTIO_GPU_F_VIRGL;
	config.num_capsets = 1;
	s.dev.respond = answer_capset;
	serve_start(&s, &create, true);
}

#define BOUNCE		0x1000000	/* where the bounce slots begin */
#define SUBMITS		256
#define SUBMIT_BYTES	(4 << 20)

/* As many bounce pages as a client can ask for: none fails, all come back. */
static void test_many_submits(void)
{
	struct drm_virtgpu_execbuffer exec = { .size = SUBMIT_BYTES };
	struct virtio_loopback_status st;
	volatile uint8_t *early;
	uint8_t *command;
	char text[16];
	int card, i;

	start_virgl("submits");
	card = open_render(s.dev.index);
	EXPECT(card >= 0);
	command = mmap(NULL, SUBMIT_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(command != MAP_FAILED);
	memset(command, 0x5a, SUBMIT_BYTES);
	exec.command = (uintptr_t)command;
	s.dev.hold = true;
	/* looked at before there is anything */
	early = s.dev.window + BOUNCE + 3000 * 4096;
	EXPECT(!early[0]);
	for (i = 0; i < SUBMITS; i++)
		EXPECT(!ioctl(card, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec));
	EXPECT(WAIT_FOR(status_of(&s.dev).outstanding >= SUBMITS, 30000));
	st = status_of(&s.dev);
	EXPECT(st.bounce_used >= SUBMITS * (SUBMIT_BYTES / 4096));
	EXPECT(WAIT_FOR(early[0] == 0x5a && early[4095] == 0x5a, 1000));
	/* nobody answers: the session's end does */
	serve_stop(&s);
	close(s.dev.session);
	close(card);
	parent_attr(s.dev.index, "state", text, sizeof(text));
	EXPECT(!strcmp(text, "null"));
	close(s.dev.control);
	EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 30000));
}

const struct test driver_tests[] = {
	{ "events", test_events, 60 },
	{ "config_change", test_config_change, 60 },
	{ "frames", test_frames, 120 },
	{ "small_queues", test_small_queues, 60 },
	{ "rebind", test_rebind, 120 },
	{ "reset_timeout", test_reset_timeout, 60 },
	{ "reset_in_flight", test_reset_in_flight, 60 },
	{ "same_eventfd", test_same_eventfd, 60 },
	{ "closed_eventfds", test_closed_eventfds, 60 },
	{ "hostile_used", test_hostile_used, 60 },
	{ "lying_responses", test_lying_responses, 60 },
	{ "lying_fences", test_lying_fences, 60 },
	{ "many_submits", test_many_submits, 180 },
	{ 0 }
};
