// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once and in any order. What must hold is that the kernel has
 * nothing to say and that no task stays behind; run it on a debug kernel.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "harness.h"
#include "hostile.h"

static struct virtio_loopback_create create;
static struct virtio_gpu_config config;
static struct served s;
static volatile int over;

static uint64_t random64(unsigned int *seed)
{
	return (uint64_t)rand_r(seed) << 33 ^ (uint64_t)rand_r(seed) << 11 ^
	       rand_r(seed);
}

/* Small numbers, page multiples and anything. */
static uint64_t random_value(unsigned int *seed)
{
	switch (rand_r(seed) % 4) {
	case 0:
		return rand_r(seed) % 4;
	case 1:
		return random64(seed) % (1ULL << 36) & ~4095ULL;
	case 2:
		return 4096ULL * (rand_r(seed) % 64);
	default:
		return random64(seed);
	}
}

static void random_call(struct vdev *dev, unsigned int *seed)
{
	static const unsigned long calls[] = {
		VIRTIO_LOOPBACK_GET_API_VERSION, VIRTIO_LOOPBACK_CREATE,
		VIRTIO_LOOPBACK_QUEUE_INFO, VIRTIO_LOOPBACK_CONFIG_SET,
		VIRTIO_LOOPBACK_STATUS, VIRTIO_LOOPBACK_ACK,
		VIRTIO_LOOPBACK_EXPORT_DMABUF, VIRTIO_LOOPBACK_SET_QUEUE_FDS,
		VIRTIO_LOOPBACK_OUTSTANDING,
	};
	int files[] = { dev->control, dev->session, dev->memory };
	struct virtio_loopback_range ranges[4];
	uint64_t args[32];
	unsigned int i;
	long fd;

	for (i = 0; i < 32; i++)
		args[i] = rand_r(seed) % 3 ? 0 : random_value(seed);
	for (i = 0; i < 4; i++) {
		ranges[i].iova = random_value(seed);
		ranges[i].length = random_value(seed);
	}
	i = rand_r(seed) % (sizeof(calls) / sizeof(*calls));
	if (calls[i] == VIRTIO_LOOPBACK_CONFIG_SET)
		args[1] = (uintptr_t)ranges;
	if (calls[i] == VIRTIO_LOOPBACK_EXPORT_DMABUF) {
		struct virtio_loopback_export export = {
			O_RDWR | O_CLOEXEC, 1 + rand_r(seed) % 4,
			(uintptr_t)ranges, { 0 },
		};

		if (rand_r(seed) % 2)
			ranges[0].iova = some_buffer(dev);
		memcpy(args, &export, sizeof(export));
	}
	if (calls[i] == VIRTIO_LOOPBACK_OUTSTANDING) {
		struct virtio_loopback_outstanding again = {
			rand_r(seed) % 2, 1 + rand_r(seed) % 2, 0,
		};

		memcpy(args, &again, sizeof(again));
	}
	if (calls[i] == VIRTIO_LOOPBACK_SET_QUEUE_FDS) {
		struct virtio_loopback_queue_fds fds = { rand_r(seed) % 3,
			rand_r(seed) % 2 ? -1 : dev->queues[0].kick,
			rand_r(seed) % 2 ? -1 : dev->queues[0].call, 0 };

		memcpy(args, &fds, sizeof(fds));
	}
	fd = ioctl(files[rand_r(seed) % 3], calls[i], args);
	if (fd > 0)
		close(fd);
}

static void random_map(struct vdev *dev, unsigned int *seed)
{
	size_t length = 4096 * (1 + rand_r(seed) % 16);
	volatile uint8_t *at;

	at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, dev->memory,
		  random_value(seed) & ~4095ULL);
	if (at == MAP_FAILED)
		return;
	at[rand_r(seed) % length]++;
	munmap((void *)at, length);
}

static void *caller(void *arg)
{
	unsigned int seed = (uintptr_t)arg;

	while (!over) {
		if (rand_r(&seed) % 4)
			random_call(&s.dev, &seed);
		else
			random_map(&s.dev, &seed);
	}
	return NULL;
}

/* Writes all over what is shared: rings, commands, responses, buffers. */
static void *scribbler(void *arg)
{
	struct rng r = rng_of((uintptr_t)arg, 0);

	while (!over)
		scribble(&s.dev, &r);
	return NULL;
}

static pid_t client_process(uint32_t index)
{
	pid_t pid = fork();

	if (!pid) {
		struct dumb d, other;
		bool shown;
		int card;

		/* or the device would live as long as its client */
		vdev_close(&s.dev);
		card = open_card(index);
		if (card < 0 || dumb_create(&d, card, 1024, 768))
			_exit(0);
		shown = !dumb_show(&d, 1024, 768);
		for (;;) {
			d.pixels[0]++;
			if (shown)
				dumb_dirty(&d);
			if (!dumb_create(&other, card, 64, 64))
				dumb_destroy(&other);
		}
	}
	return pid;
}

static bool ends(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	return WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid, 10000);
}

/* Threads of @run beside a client; then the device goes, whatever the state. */
static void stress(const char *name, void *(*run)(void *), int seconds)
{
	pthread_t threads[3];
	pid_t client;
	long i;

	vdev_defaults(&create, &config, name);
	serve_start(&s, &create, true);
	client = client_process(s.dev.index);
	sleep_ms(300);
	for (i = 0; i < 3; i++)
		EXPECT(!pthread_create(&threads[i], NULL, run, (void *)(i + 1)));
	sleep(seconds);
	over = 1;
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	serve_stop(&s);
	vdev_close(&s.dev);
	EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 15000));
	EXPECT(ends(client));
}

static void test_calls(void)
{
	stress("calls", caller, 8);
}

static void test_scribble(void)
{
	stress("scribble", scribbler, 8);
}

/*
 * Devices that live for a random time, each with a client, several at once.
 * Beside one that stays: see docs/uapi.md on the slab cache of virtio_gpu.
 */
static void test_short_lives(void)
{
	static struct served keeper;
	pid_t pids[3];
	int i, k, status;

	vdev_defaults(&create, &config, "keeper");
	serve_start(&keeper, &create, true);
	for (i = 0; i < 3; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		for (k = 0; k < 6; k++) {
			unsigned int seed = i * 100 + k;
			char name[16];
			pid_t client;

			memset(&s, 0, sizeof(s));
			snprintf(name, sizeof(name), "life%d.%d", i, k);
			vdev_defaults(&create, &config, name);
			serve_start(&s, &create, k & 1);
			client = client_process(s.dev.index);
			sleep_ms(rand_r(&seed) % 400);
			serve_stop(&s);
			if (k & 2)
				close(s.dev.control);
			vdev_close(&s.dev);
			EXPECT(ends(client));
			EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 20000));
		}
		_exit(0);
	}
	for (i = 0; i < 3; i++) {
		EXPECT(waitpid(pids[i], &status, 0) == pids[i]);
		EXPECT(WIFEXITED(status) && !WEXITSTATUS(status));
	}
}

const struct test stress_tests[] = {
	{ "stress_calls", test_calls, 90 },
	{ "stress_scribble", test_scribble, 90 },
	{ "stress_short_lives", test_short_lives, 180 },
	{ 0 }
};
