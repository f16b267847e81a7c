// SPDX-License-Identifier: GPL-2.0
/* The window: who may map what, what is seen there, and EXPORT_DMABUF. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/dma-buf.h>

#include "harness.h"

#define PAGE	4096UL

static struct virtio_loopback_create create;
static struct virtio_gpu_config config;
static struct served s;

static void start(const char *name)
{
	vdev_defaults(&create, &config, name);
	serve_start(&s, &create, true);
}

static void *map_window(uint64_t offset, size_t length, int prot, int flags)
{
	return mmap(NULL, length, prot, flags, s.dev.memory, offset);
}

static void test_mmap_rules(void)
{
	uint64_t size;
	struct stat st;

	start("mmap");
	size = s.dev.window_size;
	EXPECT(size == 64ULL << 30);
	EXPECT(!fstat(s.dev.memory, &st) && (uint64_t)st.st_size == size);
	EXPECT((uint64_t)lseek(s.dev.memory, 0, SEEK_END) == size);
	EXPECT(fcntl(s.dev.memory, F_GETFD) == FD_CLOEXEC);
	EXPECT(map_window(0, PAGE, PROT_READ, MAP_PRIVATE) == MAP_FAILED &&
	       errno == EINVAL);
	EXPECT(map_window(size, PAGE, PROT_READ, MAP_SHARED) == MAP_FAILED &&
	       errno == EINVAL);
	EXPECT(map_window(size - PAGE, 2 * PAGE, PROT_READ, MAP_SHARED) ==
	       MAP_FAILED && errno == EINVAL);
	EXPECT(map_window(0, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED) ==
	       MAP_FAILED && errno == EPERM);
	EXPECT(map_window(size - PAGE, PAGE, PROT_READ, MAP_SHARED) !=
	       MAP_FAILED);
	EXPECT_ERRNO(mprotect(s.dev.window, PAGE, PROT_READ | PROT_EXEC),
		     EACCES);
	EXPECT(mremap(s.dev.window, PAGE, 2 * PAGE, MREMAP_MAYMOVE) ==
	       MAP_FAILED && errno == EFAULT);
	EXPECT_ERRNO(madvise(s.dev.window, PAGE, MADV_DOFORK), EINVAL);
	EXPECT_ERRNO(madvise(s.dev.window, PAGE, MADV_DODUMP), EINVAL);
	EXPECT_ERRNO(read(s.dev.memory, &st, 1), EINVAL);
	EXPECT_ERRNO(ioctl(s.dev.memory, VIRTIO_LOOPBACK_STATUS, &st), ENOTTY);
}

static void on_segv(int sig)
{
	(void)sig;
	_exit(42);
}

/* A child of the device side has nothing at the window's address. */
static void test_fork(void)
{
	volatile uint8_t *avail;
	int status;
	pid_t pid;

	start("fork");
	avail = s.dev.window + s.dev.queues[0].info.avail;
	EXPECT(avail[2]);	/* idx: the driver has sent commands */
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, on_segv);
		_exit(avail[2] ? 1 : 2);
	}
	EXPECT(waitpid(pid, &status, 0) == pid);
	EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* The kernel takes no references to pages of the window. */
static void test_no_gup(void)
{
	uint8_t *ring, buf[64];
	struct iovec local = { buf, sizeof(buf) }, remote = { NULL, 64 };
	int fds[2], file;

	start("gup");
	ring = s.dev.window + s.dev.queues[0].info.desc;
	EXPECT(((struct vring_desc *)ring)->len || ring[16 + 8]);
	remote.iov_base = ring;
	EXPECT_ERRNO(process_vm_readv(getpid(), &local, 1, &remote, 1, 0),
		     EFAULT);
	EXPECT(!pipe(fds));
	remote.iov_len = 64;
	EXPECT_ERRNO(vmsplice(fds[1], &remote, 1, 0), EFAULT);
	/* the root file system is on a disk */
	file = open("/var/tmp/gup", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
	EXPECT(file >= 0);
	EXPECT_ERRNO(write(file, s.dev.window +
			   s.dev.queues[0].info.desc / PAGE * PAGE, PAGE),
		     EFAULT);
	unlink("/var/tmp/gup");
}

/* Makes a buffer that the device knows. Returns its place in the window. */
static uint64_t make_buffer(struct dumb *d, int card, uint32_t width,
			    uint32_t height, uint32_t seed)
{
	unsigned int known = 0, i;
	uint64_t at = 0;

	for (i = 0; i < VDEV_RESOURCES; i++)
		known = s.dev.resources[i].id > known ?
			s.dev.resources[i].id : known;
	EXPECT(!dumb_create(d, card, width, height));
	fill_pattern(d->pixels, d->size, seed);
	EXPECT(WAIT_FOR(({
		at = 0;
		for (i = 0; i < VDEV_RESOURCES; i++)
			if (s.dev.resources[i].id > known)
				at = s.dev.resources[i].first.addr;
		at; }), 10000));
	return at;
}

/* What the client draws is what the device side sees, in one piece. */
static void test_pixels(void)
{
	struct virtio_loopback_status st;
	struct dumb d;
	uint64_t at;
	int card;

	start("pixels");
	card = open_card(s.dev.index);
	at = make_buffer(&d, card, 1920, 1080, 7);
	EXPECT(has_pattern((uint32_t *)(s.dev.window + at), d.size, 7));
	st = status_of(&s.dev);
	EXPECT(st.objects == 1 && st.object_pages == d.size / PAGE);
	/* the other way */
	fill_pattern((uint32_t *)(s.dev.window + at), d.size, 8);
	EXPECT(has_pattern(d.pixels, d.size, 8));
	/* few faults: neighbouring pages come along */
	EXPECT(st.faults < d.size / PAGE / 8);
	dumb_destroy(&d);
	EXPECT(WAIT_FOR(status_of(&s.dev).objects == 0, 10000));
}

static bool all_zero(const uint8_t *at, size_t length)
{
	return !at[0] && !memcmp(at, at + 1, length - 1);
}

/* After the driver lets go of a buffer, its address shows zeros. */
static void test_stale(void)
{
	uint64_t at, at2, i;
	struct dumb d;
	int card, round;

	start("stale");
	card = open_card(s.dev.index);
	for (i = 0; i < 64; i++)	/* never mapped: all over the window */
		EXPECT(!s.dev.window[i * (s.dev.window_size / 64)]);
	for (round = 0; round < 20; round++) {
		at = make_buffer(&d, card, 512, 512, round);
		EXPECT(has_pattern((uint32_t *)(s.dev.window + at), d.size,
				   round));
		dumb_destroy(&d);
		EXPECT(WAIT_FOR(status_of(&s.dev).objects == 0, 10000));
		EXPECT(all_zero(s.dev.window + at, d.size));
		/* scribbling there reaches nobody */
		memset(s.dev.window + at, 0x5a, d.size);
		at2 = make_buffer(&d, card, 512, 512, round + 100);
		EXPECT(has_pattern((uint32_t *)(s.dev.window + at2), d.size,
				   round + 100));
		EXPECT(has_pattern(d.pixels, d.size, round + 100));
		dumb_destroy(&d);
		EXPECT(WAIT_FOR(status_of(&s.dev).objects == 0, 10000));
		memset(s.dev.window + at, 0, PAGE);
	}
	EXPECT(status_of(&s.dev).stale_faults > 0);
}

/* An address looked at too early works once something is mapped there. */
static void test_stale_then_mapped(void)
{
	uint64_t at, next;
	struct dumb a, b;
	int card;

	start("early");
	card = open_card(s.dev.index);
	at = make_buffer(&a, card, 256, 256, 1);
	next = at + a.size + PAGE;	/* the next list's place */
	EXPECT(all_zero(s.dev.window + next, a.size));
	EXPECT(make_buffer(&b, card, 256, 256, 2) == next);
	EXPECT(has_pattern((uint32_t *)(s.dev.window + next), b.size, 2));
}

static int export_ranges(struct virtio_loopback_range *ranges, uint32_t count,
			 uint32_t flags)
{
	struct virtio_loopback_export args = {
		.flags = flags, .num_ranges = count,
		.ranges = (uintptr_t)ranges,
	};

	return ioctl(s.dev.memory, VIRTIO_LOOPBACK_EXPORT_DMABUF, &args);
}

/* The same bytes, in the order asked for, also after the buffer is gone. */
static void test_export(void)
{
	struct dma_buf_sync sync = { DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ };
	struct virtio_loopback_range whole, parts[2];
	uint32_t *pixels, *swapped;
	struct dumb d;
	uint64_t at, half;
	int card, fd, fd2;

	start("export");
	card = open_card(s.dev.index);
	at = make_buffer(&d, card, 640, 512, 3);
	half = d.size / 2 / PAGE * PAGE;
	whole = (struct virtio_loopback_range){ at, d.size };
	fd = export_ranges(&whole, 1, O_RDWR | O_CLOEXEC);
	EXPECT(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	EXPECT((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
	EXPECT((uint64_t)lseek(fd, 0, SEEK_END) == d.size);
	pixels = mmap(NULL, d.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT(pixels != MAP_FAILED);
	EXPECT(!ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync));
	EXPECT(has_pattern(pixels, d.size, 3));

	parts[0] = (struct virtio_loopback_range){ at + half, half };
	parts[1] = (struct virtio_loopback_range){ at, half };
	fd2 = export_ranges(parts, 2, O_RDONLY);
	EXPECT(fd2 >= 0 && fcntl(fd2, F_GETFD) == 0);
	EXPECT(mmap(NULL, half, PROT_READ | PROT_WRITE, MAP_SHARED, fd2, 0) ==
	       MAP_FAILED && errno == EACCES);
	swapped = mmap(NULL, 2 * half, PROT_READ, MAP_SHARED, fd2, 0);
	EXPECT(swapped != MAP_FAILED);
	EXPECT(!memcmp(swapped, (uint8_t *)pixels + half, half));
	EXPECT(!memcmp((uint8_t *)swapped + half, pixels, half));

	d.pixels[0] = 0x12345678;
	EXPECT(pixels[0] == 0x12345678 && swapped[half / 4] == 0x12345678);
	pixels[1] = 0x9abcdef0;
	EXPECT(d.pixels[1] == 0x9abcdef0);
	fill_pattern(d.pixels, d.size, 4);
	dumb_destroy(&d);
	EXPECT(WAIT_FOR(status_of(&s.dev).objects == 0, 10000));
	EXPECT(all_zero(s.dev.window + at, PAGE));
	EXPECT(has_pattern(pixels, d.size, 4));
	/* and after everything has gone */
	serve_stop(&s);
	close(card);
	vdev_close(&s.dev);
	EXPECT(has_pattern(pixels, d.size, 4));
	EXPECT(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
}

static void test_export_invalid(void)
{
	static struct virtio_loopback_range many[1025], r;
	struct virtio_loopback_export args = { 0 };
	struct dumb d, other;
	uint64_t at, at2;
	int card, fd, i;

	start("export_bad");
	card = open_card(s.dev.index);
	at = make_buffer(&d, card, 256, 64, 1);
	at2 = make_buffer(&other, card, 256, 64, 2);
#define EXPORT(a, l) (r = (struct virtio_loopback_range){ a, l }, \
		      export_ranges(&r, 1, O_RDWR))
	EXPECT_ERRNO(EXPORT(at, 0), EINVAL);
	EXPECT_ERRNO(EXPORT(at + 1, PAGE), EINVAL);
	EXPECT_ERRNO(EXPORT(at, PAGE + 1), EINVAL);
	EXPECT_ERRNO(EXPORT(at, d.size + PAGE), EINVAL);
	EXPECT_ERRNO(EXPORT(at - PAGE, PAGE), EINVAL);
	EXPECT_ERRNO(EXPORT(at - PAGE, 2 * PAGE), EINVAL);
	EXPECT_ERRNO(EXPORT(at + PAGE, d.size), EINVAL);
	EXPECT_ERRNO(EXPORT(0, PAGE), EINVAL);
	EXPECT_ERRNO(EXPORT(s.dev.queues[0].info.desc, PAGE), EINVAL);
	EXPECT_ERRNO(EXPORT(0x1000000, PAGE), EINVAL);	/* bounce slots */
	EXPECT_ERRNO(EXPORT(s.dev.window_size, PAGE), EINVAL);
	EXPECT_ERRNO(EXPORT(~0ULL - PAGE + 1, PAGE), EINVAL);
	EXPECT_ERRNO(EXPORT(at, ~0ULL - PAGE + 1), EINVAL);
	EXPECT_ERRNO(EXPORT(PAGE, ~0ULL - PAGE + 1), EINVAL);
	EXPECT_ERRNO(export_ranges(&r, 0, O_RDWR), EINVAL);
	EXPECT_ERRNO(export_ranges(many, 1025, O_RDWR), EINVAL);
	EXPECT_ERRNO(export_ranges((void *)8, 1, O_RDWR), EFAULT);
	r = (struct virtio_loopback_range){ at, PAGE };
	EXPECT_ERRNO(export_ranges(&r, 1, O_WRONLY), EINVAL);
	EXPECT_ERRNO(export_ranges(&r, 1, O_RDWR | O_NONBLOCK), EINVAL);
	EXPECT_ERRNO(ioctl(s.dev.memory, VIRTIO_LOOPBACK_EXPORT_DMABUF,
			   (void *)8), EFAULT);
	args.num_ranges = 1;
	args.ranges = (uintptr_t)&r;
	args.reserved[1] = 1;
	EXPECT_ERRNO(ioctl(s.dev.memory, VIRTIO_LOOPBACK_EXPORT_DMABUF, &args),
		     EINVAL);
	/* two objects in one */
	many[0] = (struct virtio_loopback_range){ at, PAGE };
	many[1] = (struct virtio_loopback_range){ at2, PAGE };
	EXPECT_ERRNO(export_ranges(many, 2, O_RDWR), EINVAL);
	/* more pages than the object has */
	for (i = 0; i < 1024; i++)
		many[i] = (struct virtio_loopback_range){ at, d.size };
	EXPECT_ERRNO(export_ranges(many, 1024, O_RDWR), EINVAL);
	/* a page twice */
	many[0] = (struct virtio_loopback_range){ at, 4 * PAGE };
	many[1] = (struct virtio_loopback_range){ at + 8 * PAGE, PAGE };
	many[2] = (struct virtio_loopback_range){ at + 3 * PAGE, PAGE };
	EXPECT_ERRNO(export_ranges(many, 3, O_RDWR), EINVAL);
	/* the limit of ranges is usable */
	many[0] = (struct virtio_loopback_range){ at, d.size };
	fd = export_ranges(many, 1, O_RDWR);
	EXPECT(fd >= 0);
}

/* Several devices: each side sees its own and nothing of the others. */
static void test_several(void)
{
	static struct served dev[4];
	struct dumb d[4];
	uint64_t at[4];
	char name[8];
	int i, k;

	for (i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "dev%d", i);
		vdev_defaults(&create, &config, name);
		create.window_size = i ? 1ULL << (30 + i) : 0;
		serve_start(&dev[i], &create, true);
		EXPECT(!dumb_create(&d[i], open_card(dev[i].dev.index), 300,
				    200));
		fill_pattern(d[i].pixels, d[i].size, 50 + i);
		for (k = 0; k < i; k++)
			EXPECT(dev[i].dev.index != dev[k].dev.index);
	}
	for (i = 0; i < 4; i++) {
		EXPECT(WAIT_FOR((at[i] = some_buffer(&dev[i].dev)), 10000));
	}
	for (i = 0; i < 4; i++) {
		EXPECT(has_pattern((uint32_t *)(dev[i].dev.window + at[i]),
				   d[i].size, 50 + i));
		for (k = 0; k < 4; k++)
			if (at[k] < dev[i].dev.window_size && at[k] != at[i])
				EXPECT(!dev[i].dev.window[at[k]]);
	}
	/* one goes, the others stay */
	serve_stop(&dev[0]);
	vdev_close(&dev[0].dev);
	for (i = 1; i < 4; i++)
		EXPECT(has_pattern((uint32_t *)(dev[i].dev.window + at[i]),
				   d[i].size, 50 + i));
}

/* Bounce slots hold what was mapped and never the page around it. */
static void test_bounce_contents(void)
{
	const uint8_t *slots;
	struct dumb d;
	size_t i, page;
	int card;

	start("bounce");
	card = open_card(s.dev.index);
	make_buffer(&d, card, 64, 64, 1);
	slots = s.dev.window + 0x1000000;
	for (page = 0; page < status_of(&s.dev).bounce_pages; page++) {
		size_t used = 0;

		for (i = 0; i < PAGE; i++)
			used += slots[page * PAGE + i] != 0;
		/* commands and responses are at most a few hundred bytes */
		EXPECT(used < 1500);
	}
}

const struct test memory_tests[] = {
	{ "mmap_rules", test_mmap_rules, 30 },
	{ "fork", test_fork, 30 },
	{ "no_gup", test_no_gup, 30 },
	{ "pixels", test_pixels, 30 },
	{ "stale", test_stale, 60 },
	{ "stale_then_mapped", test_stale_then_mapped, 30 },
	{ "export", test_export, 30 },
	{ "export_invalid", test_export_invalid, 30 },
	{ "several", test_several, 90 },
	{ "bounce_contents", test_bounce_contents, 30 },
	{ 0 }
};
