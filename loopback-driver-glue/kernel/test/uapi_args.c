// SPDX-License-Identifier: GPL-2.0
/* Every bad argument of every ioctl: the documented error, nothing changed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "harness.h"

/* volatile: the compiler would complain of it */
static void *volatile bad_pointer = (void *)8;
#define BAD_POINTER	bad_pointer

static struct virtio_loopback_create create;
static struct virtio_gpu_config config;

static int open_control(void)
{
	int fd = open("/dev/virtio-loopback", O_RDWR | O_CLOEXEC);

	EXPECT(fd >= 0);
	return fd;
}

static void test_version(void)
{
	int fd = open_control();
	__u32 version = 0;
	struct stat st;

	EXPECT(!ioctl(fd, VIRTIO_LOOPBACK_GET_API_VERSION, &version));
	EXPECT(version == VIRTIO_LOOPBACK_API_VERSION);
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_GET_API_VERSION, BAD_POINTER),
		     EFAULT);
	EXPECT_ERRNO(ioctl(fd, _IO(VIRTIO_LOOPBACK_IOCTL, 0x7f), 0), ENOTTY);
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_STATUS, BAD_POINTER), ENXIO);
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_OUTSTANDING, BAD_POINTER),
		     ENOTTY);
	EXPECT_ERRNO(read(fd, &version, 4), EINVAL);
	EXPECT(!stat("/dev/virtio-loopback", &st));
	EXPECT((st.st_mode & 0777) == 0600 && !st.st_uid && !st.st_gid);
}

static void wrong_flags(void) { create.flags = 1; }
static void wrong_id(void) { create.device_id = 17; }
static void wrong_input(void) { create.device_id = 18; }
static void wrong_no_id(void) { create.device_id = 0; }
static void wrong_keep(void) { create.keep_ms = 60001; }
static void wrong_reserved(void) { create.reserved[3] = 1; }
static void wrong_bounce(void) { create.bounce_max = (16 << 20) - 1; }
static void wrong_timeout(void) { create.reset_timeout_ms = 10001; }
static void wrong_version_1(void) { create.features &= ~(1ULL << 32); }
static void wrong_platform(void) { create.features &= ~(1ULL << 33); }
static void wrong_no_indirect(void) { create.features &= ~(1ULL << 28); }
static void wrong_packed(void) { create.features |= 1ULL << 34; }
static void wrong_in_order(void) { create.features |= 1ULL << 35; }
static void wrong_order(void) { create.features |= 1ULL << 36; }
static void wrong_sr_iov(void) { create.features |= 1ULL << 37; }
static void wrong_notify(void) { create.features |= 1ULL << 38; }
static void wrong_reset(void) { create.features |= 1ULL << 40; }
static void wrong_admin(void) { create.features |= 1ULL << 41; }
static void wrong_legacy(void) { create.features |= 1ULL << 24; }
static void wrong_layout(void) { create.features |= 1ULL << 27; }
static void wrong_small_window(void) { create.window_size = 1ULL << 29; }
static void wrong_big_window(void) { create.window_size = 1ULL << 41; }
static void wrong_odd_window(void) { create.window_size = 3ULL << 30; }
static void wrong_no_queues(void) { create.num_queues = 0; }
static void wrong_one_queue(void) { create.num_queues = 1; create.queue_size[1] = 0; }
static void wrong_three_queues(void) { create.num_queues = 3; create.queue_size[2] = 8; }
static void wrong_many_queues(void) { create.num_queues = 9; }
static void wrong_max_queues(void) { create.num_queues = ~0u; }
static void wrong_size_zero(void) { create.queue_size[0] = 0; }
static void wrong_size_odd(void) { create.queue_size[0] = 1000; }
static void wrong_size_big(void) { create.queue_size[0] = 2048; }
static void wrong_size_control(void) { create.queue_size[0] = 8; }
static void wrong_size_cursor(void) { create.queue_size[1] = 1; }
static void wrong_size_beyond(void) { create.queue_size[7] = 8; }
static void wrong_no_config(void) { create.config_len = 0; }
static void wrong_short_config(void) { create.config_len = 15; }
static void wrong_long_config(void) { create.config_len = 257; }
static void wrong_no_scanout(void) { config.num_scanouts = 0; }
static void wrong_scanouts(void) { config.num_scanouts = 17; }
static void wrong_capsets(void) { config.num_capsets = 33; }
static void wrong_no_name(void) { create.name[0] = 0; }
static void wrong_slash(void) { strcpy(create.name, "a/b"); }
static void wrong_space(void) { strcpy(create.name, "a b"); }
static void wrong_8_bit(void) { strcpy(create.name, "\xc3\xa4"); }
static void wrong_long_name(void) { memset(create.name, 'a', sizeof(create.name)); }
static void wrong_behind_name(void) { create.name[31] = 'x'; create.name[30] = 0; }

static void (*const wrong[])(void) = {
	wrong_flags, wrong_id, wrong_input, wrong_no_id, wrong_keep, wrong_reserved,
	wrong_bounce,
	wrong_timeout, wrong_version_1, wrong_platform, wrong_packed,
	wrong_no_indirect, wrong_size_control, wrong_size_cursor,
	wrong_in_order, wrong_order, wrong_sr_iov, wrong_notify, wrong_reset,
	wrong_admin, wrong_legacy, wrong_layout, wrong_small_window,
	wrong_big_window, wrong_odd_window, wrong_no_queues, wrong_one_queue,
	wrong_three_queues, wrong_many_queues, wrong_max_queues,
	wrong_size_zero, wrong_size_odd, wrong_size_big, wrong_size_beyond,
	wrong_no_config, wrong_short_config, wrong_long_config,
	wrong_no_scanout, wrong_scanouts, wrong_capsets, wrong_no_name,
	wrong_slash, wrong_space, wrong_8_bit, wrong_long_name,
	wrong_behind_name,
};

static void test_create_invalid(void)
{
	int fd = open_control(), before = count_parents();
	unsigned int i;

	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		vdev_defaults(&create, &config, "bad");
		wrong[i]();
		if (ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create) != -1 ||
		    errno != EINVAL) {
			fprintf(stderr, "  case %u: %m\n", i);
			fail(__FILE__, __LINE__, "accepted");
		}
		EXPECT(count_parents() == before);
	}
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_CREATE, BAD_POINTER), EFAULT);
	vdev_defaults(&create, &config, "bad");
	create.config = 8;
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create), EFAULT);
	EXPECT(count_parents() == before);
	/* and after all that the file is as good as new */
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_ATTACH, 0), ENXIO);
	vdev_defaults(&create, &config, "good");
	EXPECT(!ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create));
	EXPECT(count_parents() == before + 1);
}

/* The index cannot be told: nothing is left of the device at once. */
static void test_create_read_only(void)
{
	int fd = open_control(), before = count_parents(), i;
	struct virtio_loopback_create *locked;

	vdev_defaults(&create, &config, "locked");
	locked = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(locked != MAP_FAILED);
	*locked = create;
	EXPECT(!mprotect(locked, 4096, PROT_READ));
	/* more often than there may be devices */
	for (i = 0; i < 300; i++)
		EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_CREATE, locked), EFAULT);
	EXPECT(count_parents() == before);
	EXPECT(!ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create));
}

/* The control file is never ready, whatever happens to the device. */
static void test_control_poll(void)
{
	struct pollfd p = { open_control(), POLLIN | POLLOUT | POLLPRI, 0 };

	EXPECT(poll(&p, 1, 50) == 0);
	vdev_defaults(&create, &config, "poll");
	EXPECT(!ioctl(p.fd, VIRTIO_LOOPBACK_CREATE, &create));
	EXPECT(close(ioctl(p.fd, VIRTIO_LOOPBACK_ATTACH, 0)) == 0);
	EXPECT(poll(&p, 1, 50) == 0);
}

static void test_create_limits(void)
{
	int fd = open_control();
	uint8_t bytes[256] = { 0 };
	struct virtio_loopback_status st;
	char text[64];

	vdev_defaults(&create, &config, "a.B-c_9");
	memcpy(bytes, &config, sizeof(config));
	create.config = (uintptr_t)bytes;
	create.config_len = 256;
	create.window_size = 1ULL << 40;
	create.reset_timeout_ms = 10000;
	create.queue_size[0] = 1024;
	create.queue_size[1] = 2;
	create.features |= 1ULL << 23 | 1ULL << 50;	/* device bits */
	create.keep_ms = 60000;
	create.bounce_max = 16 << 20;
	create.export_max = 4096;
	EXPECT(!ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create));
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_STATUS, BAD_POINTER), EFAULT);
	EXPECT(!ioctl(fd, VIRTIO_LOOPBACK_STATUS, &st));
	EXPECT(st.state == VIRTIO_LOOPBACK_STATE_WAITING);
	EXPECT(st.index == create.index && st.keep_ms == 60000);
	EXPECT(st.bounce_max == 16 << 20 && !st.exported_pages);
	/* it may have been quick */
	EXPECT(st.driver_starts <= 1);
	parent_attr(create.index, "name", text, sizeof(text));
	EXPECT(!strcmp(text, "a.B-c_9"));
	parent_attr(create.index, "state", text, sizeof(text));
	EXPECT(!strcmp(text, "waiting"));
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create), EBUSY);
}

static void test_names(void)
{
	int a = open_control(), b = open_control();
	uint32_t index;

	vdev_defaults(&create, &config, "same");
	EXPECT(!ioctl(a, VIRTIO_LOOPBACK_CREATE, &create));
	index = create.index;
	EXPECT_ERRNO(ioctl(b, VIRTIO_LOOPBACK_CREATE, &create), EEXIST);
	close(a);
	create.index = 0;
	EXPECT(!ioctl(b, VIRTIO_LOOPBACK_CREATE, &create));
	EXPECT(WAIT_FOR(!parent_exists(index) || index == create.index, 5000));
}

static void test_attach(void)
{
	int fd = open_control(), session;
	char text[64];

	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_ATTACH, 0), ENXIO);
	vdev_defaults(&create, &config, "attach");
	EXPECT(!ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create));
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_ATTACH, 1), EINVAL);
	session = ioctl(fd, VIRTIO_LOOPBACK_ATTACH, 0);
	EXPECT(session >= 0);
	EXPECT(fcntl(session, F_GETFD) == FD_CLOEXEC);
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_ATTACH, 0), EBUSY);
	parent_attr(create.index, "state", text, sizeof(text));
	EXPECT(!strcmp(text, "attached"));
	close(session);
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_ATTACH, 0), ENOTCONN);
	parent_attr(create.index, "state", text, sizeof(text));
	EXPECT(!strcmp(text, "null"));
}

static void test_queue_fds(void)
{
	struct virtio_loopback_queue_fds fds;
	struct vdev dev = { 0 };
	uint64_t count = 0;
	int efd = eventfd(0, EFD_NONBLOCK), closed = 1000;

	vdev_defaults(&create, &config, "fds");
	EXPECT(!vdev_open(&dev, &create));
	/* its start kicks both queues, once */
	EXPECT(WAIT_FOR(status_of(&dev).outstanding > 0, 10000));
#define SET(q, k, c, r) (fds = (struct virtio_loopback_queue_fds){ q, k, c, r }, \
			 ioctl(dev.session, VIRTIO_LOOPBACK_SET_QUEUE_FDS, &fds))
	/* the cursor queue: the driver kicks the other as it goes on probing */
	EXPECT(!SET(1, efd, -1, 0));
	EXPECT(read(efd, &count, 8) == 8 && count == 1);
	EXPECT_ERRNO(SET(2, efd, -1, 0), EINVAL);
	EXPECT_ERRNO(SET(~0u, efd, -1, 0), EINVAL);
	EXPECT_ERRNO(SET(1, efd, -1, 1), EINVAL);
	EXPECT_ERRNO(SET(1, dev.session, -1, 0), EINVAL);
	EXPECT_ERRNO(SET(1, efd, dev.memory, 0), EINVAL);
	EXPECT_ERRNO(SET(1, closed, -1, 0), EBADF);
	EXPECT_ERRNO(SET(1, efd, closed, 0), EBADF);
	EXPECT_ERRNO(SET(1, -2, -1, 0), EBADF);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_SET_QUEUE_FDS,
			   BAD_POINTER), EFAULT);
	/* none of the failures has signalled or replaced it */
	EXPECT_ERRNO(read(efd, &count, 8), EAGAIN);
	EXPECT(!SET(1, -1, -1, 0));
	EXPECT_ERRNO(read(efd, &count, 8), EAGAIN);
	vdev_close(&dev);
}

static void test_queue_info(void)
{
	struct virtio_loopback_queue_info info[2] = { { .queue = 0 },
						      { .queue = 1 } };
	struct virtio_loopback_queue_info bad;
	struct vdev dev = { 0 };
	int i;

	vdev_defaults(&create, &config, "info");
	EXPECT(!vdev_open(&dev, &create));
	for (i = 0; i < 2; i++) {
		EXPECT(!ioctl(dev.session, VIRTIO_LOOPBACK_QUEUE_INFO, &info[i]));
		EXPECT(info[i].size == (i ? 16 : 1024));
		EXPECT(info[i].desc % 16 == 0 && info[i].avail % 2 == 0 &&
		       info[i].used % 4 == 0);
		EXPECT(info[i].avail >= info[i].desc + 16 * info[i].size);
		EXPECT(info[i].used >= info[i].avail + 6 + 2 * info[i].size);
		EXPECT(info[i].next_avail == 0);
		EXPECT(info[i].avail_idx == info[i].outstanding);
	}
	EXPECT(info[1].desc > info[0].used);
	bad = (struct virtio_loopback_queue_info){ .queue = 2 };
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_QUEUE_INFO, &bad),
		     EINVAL);
	bad = (struct virtio_loopback_queue_info){ .avail_idx = 1 };
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_QUEUE_INFO, &bad),
		     EINVAL);
	bad = (struct virtio_loopback_queue_info){ .reserved = { 0, 1 } };
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_QUEUE_INFO, &bad),
		     EINVAL);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_QUEUE_INFO,
			   BAD_POINTER), EFAULT);
	vdev_close(&dev);
}

static void test_outstanding_args(void)
{
	struct virtio_loopback_outstanding args;
	struct vdev dev = { 0 };

	vdev_defaults(&create, &config, "outstanding");
	EXPECT(!vdev_open(&dev, &create));
#define OUTSTANDING(q, a, r) (args = (struct virtio_loopback_outstanding){ q, a, r }, \
			      ioctl(dev.session, VIRTIO_LOOPBACK_OUTSTANDING, &args))
	EXPECT_ERRNO(OUTSTANDING(2, VIRTIO_LOOPBACK_REOFFER, 0), EINVAL);
	EXPECT_ERRNO(OUTSTANDING(~0u, VIRTIO_LOOPBACK_FAIL, 0), EINVAL);
	EXPECT_ERRNO(OUTSTANDING(0, 0, 0), EINVAL);
	EXPECT_ERRNO(OUTSTANDING(0, 3, 0), EINVAL);
	EXPECT_ERRNO(OUTSTANDING(0, VIRTIO_LOOPBACK_FAIL, 1), EINVAL);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_OUTSTANDING,
			   BAD_POINTER), EFAULT);
	EXPECT(OUTSTANDING(1, VIRTIO_LOOPBACK_REOFFER, 0) == 0);
	vdev_close(&dev);
}

static void test_config_set(void)
{
	struct virtio_loopback_config_set set;
	struct vdev dev = { 0 };
	__u32 zero = 0, two = 2, many = 17;

	vdev_defaults(&create, &config, "config");
	EXPECT(!vdev_open(&dev, &create));
#define CONFIG(o, l, d) (set = (struct virtio_loopback_config_set){ o, l, (uintptr_t)(d) }, \
			 ioctl(dev.session, VIRTIO_LOOPBACK_CONFIG_SET, &set))
	EXPECT(!CONFIG(8, 4, &two));
	EXPECT_ERRNO(CONFIG(8, 4, &zero), EINVAL);
	EXPECT_ERRNO(CONFIG(8, 4, &many), EINVAL);
	EXPECT_ERRNO(CONFIG(0, 0, &two), EINVAL);
	EXPECT_ERRNO(CONFIG(16, 1, &two), EINVAL);
	EXPECT_ERRNO(CONFIG(13, 4, &two), EINVAL);
	EXPECT_ERRNO(CONFIG(0, 17, &two), EINVAL);
	EXPECT_ERRNO(CONFIG(~0u, 2, &two), EINVAL);
	EXPECT_ERRNO(CONFIG(2, ~0u, &two), EINVAL);
	EXPECT_ERRNO(CONFIG(8, 4, BAD_POINTER), EFAULT);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_CONFIG_SET,
			   BAD_POINTER), EFAULT);
	vdev_close(&dev);
}

static void test_session_calls(void)
{
	struct virtio_loopback_event event;
	struct pollfd p = { .events = POLLIN };
	struct vdev dev = { 0 };
	__u32 sequence = 0;

	vdev_defaults(&create, &config, "calls");
	/* a device that no driver takes: nothing but what we do happens */
	EXPECT(!vdev_open(&dev, &create));
	p.fd = dev.session;
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_STATUS, BAD_POINTER),
		     EFAULT);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_CREATE, &create),
		     ENOTTY);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_GET_MEM_FD, 1), EINVAL);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_ACK, BAD_POINTER),
		     EFAULT);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_ACK, &sequence), ESTALE);
	sequence = 12345;
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_ACK, &sequence), ESTALE);
	EXPECT_ERRNO(read(dev.session, &event, sizeof(event) - 1), EINVAL);
	/* the driver's first step */
	EXPECT(poll(&p, 1, 10000) == 1 && p.revents == POLLIN);
	EXPECT_ERRNO(read(dev.session, BAD_POINTER, sizeof(event)), EFAULT);
	/* which is not lost by that */
	EXPECT(read(dev.session, &event, sizeof(event)) == sizeof(event));
	EXPECT(event.type == VIRTIO_LOOPBACK_EVENT_FEATURES_OK);
	EXPECT(status_of(&dev).state == VIRTIO_LOOPBACK_STATE_ATTACHED);
	EXPECT_ERRNO(write(dev.session, &event, sizeof(event)), EINVAL);
	vdev_close(&dev);
}

/* Once the control file is closed, the session file only tells so. */
static void test_session_after_removal(void)
{
	struct virtio_loopback_queue_fds fds = { 0, -1, -1, 0 };
	struct virtio_loopback_config_set set = { 0, 4, (uintptr_t)&fds };
	struct virtio_loopback_outstanding args;
	struct virtio_loopback_event event;
	struct pollfd p = { .events = POLLIN };
	struct vdev dev = { 0 };
	ssize_t n;

	vdev_defaults(&create, &config, "removal");
	EXPECT(!vdev_open(&dev, &create));
	close(dev.control);
	p.fd = dev.session;
	EXPECT(poll(&p, 1, 1000) == 1 && p.revents & POLLHUP);
	EXPECT(WAIT_FOR(!parent_exists(dev.index), 10000));
	do {
		n = read(dev.session, &event, sizeof(event));
	} while (n == sizeof(event));
	EXPECT(n == 0);
	EXPECT(status_of(&dev).state == VIRTIO_LOOPBACK_STATE_NULL);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_GET_MEM_FD, 0), ENODEV);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_SET_QUEUE_FDS, &fds),
		     ENODEV);
	EXPECT_ERRNO(ioctl(dev.session, VIRTIO_LOOPBACK_CONFIG_SET, &set),
		     ENODEV);
	EXPECT_ERRNO(OUTSTANDING(0, VIRTIO_LOOPBACK_REOFFER, 0), ENODEV);
	EXPECT(dev.window[1ULL << 32] == 0);
	dev.control = -1;
	vdev_close(&dev);
}

const struct test argument_tests[] = {
	{ "version", test_version, 5 },
	{ "create_invalid", test_create_invalid, 20 },
	{ "create_read_only", test_create_read_only, 20 },
	{ "control_poll", test_control_poll, 20 },
	{ "create_limits", test_create_limits, 20 },
	{ "names", test_names, 20 },
	{ "attach", test_attach, 20 },
	{ "queue_fds", test_queue_fds, 20 },
	{ "queue_info", test_queue_info, 20 },
	{ "outstanding_args", test_outstanding_args, 20 },
	{ "config_set", test_config_set, 20 },
	{ "session_calls", test_session_calls, 30 },
	{ "session_after_removal", test_session_after_removal, 30 },
	{ 0 }
};
