/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device side of a loopback device, in C, for tests of the module. It
 * speaks just enough virtio-gpu that the driver probes, sets modes, draws and
 * waits for fences.
 */
#ifndef VDEV_H
#define VDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_gpu.h>
#include <linux/virtio_ring.h>

#include "../virtio_loopback.h"

#define VDEV_QUEUES	2
#define VDEV_RESOURCES	256

/* What a CREATE_BLOB said: where a resource's bytes are. */
struct vdev_resource {
	uint32_t id;
	uint32_t entries;
	struct virtio_gpu_mem_entry first;
	uint64_t size;
};

struct vdev_queue {
	struct virtio_loopback_queue_info info;
	struct vring ring;
	uint16_t seen;
	int kick;
	int call;
};

struct vdev {
	int control;
	int session;
	int memory;
	uint32_t index;
	uint8_t *window;
	uint64_t window_size;
	struct vdev_queue queues[VDEV_QUEUES];
	struct vdev_resource resources[VDEV_RESOURCES];
	struct virtio_loopback_event last_event;
	uint64_t features;
	bool live;
	bool verbose;
	/* behaviour that tests change */
	bool hold;		/* take commands, never answer */
	bool ignore_reset;	/* do not acknowledge */
	uint32_t restart;	/* OUTSTANDING action before the queues start */
	void (*respond)(struct vdev *dev, uint32_t type, void *resp,
			uint32_t *len);
	/* what was seen */
	unsigned int commands;
	unsigned int flushes;
	unsigned int resets;
	int restarted[VDEV_QUEUES];	/* what OUTSTANDING returned */
	struct virtio_gpu_resource_flush last_flush;
	struct virtio_gpu_set_scanout_blob last_scanout;
};

#define VDEV_FEATURES	(1ULL << VIRTIO_GPU_F_RESOURCE_BLOB | \
			 1ULL << 28 /* INDIRECT_DESC */ | \
			 1ULL << 29 /* EVENT_IDX */ | \
			 1ULL << 32 /* VERSION_1 */ | \
			 1ULL << 33 /* ACCESS_PLATFORM */)

/* A CREATE argument that is valid; tests change one field at a time. */
void vdev_defaults(struct virtio_loopback_create *create,
		   struct virtio_gpu_config *config, const char *name);

/* CREATE, ATTACH, eventfds and the window. Returns 0 or -1 with errno. */
int vdev_open(struct vdev *dev, const struct virtio_loopback_create *create);

/* The second part of that, with a control file that has a device. */
int vdev_attach(struct vdev *dev);

/* What vdev_attach() opened is closed. */
void vdev_detach(struct vdev *dev);

/* OUTSTANDING for all queues, which start anew if the driver runs. */
int vdev_restart(struct vdev *dev, uint32_t action);

/* The resource of the command at an entry of the control queue. */
uint32_t vdev_resource_at(struct vdev *dev, unsigned int entry);

/* Serves the device for @ms milliseconds or until *@stop. Returns -1 on error. */
int vdev_serve(struct vdev *dev, int ms, const volatile int *stop);

/* Closes what is open, the session first. */
void vdev_close(struct vdev *dev);

long long now_ms(void);

struct vdev_resource *vdev_resource(struct vdev *dev, uint32_t id);

#endif
