// SPDX-License-Identifier: GPL-2.0
/*
 * Input devices: what the driver makes of them, and device sides that are
 * hostile, slow or gone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <linux/input.h>
#include <linux/virtio_input.h>

#include "harness.h"
#include "input_table.h"

static struct virtio_loopback_create create;

/* A path below the parent device that fits a pattern; false if there is none. */
static bool find(uint32_t index, const char *rest, char *path, size_t size)
{
	char pattern[256];
	glob_t found;
	bool ok;

	snprintf(pattern, sizeof(pattern),
		 "/sys/devices/platform/virtio-loopback.%u/virtio*/%s", index,
		 rest);
	ok = !glob(pattern, 0, NULL, &found) && found.gl_pathc == 1;
	if (ok)
		snprintf(path, size, "%s", found.gl_pathv[0]);
	globfree(&found);
	return ok;
}

/* A file of the driver's input device. */
static const char *attribute(uint32_t index, const char *name)
{
	static char text[256];
	char rest[64], path[300];
	FILE *file;

	snprintf(rest, sizeof(rest), "input/input*/%s", name);
	EXPECT(find(index, rest, path, sizeof(path)));
	file = fopen(path, "r");
	EXPECT(file && fgets(text, sizeof(text), file));
	fclose(file);
	text[strcspn(text, "\n")] = 0;
	return text;
}

/* The event device of the driver, opened; -1 if there is none yet. */
static int open_evdev(uint32_t index)
{
	char path[300], node[320];

	if (!find(index, "input/input*/event*", path, sizeof(path)))
		return -1;
	snprintf(node, sizeof(node), "/dev/input/%s", strrchr(path, '/') + 1);
	return open(node, O_RDWR | O_CLOEXEC | O_NONBLOCK);
}

static int wait_evdev(uint32_t index)
{
	int fd = -1;

	EXPECT(WAIT_FOR((fd = open_evdev(index)) >= 0, 20000));
	return fd;
}

/*
 * Serves without giving buffers back. The event device may be there before the
 * event that says so is read.
 */
static int serve(struct served *s)
{
	int fd;

	s->dev.hold = true;
	serve_start(s, &create, false);
	fd = wait_evdev(s->dev.index);
	EXPECT(WAIT_FOR(s->dev.live, 5000));
	return fd;
}

/* A device whose buffers are taken and not given back, but by say(). */
static int start(struct served *s, const char *name)
{
	create = *keyboard_create(name);
	return serve(s);
}

/* Returns the next event buffer with an event in it. */
static void say(struct vdev *dev, uint16_t *next, uint16_t type, uint16_t code,
		int32_t value)
{
	struct vdev_queue *q = &dev->queues[EVENTS];
	struct virtio_input_event event = { type, code, value };
	struct vring_used_elem *used;
	uint64_t one = 1;
	uint16_t head;

	EXPECT(WAIT_FOR(__atomic_load_n(&q->ring.avail->idx, __ATOMIC_ACQUIRE) !=
			*next, 5000));
	head = q->ring.avail->ring[(*next)++ % q->ring.num];
	memcpy(dev->window + q->ring.desc[head].addr, &event, sizeof(event));
	used = &q->ring.used->ring[q->ring.used->idx % q->ring.num];
	used->id = head;
	used->len = sizeof(event);
	__atomic_store_n(&q->ring.used->idx, q->ring.used->idx + 1,
			 __ATOMIC_RELEASE);
	EXPECT(write(q->call, &one, 8) == 8);
}

/* The next event that is neither a report nor a light. */
static struct input_event heard(int fd)
{
	struct input_event event;
	struct pollfd p = { fd, POLLIN, 0 };

	do {
		EXPECT(poll(&p, 1, 5000) == 1);
		EXPECT(read(fd, &event, sizeof(event)) == sizeof(event));
	} while (event.type == EV_SYN || event.type == EV_LED);
	return event;
}

static bool is(struct input_event event, int type, int code, int value)
{
	return event.type == type && event.code == code && event.value == value;
}

static int light(int fd, int value)
{
	struct input_event event = { .type = EV_LED, .code = LED_CAPSL,
				     .value = value };

	return write(fd, &event, sizeof(event));
}

/* What the driver was told at probe, and what comes later. */
static void test_answers(void)
{
	struct served s = { 0 };
	struct virtio_loopback_config_set set;
	struct input_absinfo info;
	struct virtio_loopback_status st;
	uint16_t next = 0;
	int fd = start(&s, "answers");
	char byte = 1;

	EXPECT(!strcmp(attribute(s.dev.index, "name"), "a test device"));
	EXPECT(!strcmp(attribute(s.dev.index, "uniq"), "number 1"));
	EXPECT(!strcmp(attribute(s.dev.index, "id/bustype"), "0006"));
	EXPECT(!strcmp(attribute(s.dev.index, "id/version"), "0009"));
	EXPECT(!strcmp(attribute(s.dev.index, "capabilities/led"), "2"));
	EXPECT(!strcmp(attribute(s.dev.index, "capabilities/abs"), "1"));
	/* SYN, KEY, ABS, LED, REP */
	EXPECT(!strcmp(attribute(s.dev.index, "capabilities/ev"), "12000b"));
	EXPECT(!ioctl(fd, EVIOCGABS(ABS_X), &info));
	EXPECT(info.minimum == -5 && info.maximum == 1000 && info.fuzz == 1 &&
	       info.flat == 2 && info.resolution == 3);
	/* the driver wrote the configuration often, and nobody was told */
	EXPECT(s.dev.last_event.type == VIRTIO_LOOPBACK_EVENT_DRIVER_OK);
	st = status_of(&s.dev);
	EXPECT(!st.events_dropped && st.outstanding == 64 &&
	       st.bounce_used >= 64 && st.bounce_max <= 160 * 4096);
	/* nor can it be changed, not even by what would overflow a GPU's */
	set = (struct virtio_loopback_config_set){ 0, 1, (uintptr_t)&byte };
	EXPECT_ERRNO(ioctl(s.dev.session, VIRTIO_LOOPBACK_CONFIG_SET, &set),
		     EINVAL);
	set.length = create.config_len;
	EXPECT_ERRNO(ioctl(s.dev.session, VIRTIO_LOOPBACK_CONFIG_SET, &set),
		     EINVAL);

	say(&s.dev, &next, EV_KEY, KEY_A, 1);
	say(&s.dev, &next, EV_ABS, ABS_X, -4);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	EXPECT(is(heard(fd), EV_KEY, KEY_A, 1));
	EXPECT(is(heard(fd), EV_ABS, ABS_X, -4));
	/* which the driver repeats itself */
	EXPECT(is(heard(fd), EV_KEY, KEY_A, 2));
	serve_stop(&s);
	vdev_close(&s.dev);
}

/* Events of types, codes and values that nobody has announced, all of them. */
static void test_nonsense(void)
{
	struct served s = { 0 };
	uint16_t next = 0;
	int fd = start(&s, "nonsense"), i;
	unsigned int seed = 1;

	for (i = 0; i < 3000; i++) {
		seed = seed * 1103515245 + 12345;
		say(&s.dev, &next, seed >> 16 & 0x3f, seed >> 8 & 0x3ff, seed);
	}
	say(&s.dev, &next, 0xffff, 0xffff, -1);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	while (read(fd, &(struct input_event){ 0 }, sizeof(struct input_event)) > 0)
		;
	say(&s.dev, &next, EV_KEY, KEY_B, 0);
	say(&s.dev, &next, EV_KEY, KEY_B, 1);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	while (!is(heard(fd), EV_KEY, KEY_B, 1))
		;
	EXPECT(!status_of(&s.dev).bad_used);
	serve_stop(&s);
	vdev_close(&s.dev);
}

/* Used entries that were never there, and too many of them. */
static void test_bad_used(void)
{
	struct served s = { 0 };
	struct vdev_queue *q = &s.dev.queues[EVENTS];
	uint16_t next = 0, i;
	int fd = start(&s, "used");
	uint64_t one = 1;

	/* some buffer is there, before the index is looked at */
	say(&s.dev, &next, EV_KEY, KEY_A, 1);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	EXPECT(is(heard(fd), EV_KEY, KEY_A, 1));
	for (i = 0; i < 64; i++) {
		q->ring.used->ring[(q->ring.used->idx + i) % 64].id = 64 + i;
		q->ring.used->ring[(q->ring.used->idx + i) % 64].len = ~0u;
	}
	__atomic_store_n(&q->ring.used->idx, q->ring.used->idx + 64,
			 __ATOMIC_RELEASE);
	EXPECT(write(q->call, &one, 8) == 8);
	EXPECT(WAIT_FOR(status_of(&s.dev).bad_used == 64, 5000));
	__atomic_store_n(&q->ring.used->idx, q->ring.used->idx + 1000,
			 __ATOMIC_RELEASE);
	EXPECT(write(q->call, &one, 8) == 8);
	EXPECT(WAIT_FOR(status_of(&s.dev).bad_used == 65, 5000));
	say(&s.dev, &next, EV_KEY, KEY_A, 0);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	while (!is(heard(fd), EV_KEY, KEY_A, 0))
		;
	serve_stop(&s);
	vdev_close(&s.dev);
}

static void *light_up(void *arg)
{
	int fd = *(int *)arg, i;

	for (i = 0; i < 20000 && light(fd, i & 1) > 0; i++)
		;
	return NULL;
}

/*
 * One eventfd for everything: whoever is kicked calls, and whoever calls kicks,
 * each under locks of the input core and of the eventfd.
 */
static void test_one_eventfd(void)
{
	struct virtio_loopback_queue_fds fds;
	struct served s = { 0 };
	long long end = now_ms() + 4000;
	int fd = start(&s, "loop"), one_fd = eventfd(0, EFD_NONBLOCK), i;
	pthread_t threads[2];
	uint64_t one = 1;

	serve_stop(&s);
	for (i = 0; i < 2; i++) {
		fds = (struct virtio_loopback_queue_fds){ i, one_fd, one_fd, 0 };
		EXPECT(!ioctl(s.dev.session, VIRTIO_LOOPBACK_SET_QUEUE_FDS, &fds));
	}
	for (i = 0; i < 2; i++)
		EXPECT(!pthread_create(&threads[i], NULL, light_up, &fd));
	while (now_ms() < end) {
		struct vdev_queue *q = &s.dev.queues[(end - now_ms()) & 1];
		uint16_t idx = q->ring.used->idx;

		/* any head: some are outstanding */
		q->ring.used->ring[idx % 64].id = idx % 64;
		q->ring.used->ring[idx % 64].len = 8;
		__atomic_store_n(&q->ring.used->idx, idx + 1, __ATOMIC_RELEASE);
		EXPECT(write(one_fd, &one, 8) == 8);
	}
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	vdev_close(&s.dev);
	EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 5000));
}

/* Processor time of the machine, in ticks, that was not idle. */
static unsigned long long busy(void)
{
	unsigned long long user, nice, system;
	FILE *file = fopen("/proc/stat", "r");

	EXPECT(file && fscanf(file, "cpu %llu %llu %llu", &user, &nice, &system) == 3);
	fclose(file);
	return user + nice + system;
}

/* Nobody serves it: events never come, what is said is taken, and nothing goes round in circles. */
static void test_null(void)
{
	struct served s = { 0 };
	struct input_event event;
	int fd = start(&s, "null"), i;
	struct virtio_loopback_status st;
	unsigned long long before;
	char text[64];

	serve_stop(&s);
	close(s.dev.session);
	parent_attr(s.dev.index, "state", text, sizeof(text));
	EXPECT(!strcmp(text, "null"));
	/* more than the queue has room for */
	for (i = 0; i < 500; i++) {
		EXPECT(light(fd, i & 1) == sizeof(event));
		if (i % 50 == 0)
			sleep_ms(5);
	}
	sleep_ms(200);
	before = busy();
	sleep_ms(1000);
	EXPECT(busy() - before < 50);	/* ticks of 10 ms, of two processors */
	EXPECT(!ioctl(s.dev.control, VIRTIO_LOOPBACK_STATUS, &st));
	EXPECT(st.state == VIRTIO_LOOPBACK_STATE_NULL && st.outstanding == 64);
	while (read(fd, &event, sizeof(event)) == sizeof(event))
		EXPECT(event.type == EV_LED || event.type == EV_SYN);
	EXPECT(errno == EAGAIN);
	close(s.dev.control);
	EXPECT(WAIT_FOR(read(fd, &event, sizeof(event)) == -1 && errno == ENODEV,
			5000));
	EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 5000));
}

/* The driver comes and goes: nothing of it stays mapped, and it never waits long. */
static void test_rebind(void)
{
	struct served s = { 0 };
	char path[300], *name;
	int fd = start(&s, "rebind"), i, sysfs;
	long long begun;

	EXPECT(find(s.dev.index, "input", path, sizeof(path)));
	*strrchr(path, '/') = 0;
	name = strrchr(path, '/') + 1;
	for (i = 0; i < 20; i++) {
		EXPECT(light(fd, i & 1) > 0);
		begun = now_ms();
		sysfs = open("/sys/bus/virtio/drivers/virtio_input/unbind", O_WRONLY);
		EXPECT(write(sysfs, name, strlen(name)) == (ssize_t)strlen(name));
		close(sysfs);
		EXPECT(now_ms() - begun < 900);	/* the time that an unanswered reset takes */
		EXPECT(status_of(&s.dev).bounce_used == 0);
		close(fd);
		sysfs = open("/sys/bus/virtio/drivers/virtio_input/bind", O_WRONLY);
		EXPECT(write(sysfs, name, strlen(name)) == (ssize_t)strlen(name));
		close(sysfs);
		fd = wait_evdev(s.dev.index);
		EXPECT(WAIT_FOR(status_of(&s.dev).outstanding == 64, 5000));
	}
	EXPECT(s.dev.resets == 20);
	EXPECT(status_of(&s.dev).reset_timeouts == 0);
	serve_stop(&s);
	vdev_close(&s.dev);
}

/* The device side is killed, with a key held and a reader. */
static void test_killed(void)
{
	static struct served s;
	struct input_event event;
	int fds[2], fd, status;
	uint32_t index;
	uint16_t next = 0;
	pid_t pid;

	EXPECT(!pipe(fds));
	pid = fork();
	if (!pid) {
		fd = start(&s, "killed");
		say(&s.dev, &next, EV_KEY, KEY_A, 1);
		say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
		EXPECT(is(heard(fd), EV_KEY, KEY_A, 1));
		close(fd);
		if (write(fds[1], &s.dev.index, 4) != 4)
			_exit(1);
		pause();
	}
	EXPECT(read(fds[0], &index, 4) == 4);
	fd = wait_evdev(index);
	kill(pid, SIGKILL);
	EXPECT(waitpid(pid, &status, 0) == pid);
	EXPECT(WAIT_FOR(!parent_exists(index), 5000));
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), ENODEV);
	EXPECT_ERRNO(light(fd, 1), ENODEV);
}

/* Another session goes on with the buffers of the first. */
static void test_kept(void)
{
	struct served s = { 0 };
	uint16_t next = 0;
	int fd;

	create = *keyboard_create("kept");
	create.keep_ms = 20000;
	fd = serve(&s);
	say(&s.dev, &next, EV_KEY, KEY_A, 1);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	EXPECT(is(heard(fd), EV_KEY, KEY_A, 1));
	serve_stop(&s);
	vdev_detach(&s.dev);
	EXPECT(light(fd, 1) > 0);
	s.dev.restart = VIRTIO_LOOPBACK_REOFFER;
	EXPECT(!vdev_attach(&s.dev));
	serve_resume(&s);
	EXPECT(WAIT_FOR(s.dev.live, 5000));
	EXPECT(s.dev.restarted[EVENTS] == 64 && s.dev.restarted[STATUS] == 1);
	next = 0;
	say(&s.dev, &next, EV_KEY, KEY_A, 0);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	while (!is(heard(fd), EV_KEY, KEY_A, 0))
		;
	serve_stop(&s);
	vdev_close(&s.dev);
}

/* A hundred times, every other one with a reader. */
static void test_cycles(void)
{
	struct served s;
	int i, fd;

	for (i = 0; i < 100; i++) {
		uint16_t next = 0;

		memset(&s, 0, sizeof(s));
		fd = start(&s, "cycles");
		say(&s.dev, &next, EV_KEY, KEY_B, 1);
		say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
		if (i & 1)
			close(fd);
		serve_stop(&s);
		vdev_close(&s.dev);
		EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 5000));
		if (!(i & 1))
			close(fd);
	}
}

const struct test input_tests[] = {
	{ "input_answers", test_answers, 30 },
	{ "input_nonsense", test_nonsense, 60 },
	{ "input_bad_used", test_bad_used, 30 },
	{ "input_one_eventfd", test_one_eventfd, 60 },
	{ "input_null", test_null, 30 },
	{ "input_rebind", test_rebind, 60 },
	{ "input_killed", test_killed, 30 },
	{ "input_kept", test_kept, 30 },
	{ "input_cycles", test_cycles, 120 },
	{ 0 }
};
