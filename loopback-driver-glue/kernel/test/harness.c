// SPDX-License-Identifier: GPL-2.0
/* See harness.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <drm.h>
#include <drm_fourcc.h>
#include <drm_mode.h>

#include "harness.h"

void fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "  %s:%d: %s\n", file, line, what);
	_exit(1);
}

void fail_errno(const char *file, int line, const char *what, long ret,
		int got, int wanted)
{
	fprintf(stderr, "  %s:%d: %s: %ld (%s), wanted %s\n", file, line, what,
		ret, ret == -1 ? strerrorname_np(got) : "no error",
		strerrorname_np(wanted));
	_exit(1);
}

void sleep_ms(int ms)
{
	usleep(ms * 1000);
}

static void *serve_thread(void *arg)
{
	struct served *s = arg;

	s->result = vdev_serve(&s->dev, 3600 * 1000, &s->stop);
	return NULL;
}

void serve_resume(struct served *s)
{
	s->stop = 0;
	EXPECT(!pthread_create(&s->thread, NULL, serve_thread, s));
}

void serve_start(struct served *s, const struct virtio_loopback_create *create,
		 bool wait_card)
{
	if (vdev_open(&s->dev, create)) {
		perror("vdev_open");
		fail(__FILE__, __LINE__, "vdev_open");
	}
	serve_resume(s);
	if (wait_card)
		EXPECT(WAIT_FOR(card_number(s->dev.index, "card") >= 0, 20000));
}

void serve_stop(struct served *s)
{
	s->stop = 1;
	pthread_join(s->thread, NULL);
}

struct virtio_loopback_status status_of(struct vdev *dev)
{
	struct virtio_loopback_status st;

	EXPECT(!ioctl(dev->session, VIRTIO_LOOPBACK_STATUS, &st));
	return st;
}

static void parent_path(char *path, size_t size, uint32_t index,
			const char *rest)
{
	snprintf(path, size, "/sys/devices/platform/virtio-loopback.%u/%s",
		 index, rest);
}

void parent_attr(uint32_t index, const char *attr, char *buf, size_t size)
{
	char path[128];
	ssize_t n = 0;
	int fd;

	parent_path(path, sizeof(path), index, attr);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		n = read(fd, buf, size - 1);
		close(fd);
	}
	buf[n > 0 ? n : 0] = 0;
	buf[strcspn(buf, "\n")] = 0;
}

bool parent_exists(uint32_t index)
{
	char path[128];

	parent_path(path, sizeof(path), index, "");
	return !access(path, F_OK);
}

int count_parents(void)
{
	DIR *dir = opendir("/sys/devices/platform");
	struct dirent *entry;
	int n = 0;

	EXPECT(dir);
	while ((entry = readdir(dir)))
		n += !strncmp(entry->d_name, "virtio-loopback.", 16);
	closedir(dir);
	return n;
}

int card_number(uint32_t index, const char *kind)
{
	char path[128], node[300];
	struct dirent *entry;
	int number = -1;
	DIR *dir;

	parent_path(path, sizeof(path), index, "drm");
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, kind, strlen(kind))) {
			snprintf(node, sizeof(node), "/dev/dri/%s",
				 entry->d_name);
			if (!access(node, F_OK))
				number = atoi(entry->d_name + strlen(kind));
		}
	closedir(dir);
	return number;
}

static int open_node(uint32_t index, const char *kind)
{
	char path[64];
	int fd = -1;

	snprintf(path, sizeof(path), "/dev/dri/%s%d", kind,
		 card_number(index, kind));
	/* the node is there a moment before it can be opened */
	if (!WAIT_FOR((fd = open(path, O_RDWR | O_CLOEXEC)) >= 0, 2000))
		perror(path);
	return fd;
}

int open_card(uint32_t index)
{
	return open_node(index, "card");
}

int open_render(uint32_t index)
{
	return open_node(index, "renderD");
}

int open_vgem(void)
{
	struct drm_version version = { 0 };
	char path[64], name[8];
	int i, fd;

	for (i = 0; i < 64; i++) {
		snprintf(path, sizeof(path), "/dev/dri/card%d", i);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		memset(name, 0, sizeof(name));
		version.name = name;
		version.name_len = sizeof(name) - 1;
		if (!ioctl(fd, DRM_IOCTL_VERSION, &version) &&
		    !strcmp(name, "vgem"))
			return fd;
		close(fd);
	}
	return -1;
}

uint64_t some_buffer(struct vdev *dev)
{
	int i;

	for (i = 0; i < VDEV_RESOURCES; i++)
		if (dev->resources[i].id)
			return dev->resources[i].first.addr;
	return 0;
}

int dumb_create(struct dumb *d, int card, uint32_t width, uint32_t height)
{
	struct drm_mode_create_dumb create = {
		.width = width, .height = height, .bpp = 32,
	};
	struct drm_mode_map_dumb map = { 0 };

	memset(d, 0, sizeof(*d));
	if (ioctl(card, DRM_IOCTL_MODE_CREATE_DUMB, &create))
		return -1;
	d->fd = card;
	d->handle = create.handle;
	d->pitch = create.pitch;
	d->size = create.size;
	map.handle = d->handle;
	if (ioctl(card, DRM_IOCTL_MODE_MAP_DUMB, &map))
		return -1;
	d->pixels = mmap(NULL, d->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 card, map.offset);
	return d->pixels == MAP_FAILED ? -1 : 0;
}

void dumb_destroy(struct dumb *d)
{
	struct drm_mode_destroy_dumb destroy = { .handle = d->handle };

	munmap(d->pixels, d->size);
	if (d->fb)
		ioctl(d->fd, DRM_IOCTL_MODE_RMFB, &d->fb);
	ioctl(d->fd, DRM_IOCTL_MODE_DESTROY_DUMB, &destroy);
}

int dumb_show(struct dumb *d, uint32_t width, uint32_t height)
{
	struct drm_mode_fb_cmd2 fb = {
		.width = width, .height = height,
		.pixel_format = DRM_FORMAT_XRGB8888,
		.handles = { d->handle }, .pitches = { d->pitch },
	};
	struct drm_mode_card_res res = { 0 };
	struct drm_mode_get_connector conn = { 0 };
	struct drm_mode_modeinfo modes[64];
	struct drm_mode_crtc crtc = { 0 };
	uint32_t crtcs[16], connectors[16], i;

	if (ioctl(d->fd, DRM_IOCTL_MODE_ADDFB2, &fb))
		return -1;
	d->fb = fb.fb_id;
	res.count_crtcs = res.count_connectors = 16;
	res.crtc_id_ptr = (uintptr_t)crtcs;
	res.connector_id_ptr = (uintptr_t)connectors;
	if (ioctl(d->fd, DRM_IOCTL_MODE_GETRESOURCES, &res))
		return -1;
	conn.connector_id = connectors[0];
	if (ioctl(d->fd, DRM_IOCTL_MODE_GETCONNECTOR, &conn))
		return -1;
	conn.count_modes = conn.count_modes < 64 ? conn.count_modes : 64;
	conn.modes_ptr = (uintptr_t)modes;
	conn.count_props = conn.count_encoders = 0;
	if (ioctl(d->fd, DRM_IOCTL_MODE_GETCONNECTOR, &conn))
		return -1;
	for (i = 0; i < conn.count_modes; i++)
		if (modes[i].hdisplay == width && modes[i].vdisplay == height)
			break;
	if (i == conn.count_modes)
		return -1;
	crtc.crtc_id = crtcs[0];
	crtc.fb_id = d->fb;
	crtc.set_connectors_ptr = (uintptr_t)connectors;
	crtc.count_connectors = 1;
	crtc.mode = modes[i];
	crtc.mode_valid = 1;
	return ioctl(d->fd, DRM_IOCTL_MODE_SETCRTC, &crtc);
}

int dumb_dirty(struct dumb *d)
{
	struct drm_mode_fb_dirty_cmd dirty = { .fb_id = d->fb };

	return ioctl(d->fd, DRM_IOCTL_MODE_DIRTYFB, &dirty);
}

static uint32_t pattern(size_t i, uint32_t seed)
{
	return (uint32_t)i * 2654435761u ^ seed * 40503u ^ (uint32_t)(i >> 10);
}

void fill_pattern(uint32_t *words, size_t bytes, uint32_t seed)
{
	size_t i;

	for (i = 0; i < bytes / 4; i++)
		words[i] = pattern(i, seed);
}

bool has_pattern(const uint32_t *words, size_t bytes, uint32_t seed)
{
	size_t i;

	for (i = 0; i < bytes / 4; i++)
		if (words[i] != pattern(i, seed))
			return false;
	return true;
}

char process_state(int pid)
{
	char path[64], line[512] = "", *at;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	at = strrchr(line, ')');
	return at ? at[2] : 0;
}

/* Runs one test in a child. Returns whether it passed. */
static bool run(const struct test *test)
{
	long long end = now_ms() + test->seconds * 1000LL;
	int status = -1;
	pid_t pid;

	/* what the last test left is taken down still */
	WAIT_FOR(!count_parents(), 10000);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		test->run();
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (now_ms() > end) {
			printf("  %s: no end after %d s, state %c\n",
			       test->name, test->seconds, process_state(pid));
			kill(pid, SIGKILL);
			sleep(2);
			waitpid(pid, &status, WNOHANG);
			return false;
		}
		sleep_ms(2);
	}
	if (WIFSIGNALED(status))
		printf("  %s: signal %d\n", test->name, WTERMSIG(status));
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

int run_tests(const struct test *const *groups, const char *filter)
{
	unsigned int passed = 0, failed = 0;
	const struct test *test;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (; *groups; groups++)
		for (test = *groups; test->name; test++) {
			bool ok;

			if (filter && !strstr(test->name, filter))
				continue;
			ok = run(test);
			printf("%s %s\n", ok ? "pass" : "FAIL", test->name);
			passed += ok;
			failed += !ok;
		}
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
