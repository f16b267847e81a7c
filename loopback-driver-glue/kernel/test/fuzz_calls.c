// SPDX-License-Identifier: GPL-2.0
/* Any call on any file of the module, with any argument. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <linux/dma-buf.h>

#include "fuzz_round.h"

#define CALL(fd, request, arg) \
	ioctl(fd, request, place(r, arg, sizeof(*(arg))))

void random_create(struct rng *r, struct virtio_loopback_create *create,
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

static void (*const all[])(struct rng *r) = {
	call_open, call_create, call_attach, call_memory, call_queue_fds,
	call_queue_info, call_config_set, call_status, call_ack,
	call_outstanding, call_export, call_export, call_garbage, call_read,
	call_poll, call_eventfd, call_eventfd, call_other, call_dmabuf,
	call_close, call_dup, call_send, call_map, call_map, call_touch,
	call_touch, call_touch, call_touch, call_remap, call_fork,
	call_look, call_look, call_look, call_look,
};

void random_call(struct rng *r)
{
	all[below(r, sizeof(all) / sizeof(*all))](r);
}
