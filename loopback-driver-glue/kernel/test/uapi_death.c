// SPDX-License-Identifier: GPL-2.0
/* Whoever dies when: no task hangs, nothing leaks, the module unloads. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "harness.h"

static struct virtio_loopback_create create;
static struct virtio_gpu_config config;

/* A device side in a process of its own. Tells its index through a pipe. */
static pid_t device_process(const char *name, uint32_t *index, bool hold)
{
	static struct served s;
	int fds[2];
	pid_t pid;

	EXPECT(!pipe(fds));
	pid = fork();
	if (!pid) {
		vdev_defaults(&create, &config, name);
		serve_start(&s, &create, true);
		s.dev.hold = hold;
		if (write(fds[1], &s.dev.index, 4) != 4)
			_exit(1);
		pause();
	}
	EXPECT(read(fds[0], index, 4) == 4);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

/* Draws until the card fails. */
static pid_t drawing_client(uint32_t index)
{
	int fds[2];
	char byte;
	pid_t pid;

	EXPECT(!pipe(fds));
	pid = fork();
	if (!pid) {
		int card = open_card(index);
		struct dumb d, other;

		EXPECT(card >= 0);
		EXPECT(!dumb_create(&d, card, 1024, 768));
		EXPECT(!dumb_show(&d, 1024, 768));
		EXPECT(write(fds[1], "x", 1) == 1);
		while (!dumb_dirty(&d)) {
			d.pixels[0]++;
			if (dumb_create(&other, card, 128, 128))
				break;
			dumb_destroy(&other);
		}
		_exit(0);
	}
	close(fds[1]);
	EXPECT(read(fds[0], &byte, 1) == 1);
	close(fds[0]);
	return pid;
}

static bool ends_within(pid_t pid, int ms)
{
	int status;

	return WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid, ms);
}

static void kill_device_side(int after_ms, int sig)
{
	uint32_t index;
	pid_t device = device_process("mortal", &index, false);
	pid_t client = drawing_client(index);

	sleep_ms(after_ms);
	EXPECT(process_state(client) != 'Z');
	kill(device, sig);
	EXPECT(ends_within(device, 5000));
	/* the device goes away, and with it the client's card */
	EXPECT(WAIT_FOR(!parent_exists(index), 10000));
	kill(client, SIGKILL);
	EXPECT(ends_within(client, 5000));
}

static void test_kill(void)
{
	int i;

	for (i = 0; i < 6; i++)
		kill_device_side(i * 37 + 5, SIGKILL);
}

static void test_term(void)
{
	kill_device_side(300, SIGTERM);
}

/* The device side is alive but answers nothing, the ring fills, then it dies. */
static void test_kill_hung(void)
{
	uint32_t index;
	pid_t device = device_process("hung", &index, true);
	pid_t client = fork();

	if (!client) {
		int card = open_card(index);
		struct dumb d;

		for (;;)
			if (dumb_create(&d, card, 64, 64))
				_exit(0);
	}
	/* more than the ring takes: the client waits in the kernel */
	EXPECT(WAIT_FOR(process_state(client) == 'D', 20000));
	kill(device, SIGKILL);
	EXPECT(ends_within(device, 5000));
	EXPECT(WAIT_FOR(process_state(client) != 'D', 5000));
	EXPECT(WAIT_FOR(!parent_exists(index), 10000));
	kill(client, SIGKILL);
	EXPECT(ends_within(client, 5000));
}

/* The session ends, the control file stays: the null device answers. */
static void test_null_device(void)
{
	static struct served s;
	uint8_t *seen;
	struct dumb d, more;
	char text[16];
	int card, i;

	vdev_defaults(&create, &config, "null");
	serve_start(&s, &create, true);
	card = open_card(s.dev.index);
	EXPECT(!dumb_create(&d, card, 1024, 768));
	EXPECT(!dumb_show(&d, 1024, 768));
	fill_pattern(d.pixels, d.size, 9);
	seen = s.dev.window + vdev_resource(&s.dev, s.dev.last_scanout.resource_id)->first.addr;
	EXPECT(has_pattern((uint32_t *)seen, d.size, 9));
	serve_stop(&s);
	s.dev.hold = true;
	close(s.dev.session);
	parent_attr(s.dev.index, "state", text, sizeof(text));
	EXPECT(!strcmp(text, "null"));
	/* the window is revoked, the client goes on */
	EXPECT(!seen[0] && !seen[4096]);
	EXPECT(has_pattern(d.pixels, d.size, 9));
	for (i = 0; i < 100; i++) {
		EXPECT(!dumb_dirty(&d));
		EXPECT(!dumb_create(&more, card, 64, 64));
		dumb_destroy(&more);
	}
	EXPECT_ERRNO(ioctl(s.dev.control, VIRTIO_LOOPBACK_ATTACH, 0), ENOTCONN);
	close(s.dev.control);
	EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 10000));
	/* the card is gone, the client's memory is not */
	EXPECT(dumb_dirty(&d) == -1);
	EXPECT(has_pattern(d.pixels, d.size, 9));
}

/* The control file is closed in the middle of the driver's probe. */
static void test_close_during_probe(void)
{
	int i;

	for (i = 0; i < 8; i++) {
		struct vdev dev = { 0 };
		long long t;

		vdev_defaults(&create, &config, "probe");
		EXPECT(!vdev_open(&dev, &create));
		if (i & 1)
			EXPECT(WAIT_FOR(status_of(&dev).outstanding > 0, 5000));
		sleep_ms(i * 3);
		t = now_ms();
		if (i & 2)
			close(dev.session);
		close(dev.control);
		EXPECT(now_ms() - t < 2000);
		dev.control = dev.session = -1;
		EXPECT(WAIT_FOR(!parent_exists(dev.index), 15000));
	}
}

/* Nobody ever attaches: closing gives everything back. */
static void test_never_attached(void)
{
	int fd = open("/dev/virtio-loopback", O_RDWR);

	vdev_defaults(&create, &config, "alone");
	EXPECT(!ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create));
	sleep_ms(300);
	close(fd);
	EXPECT(WAIT_FOR(!parent_exists(create.index), 15000));
}

static long module_refs(void)
{
	FILE *file = fopen("/sys/module/virtio_loopback/refcnt", "r");
	long refs = -1;

	if (!file)
		return -1;
	EXPECT(fscanf(file, "%ld", &refs) == 1);
	fclose(file);
	return refs;
}

static long unload(void)
{
	return syscall(SYS_delete_module, "virtio_loopback", O_NONBLOCK);
}

/* In use while a client has the card, a mapping or a dma-buf; then not. */
static void test_unload(void)
{
	static struct served s;
	struct virtio_loopback_range range;
	struct virtio_loopback_export args = { .flags = O_RDWR, .num_ranges = 1 };
	struct dumb d;
	void *bytes;
	int card, buf;

	EXPECT(WAIT_FOR(module_refs() == 0, 5000));
	vdev_defaults(&create, &config, "unload");
	serve_start(&s, &create, true);
	card = open_card(s.dev.index);
	EXPECT(!dumb_create(&d, card, 64, 64));
	EXPECT(WAIT_FOR((range.iova = some_buffer(&s.dev)), 10000));
	range.length = d.size;
	args.ranges = (uintptr_t)&range;
	buf = ioctl(s.dev.memory, VIRTIO_LOOPBACK_EXPORT_DMABUF, &args);
	EXPECT(buf >= 0);
	EXPECT_ERRNO(unload(), EAGAIN);
	serve_stop(&s);
	vdev_close(&s.dev);
	EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 10000));
	/* the card and the dma-buf are left */
	sleep_ms(200);
	EXPECT_ERRNO(unload(), EAGAIN);
	d.pixels[0] = 5;
	munmap(d.pixels, d.size);
	close(card);
	bytes = mmap(NULL, d.size, PROT_READ, MAP_SHARED, buf, 0);
	EXPECT(bytes != MAP_FAILED);
	close(buf);
	sleep_ms(200);
	EXPECT_ERRNO(unload(), EAGAIN);
	EXPECT(*(uint32_t *)bytes == 5);
	munmap(bytes, d.size);
	EXPECT(WAIT_FOR(module_refs() == 0, 5000));
	EXPECT(!unload());
	EXPECT(access("/dev/virtio-loopback", F_OK));
	EXPECT(!system("modprobe virtio_loopback"));
	EXPECT(WAIT_FOR(!access("/dev/virtio-loopback", F_OK), 5000));
}

/* A loaded machine of devices coming and going leaves nothing behind. */
static void test_many_lives(void)
{
	int i;

	for (i = 0; i < 20; i++) {
		static struct served s;
		struct dumb d;
		int card;

		memset(&s, 0, sizeof(s));
		vdev_defaults(&create, &config, "lives");
		serve_start(&s, &create, true);
		card = open_card(s.dev.index);
		EXPECT(!dumb_create(&d, card, 64, 64));
		serve_stop(&s);
		vdev_close(&s.dev);
		EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 10000));
		munmap(d.pixels, d.size);
		close(card);
	}
	EXPECT(WAIT_FOR(module_refs() == 0, 5000));
}

const struct test death_tests[] = {
	{ "kill", test_kill, 180 },
	{ "term", test_term, 60 },
	{ "kill_hung", test_kill_hung, 90 },
	{ "null_device", test_null_device, 60 },
	{ "close_during_probe", test_close_during_probe, 180 },
	{ "never_attached", test_never_attached, 60 },
	{ "many_lives", test_many_lives, 180 },
	{ "unload", test_unload, 60 },
	{ 0 }
};
