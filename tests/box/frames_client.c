// SPDX-License-Identifier: GPL-2.0
/*
 * frames_client CARD WIDTH HEIGHT SCREEN CRTC	shows a frame on the first
 *	connector of CARD, in its mode of this size, and as many more as each
 *	line of its standard input says, one page flip after the other, each as
 *	soon as the one before is said to be on the screen. A frame has its
 *	number's colour (frame_colour()) in its first and last STRIP rows, and
 *	black between. For each it prints the number, and how many vblanks the
 *	CRTC of the card SCREEN had had before the flip was asked for and when
 *	it was said to be done. It ends with its input.
 *
 * A buffer is drawn into when three others have been on the screen: vkms may
 * read one for its checksum when the next is there already, and waits for that
 * before it takes the third (stall_checks() in drm_atomic_helper.c).
 *
 * Exit code: 0 done, 1 a failure.
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

#define STRIP 16
#define COLOURS 64
#define BUFFERS 4
#define FLIP_TIMEOUT_MS 60000
#define START_TRIES 1000
#define START_TRY_US 10000

struct buffer {
	uint32_t handle, fb, pitch;
	uint64_t size;
	uint8_t *pixels;
};

static int card, screen;
static uint32_t screen_crtc;

static void die(const char *what)
{
	fprintf(stderr, "frames_client: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* XRGB8888. Known to scripts/guest/vblanks.py, too. */
static uint32_t frame_colour(unsigned int number)
{
	unsigned int index = number % COLOURS;

	return (index * 4) << 16 | (255 - index * 3) << 8 | (index ^ 0x2a);
}

static void make_buffer(struct buffer *buffer, uint32_t width, uint32_t height)
{
	uint64_t offset;

	if (drmModeCreateDumbBuffer(card, width, height, 32, 0, &buffer->handle,
				    &buffer->pitch, &buffer->size) ||
	    drmModeMapDumbBuffer(card, buffer->handle, &offset) ||
	    drmModeAddFB(card, width, height, 24, 32, buffer->pitch,
			 buffer->handle, &buffer->fb))
		die("no buffer");
	buffer->pixels = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE,
			      MAP_SHARED, card, (off_t)offset);
	if (buffer->pixels == MAP_FAILED)
		die("no memory");
	memset(buffer->pixels, 0, buffer->size);
}

static void draw_strip(const struct buffer *buffer, uint32_t width,
		       uint32_t first_row, uint32_t colour)
{
	uint32_t x, y;

	for (y = first_row; y < first_row + STRIP; y++) {
		uint32_t *row = (uint32_t *)(buffer->pixels + (size_t)y * buffer->pitch);

		for (x = 0; x < width; x++)
			row[x] = colour;
	}
}

static void draw(const struct buffer *buffer, const drmModeModeInfo *mode,
		 unsigned int number)
{
	uint32_t colour = frame_colour(number);

	draw_strip(buffer, mode->hdisplay, 0, colour);
	draw_strip(buffer, mode->hdisplay, mode->vdisplay - STRIP, colour);
}

/* The first connector, and its mode of this size. */
static drmModeConnector *find_connector(const drmModeRes *resources,
					uint32_t width, uint32_t height,
					drmModeModeInfo *mode)
{
	drmModeConnector *connector;
	int i;

	errno = ENXIO;
	connector = drmModeGetConnector(card, resources->connectors[0]);
	if (!connector)
		die("no connector");
	for (i = 0; i < connector->count_modes; i++) {
		*mode = connector->modes[i];
		if (mode->hdisplay == width && mode->vdisplay == height)
			return connector;
	}
	errno = ENXIO;
	die("no mode of this size");
	return NULL;
}

/* A CRTC that is off has none: it is on when the first frame is there. */
static uint64_t vblanks(void)
{
	uint64_t sequence;
	int tries;

	for (tries = 0; tries < START_TRIES; tries++) {
		if (!drmCrtcGetSequence(screen, screen_crtc, &sequence, NULL))
			return sequence;
		usleep(START_TRY_US);
	}
	die("no vblanks");
	return 0;
}

static void flip(uint32_t crtc, uint32_t fb)
{
	struct pollfd fds = { .fd = card, .events = POLLIN };
	char event[256];

	if (drmModePageFlip(card, crtc, fb, DRM_MODE_PAGE_FLIP_EVENT, NULL))
		die("cannot flip");
	errno = ETIMEDOUT;
	if (poll(&fds, 1, FLIP_TIMEOUT_MS) != 1 ||
	    read(card, event, sizeof(event)) < 0)
		die("the flip does not end");
}

/* Shows COUNT frames after frame NUMBER. Returns the last one's number. */
static unsigned int show(uint32_t crtc, const drmModeModeInfo *mode,
			 const struct buffer *buffers, unsigned int number,
			 unsigned int count)
{
	for (; count; count--) {
		const struct buffer *buffer = &buffers[++number % BUFFERS];
		uint64_t before;

		draw(buffer, mode, number);
		before = vblanks();
		flip(crtc, buffer->fb);
		printf("%u %llu %llu\n", number, (unsigned long long)before,
		       (unsigned long long)vblanks());
	}
	fflush(stdout);
	return number;
}

int main(int argc, char **argv)
{
	struct buffer buffers[BUFFERS];
	drmModeConnector *connector;
	drmModeRes *resources;
	drmModeModeInfo mode;
	unsigned int number, count;

	if (argc != 6) {
		fputs("frames_client CARD WIDTH HEIGHT SCREEN CRTC\n", stderr);
		return 2;
	}
	card = open(argv[1], O_RDWR | O_CLOEXEC);
	screen = open(argv[4], O_RDWR | O_CLOEXEC);
	if (card < 0 || screen < 0)
		die("cannot open the card");
	screen_crtc = strtoul(argv[5], NULL, 10);
	resources = drmModeGetResources(card);
	if (!resources || !resources->count_connectors || !resources->count_crtcs)
		die("no resources");
	connector = find_connector(resources, strtoul(argv[2], NULL, 10),
				   strtoul(argv[3], NULL, 10), &mode);
	for (number = 0; number < BUFFERS; number++)
		make_buffer(&buffers[number], mode.hdisplay, mode.vdisplay);
	number = 0;
	draw(&buffers[0], &mode, number);
	if (drmModeSetCrtc(card, resources->crtcs[0], buffers[0].fb, 0, 0,
			   &connector->connector_id, 1, &mode))
		die("cannot set the mode");
	while (scanf("%u", &count) == 1)
		number = show(resources->crtcs[0], &mode, buffers, number, count);
	return 0;
}
