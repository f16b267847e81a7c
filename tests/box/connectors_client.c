// SPDX-License-Identifier: GPL-2.0
/*
 * connectors_client CARD COLOUR...	shows the first colour (RRGGBB) on the
 *	first connector, the second on the second, and so on, with a page flip
 *	20 times per second each. A connector that loses its monitor or gets
 *	another one is followed, as a compositor does. Ends when it is killed.
 *
 * Prints a line "CONNECTOR WIDTHxHEIGHT" or "CONNECTOR off" at each change,
 * CONNECTOR counted from 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>
#include <xf86drmMode.h>

#define RATE 20
#define FLIP_TIMEOUT_MS 60000
#define MAX_OUTPUTS 16

struct buffer {
	uint32_t handle, fb, pitch;
	uint64_t size;
};

struct output {
	uint32_t connector, crtc, colour;
	drmModeModeInfo mode;
	int is_on, front;
	struct buffer buffers[2];
};

static int card, flips;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void make_buffer(struct buffer *buffer, const drmModeModeInfo *mode, uint32_t colour)
{
	uint64_t offset, i;
	uint32_t *pixels;

	if (drmModeCreateDumbBuffer(card, mode->hdisplay, mode->vdisplay, 32, 0, &buffer->handle, &buffer->pitch,
				    &buffer->size) ||
	    drmModeMapDumbBuffer(card, buffer->handle, &offset) ||
	    drmModeAddFB(card, mode->hdisplay, mode->vdisplay, 24, 32, buffer->pitch, buffer->handle, &buffer->fb))
		die("buffer");
	pixels = mmap(NULL, buffer->size, PROT_WRITE, MAP_SHARED, card, (off_t)offset);
	if (pixels == MAP_FAILED)
		die("mmap");
	for (i = 0; i < buffer->size / 4; i++)
		pixels[i] = colour;
	munmap(pixels, buffer->size);
}

static void switch_off(struct output *output)
{
	int i;

	if (!output->is_on)
		return;
	if (drmModeSetCrtc(card, output->crtc, 0, 0, 0, NULL, 0, NULL))
		die("switch off");
	for (i = 0; i < 2; i++) {
		drmModeRmFB(card, output->buffers[i].fb);
		drmModeDestroyDumbBuffer(card, output->buffers[i].handle);
	}
	output->is_on = 0;
}

static void switch_on(struct output *output, const drmModeModeInfo *mode)
{
	int i;

	output->mode = *mode;
	for (i = 0; i < 2; i++)
		make_buffer(&output->buffers[i], mode, output->colour);
	if (drmModeSetCrtc(card, output->crtc, output->buffers[0].fb, 0, 0, &output->connector, 1, &output->mode))
		die("mode");
	output->front = 0;
	output->is_on = 1;
}

/* Looks at the connector's monitor, and draws on that. */
static void follow(struct output *output, int number)
{
	drmModeConnector *connector = drmModeGetConnector(card, output->connector);
	int is_there;

	if (!connector)
		die("connector");
	is_there = connector->connection == DRM_MODE_CONNECTED && connector->count_modes;
	if (!is_there && output->is_on) {
		switch_off(output);
		printf("%d off\n", number);
	} else if (is_there &&
		   (!output->is_on || connector->modes[0].hdisplay != output->mode.hdisplay ||
		    connector->modes[0].vdisplay != output->mode.vdisplay)) {
		switch_off(output);
		switch_on(output, &connector->modes[0]);
		printf("%d %dx%d\n", number, output->mode.hdisplay, output->mode.vdisplay);
	}
	fflush(stdout);
	drmModeFreeConnector(connector);
}

static void flipped(int fd, unsigned int frame, unsigned int sec, unsigned int usec, void *data)
{
	(void)fd, (void)frame, (void)sec, (void)usec, (void)data;
	flips--;
}

static void flip(struct output *output)
{
	if (!output->is_on)
		return;
	output->front ^= 1;
	if (drmModePageFlip(card, output->crtc, output->buffers[output->front].fb, DRM_MODE_PAGE_FLIP_EVENT, NULL))
		die("flip");
	flips++;
}

int main(int argc, char **argv)
{
	struct output outputs[MAX_OUTPUTS] = { 0 };
	drmEventContext events = { .version = 2, .page_flip_handler = flipped };
	drmModeRes *resources;
	int count = argc - 2, i;

	if (argc < 3 || count > MAX_OUTPUTS) {
		fprintf(stderr, "usage: connectors_client CARD COLOUR...\n");
		return 2;
	}
	card = open(argv[1], O_RDWR | O_CLOEXEC);
	if (card < 0)
		die(argv[1]);
	resources = drmModeGetResources(card);
	if (!resources || resources->count_connectors < count || resources->count_crtcs < count)
		die("not as many connectors");
	for (i = 0; i < count; i++) {
		/* virtio-gpu's connectors have a CRTC each. */
		outputs[i].connector = resources->connectors[i];
		outputs[i].crtc = resources->crtcs[i];
		outputs[i].colour = (uint32_t)strtoul(argv[2 + i], NULL, 16);
	}
	drmModeFreeResources(resources);
	for (;;) {
		for (i = 0; i < count; i++)
			follow(&outputs[i], i + 1);
		for (i = 0; i < count; i++)
			flip(&outputs[i]);
		while (flips) {
			if (poll(&(struct pollfd){ .fd = card, .events = POLLIN }, 1, FLIP_TIMEOUT_MS) != 1)
				die("no flip");
			drmHandleEvent(card, &events);
		}
		usleep(1000000 / RATE);
	}
}
