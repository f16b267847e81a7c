// SPDX-License-Identifier: GPL-2.0
/*
 * fault_test [NAME]: memory that runs out in every place there is, one after
 * the other. Needs the module that VLB_FAULTS=1 makes, see fault.h.
 *
 * A sweep lets the first allocation of an operation fail, then the second, and
 * so on until the operation needs no more than that. Each failure must be the
 * documented one, change nothing, and leave nothing behind.
 *
 * Allocations that may not sleep are left out: these are for pages of bounce
 * slots, in the middle of a command, and virtio_gpu itself warns and loses an
 * object when a command cannot be mapped. bounce_test.c has them.
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

#include "harness.h"

#define PAGE	4096UL
#define FOREVER	1000000000u

static struct virtio_loopback_create create;
static struct virtio_gpu_config config;
static struct served s;

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

static char *parameter(const char *name)
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

static long figure(const char *name)
{
	return atol(parameter(name));
}

/*
 * Calls of @pid, or of all: the @at-th from now and @times - 1 after it fail.
 * Not those for spare bounce pages, hundreds, which are all alike.
 */
static void arm(unsigned int at, unsigned int times, pid_t pid)
{
	set_parameter("fault_only", "!vlb_bounce_refill");
	set_figure("fault_tgid", pid);
	set_figure("fault_times", times);
	set_figure("fault_at", at);
}

/* Spare bounce pages, then, for whomever. */
static void arm_spares(unsigned int at, unsigned int times)
{
	set_parameter("fault_only", "vlb_bounce_refill");
	set_figure("fault_tgid", 0);
	set_figure("fault_times", times);
	set_figure("fault_at", at);
}

static void disarm(void)
{
	set_figure("fault_at", 0);
}

/* What nobody has given back although there is no device: two work queues. */
#define LIVE_AT_REST	2

static bool at_rest(void)
{
	return WAIT_FOR(figure("fault_live") == LIVE_AT_REST, 20000);
}

/*
 * One call of @op by this process for each of its allocations. @op returns -1
 * and errno, or something else; @check says that nothing has changed. Returns
 * how many allocations there were.
 */
static unsigned int sweep(long (*op)(void), void (*check)(void))
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

static void start(const char *name)
{
	vdev_defaults(&create, &config, name);
	create.keep_ms = 20000;
	serve_start(&s, &create, true);
}

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

static void end_device(void)
{
	uint32_t index = s.dev.index;

	vdev_close(&s.dev);
	EXPECT(WAIT_FOR(!parent_exists(index), 15000));
	EXPECT(at_rest());
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

static struct virtio_loopback_range range;
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

/* A device with a client in this process, which has one buffer. */
static void start_client(const char *name, struct dumb *d, int *card)
{
	start(name);
	*card = open_card(s.dev.index);
	EXPECT(!dumb_create(d, *card, 256, 256));
	fill_pattern(d->pixels, d->size, 5);
	EXPECT(WAIT_FOR((range.iova = some_buffer(&s.dev)), 10000));
	range.length = d->size;
}

static void end_client(struct dumb *d, int card)
{
	dumb_destroy(d);
	close(card);
	serve_stop(&s);
	end_device();
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

/* The same as in the other files, but it may fail. */
static long driver_file(const char *file)
{
	char command[256], path[64], name[32];
	FILE *out;
	int fd, err;
	long ret;

	snprintf(command, sizeof(command),
		 "basename /sys/devices/platform/virtio-loopback.%u/virtio*",
		 s.dev.index);
	out = popen(command, "r");
	EXPECT(out && fgets(name, sizeof(name), out));
	pclose(out);
	name[strcspn(name, "\n")] = 0;
	snprintf(path, sizeof(path), "/sys/bus/virtio/drivers/virtio_gpu/%s",
		 file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	EXPECT(fd >= 0);
	ret = write(fd, name, strlen(name));
	err = errno;
	close(fd);
	errno = err;
	return ret < 0 ? -1 : 0;
}

static bool has_card(void)
{
	return card_number(s.dev.index, "card") >= 0;
}

/* Writing to sysfs is what probes, and so this process. */
static void test_probe(void)
{
	unsigned int at, failed = 1, probes_failed = 0;
	struct dumb d;
	int card;

	start("probe");
	EXPECT(!driver_file("unbind"));
	for (at = 1; failed; at++) {
		long ret;
		int err;

		arm(at, 1, getpid());
		ret = driver_file("bind");
		err = errno;
		disarm();
		failed = figure("fault_failed");
		if (failed)
			printf("  %u: %s: %s\n", at, parameter("fault_where"),
			       ret ? strerrorname_np(err) : "no error");
		/* a ring may be shorter than asked for: then it goes well */
		if (ret)
			EXPECT(failed && (err == ENOMEM || err == ENODEV));
		probes_failed += !!ret;
		EXPECT(!ret == has_card());
		if (!ret && failed)
			EXPECT(!driver_file("unbind"));
		EXPECT(status_of(&s.dev).objects == 0);
	}
	/* each queue itself, its ring, and work items that are waited for */
	EXPECT(at > 5 && probes_failed >= 2);
	EXPECT(WAIT_FOR(has_card(), 10000));
	card = open_card(s.dev.index);
	EXPECT(!dumb_create(&d, card, 1024, 768));
	EXPECT(!dumb_show(&d, 1024, 768) && !dumb_dirty(&d));
	end_client(&d, card);
}

/* A reset goes on without what it would have waited with. */
static void test_unbind(void)
{
	start("unbind");
	arm(1, FOREVER, getpid());
	EXPECT(!driver_file("unbind"));
	disarm();
	printf("  %s\n", parameter("fault_where"));
	EXPECT(figure("fault_failed") >= 1);
	EXPECT(!status_of(&s.dev).bounce_used && !has_card());
	EXPECT(!driver_file("bind"));
	EXPECT(WAIT_FOR(has_card(), 10000));
	serve_stop(&s);
	end_device();
}

/* CREATE and the background's probe, which is tried again if it fails. */
static void test_first_probe(void)
{
	unsigned int at, failed = 1, without = 0;

	for (at = 1; failed; at++) {
		struct virtio_loopback_status st = { 0 };
		char where[128];
		bool created, ok;

		memset(&s, 0, sizeof(s));
		vdev_defaults(&create, &config, "first");
		s.dev.control = open("/dev/virtio-loopback",
				     O_RDWR | O_CLOEXEC);
		EXPECT(s.dev.control >= 0);
		arm(at, 1, 0);
		created = !ioctl(s.dev.control, VIRTIO_LOOPBACK_CREATE,
				 &create);
		ok = created &&
		     WAIT_FOR(!ioctl(s.dev.control, VIRTIO_LOOPBACK_STATUS,
				     &st) && st.driver_status & 4, 2000);
		failed = figure("fault_failed");
		disarm();
		snprintf(where, sizeof(where), "%s", parameter("fault_where"));
		if (failed && created)
			printf("  %u: %s: %s\n", at, where,
			       ok ? "a driver" : "no driver");
		if (created && !ok) {
			EXPECT(strstr(where, "register_virtio_device"));
			without++;
		}
		if (ok) {
			s.dev.index = create.index;
			EXPECT(!vdev_attach(&s.dev));
			serve_resume(&s);
			EXPECT(WAIT_FOR(has_card(), 20000));
			serve_stop(&s);
			vdev_detach(&s.dev);
		}
		close(s.dev.control);
		EXPECT(WAIT_FOR(!count_parents(), 15000));
		EXPECT(at_rest());
	}
	EXPECT(without == 1);
}

/* What the driver maps of its buffers is refused; the client is told. */
static void test_map_buffers(void)
{
	struct dumb d, mine;
	int card, status;
	pid_t pid;

	start_client("buffers", &mine, &card);
	pid = fork();
	if (!pid) {
		unsigned int at, failed = 1;

		for (at = 1; failed; at++) {
			int ret, err;

			arm(at, 1, getpid());
			ret = dumb_create(&d, card, 640, 480);
			err = errno;
			disarm();
			failed = figure("fault_failed");
			if (failed) {
				printf("  %u: %s: %s\n", at,
				       parameter("fault_where"),
				       ret ? strerrorname_np(err) : "no error");
				EXPECT(ret && err == ENOMEM);
			}
		}
		/* a record, its pages, its place */
		EXPECT(at == 5);
		fill_pattern(d.pixels, d.size, 6);
		EXPECT(has_pattern(d.pixels, d.size, 6));
		dumb_destroy(&d);
		fflush(NULL);
		_exit(0);
	}
	EXPECT(waitpid(pid, &status, 0) == pid);
	EXPECT(WIFEXITED(status) && !WEXITSTATUS(status));
	EXPECT(WAIT_FOR(status_of(&s.dev).objects == 1, 5000));
	EXPECT(status_of(&s.dev).object_pages == mine.size / PAGE);
	EXPECT(has_pattern((uint32_t *)(s.dev.window + range.iova), mine.size,
			   5));
	end_client(&mine, card);
}

/* There are never spare bounce pages: the driver's own calls get them. */
static void test_no_spares(void)
{
	struct dumb d;
	int card, i;

	/* CREATE and what it has begun by then do without as well */
	for (i = 1; i <= 4; i++) {
		arm_spares(i, FOREVER);
		start("spares");
		EXPECT(figure("fault_failed") > 0);
		card = open_card(s.dev.index);
		EXPECT(!dumb_create(&d, card, 1024, 768));
		EXPECT(!dumb_show(&d, 1024, 768));
		while (i == 4 && d.pixels[0]++ < 300)
			EXPECT(!dumb_dirty(&d));
		disarm();
		EXPECT(WAIT_FOR(!status_of(&s.dev).bounce_used, 5000));
		EXPECT(!status_of(&s.dev).bad_used);
		end_client(&d, card);
	}
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
	{ "probe", test_probe, 120 },
	{ "unbind", test_unbind, 60 },
	{ "first_probe", test_first_probe, 180 },
	{ "map_buffers", test_map_buffers, 60 },
	{ "no_spares", test_no_spares, 120 },
	{ "window_faults", test_window_faults, 60 },
	{ "window_fault_killed", test_window_fault_killed, 60 },
	{ 0 }
};

int main(int argc, char **argv)
{
	static const struct test *const groups[] = { fault_tests, NULL };

	return run_tests(groups, argc > 1 ? argv[1] : NULL);
}
