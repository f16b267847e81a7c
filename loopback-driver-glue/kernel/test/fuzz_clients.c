// SPDX-License-Identifier: GPL-2.0
/*
 * What goes on beside the calls: clients that draw, and drivers that come and
 * go. See fuzz.h.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <drm.h>
#include <drm_mode.h>
#include <virtgpu_drm.h>

#include "harness.h"
#include "fuzz.h"

/* The Nth entry below @dir that begins with @prefix, for a random N. */
static bool some_entry(struct rng *r, const char *path, const char *prefix,
		       char *name, size_t size)
{
	struct dirent *entry;
	DIR *dir = opendir(path);
	uint32_t seen = 0;

	if (!dir)
		return false;
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, prefix, strlen(prefix)) &&
		    !below(r, ++seen))
			snprintf(name, size, "%.60s", entry->d_name);
	closedir(dir);
	return seen;
}

/* A card whose gate we have passed. */
static int some_card(struct rng *r, struct gate **gate)
{
	char parent[64], node[64], path[200];
	unsigned int index;
	int fd = -1;

	if (!some_entry(r, "/sys/devices/platform", "virtio-loopback.", parent,
			sizeof(parent)))
		return -1;
	index = atoi(parent + strlen("virtio-loopback."));
	if (index >= GATES)
		return -1;
	*gate = &shared->gates[index];
	atomic_fetch_add(&(*gate)->inside, 1);
	snprintf(path, sizeof(path), "/sys/devices/platform/%s/drm", parent);
	if (atomic_load(&(*gate)->open) &&
	    some_entry(r, path, below(r, 3) ? "card" : "renderD", node,
		       sizeof(node))) {
		snprintf(path, sizeof(path), "/dev/dri/%s", node);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (fd < 0)
		atomic_fetch_sub(&(*gate)->inside, 1);
	return fd;
}

static void submit(struct rng *r, int card)
{
	static uint8_t command[1 << 18];
	struct drm_virtgpu_execbuffer exec = {
		.size = below(r, 4) ? below(r, 512) * 4 :
				      below(r, sizeof(command)),
		.command = (uintptr_t)command,
	};

	memset(command, 0x5a, below(r, sizeof(command)));
	ioctl(card, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec);
}

static void flip(struct rng *r, struct dumb *d)
{
	struct drm_mode_card_res res = { 0 };
	struct drm_mode_crtc_page_flip page_flip = { .fb_id = d->fb };
	struct drm_mode_cursor cursor = {
		.flags = 1 + below(r, 2), .width = 64, .height = 64,
		.handle = d->handle, .x = below(r, 100), .y = below(r, 100),
	};
	uint32_t crtcs[16];

	res.count_crtcs = 16;
	res.crtc_id_ptr = (uintptr_t)crtcs;
	if (ioctl(d->fd, DRM_IOCTL_MODE_GETRESOURCES, &res) || !res.count_crtcs)
		return;
	page_flip.crtc_id = cursor.crtc_id = crtcs[0];
	if (below(r, 2))
		ioctl(d->fd, DRM_IOCTL_MODE_PAGE_FLIP, &page_flip);
	else
		ioctl(d->fd, DRM_IOCTL_MODE_CURSOR, &cursor);
}

/* A buffer that goes to and fro between processes and drivers. */
static void share(struct rng *r, struct dumb *d)
{
	struct drm_prime_handle prime = {
		.handle = d->handle, .flags = O_RDWR | O_CLOEXEC,
	};

	if (ioctl(d->fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime))
		return;
	if (below(r, 2))
		ioctl(d->fd, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime);
	close(prime.fd);
}

#define BUFFERS	4

/* What sysfs says of a device. */
static void ask_sysfs(struct rng *r)
{
	static const char *const attrs[] = { "name", "state", "modalias" };
	char text[64];

	parent_attr(below(r, 8), attrs[below(r, 3)], text, sizeof(text));
}

/* Some work on one open card, as long as @open. */
static void use_card(struct rng *r, int card, const atomic_bool *open)
{
	struct dumb d[BUFFERS] = { 0 }, *one;
	int steps = below(r, 200);

	while (steps-- && atomic_load(open)) {
		one = &d[below(r, BUFFERS)];
		if (!one->pixels) {
			uint32_t big = below(r, 4);

			if (dumb_create(one, card, big ? 64 + below(r, 64) : 1024,
					big ? 64 : 768)) {
				one->pixels = NULL;
				break;
			}
			fill_pattern(one->pixels, one->size, rnd(r));
			if (!big)
				dumb_show(one, 1024, 768);
			continue;
		}
		switch (below(r, 8)) {
		case 0:
			dumb_destroy(one);
			one->pixels = NULL;
			/* the driver gives the pages back a little later */
			usleep(below(r, 4000));
			hoard_once(shared->secret, 128 * PAGE);
			break;
		case 1:
			submit(r, card);
			break;
		case 2:
			flip(r, one);
			break;
		case 3:
			share(r, one);
			break;
		case 4:
			usleep(below(r, 3000));
			break;
		default:
			one->pixels[below(r, one->size / 4)] = rnd(r);
			dumb_dirty(one);
		}
	}
	for (one = d; one < d + BUFFERS; one++)
		if (one->pixels) {
			if (below(r, 2))
				dumb_destroy(one);
			else
				munmap(one->pixels, one->size);
		}
}

void drawing_client(uint64_t seed)
{
	struct rng r = rng_of(seed, 100);
	struct gate *gate;

	for (;;) {
		int card = some_card(&r, &gate);

		ask_sysfs(&r);
		if (card >= 0) {
			use_card(&r, card, &gate->open);
			close(card);
			atomic_fetch_sub(&gate->inside, 1);
		}
		usleep(below(&r, 20000));
	}
}

void binder(uint64_t seed, uint32_t keeper)
{
	struct rng r = rng_of(seed, 300);
	char spared[64];

	snprintf(spared, sizeof(spared), "virtio-loopback.%u", keeper);
	for (;;) {
		char parent[64], name[64], path[200];
		int fd;

		usleep(below(&r, 100000));
		if (!some_entry(&r, "/sys/devices/platform", "virtio-loopback.",
				parent, sizeof(parent)) ||
		    !strcmp(parent, spared))
			continue;
		snprintf(path, sizeof(path), "/sys/devices/platform/%s", parent);
		if (!some_entry(&r, path, "virtio", name, sizeof(name)))
			continue;
		fd = open(below(&r, 2) ?
			  "/sys/bus/virtio/drivers/virtio_gpu/unbind" :
			  "/sys/bus/virtio/drivers/virtio_gpu/bind",
			  O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		/* fails if the device has gone, or has a driver or none */
		if (write(fd, name, strlen(name)) < 0)
			usleep(1000);
		close(fd);
	}
}
