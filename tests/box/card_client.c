// SPDX-License-Identifier: GPL-2.0
/*
 * card_client CARD show COLOUR [RATE]	shows one colour (RRGGBB) on the first
 *	connector, with a page flip RATE times per second, until its standard
 *	input ends. Prints "shown" when the first picture is there.
 * card_client CARD cursor COLOUR X Y	shows 202020 and on it a 64x64 cursor of
 *	one colour. A line "X Y" of its standard input moves the cursor, "hide"
 *	hides it; each is answered with the same line. It ends with its input.
 * card_client CARD buffers COUNT WIDTH HEIGHT	makes dumb buffers, writes every
 *	pixel of each, reads all of them again when the last one is there, and
 *	prints how many there are. Fewer than COUNT are no failure.
 *
 * Exit code: 0 done, 1 a failure, 3 the card has gone.
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

#define FLIP_TIMEOUT_MS 60000
#define CURSOR_SIZE 64

struct buffer {
	uint32_t handle, fb, pitch;
	uint64_t size;
	uint8_t *pixels;
};

struct output {
	uint32_t connector, crtc;
	drmModeModeInfo mode;
};

static int failed(const char *what)
{
	int err = errno;

	fprintf(stderr, "card_client: %s: %s\n", what, strerror(err));
	return err == ENODEV || err == EIO || err == ENXIO ? 3 : 1;
}

static int make_buffer(int card, uint32_t width, uint32_t height,
		       struct buffer *buffer)
{
	uint64_t offset;

	if (drmModeCreateDumbBuffer(card, width, height, 32, 0, &buffer->handle,
				    &buffer->pitch, &buffer->size) ||
	    drmModeMapDumbBuffer(card, buffer->handle, &offset))
		return -1;
	buffer->pixels = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE,
			      MAP_SHARED, card, (off_t)offset);
	return buffer->pixels == MAP_FAILED ? -1 : 0;
}

static void fill(struct buffer *buffer, uint32_t value)
{
	uint32_t *pixels = (uint32_t *)buffer->pixels;
	uint64_t i;

	for (i = 0; i < buffer->size / 4; i++)
		pixels[i] = value;
}

static int is_filled(const struct buffer *buffer, uint32_t value)
{
	const uint32_t *pixels = (const uint32_t *)buffer->pixels;
	uint64_t i;

	for (i = 0; i < buffer->size / 4; i++)
		if (pixels[i] != value)
			return 0;
	return 1;
}

static int find_output(int card, struct output *output)
{
	drmModeRes *resources = drmModeGetResources(card);
	drmModeConnector *connector;

	if (!resources)
		return -1;
	errno = ENXIO;
	if (!resources->count_connectors || !resources->count_crtcs)
		return -1;
	connector = drmModeGetConnector(card, resources->connectors[0]);
	if (!connector)
		return -1;
	errno = ENXIO;
	if (!connector->count_modes)
		return -1;
	output->connector = connector->connector_id;
	output->crtc = resources->crtcs[0];
	output->mode = connector->modes[0];
	drmModeFreeConnector(connector);
	drmModeFreeResources(resources);
	return 0;
}

static int flip(int card, uint32_t crtc, uint32_t fb)
{
	struct pollfd fds = { .fd = card, .events = POLLIN };
	char event[256];

	if (drmModePageFlip(card, crtc, fb, DRM_MODE_PAGE_FLIP_EVENT, NULL))
		return -1;
	errno = ETIMEDOUT;
	if (poll(&fds, 1, FLIP_TIMEOUT_MS) != 1)
		return -1;
	return read(card, event, sizeof(event)) < 0 ? -1 : 0;
}

static int show(int card, uint32_t colour, int rate)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	struct buffer buffers[2] = { 0 };
	struct output output;
	unsigned int i;

	if (find_output(card, &output))
		return failed("no output");
	for (i = 0; i < 2; i++) {
		if (make_buffer(card, output.mode.hdisplay,
				output.mode.vdisplay, &buffers[i]) ||
		    drmModeAddFB(card, output.mode.hdisplay,
				 output.mode.vdisplay, 24, 32, buffers[i].pitch,
				 buffers[i].handle, &buffers[i].fb))
			return failed("no buffer");
		fill(&buffers[i], colour);
	}
	if (drmModeSetCrtc(card, output.crtc, buffers[0].fb, 0, 0,
			   &output.connector, 1, &output.mode))
		return failed("cannot set the mode");
	puts("shown");
	fflush(stdout);
	for (i = 1; poll(&input, 1, rate ? 1000 / rate : -1) == 0; i ^= 1)
		if (flip(card, output.crtc, buffers[i].fb))
			return failed("cannot flip");
	return 0;
}

static int show_cursor(int card, uint32_t colour, int x, int y)
{
	struct buffer screen = { 0 }, cursor = { 0 };
	struct output output;
	char line[64];

	if (find_output(card, &output))
		return failed("no output");
	if (make_buffer(card, output.mode.hdisplay, output.mode.vdisplay,
			&screen) ||
	    drmModeAddFB(card, output.mode.hdisplay, output.mode.vdisplay, 24,
			 32, screen.pitch, screen.handle, &screen.fb) ||
	    make_buffer(card, CURSOR_SIZE, CURSOR_SIZE, &cursor))
		return failed("no buffer");
	fill(&screen, 0x202020);
	fill(&cursor, 0xff000000 | colour);
	if (drmModeSetCrtc(card, output.crtc, screen.fb, 0, 0,
			   &output.connector, 1, &output.mode))
		return failed("cannot set the mode");
	if (drmModeSetCursor(card, output.crtc, cursor.handle, CURSOR_SIZE,
			     CURSOR_SIZE) ||
	    drmModeMoveCursor(card, output.crtc, x, y))
		return failed("no cursor");
	puts("shown");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "hide\n")) {
			if (drmModeSetCursor(card, output.crtc, 0, 0, 0))
				return failed("cannot hide the cursor");
		} else if (sscanf(line, "%d %d", &x, &y) != 2 ||
			   drmModeMoveCursor(card, output.crtc, x, y)) {
			return failed("cannot move the cursor");
		}
		fputs(line, stdout);
		fflush(stdout);
	}
	return 0;
}

static int make_buffers(int card, unsigned int count, uint32_t width,
			uint32_t height)
{
	struct buffer *buffers = calloc(count, sizeof(*buffers));
	unsigned int made, i;

	if (!buffers)
		return failed("no memory");
	for (made = 0; made < count; made++) {
		if (make_buffer(card, width, height, &buffers[made]))
			break;
		fill(&buffers[made], made + 1);
	}
	if (made < count)
		fprintf(stderr, "card_client: after %u buffers: %s\n", made,
			strerror(errno));
	for (i = 0; i < made; i++)
		if (!is_filled(&buffers[i], i + 1)) {
			fprintf(stderr, "card_client: buffer %u is damaged\n", i);
			return 1;
		}
	printf("%u\n", made);
	return 0;
}

int main(int argc, char **argv)
{
	int card;

	if (argc < 4) {
		fprintf(stderr, "usage: card_client CARD show|cursor|buffers ...\n");
		return 2;
	}
	card = open(argv[1], O_RDWR | O_CLOEXEC);
	if (card < 0)
		return failed(argv[1]);
	if (!strcmp(argv[2], "show"))
		return show(card, (uint32_t)strtoul(argv[3], NULL, 16),
			    argc > 4 ? atoi(argv[4]) : 0);
	if (!strcmp(argv[2], "cursor") && argc == 6)
		return show_cursor(card, (uint32_t)strtoul(argv[3], NULL, 16),
				   atoi(argv[4]), atoi(argv[5]));
	if (!strcmp(argv[2], "buffers") && argc == 6)
		return make_buffers(card, (unsigned int)atoi(argv[3]),
				    (uint32_t)atoi(argv[4]),
				    (uint32_t)atoi(argv[5]));
	fprintf(stderr, "usage: card_client CARD show|cursor|buffers ...\n");
	return 2;
}
