// SPDX-License-Identifier: GPL-2.0
/* Memory that runs out in what the driver does. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "fault_sweep.h"

#define PAGE	4096UL

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

const struct test fault_driver_tests[] = {
	{ "probe", test_probe, 120 },
	{ "unbind", test_unbind, 60 },
	{ "first_probe", test_first_probe, 180 },
	{ "map_buffers", test_map_buffers, 60 },
	{ "no_spares", test_no_spares, 120 },
	{ 0 }
};
