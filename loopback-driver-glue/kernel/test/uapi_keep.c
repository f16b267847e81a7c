// SPDX-License-Identifier: GPL-2.0
/* Device sides that come and go under a driver that stays. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "harness.h"

static struct virtio_loopback_create create;
static struct virtio_gpu_config config;
static struct served s;

static void start(const char *name, uint32_t keep_ms)
{
	vdev_defaults(&create, &config, name);
	create.keep_ms = keep_ms;
	serve_start(&s, &create, true);
}

/* The device side goes; with @leave_memory its mapping stays. */
static void lose_session(bool leave_memory)
{
	serve_stop(&s);
	if (leave_memory)
		s.dev.window = NULL;
	vdev_detach(&s.dev);
}

static void serve_again(uint32_t action)
{
	EXPECT(!vdev_attach(&s.dev));
	s.dev.restart = action;
	s.dev.restarted[0] = -1;
	serve_resume(&s);
}

static struct virtio_loopback_status kept_status(void)
{
	struct virtio_loopback_status st;

	EXPECT(!ioctl(s.dev.control, VIRTIO_LOOPBACK_STATUS, &st));
	return st;
}

static bool state_is(const char *state)
{
	char text[16];

	parent_attr(s.dev.index, "state", text, sizeof(text));
	return !strcmp(text, state);
}

/* A client that draws frames, until it is told to stop. */
static struct {
	pthread_t thread;
	volatile unsigned int frames;
	volatile bool stop;
	volatile bool failed;
	struct dumb d;
	/* where its pixels are in the window */
	uint64_t at;
} client;

static void *draw(void *arg)
{
	(void)arg;
	while (!client.stop && !client.failed) {
		struct dumb other;

		if (dumb_create(&other, client.d.fd, 64, 64) ||
		    dumb_dirty(&client.d)) {
			client.failed = true;
			break;
		}
		dumb_destroy(&other);
		client.frames++;
	}
	return NULL;
}

static void start_client(void)
{
	int card = open_card(s.dev.index);

	EXPECT(card >= 0);
	EXPECT(!dumb_create(&client.d, card, 1024, 768));
	EXPECT(!dumb_show(&client.d, 1024, 768));
	fill_pattern(client.d.pixels, client.d.size, 1);
	EXPECT(!pthread_create(&client.thread, NULL, draw, NULL));
	EXPECT(WAIT_FOR(client.frames > 20, 20000));
	/* the device side forgets it when there were many others since */
	client.at = vdev_resource(&s.dev, s.dev.last_scanout.resource_id)->first.addr;
}

static void stop_client(void)
{
	client.stop = true;
	pthread_join(client.thread, NULL);
	EXPECT(!client.failed);
}

/* At least @more frames from now on. */
static bool frames_go_on(unsigned int more)
{
	unsigned int before = client.frames;

	return WAIT_FOR(client.frames >= before + more || client.failed,
			20000) && !client.failed;
}

/*
 * What the client does waits: none of it comes back. The client goes on slowly,
 * as virtio_gpu waits for no frame longer than 50 ms.
 */
static bool commands_wait(int ms)
{
	uint32_t before = 0, now;
	long long end = now_ms() + ms;

	/* what is under way as the device side stops */
	sleep_ms(100);
	while (now_ms() < end) {
		now = kept_status().outstanding;
		if (!now || now < before || client.failed)
			return false;
		before = now;
		sleep_ms(10);
	}
	return true;
}

/* Nothing waits, at least for a moment, and frames are drawn. */
static bool commands_return(void)
{
	return frames_go_on(20) &&
	       WAIT_FOR(!kept_status().outstanding, 10000);
}

/* Another session goes on where the first was, several times. */
static void test_kept(void)
{
	volatile uint16_t *old;
	unsigned int flushes, i;

	start("kept", 20000);
	start_client();
	for (i = 0; i < 6; i++) {
		struct virtio_loopback_status st;

		old = (void *)(s.dev.window + s.dev.queues[0].info.avail);
		EXPECT(old[1]);
		lose_session(true);
		EXPECT(state_is("kept"));
		EXPECT(kept_status().state == VIRTIO_LOOPBACK_STATE_KEPT);
		EXPECT(kept_status().index == s.dev.index);
		/* what the old device side had is of no use to it any more */
		EXPECT(!old[1]);
		EXPECT(commands_wait(400));
		serve_again(VIRTIO_LOOPBACK_REOFFER);
		EXPECT(WAIT_FOR(s.dev.restarted[0] > 0, 5000));
		flushes = s.dev.flushes;
		EXPECT(commands_return() && s.dev.flushes > flushes);
		EXPECT(state_is("attached"));
		EXPECT(!old[1]);
		st = status_of(&s.dev);
		EXPECT(st.state == VIRTIO_LOOPBACK_STATE_ATTACHED);
		EXPECT(st.driver_status == 0xf && !st.bad_used &&
		       !st.filtered_values && !st.reset_timeouts);
		/* the driver that runs is the one that did before */
		EXPECT(st.driver_starts == 1);
	}
	stop_client();
	EXPECT(WAIT_FOR(!status_of(&s.dev).outstanding, 10000));
	EXPECT(WAIT_FOR(!status_of(&s.dev).bounce_used, 10000));
	/* each frame was flushed; what was offered again perhaps twice */
	EXPECT(s.dev.flushes >= client.frames);
	/* and the pixels are where the last flush says */
	EXPECT(has_pattern((uint32_t *)(s.dev.window + client.at),
			   client.d.size, 1));
}

/* The order is the driver's, and nothing is missing, whatever was in the ring. */
static void test_reoffer_order(void)
{
	struct virtio_loopback_queue_info info = { .queue = 0 };
	struct dumb d[40];
	int card, i, offered;

	start("order", 0);
	card = open_card(s.dev.index);
	s.dev.hold = true;
	for (i = 0; i < 40; i++)
		EXPECT(!dumb_create(&d[i], card, 64, 64));
	EXPECT(WAIT_FOR(status_of(&s.dev).outstanding >= 40, 10000));
	serve_stop(&s);
	/* the old device side leaves a mess: ring, commands, tables */
	memset(s.dev.window + s.dev.queues[0].info.desc, 0xa5,
	       16 * s.dev.queues[0].info.size);
	memset(s.dev.window + s.dev.queues[0].info.avail, 0xa5, 4096);
	memset(s.dev.window + 0x1000000, 0xa5, 4096 * 80);
	/* the module's own index is not that of the ring */
	EXPECT(!ioctl(s.dev.session, VIRTIO_LOOPBACK_QUEUE_INFO, &info));
	EXPECT(info.avail_idx >= 40 && info.avail_idx < 0xa5a5);
	EXPECT(info.outstanding >= 40 && info.outstanding <= info.avail_idx);
	EXPECT(!vdev_restart(&s.dev, VIRTIO_LOOPBACK_REOFFER));
	offered = s.dev.restarted[0];
	EXPECT(s.dev.queues[0].info.avail_idx == (uint32_t)offered);
	EXPECT(s.dev.queues[1].info.avail_idx == 0);
	EXPECT(offered >= 40 && !s.dev.restarted[1]);
	EXPECT(s.dev.queues[0].ring.avail->idx == offered);
	EXPECT(s.dev.queues[0].info.next_avail == 0);
	for (i = 1; i < offered; i++)
		EXPECT(vdev_resource_at(&s.dev, i - 1) <=
		       vdev_resource_at(&s.dev, i));
	EXPECT(vdev_resource_at(&s.dev, offered - 1) >=
	       vdev_resource_at(&s.dev, 0) + 39);
	s.dev.hold = false;
	EXPECT(!vdev_restart(&s.dev, VIRTIO_LOOPBACK_REOFFER));
	EXPECT(s.dev.restarted[0] == offered);
	serve_resume(&s);
	EXPECT(WAIT_FOR(!status_of(&s.dev).outstanding, 10000));
	EXPECT(WAIT_FOR(!status_of(&s.dev).bounce_used, 10000));
	EXPECT(!status_of(&s.dev).bad_used);
	EXPECT(!vdev_restart(&s.dev, VIRTIO_LOOPBACK_REOFFER) &&
	       !s.dev.restarted[0]);
}

/* What was in flight gets the null device's answer, the rest is served. */
static void test_fail(void)
{
	unsigned int flushes;
	int failed;

	start("fail", 0);
	start_client();
	s.dev.hold = true;
	EXPECT(commands_wait(100));
	serve_stop(&s);
	flushes = s.dev.flushes;
	failed = status_of(&s.dev).outstanding;
	EXPECT(failed > 0);
	s.dev.hold = false;
	EXPECT(!vdev_restart(&s.dev, VIRTIO_LOOPBACK_FAIL));
	EXPECT(s.dev.restarted[0] >= failed);
	serve_resume(&s);
	EXPECT(commands_return());
	EXPECT(s.dev.flushes >= flushes + 20);
	stop_client();
	EXPECT(WAIT_FOR(!status_of(&s.dev).outstanding, 10000));
	EXPECT(!status_of(&s.dev).bad_used);
}

/* The same with another session, which has no use for what it did not see. */
static void test_keep_fail(void)
{
	start("kept_fail", 20000);
	start_client();
	lose_session(false);
	EXPECT(commands_wait(300));
	serve_again(VIRTIO_LOOPBACK_FAIL);
	EXPECT(WAIT_FOR(s.dev.restarted[0] > 0, 5000));
	EXPECT(commands_return());
	stop_client();
	EXPECT(WAIT_FOR(!status_of(&s.dev).bounce_used, 10000));
	EXPECT(!status_of(&s.dev).bad_used);
}

/* Nobody comes: at the deadline, not before, the null device answers. */
static void test_keep_deadline(void)
{
	long long t;

	start("deadline", 1500);
	start_client();
	t = now_ms();
	lose_session(false);
	EXPECT(commands_wait(500));
	EXPECT(state_is("kept"));
	EXPECT(WAIT_FOR(state_is("null"), 5000));
	t = now_ms() - t;
	EXPECT(t >= 1400 && t < 4000);
	EXPECT(commands_return());
	EXPECT_ERRNO(ioctl(s.dev.control, VIRTIO_LOOPBACK_ATTACH, 0), ENOTCONN);
	EXPECT(kept_status().state == VIRTIO_LOOPBACK_STATE_NULL);
	stop_client();
}

/* A deadline that a session met does not end the next one's time. */
static void test_keep_twice(void)
{
	start("twice", 2000);
	lose_session(false);
	sleep_ms(1500);
	serve_again(VIRTIO_LOOPBACK_REOFFER);
	lose_session(false);
	sleep_ms(1000);
	EXPECT(state_is("kept"));
	serve_again(VIRTIO_LOOPBACK_REOFFER);
	sleep_ms(2500);
	EXPECT(state_is("attached"));
	start_client();
	stop_client();
}

/* The control file closes while the device is kept and its client waits. */
static void test_keep_removed(void)
{
	long long t;

	start("removed", 60000);
	start_client();
	lose_session(false);
	EXPECT(commands_wait(200));
	t = now_ms();
	close(s.dev.control);
	EXPECT(now_ms() - t < 2000);
	EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 10000));
	/* it is not kept waiting for what does not come */
	EXPECT(WAIT_FOR(client.failed, 5000));
	pthread_join(client.thread, NULL);
}

/* A process that serves as long as it lives. */
static pid_t serving_process(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	close(client.d.fd);
	if (vdev_attach(&s.dev))
		_exit(1);
	s.dev.restart = VIRTIO_LOOPBACK_REOFFER;
	vdev_serve(&s.dev, 60000, NULL);
	_exit(2);
}

/* Killed at any point of its work, again and again; the client sees nothing. */
static void test_keep_killed(void)
{
	int i, status;
	pid_t pid;

	start("killed", 20000);
	start_client();
	lose_session(false);
	for (i = 0; i < 25; i++) {
		pid = serving_process();
		EXPECT(WAIT_FOR(state_is("attached"), 5000));
		sleep_ms(i * 7 % 60);
		if (i % 5 == 4)
			EXPECT(commands_return());
		kill(pid, SIGKILL);
		EXPECT(waitpid(pid, &status, 0) == pid);
		EXPECT(WIFSIGNALED(status));
		EXPECT(state_is("kept"));
	}
	pid = serving_process();
	EXPECT(commands_return());
	stop_client();
	EXPECT(WAIT_FOR(!kept_status().outstanding, 10000));
	EXPECT(WAIT_FOR(!kept_status().bounce_used, 10000));
	EXPECT(!kept_status().bad_used && !kept_status().filtered_values);
	kill(pid, SIGKILL);
	EXPECT(waitpid(pid, &status, 0) == pid);
}

static void bind_driver(const char *file)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "cd /sys/devices/platform/virtio-loopback.%u/virtio* && "
		 "basename $PWD > /sys/bus/virtio/drivers/virtio_gpu/%s",
		 s.dev.index, file);
	EXPECT(!system(command));
}

static void *bind_thread(void *arg)
{
	bind_driver("bind");
	return arg;
}

/* The driver goes, and comes, while nobody serves it. */
static void test_keep_rebind(void)
{
	struct virtio_loopback_event event;
	struct pollfd p = { .events = POLLIN };
	pthread_t thread;
	long long t;

	start("kept_rebind", 30000);
	lose_session(false);
	t = now_ms();
	bind_driver("unbind");
	/* there is nobody whose acknowledgement could be waited for */
	EXPECT(now_ms() - t < 4000);
	EXPECT(!kept_status().bounce_used && !kept_status().outstanding);
	EXPECT(kept_status().reset_timeouts == 0);
	EXPECT(!vdev_attach(&s.dev));
	/* nothing to tell: no driver */
	p.fd = s.dev.session;
	EXPECT(poll(&p, 1, 200) == 0);
	vdev_detach(&s.dev);
	EXPECT(state_is("kept"));

	/* the probe's first commands wait */
	EXPECT(!pthread_create(&thread, NULL, bind_thread, NULL));
	EXPECT(WAIT_FOR(kept_status().outstanding > 0, 10000));
	EXPECT(!vdev_attach(&s.dev));
	EXPECT(read(s.dev.session, &event, sizeof(event)) == sizeof(event));
	EXPECT(event.type == VIRTIO_LOOPBACK_EVENT_DRIVER_OK);
	EXPECT(event.value == create.features);
	/* not the one that the last session served */
	EXPECT(kept_status().driver_starts == 2);
	EXPECT(!vdev_restart(&s.dev, VIRTIO_LOOPBACK_REOFFER));
	EXPECT(s.dev.restarted[0] > 0);
	serve_resume(&s);
	pthread_join(thread, NULL);
	EXPECT(WAIT_FOR(card_number(s.dev.index, "card") >= 0, 10000));
	start_client();
	EXPECT(commands_return());
	stop_client();
}

const struct test keep_tests[] = {
	{ "kept", test_kept, 90 },
	{ "reoffer_order", test_reoffer_order, 60 },
	{ "fail", test_fail, 60 },
	{ "keep_fail", test_keep_fail, 60 },
	{ "keep_deadline", test_keep_deadline, 60 },
	{ "keep_twice", test_keep_twice, 60 },
	{ "keep_removed", test_keep_removed, 60 },
	{ "keep_killed", test_keep_killed, 120 },
	{ "keep_rebind", test_keep_rebind, 60 },
	{ 0 }
};
