// SPDX-License-Identifier: GPL-2.0
/* device [--name NAME] [--seconds S]: a test device until the time is over. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vdev.h"

static volatile int stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

static void report(struct vdev *dev)
{
	struct virtio_loopback_status st;
	struct vdev_resource *res = vdev_resource(dev, dev->last_flush.resource_id);

	printf("commands %u, flushes %u\n", dev->commands, dev->flushes);
	if (dev->flushes && res->id) {
		const uint32_t *px = (void *)(dev->window + res->first.addr);
		unsigned int w = dev->last_scanout.width;
		unsigned int h = dev->last_scanout.height;

		printf("scanout %ux%u: %08x %08x %08x\n", w, h, px[0],
		       px[h / 2 * w + w / 2], px[h * w - 1]);
	}
	if (ioctl(dev->session, VIRTIO_LOOPBACK_STATUS, &st))
		return;
	printf("bounce %u of %u pages, objects %u with %llu pages, faults %llu, stale %llu, bad used %llu\n",
	       st.bounce_used, st.bounce_pages, st.objects,
	       (unsigned long long)st.object_pages,
	       (unsigned long long)st.faults,
	       (unsigned long long)st.stale_faults,
	       (unsigned long long)st.bad_used);
}

int main(int argc, char **argv)
{
	struct virtio_loopback_create create;
	struct virtio_gpu_config config;
	static struct vdev dev;
	const char *name = "test";
	int seconds = 3600, i;

	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--name"))
			name = argv[i + 1];
		else if (!strcmp(argv[i], "--seconds"))
			seconds = atoi(argv[i + 1]);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	vdev_defaults(&create, &config, name);
	dev.verbose = true;
	if (vdev_open(&dev, &create)) {
		perror("device");
		return 1;
	}
	if (vdev_serve(&dev, seconds * 1000, &stop))
		perror("serve");
	report(&dev);
	vdev_close(&dev);
	return 0;
}
