// SPDX-License-Identifier: GPL-2.0
/*
 * fault_test [NAME]: memory that runs out in what the device side calls, and
 * in what uapi_faults_driver.c has.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <drm.h>

#include "fault_sweep.h"

static int control = -1;

static long op_create(void)
{
	control = open("/dev/virtio-loopback", O_RDWR | O_CLOEXEC);
	return control < 0 ? -1 :
	       ioctl(control, VIRTIO_LOOPBACK_CREATE, &create);
}

static void no_device(void)
{
	struct virtio_loopback_status st;

	EXPECT(!count_parents());
	if (control < 0)
		return;
	/* the file is as good as new */
	EXPECT_ERRNO(ioctl(control, VIRTIO_LOOPBACK_STATUS, &st), ENXIO);
	EXPECT_ERRNO(ioctl(control, VIRTIO_LOOPBACK_ATTACH, 0), ENXIO);
	close(control);
	control = -1;
	EXPECT(at_rest());
}

static void test_create(void)
{
	vdev_defaults(&create, &config, "create");
	EXPECT(at_rest());
	/* device, bounce slots and window, two queues, and the file */
	EXPECT(sweep(op_create, no_device) >= 13);
	close(control);
	EXPECT(WAIT_FOR(!count_parents(), 15000));
	EXPECT(at_rest());
}

static long op_attach(void)
{
	s.dev.session = ioctl(s.dev.control, VIRTIO_LOOPBACK_ATTACH, 0);
	return s.dev.session;
}

static void still_kept(void)
{
	struct virtio_loopback_status st;

	EXPECT(!ioctl(s.dev.control, VIRTIO_LOOPBACK_STATUS, &st));
	EXPECT(st.state == VIRTIO_LOOPBACK_STATE_KEPT);
}

static void test_attach(void)
{
	start("attach");
	serve_stop(&s);
	vdev_detach(&s.dev);
	s.dev.window = NULL;
	s.dev.memory = -1;
	memset(s.dev.queues, 0xff, sizeof(s.dev.queues));
	still_kept();
	EXPECT(sweep(op_attach, still_kept) == 2);
	end_device();
}

static int other_memory;

static long op_memory(void)
{
	other_memory = ioctl(s.dev.session, VIRTIO_LOOPBACK_GET_MEM_FD, 0);
	return other_memory;
}

static void test_memory_file(void)
{
	start("memory");
	serve_stop(&s);
	EXPECT(sweep(op_memory, NULL) == 3);
	close(other_memory);
	end_device();
}

static int other_kick, other_call;

static long op_fds(void)
{
	struct virtio_loopback_queue_fds fds = { 0, other_kick, other_call, 0 };

	return ioctl(s.dev.session, VIRTIO_LOOPBACK_SET_QUEUE_FDS, &fds);
}

static void not_signalled(void)
{
	uint64_t count;

	EXPECT_ERRNO(read(other_kick, &count, 8), EAGAIN);
}

static void test_queue_fds(void)
{
	uint64_t count;

	start("fds");
	other_kick = eventfd(0, EFD_NONBLOCK);
	other_call = eventfd(0, EFD_NONBLOCK);
	EXPECT(sweep(op_fds, not_signalled) == 1);
	EXPECT(read(other_kick, &count, 8) == 8);
	serve_stop(&s);
	end_device();
}

static int exported;

static long op_export(void)
{
	struct virtio_loopback_export args = {
		O_RDWR | O_CLOEXEC, 1, (uintptr_t)&range, { 0 },
	};

	exported = ioctl(s.dev.memory, VIRTIO_LOOPBACK_EXPORT_DMABUF, &args);
	return exported;
}

static bool nothing_held(void)
{
	return WAIT_FOR(!status_of(&s.dev).exported_pages, 2000);
}

static void nothing_exported(void)
{
	EXPECT(nothing_held());
}

static void test_export(void)
{
	struct dumb d;
	int card;

	start_client("export", &d, &card);
	EXPECT(sweep(op_export, nothing_exported) == 5);
	close(exported);
	end_client(&d, card);
}

static int importer = -1;
static uint32_t imported;

static long op_import(void)
{
	struct drm_prime_handle prime = { .fd = exported };
	long ret = ioctl(importer, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime);

	imported = prime.handle;
	return ret;
}

/* How many allocations another driver's import is. */
static unsigned int import_by(int card)
{
	struct drm_gem_close gone = { 0 };
	unsigned int count;

	importer = card;
	count = sweep(op_import, NULL);
	gone.handle = imported;
	EXPECT(!ioctl(card, DRM_IOCTL_GEM_CLOSE, &gone));
	close(card);
	return count;
}

/*
 * Another driver maps a dma-buf of ours: vgem, or if that only keeps it, as
 * since 6.16, the virtio_gpu of another device, which does so since 6.14.
 */
static void test_import(void)
{
	static struct served second;
	unsigned int count;
	struct dumb d;
	int card, vgem;

	EXPECT(!system("modprobe vgem"));
	EXPECT(WAIT_FOR((vgem = open_vgem()) >= 0, 5000));
	start_client("import", &d, &card);
	EXPECT(op_export() >= 0);
	count = import_by(vgem);
	if (!count) {
		vdev_defaults(&create, &config, "second");
		serve_start(&second, &create, true);
		count = import_by(open_card(second.dev.index));
		/* a table, and what it is mapped with by the other device */
		EXPECT(count == 6);
		EXPECT(WAIT_FOR(!status_of(&second.dev).objects, 5000));
		serve_stop(&second);
		vdev_close(&second.dev);
	} else {
		EXPECT(count == 3);
	}
	close(exported);
	EXPECT(nothing_held());
	end_client(&d, card);
}

/* What REOFFER and FAIL need has been allocated at CREATE. */
static void test_outstanding(void)
{
	struct dumb d, more[20];
	int card, i;

	start_client("outstanding", &d, &card);
	s.dev.hold = true;
	for (i = 0; i < 20; i++)
		EXPECT(!dumb_create(&more[i], card, 64, 64));
	EXPECT(WAIT_FOR(status_of(&s.dev).outstanding >= 20, 10000));
	serve_stop(&s);
	for (i = VIRTIO_LOOPBACK_REOFFER; i <= VIRTIO_LOOPBACK_FAIL; i++) {
		struct virtio_loopback_outstanding args = { 0, i, 0 };

		arm(1, FOREVER, getpid());
		EXPECT(ioctl(s.dev.session, VIRTIO_LOOPBACK_OUTSTANDING,
			     &args) >= 20);
		disarm();
		EXPECT(!figure("fault_seen"));
	}
	EXPECT(WAIT_FOR(!status_of(&s.dev).outstanding, 5000));
	for (i = 0; i < 20; i++)
		munmap(more[i].pixels, more[i].size);
	munmap(d.pixels, d.size);
	close(card);
	s.dev.hold = false;
	end_device();
}

/* A page fault that finds no memory is tried again, by the kernel. */
static void test_window_faults(void)
{
	volatile uint32_t *pixels;
	unsigned int n;
	struct dumb d;
	void *again;
	int card;

	start_client("faults", &d, &card);
	/* a mapping of its own, so that every page is a fault */
	again = mmap(NULL, d.size, PROT_READ, MAP_SHARED, s.dev.memory,
		     range.iova);
	EXPECT(again != MAP_FAILED);
	for (n = 1; n < 40; n += n < 4 ? 1 : 9) {
		EXPECT(again == mmap(again, d.size, PROT_READ,
				     MAP_SHARED | MAP_FIXED, s.dev.memory,
				     range.iova));
		arm(n, n, getpid());
		EXPECT(has_pattern(again, d.size, 5));
		disarm();
		EXPECT(figure("fault_failed") == n);
	}
	EXPECT(op_export() >= 0);
	pixels = mmap(NULL, d.size, PROT_READ, MAP_SHARED, exported, 0);
	EXPECT(pixels != MAP_FAILED);
	arm(3, 5, getpid());
	EXPECT(has_pattern((uint32_t *)pixels, d.size, 5));
	disarm();
	EXPECT(figure("fault_failed") == 5);
	printf("  %s\n", parameter("fault_where"));
	munmap((void *)pixels, d.size);
	munmap(again, d.size);
	close(exported);
	end_client(&d, card);
}

/* And when there never is any, the process can be ended. */
static void test_window_fault_killed(void)
{
	struct dumb d;
	int card, status;
	pid_t pid;

	start_client("killed", &d, &card);
	pid = fork();
	if (!pid) {
		volatile uint32_t *at = mmap(NULL, d.size, PROT_READ,
					     MAP_SHARED, s.dev.memory,
					     range.iova);

		arm(1, FOREVER, getpid());
		_exit(at[0] ? 1 : 2);
	}
	EXPECT(WAIT_FOR(figure("fault_failed") > 10, 5000));
	EXPECT(waitpid(pid, &status, WNOHANG) == 0);
	EXPECT(process_state(pid) != 'D');
	kill(pid, SIGKILL);
	EXPECT(WAIT_FOR(waitpid(pid, &status, WNOHANG) == pid, 5000));
	EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	disarm();
	end_client(&d, card);
}

const struct test fault_tests[] = {
	{ "create", test_create, 120 },
	{ "attach", test_attach, 60 },
	{ "memory_file", test_memory_file, 60 },
	{ "queue_fds", test_queue_fds, 60 },
	{ "export", test_export, 60 },
	{ "import", test_import, 60 },
	{ "outstanding", test_outstanding, 60 },
	{ "window_faults", test_window_faults, 60 },
	{ "window_fault_killed", test_window_fault_killed, 60 },
	{ 0 }
};

int main(int argc, char **argv)
{
	static const struct test *const groups[] = {
		fault_tests, fault_driver_tests, NULL
	};

	return run_tests(groups, argc > 1 ? argv[1] : NULL);
}
