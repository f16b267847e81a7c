// SPDX-License-Identifier: GPL-2.0
/*
 * What the window must not give away, at the edges of uapi_memory.c: races,
 * every way in which the kernel takes references, ranges that are odd, dma-bufs
 * in other hands, and resets with all that can be in flight. The programs
 * `reader` and `scribble` beside this file try the same for longer.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <drm.h>
#include <linux/dma-buf.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <virtgpu_drm.h>

#include "harness.h"
#include "hostile.h"

static struct virtio_loopback_create create;
static struct virtio_gpu_config config;
static struct served s;

static void start(const char *name)
{
	vdev_defaults(&create, &config, name);
	serve_start(&s, &create, true);
}

static sigjmp_buf after_fault;
static volatile int fault_signal;

static void on_fault(int sig)
{
	fault_signal = sig;
	siglongjmp(after_fault, 1);
}

/* The signal that an access gives, or 0. */
static int access_signal(volatile uint8_t *at, bool write)
{
	fault_signal = 0;
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	if (!sigsetjmp(after_fault, 1)) {
		if (write)
			*at = 1;
		else
			(void)*at;
	}
	return fault_signal;
}

/* A card's buffer with a pattern, and where it is in the window. */
static uint64_t buffer(struct dumb *d, int *card, uint32_t seed)
{
	uint64_t at;

	*card = open_card(s.dev.index);
	EXPECT(!dumb_create(d, *card, 256, 256));
	fill_pattern(d->pixels, d->size, seed);
	EXPECT(WAIT_FOR((at = some_buffer(&s.dev)), 10000));
	return at;
}

static int export_buffer(uint64_t at, uint64_t length)
{
	struct virtio_loopback_range range = { at, length };
	struct virtio_loopback_export args = {
		O_RDWR | O_CLOEXEC, 1, (uintptr_t)&range, { 0 },
	};

	return ioctl(s.dev.memory, VIRTIO_LOOPBACK_EXPORT_DMABUF, &args);
}

#define SECRET		0x5ec2e75ec2e75ec3ULL

static volatile int over;

#define WATCHED		64

static uint64_t watched[WATCHED];

/*
 * Looks where buffers come and go: in the mapping that stays, where a page that
 * is put back after it was taken away would stay, too; and in new ones.
 */
static void *faulter(void *arg)
{
	unsigned long *looks = arg;
	unsigned int turn = 0;
	size_t i;

	while (!over) {
		uint64_t at = __atomic_load_n(&watched[turn++ % WATCHED],
					      __ATOMIC_RELAXED);
		volatile uint64_t *fresh, *words;

		words = (void *)(s.dev.window + at);
		fresh = mmap(NULL, 16 * PAGE, PROT_READ, MAP_SHARED,
			     s.dev.memory, at);
		EXPECT(fresh != MAP_FAILED);
		for (i = 0; i < 16 * PAGE / 8; i += PAGE / 8 / 4) {
			EXPECT(words[i] != SECRET && fresh[i] != SECRET);
			++*looks;
		}
		munmap((void *)fresh, 16 * PAGE);
	}
	return NULL;
}

/* Faults against unmapping, and who gets the pages then. */
static void test_fault_race(void)
{
	unsigned long looks[2] = { 0 };
	pthread_t threads[2];
	unsigned int turns = 0;
	long long end;
	struct dumb d;
	int card, i;

	start("race");
	card = open_card(s.dev.index);
	for (i = 0; i < 2; i++)
		EXPECT(!pthread_create(&threads[i], NULL, faulter, &looks[i]));
	end = now_ms() + 6000;
	while (now_ms() < end) {
		uint64_t at;

		memset(s.dev.resources, 0, sizeof(s.dev.resources));
		EXPECT(!dumb_create(&d, card, 128, 128));
		memset(d.pixels, 0x11, d.size);
		EXPECT(WAIT_FOR((at = some_buffer(&s.dev)), 5000));
		__atomic_store_n(&watched[turns++ % WATCHED], at,
				 __ATOMIC_RELAXED);
		/* some are being looked at when they go, some are not yet */
		if (turns % 2)
			usleep(turns % 16 * 500);
		dumb_destroy(&d);
		/* the driver has unmapped it when it was told that it may */
		EXPECT(WAIT_FOR(!status_of(&s.dev).objects, 5000));
		hoard_once(SECRET, 256 * PAGE);
	}
	over = 1;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT(turns > 20 && looks[0] > 1000 && looks[1] > 1000);
	EXPECT(status_of(&s.dev).faults > 1000);
}

static void refuses_gup(uint8_t *at, int file)
{
	struct io_uring_params params = { 0 };
	uint8_t buf[64];
	struct iovec local = { buf, sizeof(buf) }, remote = { at, 64 };
	int fds[2], ring, mem;

	EXPECT_ERRNO(process_vm_readv(getpid(), &local, 1, &remote, 1, 0),
		     EFAULT);
	EXPECT_ERRNO(process_vm_writev(getpid(), &local, 1, &remote, 1, 0),
		     EFAULT);
	EXPECT(!pipe(fds));
	EXPECT_ERRNO(vmsplice(fds[1], &remote, 1, 0), EFAULT);
	/* gifts too */
	EXPECT_ERRNO(vmsplice(fds[1], &remote, 1, SPLICE_F_GIFT), EFAULT);
	close(fds[0]);
	close(fds[1]);
	EXPECT_ERRNO(pwrite(file, at, PAGE, 0), EFAULT);
	EXPECT_ERRNO(pread(file, at, PAGE, PAGE), EFAULT);
	/* what a debugger uses */
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	EXPECT(mem >= 0);
	EXPECT_ERRNO(pread(mem, buf, sizeof(buf), (off_t)(uintptr_t)at), EIO);
	EXPECT_ERRNO(pwrite(mem, buf, sizeof(buf), (off_t)(uintptr_t)at), EIO);
	close(mem);
	/* shared futexes are keyed by the page */
	EXPECT_ERRNO(syscall(SYS_futex, at, FUTEX_WAKE, 1, NULL, NULL, 0),
		     EFAULT);
	ring = syscall(SYS_io_uring_setup, 4, &params);
	EXPECT(ring >= 0);
	remote.iov_len = PAGE;
	EXPECT(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS,
		       &remote, 1) == -1 &&
	       (errno == EFAULT || errno == EOPNOTSUPP));
	close(ring);
}

/* The kernel takes references to pages neither of a window nor of a dma-buf. */
static void test_no_references(void)
{
	struct dumb d;
	uint8_t *bytes;
	uint64_t at;
	int card, buf, file;

	start("refs");
	at = buffer(&d, &card, 3);
	buf = export_buffer(at, d.size);
	EXPECT(buf >= 0);
	/* the root file system is on a disk */
	file = open("/var/tmp/refs", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT,
		    0600);
	/* written, for a hole is not read from the disk */
	bytes = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	EXPECT(file >= 0 && bytes != MAP_FAILED &&
	       pwrite(file, bytes, 2 * PAGE, 0) == 2 * PAGE);
	unlink("/var/tmp/refs");
	bytes = mmap(NULL, d.size, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	EXPECT(bytes != MAP_FAILED && has_pattern((void *)bytes, d.size, 3));
	EXPECT(has_pattern((void *)(s.dev.window + at), PAGE, 3));
	refuses_gup(s.dev.window + at, file);
	refuses_gup(s.dev.window + s.dev.queues[0].info.desc / PAGE * PAGE,
		    file);
	refuses_gup(s.dev.window + 0x1000000, file);
	refuses_gup(s.dev.window + (1ULL << 34), file);	/* the dummy page */
	refuses_gup(bytes, file);
	/* an ordinary copy is not a reference */
	EXPECT(pwrite(s.dev.queues[0].kick, s.dev.window + at, 4, 0) == -1);
}

static void test_odd_ranges(void)
{
	uint8_t *at, *moved, *reserved;
	uint64_t iova;
	struct dumb d;
	int card, fd = 0;

	start("ranges");
	iova = buffer(&d, &card, 4);
	fd = s.dev.memory;
#define FAILS(err, ...) \
	EXPECT(mmap(NULL, __VA_ARGS__) == MAP_FAILED && errno == (err))
	FAILS(EINVAL, 0, PROT_READ, MAP_SHARED, fd, 0);
	FAILS(EINVAL, PAGE, PROT_READ, MAP_SHARED, fd, iova + 1);
	FAILS(EINVAL, PAGE, PROT_READ, MAP_SHARED, fd, iova + 512);
	FAILS(EINVAL, PAGE, PROT_READ, MAP_SHARED, fd, 1ULL << 40);
	FAILS(EINVAL, PAGE, PROT_READ, MAP_PRIVATE, fd, iova);
	FAILS(EINVAL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, iova);
	FAILS(EINVAL, PAGE, PROT_READ, MAP_SHARED, fd, INT64_MIN);
	FAILS(EINVAL, PAGE, PROT_READ, MAP_SHARED, fd,
	      INT64_MAX - 2 * PAGE + 1);
	FAILS(ENOMEM, SIZE_MAX, PROT_READ, MAP_SHARED, fd, 0);

	/* part of a page is all of it, and nothing behind */
	at = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, iova);
	EXPECT(at != MAP_FAILED && has_pattern((void *)at, PAGE, 4));
	munmap(at, PAGE);

	/* the mapping has a hole, and both halves live on */
	at = mmap(NULL, d.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, iova);
	EXPECT(at != MAP_FAILED && has_pattern((void *)at, d.size, 4));
	EXPECT(!munmap(at + 8 * PAGE, PAGE));
	EXPECT(access_signal(at + 8 * PAGE, false) == SIGSEGV);
	EXPECT(!memcmp(at, s.dev.window + iova, 8 * PAGE));
	EXPECT(!memcmp(at + 9 * PAGE, s.dev.window + iova + 9 * PAGE,
		       d.size - 9 * PAGE));

	/* it moves, but does not grow, and is not left behind */
	EXPECT(mremap(at, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED &&
	       errno == EFAULT);
	EXPECT(mremap(at, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE |
		      MREMAP_DONTUNMAP) == MAP_FAILED && errno == EINVAL);
	/* a second one of the same pages */
	EXPECT(mremap(at, 0, 8 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	reserved = mmap(NULL, 8 * PAGE, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	moved = mremap(at, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       reserved);
	EXPECT(moved == reserved);
	EXPECT(access_signal(at, false) == SIGSEGV);
	EXPECT(has_pattern((void *)moved, 8 * PAGE, 4));

	/* read only, then not */
	EXPECT(!mprotect(moved, PAGE, PROT_READ));
	EXPECT(access_signal(moved, true) == SIGSEGV);
	EXPECT(!mprotect(moved, PAGE, PROT_READ | PROT_WRITE));
	EXPECT(!access_signal(moved, true));
	EXPECT_ERRNO(mprotect(moved, PAGE, PROT_EXEC), EACCES);

	/* and what is unmapped goes from where it has moved to as well */
	EXPECT(((uint8_t *)d.pixels)[0] == 1);
	dumb_destroy(&d);
	EXPECT(WAIT_FOR(!status_of(&s.dev).objects, 10000));
	EXPECT(!moved[0] && !moved[7 * PAGE] && !at[9 * PAGE]);
}

/* A read-only memory file would not be one; there is no such way in. */
static void test_reopen(void)
{
	char path[64];

	start("reopen");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s.dev.memory);
	EXPECT(open(path, O_RDWR) == -1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s.dev.session);
	EXPECT(open(path, O_RDWR) == -1);
	EXPECT_ERRNO(ftruncate(s.dev.memory, 4096), EINVAL);
	EXPECT(status_of(&s.dev).state == VIRTIO_LOOPBACK_STATE_ATTACHED);
}

/* Another driver has a dma-buf of ours when all of ours has gone. */
static void test_import(void)
{
	struct drm_prime_handle prime = { 0 };
	struct drm_mode_map_dumb { uint32_t handle, pad; uint64_t offset; } map;
	struct dma_buf_sync sync = { DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW };
	struct drm_gem_close gone = { 0 };
	uint32_t *pixels, *again;
	uint32_t index;
	int card, buf, vgem;
	struct dumb d;
	uint64_t at;

	EXPECT(!system("modprobe vgem"));
	EXPECT(WAIT_FOR((vgem = open_vgem()) >= 0, 5000));
	start("import");
	index = s.dev.index;
	at = buffer(&d, &card, 7);
	buf = export_buffer(at, d.size);
	EXPECT(buf >= 0);
	prime.fd = buf;
	EXPECT(!ioctl(vgem, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime));
	sync.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW;
	EXPECT(!ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync));
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	EXPECT(!ioctl(buf, DMA_BUF_IOCTL_SYNC, &sync));
	map.handle = prime.handle;
	map.pad = 0;
	pixels = MAP_FAILED;
	if (!ioctl(vgem, _IOWR('d', 0xb3, map), &map))
		pixels = mmap(NULL, d.size, PROT_READ, MAP_SHARED, vgem,
			      map.offset);
	again = mmap(NULL, d.size, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	EXPECT(again != MAP_FAILED);
	close(buf);
	EXPECT(status_of(&s.dev).exported_pages == d.size / PAGE);
	/* the buffer, the card, the session, the device */
	dumb_destroy(&d);
	close(card);
	serve_stop(&s);
	vdev_close(&s.dev);
	EXPECT(WAIT_FOR(!parent_exists(index), 10000));
	hoard_once(SECRET, 256 * PAGE);
	EXPECT(has_pattern(again, d.size, 7));
	if (pixels != MAP_FAILED) {
		EXPECT(has_pattern(pixels, d.size, 7));
		munmap(pixels, d.size);
	}
	munmap(again, d.size);
	gone.handle = prime.handle;
	EXPECT(!ioctl(vgem, DRM_IOCTL_GEM_CLOSE, &gone));
	close(vgem);
}

static void driver_file(const char *file)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "cd /sys/devices/platform/virtio-loopback.%u/virtio* && "
		 "basename $PWD > /sys/bus/virtio/drivers/virtio_gpu/%s",
		 s.dev.index, file);
	EXPECT(!system(command));
}

#define SUBMITS		256
#define SUBMIT_BYTES	(4U << 20)

/* The driver is reset with 1 GiB of commands in flight, and comes back. */
static void test_reset_many_submits(void)
{
	struct drm_virtgpu_execbuffer exec = { .size = SUBMIT_BYTES };
	struct virtio_loopback_status st;
	uint8_t *command;
	struct dumb d;
	long long t;
	int card, i;

	vdev_defaults(&create, &config, "reset_submits");
	create.features |= 1ULL << VIRTIO_GPU_F_VIRGL;
	serve_start(&s, &create, true);
	card = open_render(s.dev.index);
	EXPECT(card >= 0);
	command = mmap(NULL, SUBMIT_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(command != MAP_FAILED);
	memset(command, 0x5a, SUBMIT_BYTES);
	exec.command = (uintptr_t)command;
	s.dev.hold = true;
	for (i = 0; i < SUBMITS; i++)
		EXPECT(!ioctl(card, DRM_IOCTL_VIRTGPU_EXECBUFFER, &exec));
	EXPECT(WAIT_FOR(status_of(&s.dev).outstanding >= SUBMITS, 30000));
	st = status_of(&s.dev);
	/* whole pages of each command, and one more for its rest */
	EXPECT((uint64_t)st.bounce_used * PAGE >=
	       (uint64_t)SUBMITS * SUBMIT_BYTES);
	t = now_ms();
	driver_file("unbind");
	EXPECT(now_ms() - t < 15000);
	st = status_of(&s.dev);
	EXPECT(!st.outstanding && !st.bounce_used && !st.reset_timeouts);
	/* the pages were given back: nobody has a GPU any more */
	EXPECT(!st.bounce_pages);
	close(card);
	munmap(command, SUBMIT_BYTES);
	s.dev.hold = false;
	driver_file("bind");
	EXPECT(WAIT_FOR(card_number(s.dev.index, "card") >= 0, 10000));
	card = open_card(s.dev.index);
	EXPECT(!dumb_create(&d, card, 64, 64));
	EXPECT(WAIT_FOR(!status_of(&s.dev).outstanding, 10000));
}

const struct test isolation_tests[] = {
	{ "fault_race", test_fault_race, 60 },
	{ "no_references", test_no_references, 30 },
	{ "odd_ranges", test_odd_ranges, 30 },
	{ "reopen", test_reopen, 30 },
	{ "import", test_import, 60 },
	{ "reset_many_submits", test_reset_many_submits, 120 },
	{ 0 }
};
