// SPDX-License-Identifier: Apache-2.0
/*
 * Owns a card for another program, which it starts with the card at descriptor 7: as a lease of the first connected
 * connector with its CRTC and planes, or (--share) as the very same open file. Being the card's owner it can then see
 * what the program has scanned out, by the writeback connector, and take the card away.
 *
 * kms_owner [--share] CARD CONTROL -- PROGRAM ARGUMENT...
 *
 * CONTROL is a FIFO with a command on each line; the answer, "ok" or an error, goes to standard output:
 *
 *   capture FILE [N]  writes what is scanned out as PPM, on the first connected connector or Virtual-N
 *   drop, set       stops being the card's master, and is it again
 *   revoke          ends the lease
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <drm_fourcc.h>
#include <xf86drm.h>
#include <xf86drmMode.h>

/* Emulated, vkms takes a second for a frame, and sometimes it forgets to write one back. */
#define WRITEBACK_MS 10000
#define WRITEBACK_TRIES 4

static int card;
static uint32_t lessee;

/* What shows something: a connector, the CRTC that drives it, and the connector that writes back what that shows. */
struct pipe {
	uint32_t connector, crtc, writeback;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint32_t property(uint32_t object, uint32_t type, const char *name)
{
	drmModeObjectProperties *properties = drmModeObjectGetProperties(card, object, type);
	uint32_t id = 0;

	for (uint32_t i = 0; properties && i < properties->count_props; i++) {
		drmModePropertyRes *found = drmModeGetProperty(card, properties->props[i]);

		if (found && !strcmp(found->name, name))
			id = found->prop_id;
		drmModeFreeProperty(found);
	}
	drmModeFreeObjectProperties(properties);
	return id;
}

/* The CRTC that drives a connector, by its place among the card's, or the first that could. */
static int crtc_index(const drmModeRes *resources, const drmModeConnector *found)
{
	drmModeEncoder *encoder = drmModeGetEncoder(card, found->encoder_id ? found->encoder_id : found->encoders[0]);
	int index = encoder ? ffs((int)encoder->possible_crtcs) - 1 : 0;

	for (int i = 0; encoder && i < resources->count_crtcs; i++)
		if (resources->crtcs[i] == encoder->crtc_id)
			index = i;
	drmModeFreeEncoder(encoder);
	return index;
}

/* Finds the connector of this number in its name, or for 0 the first that is connected. */
static int find_pipe(uint32_t number, struct pipe *pipe)
{
	drmModeRes *resources = drmModeGetResources(card);
	int index = -1;

	memset(pipe, 0, sizeof(*pipe));
	if (!resources)
		return -errno;
	/* Writeback connectors come before the others or after them, by version. */
	for (int i = 0; i < resources->count_connectors; i++) {
		drmModeConnector *found = drmModeGetConnector(card, resources->connectors[i]);
		bool is_it = number ? found->connector_type_id == number : found->connection == DRM_MODE_CONNECTED;

		if (found->connector_type != DRM_MODE_CONNECTOR_WRITEBACK && is_it && !pipe->connector) {
			pipe->connector = found->connector_id;
			index = crtc_index(resources, found);
		}
		drmModeFreeConnector(found);
	}
	for (int i = 0; i < resources->count_connectors; i++) {
		drmModeConnector *found = drmModeGetConnector(card, resources->connectors[i]);

		if (found->connector_type == DRM_MODE_CONNECTOR_WRITEBACK && !pipe->writeback) {
			drmModeEncoder *encoder = drmModeGetEncoder(card, found->encoders[0]);

			if (index >= 0 && encoder->possible_crtcs & 1u << index)
				pipe->writeback = found->connector_id;
			drmModeFreeEncoder(encoder);
		}
		drmModeFreeConnector(found);
	}
	if (index >= 0 && index < resources->count_crtcs)
		pipe->crtc = resources->crtcs[index];
	drmModeFreeResources(resources);
	return pipe->connector && pipe->crtc && pipe->writeback ? 0 : -ENXIO;
}

static int lease(void)
{
	drmModePlaneRes *planes = drmModeGetPlaneResources(card);
	struct pipe pipe;
	uint32_t objects[16];
	int count = 0, fd;

	if (find_pipe(0, &pipe))
		die("no connector or no writeback connector");
	objects[count++] = pipe.connector;
	objects[count++] = pipe.crtc;
	for (uint32_t i = 0; i < planes->count_planes && count < 16; i++)
		objects[count++] = planes->planes[i];
	fd = drmModeCreateLease(card, objects, count, O_CLOEXEC, &lessee);
	if (fd < 0)
		die("lease");
	return fd;
}

struct buffer {
	uint32_t handle, pitch, framebuffer;
	uint64_t size;
	uint8_t *pixels;
};

static int make_buffer(struct buffer *buffer, uint32_t width, uint32_t height)
{
	uint32_t handles[4] = { 0 }, pitches[4] = { 0 }, offsets[4] = { 0 };
	uint64_t offset;
	int ret;

	ret = drmModeCreateDumbBuffer(card, width, height, 32, 0, &buffer->handle, &buffer->pitch, &buffer->size);
	if (ret)
		return ret;
	handles[0] = buffer->handle;
	pitches[0] = buffer->pitch;
	ret = drmModeAddFB2(card, width, height, DRM_FORMAT_XRGB8888, handles, pitches, offsets, &buffer->framebuffer, 0);
	if (!ret)
		ret = drmModeMapDumbBuffer(card, buffer->handle, &offset);
	if (ret)
		return ret;
	buffer->pixels = mmap(NULL, buffer->size, PROT_READ, MAP_SHARED, card, offset);
	return buffer->pixels == MAP_FAILED ? -errno : 0;
}

static int write_picture(const char *path, const struct buffer *buffer, uint32_t width, uint32_t height)
{
	FILE *file = fopen(path, "wb");

	if (!file)
		return -errno;
	fprintf(file, "P6\n%u %u\n255\n", width, height);
	for (uint32_t y = 0; y < height; y++) {
		for (uint32_t x = 0; x < width; x++) {
			const uint8_t *pixel = buffer->pixels + (size_t)y * buffer->pitch + 4 * x;

			fputc(pixel[2], file);
			fputc(pixel[1], file);
			fputc(pixel[0], file);
		}
	}
	return fclose(file) ? -errno : 0;
}

/*
 * Has the CRTC drive the writeback connector instead of the other one for a frame: it drives no two at once
 * (drm_atomic_check_valid_clones()). What is on its planes stays as it is.
 */
static int capture(const char *path, const struct pipe *pipe)
{
	uint32_t connector = pipe->connector, crtc = pipe->crtc, writeback = pipe->writeback;
	drmModeCrtc *state = drmModeGetCrtc(card, crtc);
	drmModeAtomicReq *request = drmModeAtomicAlloc();
	uint32_t crtc_id = property(writeback, DRM_MODE_OBJECT_CONNECTOR, "CRTC_ID");
	int back;
	struct buffer buffer = { 0 };
	int32_t fence = -1;
	int ret = -ENOENT;

	if (!state || !state->mode_valid)
		goto out;
	ret = make_buffer(&buffer, state->mode.hdisplay, state->mode.vdisplay);
	if (ret)
		goto out;
	drmModeAtomicAddProperty(request, connector, crtc_id, 0);
	drmModeAtomicAddProperty(request, writeback, crtc_id, crtc);
	drmModeAtomicAddProperty(request, writeback,
				 property(writeback, DRM_MODE_OBJECT_CONNECTOR, "WRITEBACK_FB_ID"), buffer.framebuffer);
	drmModeAtomicAddProperty(request, writeback,
				 property(writeback, DRM_MODE_OBJECT_CONNECTOR, "WRITEBACK_OUT_FENCE_PTR"),
				 (uintptr_t)&fence);
	ret = drmModeAtomicCommit(card, request, DRM_MODE_ATOMIC_ALLOW_MODESET, NULL);
	if (ret)
		goto out;
	if (poll(&(struct pollfd){ .fd = fence, .events = POLLIN }, 1, WRITEBACK_MS) != 1)
		ret = -ETIMEDOUT;
	close(fence);
	if (!ret)
		ret = write_picture(path, &buffer, state->mode.hdisplay, state->mode.vdisplay);
	drmModeAtomicFree(request);
	request = drmModeAtomicAlloc();
	drmModeAtomicAddProperty(request, writeback, crtc_id, 0);
	drmModeAtomicAddProperty(request, connector, crtc_id, crtc);
	back = drmModeAtomicCommit(card, request, DRM_MODE_ATOMIC_ALLOW_MODESET, NULL);
	ret = ret ? ret : back;
out:
	drmModeAtomicFree(request);
	drmModeFreeCrtc(state);
	if (buffer.pixels)
		munmap(buffer.pixels, buffer.size);
	if (buffer.framebuffer)
		drmModeRmFB(card, buffer.framebuffer);
	if (buffer.handle)
		drmModeDestroyDumbBuffer(card, buffer.handle);
	return ret;
}

static int command(char *line)
{
	line[strcspn(line, "\n")] = 0;
	if (!strncmp(line, "capture ", 8)) {
		char *path = strtok(line + 8, " "), *number = strtok(NULL, " ");
		struct pipe pipe;
		int ret = find_pipe(number ? (uint32_t)atoi(number) : 0, &pipe);

		if (ret)
			return ret;
		ret = -ETIMEDOUT;
		for (int i = 0; i < WRITEBACK_TRIES && ret == -ETIMEDOUT; i++)
			ret = capture(path, &pipe);
		return ret;
	}
	if (!strcmp(line, "drop"))
		return drmDropMaster(card) ? -errno : 0;
	if (!strcmp(line, "set"))
		return drmSetMaster(card) ? -errno : 0;
	if (!strcmp(line, "revoke"))
		return drmModeRevokeLease(card, lessee);
	return -EINVAL;
}

int main(int argc, char **argv)
{
	bool share = argc > 1 && !strcmp(argv[1], "--share");
	char line[256];
	pid_t child;
	FILE *control;
	int fd;

	argv += share;
	argc -= share;
	if (argc < 5 || strcmp(argv[3], "--")) {
		fprintf(stderr, "kms_owner [--share] CARD CONTROL -- PROGRAM ARGUMENT...\n");
		return 2;
	}
	card = open(argv[1], O_RDWR | O_CLOEXEC);
	if (card < 0 || drmSetClientCap(card, DRM_CLIENT_CAP_ATOMIC, 1) ||
	    drmSetClientCap(card, DRM_CLIENT_CAP_WRITEBACK_CONNECTORS, 1))
		die(argv[1]);
	fd = share ? card : lease();
	child = fork();
	if (child == 0) {
		dup2(fd, 7);
		execvp(argv[4], argv + 4);
		die(argv[4]);
	}
	if (fd != card)
		close(fd);
	/* Read and write: it never ends. */
	control = fopen(argv[2], "r+");
	if (!control)
		die(argv[2]);
	signal(SIGCHLD, SIG_DFL);
	while (fgets(line, sizeof(line), control)) {
		int ret = command(line);

		printf("%s\n", ret ? strerror(-ret) : "ok");
		fflush(stdout);
		if (waitpid(child, NULL, WNOHANG) == child)
			break;
	}
	return 0;
}
