// SPDX-License-Identifier: GPL-2.0
/* What the tests of memory that runs out share. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "fault_sweep.h"

struct virtio_loopback_create create;
struct virtio_gpu_config config;
struct served s;
struct virtio_loopback_range range;

static void set_parameter(const char *name, const char *value)
{
	ssize_t n = strlen(value);
	char path[128];
	int fd;

	snprintf(path, sizeof(path),
		 "/sys/module/virtio_loopback/parameters/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	EXPECT(fd >= 0);
	EXPECT(write(fd, value, n) == n);
	close(fd);
}

static void set_figure(const char *name, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	set_parameter(name, text);
}

char *parameter(const char *name)
{
	static char text[128];
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path),
		 "/sys/module/virtio_loopback/parameters/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	EXPECT(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	EXPECT(n > 0);
	close(fd);
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	return text;
}

long figure(const char *name)
{
	return atol(parameter(name));
}

/*
 * Calls of @pid, or of all: the @at-th from now and @times - 1 after it fail.
 * Not those for spare bounce pages, hundreds, which are all alike.
 */
void arm(unsigned int at, unsigned int times, pid_t pid)
{
	set_parameter("fault_only", "!vlb_bounce_refill");
	set_figure("fault_tgid", pid);
	set_figure("fault_times", times);
	set_figure("fault_at", at);
}

/* Spare bounce pages, then, for whomever. */
void arm_spares(unsigned int at, unsigned int times)
{
	set_parameter("fault_only", "vlb_bounce_refill");
	set_figure("fault_tgid", 0);
	set_figure("fault_times", times);
	set_figure("fault_at", at);
}

void disarm(void)
{
	set_figure("fault_at", 0);
}

/* What nobody has given back although there is no device: two work queues. */
#define LIVE_AT_REST	2

bool at_rest(void)
{
	return WAIT_FOR(figure("fault_live") == LIVE_AT_REST, 20000);
}

/*
 * One call of @op by this process for each of its allocations. @op returns -1
 * and errno, or something else; @check says that nothing has changed. Returns
 * how many allocations there were.
 */
unsigned int sweep(long (*op)(void), void (*check)(void))
{
	unsigned int at, failed;
	long ret;
	int err;

	for (at = 1; ; at++) {
		arm(at, 1, getpid());
		ret = op();
		err = errno;
		disarm();
		failed = figure("fault_failed");
		if (!failed)
			break;
		printf("  %u: %s: %s\n", at, parameter("fault_where"),
		       ret == -1 ? strerrorname_np(err) : "no error");
		EXPECT(ret == -1);
		EXPECT(err == (strstr(parameter("fault_where"), "_fd") ?
			       EMFILE : ENOMEM));
		if (check)
			check();
	}
	EXPECT(ret != -1);
	EXPECT(at == figure("fault_seen") + 1);
	return at - 1;
}

void start(const char *name)
{
	vdev_defaults(&create, &config, name);
	create.keep_ms = 20000;
	serve_start(&s, &create, true);
}

void end_device(void)
{
	uint32_t index = s.dev.index;

	vdev_close(&s.dev);
	EXPECT(WAIT_FOR(!parent_exists(index), 15000));
	EXPECT(at_rest());
}

/* A device with a client in this process, which has one buffer. */
void start_client(const char *name, struct dumb *d, int *card)
{
	start(name);
	*card = open_card(s.dev.index);
	EXPECT(!dumb_create(d, *card, 256, 256));
	fill_pattern(d->pixels, d->size, 5);
	EXPECT(WAIT_FOR((range.iova = some_buffer(&s.dev)), 10000));
	range.length = d->size;
}

void end_client(struct dumb *d, int card)
{
	dumb_destroy(d);
	close(card);
	serve_stop(&s);
	end_device();
}
