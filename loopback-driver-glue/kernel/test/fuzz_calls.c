// SPDX-License-Identifier: GPL-2.0
/*
 * A round: the process that has the module's files. Threads that serve devices
 * as one should, and threads that make any call on any file at any time. They
 * share the files and do not ask each other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/dma-buf.h>

#include "harness.h"
#include "fuzz.h"

#define SERVERS		2
#define CALLERS		3
#define FILES		12	/* of each kind */
#define MAPS		24

enum kind { CONTROL, SESSION, MEMORY, DMABUF, EVENTFD, OTHER, KINDS };

/* File descriptors, plus 1; 0: none. */
static atomic_int files[KINDS][FILES];

static struct {
	_Atomic(uint8_t *) at;
	atomic_size_t length;
} maps[MAPS];

static struct server {
	struct vdev dev;
	pthread_t thread;
	struct rng rng;
	int number;
	struct recent recent;
} servers[SERVERS];

static volatile int over;
static atomic_uint calls;
static int sockets[2];
static int vgem = -1;

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

static void close_if(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* What was in its place is closed. */
static void put(struct rng *r, enum kind kind, int fd)
{
	if (fd >= 0)
		close_if(atomic_exchange(&files[kind][below(r, FILES)],
					 fd + 1) - 1);
}

static int peek(struct rng *r, enum kind kind)
{
	uint32_t i = below(r, FILES), n;
	int fd;

	for (n = 0; n < FILES; n++, i++) {
		fd = atomic_load(&files[kind][i % FILES]) - 1;
		if (fd >= 0)
			return fd;
	}
	return -1;
}

static int peek_any(struct rng *r)
{
	return peek(r, below(r, KINDS));
}

/* Mostly a file of @kind. */
static int peek_about(struct rng *r, enum kind kind)
{
	return below(r, 20) ? peek(r, kind) : peek_any(r);
}

static uint64_t some_value(struct rng *r)
{
	switch (below(r, 5)) {
	case 0:
		return below(r, 4);
	case 1:
		return PAGE * below(r, 64);
	case 2:
		return (rnd(r) & 0xfffffffffULL) & ~(PAGE - 1);
	case 3:
		return 1ULL << below(r, 64);
	default:
		return rnd(r);
	}
}

/* An address in the window where something may be. */
static uint64_t some_address(struct rng *r)
{
	uint64_t buffer;

	switch (below(r, 6)) {
	case 0:
		return 0x100000 + PAGE * below(r, 64);		/* rings */
	case 1:
		return 0x1000000 + PAGE * below(r, 600);	/* bounce */
	case 2:
		return some_value(r) & ~(PAGE - 1);
	default:
		buffer = some_buffer(&servers[below(r, SERVERS)].dev);
		return buffer + PAGE * below(r, 4);
	}
}

/* Bytes of an argument that are wrong, now and then. */
static void spoil(struct rng *r, void *arg, size_t size)
{
	uint8_t *bytes = arg;

	if (below(r, 4))
		return;
	if (below(r, 2))
		bytes[below(r, size)] ^= 1 << below(r, 8);
	else
		bytes[below(r, size)] = rnd(r);
}

/* A copy that can be read, and no result be written to. */
static void *read_only(const void *arg, size_t size)
{
	static __thread uint8_t *page;

	if (!page)
		page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	if (page == MAP_FAILED || mprotect(page, PAGE, PROT_READ | PROT_WRITE))
		return NULL;
	memcpy(page, arg, size);
	mprotect(page, PAGE, PROT_READ);
	return page;
}

/*
 * @arg, or an address that is bad, or ends too early, or is in a window: then
 * the module's copy takes a page fault of the module.
 */
static void *place(struct rng *r, void *arg, size_t size)
{
	static uint8_t *edge;

	if (below(r, 10))
		return arg;
	if (below(r, 2))
		return atomic_load(&maps[below(r, MAPS)].at) + below(r, PAGE);
	if (below(r, 2))
		return (void *)(uintptr_t)some_value(r);
	if (below(r, 2))
		return read_only(arg, size);
	if (!edge) {
		edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (edge == MAP_FAILED || munmap(edge + PAGE, PAGE))
			return NULL;
	}
	return edge + PAGE - below(r, size);
}

#define CALL(fd, request, arg) \
	ioctl(fd, request, place(r, arg, sizeof(*(arg))))

static void random_create(struct rng *r, struct virtio_loopback_create *create,
			  struct virtio_gpu_config *config)
{
	char name[16];

	snprintf(name, sizeof(name), "fuzz%u", below(r, 6));
	vdev_defaults(create, config, name);
	create->keep_ms = below(r, 2) ? 0 : below(r, 2000);
	create->reset_timeout_ms = below(r, 2) ? 0 : 1 + below(r, 500);
	if (below(r, 2))
		create->window_size = 1ULL << (30 + below(r, 11));
	if (!below(r, 3))
		create->features |= 1ULL << VIRTIO_GPU_F_VIRGL;
	if (!below(r, 3))
		create->features &= ~(1ULL << 29);
	if (!below(r, 3))
		create->features |= 1ULL << VIRTIO_GPU_F_EDID;
	if (!below(r, 3))
		create->export_max = PAGE * below(r, 2000);
	if (!below(r, 4)) {
		create->queue_size[0] = 16 << below(r, 7);
		create->queue_size[1] = 2 << below(r, 10);
	}
	config->num_scanouts = 1 + below(r, 3);
}

/* A keyboard with two keys and a touch screen's contacts. */
static const uint8_t input_table[] = {
	0x01, 0x00, 4, 0, 'f', 'u', 'z', 'z',
	0x11, 0x01, 7, 0, 0, 0, 0, 0x40, 0, 0, 1,
	0x11, 0x03, 8, 0, 0, 0, 0, 0, 0, 0x80, 0, 0,
	0x11, 0x14, 1, 0, 3,
	0x12, 0x2f, 20, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0,
};

static void random_input(struct rng *r, struct virtio_loopback_create *create,
			 uint8_t *table)
{
	memcpy(table, input_table, sizeof(input_table));
	create->device_id = 18;
	create->features = VDEV_FEATURES &
			   ~(1ULL << VIRTIO_GPU_F_RESOURCE_BLOB);
	create->queue_size[0] = 2 << below(r, 6);
	create->queue_size[1] = 2 << below(r, 6);
	create->config = (uintptr_t)table;
	create->config_len = sizeof(input_table);
	spoil(r, table, sizeof(input_table));
}

static void call_create(struct rng *r)
{
	struct virtio_loopback_create create;
	struct virtio_gpu_config config;
	uint8_t table[sizeof(input_table)];

	random_create(r, &create, &config);
	if (!below(r, 3))
		random_input(r, &create, table);
	spoil(r, &create, sizeof(create));
	spoil(r, &config, sizeof(config));
	CALL(peek_about(r, CONTROL), VIRTIO_LOOPBACK_CREATE, &create);
}

static void call_open(struct rng *r)
{
	if (below(r, 4) == 0)
		put(r, CONTROL, open("/dev/virtio-loopback",
				     O_RDWR | O_CLOEXEC));
}

static void call_attach(struct rng *r)
{
	put(r, SESSION, ioctl(peek_about(r, CONTROL), VIRTIO_LOOPBACK_ATTACH,
			      below(r, 10) ? 0 : rnd(r)));
}

static void call_memory(struct rng *r)
{
	put(r, MEMORY, ioctl(peek_about(r, SESSION),
			     VIRTIO_LOOPBACK_GET_MEM_FD,
			     below(r, 10) ? 0 : rnd(r)));
}

static void call_queue_fds(struct rng *r)
{
	struct virtio_loopback_queue_fds fds = {
		below(r, 3), below(r, 3) ? peek_about(r, EVENTFD) : -1,
		below(r, 3) ? peek_about(r, EVENTFD) : -1, 0,
	};

	spoil(r, &fds, sizeof(fds));
	CALL(peek_about(r, SESSION), VIRTIO_LOOPBACK_SET_QUEUE_FDS, &fds);
}

static void call_queue_info(struct rng *r)
{
	struct virtio_loopback_queue_info info = { .queue = below(r, 3) };

	spoil(r, &info, sizeof(info));
	CALL(peek_about(r, SESSION), VIRTIO_LOOPBACK_QUEUE_INFO, &info);
}

static void call_config_set(struct rng *r)
{
	uint32_t words[64] = { below(r, 2), 0, 1 + below(r, 3), 0 };
	struct virtio_loopback_config_set set = {
		4 * below(r, 3), 4 * (1 + below(r, 2)),
		(uintptr_t)(words + below(r, 4)),
	};

	spoil(r, &set, sizeof(set));
	CALL(peek_about(r, SESSION), VIRTIO_LOOPBACK_CONFIG_SET, &set);
}

static void call_status(struct rng *r)
{
	struct virtio_loopback_status status;
	uint32_t version;

	CALL(peek_about(r, below(r, 2) ? SESSION : CONTROL),
	     VIRTIO_LOOPBACK_STATUS, &status);
	if (!below(r, 8))
		CALL(peek_about(r, CONTROL), VIRTIO_LOOPBACK_GET_API_VERSION,
		     &version);
}

static void call_ack(struct rng *r)
{
	uint32_t sequence = below(r, 40);

	CALL(peek_about(r, SESSION), VIRTIO_LOOPBACK_ACK, &sequence);
}

static void call_outstanding(struct rng *r)
{
	struct virtio_loopback_outstanding args = {
		below(r, 2), 1 + below(r, 2), 0,
	};

	spoil(r, &args, sizeof(args));
	CALL(peek_about(r, SESSION), VIRTIO_LOOPBACK_OUTSTANDING, &args);
}

static void call_export(struct rng *r)
{
	struct virtio_loopback_range ranges[4];
	struct virtio_loopback_export args = {
		O_CLOEXEC | (below(r, 4) ? O_RDWR : 0), 1 + below(r, 2),
		(uintptr_t)place(r, ranges, sizeof(ranges)), { 0 },
	};
	uint64_t at = some_address(r);
	int i;

	for (i = 0; i < 4; i++) {
		ranges[i].iova = at + 4 * i * PAGE;
		ranges[i].length = PAGE * (1 + below(r, 4));
		spoil(r, &ranges[i], sizeof(ranges[i]));
	}
	spoil(r, &args, sizeof(args));
	put(r, DMABUF, CALL(peek_about(r, MEMORY),
			    VIRTIO_LOOPBACK_EXPORT_DMABUF, &args));
}

/* Any request with any argument on any file. */
static void call_garbage(struct rng *r)
{
	uint64_t args[32];
	unsigned int i;
	int fd = peek_any(r);

	for (i = 0; i < 32; i++)
		args[i] = below(r, 3) ? 0 : some_value(r);
	if (below(r, 4))
		i = _IOC(below(r, 4), VIRTIO_LOOPBACK_IOCTL, below(r, 0x24),
			 below(r, 2) ? 8 * below(r, 20) : 4);
	else
		i = rnd(r);
	/* on an eventfd or socket it would be for somebody else */
	if (fd >= 0)
		ioctl(fd, i, args);
}

static void call_read(struct rng *r)
{
	struct virtio_loopback_event events[3];
	size_t size = below(r, 4) ? sizeof(events) : below(r, sizeof(events));
	int fd = peek_about(r, SESSION);

	if (read(fd, place(r, events, sizeof(events)), size) < 0 &&
	    !below(r, 10))
		fcntl(fd, F_SETFL, below(r, 2) ? O_NONBLOCK : 0);
}

static void call_poll(struct rng *r)
{
	struct pollfd p[4];
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
	int i, epoll;

	for (i = 0; i < 4; i++)
		p[i] = (struct pollfd){ peek_any(r), rnd(r), 0 };
	poll(p, 4, below(r, 3));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	for (i = 0; i < 4; i++)
		epoll_ctl(epoll, EPOLL_CTL_ADD, p[i].fd, &event);
	epoll_wait(epoll, &event, 1, below(r, 2));
	if (below(r, 4))
		close_if(epoll);
	else
		put(r, OTHER, epoll);
}

static void call_eventfd(struct rng *r)
{
	uint64_t count = below(r, 50) ? 1 : ~0ULL - below(r, 3);

	switch (below(r, 8)) {
	case 0:
		put(r, EVENTFD, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC |
					(below(r, 8) ? 0 : EFD_SEMAPHORE)));
		break;
	case 1:
		if (read(peek(r, EVENTFD), &count, 8) != 8)
			break;
		break;
	default:
		if (write(peek(r, EVENTFD), &count, 8) != 8)
			break;
	}
}

/* Plain system calls on files that are not made for them. */
static void call_other(struct rng *r)
{
	int fd = peek_any(r), other = peek_any(r);
	uint8_t bytes[64];
	off_t at = some_value(r);
	ssize_t n = 0;

	switch (below(r, 9)) {
	case 0:
		n = pread(fd, bytes, sizeof(bytes), at);
		break;
	case 1:
		n = lseek(fd, at, below(r, 3));
		break;
	case 2:
		n = ftruncate(peek(r, MEMORY), at);
		break;
	case 3:
		n = fallocate(peek(r, MEMORY), below(r, 4), at, PAGE);
		break;
	case 4:
		n = splice(fd, NULL, other, NULL, PAGE, SPLICE_F_NONBLOCK);
		break;
	case 5:
		n = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		break;
	case 6:
		n = fsync(fd);
		break;
	case 7:
		n = copy_file_range(fd, NULL, other, NULL, PAGE, 0);
		break;
	default:
		n = readahead(fd, 0, PAGE);
	}
	(void)n;
}

static void call_dmabuf(struct rng *r)
{
	struct dma_buf_sync sync = {
		(1 + below(r, 3)) | (below(r, 2) ? DMA_BUF_SYNC_END : 0),
	};
	struct drm_prime_handle { uint32_t handle, flags; int32_t fd; } prime;
	struct { uint32_t handle, pad; } gone = { 0, 0 };
	int fd = peek(r, DMABUF);

	if (below(r, 3)) {
		ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync);
		return;
	}
	prime = (struct drm_prime_handle){ .fd = fd };
	if (vgem >= 0 &&
	    !ioctl(vgem, _IOWR('d', 0x2e, struct drm_prime_handle), &prime)) {
		ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync);
		gone.handle = prime.handle;
		ioctl(vgem, _IOW('d', 0x09, typeof(gone)), &gone);
	}
}

static void call_close(struct rng *r)
{
	enum kind kind = below(r, KINDS);

	/* control files less often: all that is theirs goes with them */
	if (kind == CONTROL && below(r, 4))
		kind = SESSION;
	close_if(atomic_exchange(&files[kind][below(r, FILES)], 0) - 1);
}

static void call_dup(struct rng *r)
{
	enum kind kind = below(r, OTHER);
	int fd = peek(r, kind);

	if (fd >= 0)
		put(r, kind, fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

/* A file that is under way in a socket, perhaps as its last reference. */
static void call_send(struct rng *r)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	enum kind kind = below(r, OTHER);
	char byte = kind;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd = peek(r, kind);

	if (below(r, 2)) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
		sendmsg(sockets[0], &msg, MSG_DONTWAIT);
	} else if (recvmsg(sockets[1], &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) ==
		   1 && msg.msg_controllen >= CMSG_LEN(sizeof(int))) {
		memcpy(&fd, CMSG_DATA(&control.header), sizeof(int));
		put(r, byte < OTHER ? byte : OTHER, fd);
	}
}

void look(const volatile uint64_t *words, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (words[i] == shared->secret) {
			atomic_fetch_add(&shared->seen, 1);
			return;
		}
}

uint64_t note_buffer(struct recent *recent, struct vdev *dev, struct rng *r)
{
	struct vdev_resource *res;
	int i, first = below(r, VDEV_RESOURCES);

	for (i = 0; i < VDEV_RESOURCES; i++) {
		uint64_t at;

		res = &dev->resources[(first + i) % VDEV_RESOURCES];
		at = res->first.addr;
		if (res->id && at && at < dev->window_size) {
			atomic_store(&recent->at[below(r, RECENT)], at);
			return at;
		}
	}
	return 0;
}

void look_at_buffer(struct recent *recent, struct vdev *dev, struct rng *r)
{
	uint64_t at = atomic_load(&recent->at[below(r, RECENT)]);
	const uint8_t *window = dev->window;

	if (!window || window == MAP_FAILED || !at)
		return;
	if (!GUARDED())
		look((const uint64_t *)(window + at), 4 * PAGE / 8);
	guarded = false;
}

static void call_map(struct rng *r)
{
	size_t length = PAGE * (1 + below(r, 16));
	int prot = below(r, 8) ? PROT_READ | PROT_WRITE : below(r, 8);
	int flags = below(r, 16) ? MAP_SHARED : MAP_PRIVATE;
	uint32_t i = below(r, MAPS);
	off_t offset = below(r, 8) ? some_address(r) : some_value(r);
	int fd = peek(r, MEMORY);
	uint8_t *at;

	if (below(r, 3) == 0) {
		fd = peek(r, DMABUF);
		offset = PAGE * below(r, 4);
	}
	if (!below(r, 8))
		flags |= MAP_POPULATE;
	if (!below(r, 16))
		flags |= MAP_LOCKED;
	at = mmap(NULL, length, prot, flags, fd, offset);
	if (at == MAP_FAILED)
		return;
	/* the mapping that was there stays until the end */
	atomic_store(&maps[i].length, 0);
	atomic_store(&maps[i].at, at);
	atomic_store(&maps[i].length, length);
}

/* Part of a mapping, page by page; not all of it need be there still. */
static uint8_t *some_part(struct rng *r, size_t *length)
{
	uint32_t i = below(r, MAPS);
	size_t pages = atomic_load(&maps[i].length) / PAGE;
	uint32_t first;

	if (!pages)
		return NULL;
	first = below(r, pages);
	*length = PAGE * (1 + below(r, pages - first));
	return atomic_load(&maps[i].at) + first * PAGE;
}

static void call_touch(struct rng *r)
{
	size_t length;
	uint8_t *at = some_part(r, &length);

	if (!at)
		return;
	if (!GUARDED()) {
		look((uint64_t *)at, length / 8);
		if (below(r, 2))
			((volatile uint32_t *)at)[below(r, length / 4)] = rnd(r);
	}
	guarded = false;
}

static void call_look(struct rng *r)
{
	struct server *srv = &servers[below(r, SERVERS)];

	look_at_buffer(&srv->recent, &srv->dev, r);
}

static void call_remap(struct rng *r)
{
	static const int advices[] = {
		MADV_DONTNEED, MADV_REMOVE, MADV_DOFORK, MADV_DONTFORK,
		MADV_WILLNEED, MADV_HUGEPAGE, MADV_DODUMP, MADV_COLD,
		MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	};
	size_t length;
	uint8_t *at = some_part(r, &length);
	struct iovec local = { &length, sizeof(length) }, remote = { at, 8 };

	if (!at)
		return;
	switch (below(r, 7)) {
	case 0:
		munmap(at, length);
		break;
	case 1:
		mprotect(at, length, below(r, 8));
		break;
	case 2:
		mremap(at, length, PAGE * below(r, 20), below(r, 2));
		break;
	case 3:
		madvise(at, length, advices[below(r, sizeof(advices) /
						  sizeof(*advices))]);
		break;
	case 4:
		if (below(r, 2))
			mlock(at, length);
		else
			munlock(at, length);
		break;
	case 5:
		msync(at, length, MS_SYNC);
		break;
	default:
		/* the kernel must not follow it */
		if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 8 &&
		    length == shared->secret)
			atomic_fetch_add(&shared->seen, 1);
	}
}

/* A child that has all the files for a moment, and no window. */
static void call_fork(struct rng *r)
{
	uint32_t us = below(r, 20000);
	struct rng mine = { rnd(r) | 1 };
	pid_t pid;
	int i;

	if (below(r, 8))
		return;
	pid = fork();
	if (!pid) {
		for (i = 0; i < 20; i++)
			call_touch(&mine);
		usleep(us);
		_exit(0);
	}
	if (pid > 0 && below(r, 2))
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	else
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
}

static void (*const all[])(struct rng *r) = {
	call_open, call_create, call_attach, call_memory, call_queue_fds,
	call_queue_info, call_config_set, call_status, call_ack,
	call_outstanding, call_export, call_export, call_garbage, call_read,
	call_poll, call_eventfd, call_eventfd, call_other, call_dmabuf,
	call_close, call_dup, call_send, call_map, call_map, call_touch,
	call_touch, call_touch, call_touch, call_remap, call_fork,
	call_look, call_look, call_look, call_look,
};

static void *caller(void *arg)
{
	struct rng *r = arg;

	start_timer();
	while (!over) {
		all[below(r, sizeof(all) / sizeof(*all))](r);
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
