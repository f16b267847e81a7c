// SPDX-License-Identifier: GPL-2.0
/*
 * A round: the process that has the module's files. Threads that serve devices
 * as one should, and threads that make any call on any file at any time. They
 * share the files and do not ask each other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fuzz_round.h"

#define CALLERS		3

static volatile int over;
static atomic_uint calls;

/* For the EINTR alone. */
static void on_timer(int sig)
{
	(void)sig;
}

/* Nothing blocks for long: the calling thread is interrupted every 30 ms. */
static void start_timer(void)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1,
	};
	struct itimerspec every = { { 0, 30000000 }, { 0, 30000000 } };
	timer_t timer;

	event._sigev_un._tid = syscall(SYS_gettid);
	if (!timer_create(CLOCK_MONOTONIC, &event, &timer))
		timer_settime(timer, 0, &every, NULL);
}

static void *caller(void *arg)
{
	struct rng *r = arg;

	start_timer();
	while (!over) {
		random_call(r);
		atomic_fetch_add(&calls, 1);
	}
	return NULL;
}

/* The files of a served device, for everybody. */
static void publish(struct rng *r, const struct vdev *dev, bool control)
{
	int i;

	if (control)
		put(r, CONTROL, fcntl(dev->control, F_DUPFD_CLOEXEC, 0));
	put(r, SESSION, fcntl(dev->session, F_DUPFD_CLOEXEC, 0));
	put(r, MEMORY, fcntl(dev->memory, F_DUPFD_CLOEXEC, 0));
	for (i = 0; i < VDEV_QUEUES; i++) {
		put(r, EVENTFD, fcntl(dev->queues[i].kick, F_DUPFD_CLOEXEC, 0));
		put(r, EVENTFD, fcntl(dev->queues[i].call, F_DUPFD_CLOEXEC, 0));
	}
}

static void no_files(struct vdev *dev)
{
	int i;

	dev->window = NULL;
	dev->session = dev->memory = -1;
	for (i = 0; i < VDEV_QUEUES; i++)
		dev->queues[i].kick = dev->queues[i].call = -1;
}

/* What a display does with a client's buffers. */
static void export_one(struct server *srv)
{
	struct virtio_loopback_range range = { 0, PAGE };
	struct virtio_loopback_export args = {
		O_CLOEXEC | O_RDWR, 1, (uintptr_t)&range, { 0 },
	};

	range.iova = note_buffer(&srv->recent, &srv->dev, &srv->rng);
	put(&srv->rng, DMABUF, ioctl(srv->dev.memory,
				     VIRTIO_LOOPBACK_EXPORT_DMABUF, &args));
}

static void serve_some_time(struct server *srv)
{
	struct vdev *dev = &srv->dev;
	long long end = now_ms() + below(&srv->rng, 3000);

	/* others read its events, move its queues, and write into its window */
	while (!over && now_ms() < end) {
		if (!GUARDED())
			vdev_serve(dev, 10, &over);
		guarded = false;
		if (below(&srv->rng, 2))
			export_one(srv);
		look_at_buffer(&srv->recent, dev, &srv->rng);
		if (!below(&srv->rng, 8))
			vdev_restart(dev, 1 + below(&srv->rng, 2));
	}
}

/* Clients leave, for which they need answers. */
static void close_gate(struct server *srv, struct gate *gate)
{
	long long end = now_ms() + 3000;

	atomic_store(&gate->open, false);
	while (atomic_load(&gate->inside) && now_ms() < end) {
		if (!GUARDED())
			vdev_serve(&srv->dev, 20, NULL);
		guarded = false;
	}
}

static void one_device(struct server *srv)
{
	struct virtio_loopback_create create;
	struct virtio_gpu_config config;
	struct vdev *dev = &srv->dev;
	int attached = 1 + below(&srv->rng, 3);
	/* a device that anybody may remove at any time has no clients */
	bool clients = below(&srv->rng, 3);
	struct gate *gate;

	memset(dev, 0, sizeof(*dev));
	no_files(dev);
	random_create(&srv->rng, &create, &config);
	snprintf(create.name, sizeof(create.name), "server%d", srv->number);
	if (vdev_open(dev, &create)) {
		/* the name may still be taken, or the session */
		vdev_close(dev);
		usleep(10000);
		return;
	}
	gate = &shared->gates[dev->index];
	atomic_store(&gate->open, clients);
	dev->restart = VIRTIO_LOOPBACK_REOFFER;
	while (attached-- && !over) {
		publish(&srv->rng, dev, !clients);
		serve_some_time(srv);
		if (!attached || below(&srv->rng, 2))
			break;
		vdev_detach(dev);
		no_files(dev);
		if (vdev_attach(dev))
			break;
	}
	close_gate(srv, gate);
	vdev_detach(dev);
	/* now the null device answers, if nobody else has the session */
	if (WAIT_FOR(!atomic_load(&gate->inside), 3000))
		close(dev->control);
	/* else the file stays open until all sessions have gone: leave() */
}

static void *server(void *arg)
{
	struct server *srv = arg;

	start_timer();
	while (!over)
		one_device(srv);
	return NULL;
}

/*
 * Without sessions the null device answers everybody, at once or when the time
 * has passed for which a device is kept; so clients can leave before their
 * devices are removed.
 */
static void leave(void)
{
	int kind, i;

	for (kind = 0; kind < KINDS; kind++)
		for (i = 0; kind != CONTROL && i < FILES; i++)
			close_if(atomic_exchange(&files[kind][i], 0) - 1);
	/* with the files that are under way */
	close(sockets[0]);
	close(sockets[1]);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	for (i = 0; i < GATES; i++)
		if (!atomic_load(&shared->gates[i].keeper) &&
		    !WAIT_FOR(!atomic_load(&shared->gates[i].inside), 8000))
			printf("(clients stay) ");
}

void fuzz_round(uint64_t seed, int ms)
{
	static struct rng rngs[CALLERS];
	pthread_t threads[CALLERS];
	struct sigaction act = { .sa_handler = on_timer };
	int i;

	install_guard();
	sigaction(SIGUSR1, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	EXPECT(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
	vgem = open_vgem();
	for (i = 0; i < SERVERS; i++) {
		servers[i].number = i;
		servers[i].rng = rng_of(seed, 10 + i);
		EXPECT(!pthread_create(&servers[i].thread, NULL, server,
				       &servers[i]));
	}
	for (i = 0; i < CALLERS; i++) {
		rngs[i] = rng_of(seed, i);
		EXPECT(!pthread_create(&threads[i], NULL, caller, &rngs[i]));
	}
	sleep_ms(ms);
	over = 1;
	for (i = 0; i < CALLERS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < SERVERS; i++)
		pthread_join(servers[i].thread, NULL);
	leave();
	printf("%u calls", atomic_load(&calls));
	fflush(stdout);
	_exit(0);
}
