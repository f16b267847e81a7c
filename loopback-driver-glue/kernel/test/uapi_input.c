// SPDX-License-Identifier: GPL-2.0
/*
 * Input devices: what CREATE takes, what the driver makes of it, and device
 * sides that are hostile, slow or gone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <linux/input.h>
#include <linux/virtio_input.h>

#include "harness.h"

#define EVENTS	0
#define STATUS	1

static struct virtio_loopback_create create;
static uint8_t table[4200];
static uint32_t table_len;

static void put(uint8_t select, uint8_t subsel, const void *answer, uint8_t size)
{
	struct virtio_loopback_input_entry entry = { select, subsel, size, 0 };

	memcpy(table + table_len, &entry, sizeof(entry));
	memcpy(table + table_len + sizeof(entry), answer, size);
	table_len += sizeof(entry) + size;
}

static void put_text(uint8_t select, const char *text)
{
	put(select, 0, text, strlen(text));
}

static void put_axis(uint8_t axis, int32_t min, int32_t max, int32_t fuzz,
		     int32_t flat, int32_t res)
{
	int32_t info[] = { min, max, fuzz, flat, res };

	put(VIRTIO_INPUT_CFG_ABS_INFO, axis, info, sizeof(info));
}

static void put_keys(void)
{
	uint8_t bits[32] = { 0 };

	bits[KEY_A / 8] |= 1 << KEY_A % 8;
	bits[KEY_B / 8] |= 1 << KEY_B % 8;
	put(VIRTIO_INPUT_CFG_EV_BITS, EV_KEY, bits, sizeof(bits));
}

/* A keyboard with a position, without its axes' ranges. */
static void begin(const char *name)
{
	uint16_t ids[] = { BUS_VIRTUAL, 0x1234, 0x5678, 9 };
	uint8_t leds = 1 << LED_CAPSL, repeat = 3;

	memset(&create, 0, sizeof(create));
	create.device_id = 18;
	create.vendor_id = 0x1af4;
	create.features = VDEV_FEATURES & ~(1ULL << VIRTIO_GPU_F_RESOURCE_BLOB);
	create.window_size = 1ULL << 30;
	create.num_queues = 2;
	create.queue_size[EVENTS] = 64;
	create.queue_size[STATUS] = 64;
	snprintf(create.name, sizeof(create.name), "%s", name);
	table_len = 0;
	put_text(VIRTIO_INPUT_CFG_ID_NAME, "a test device");
	put_text(VIRTIO_INPUT_CFG_ID_SERIAL, "number 1");
	put(VIRTIO_INPUT_CFG_ID_DEVIDS, 0, ids, sizeof(ids));
	put_keys();
	put(VIRTIO_INPUT_CFG_EV_BITS, EV_LED, &leds, 1);
	put(VIRTIO_INPUT_CFG_EV_BITS, EV_REP, &repeat, 1);
}

static void end(void)
{
	create.config = (uintptr_t)table;
	create.config_len = table_len;
}

static void good(const char *name)
{
	uint8_t axes = 1 << ABS_X;

	begin(name);
	put(VIRTIO_INPUT_CFG_EV_BITS, EV_ABS, &axes, 1);
	put_axis(ABS_X, -5, 1000, 1, 2, 3);
	end();
}

/* With one contact more than @most. */
static void slots(int32_t min, int32_t most)
{
	uint64_t axes = 1ULL << ABS_MT_SLOT;

	begin("slots");
	put(VIRTIO_INPUT_CFG_EV_BITS, EV_ABS, &axes, 8);
	put_axis(ABS_MT_SLOT, min, most, 0, 0, 0);
	end();
}

static void axis(int32_t min, int32_t max, int32_t fuzz, int32_t flat,
		 int32_t res)
{
	uint8_t axes = 1 << ABS_Y;

	begin("axis");
	put(VIRTIO_INPUT_CFG_EV_BITS, EV_ABS, &axes, 1);
	put_axis(ABS_Y, min, max, fuzz, flat, res);
	end();
}

static void more(uint8_t select, uint8_t subsel, uint8_t size)
{
	static const uint8_t ones[255] = { 1, 1, 1 };

	begin("more");
	put(select, subsel, ones, size);
	end();
}

/* Everything else as it should be. */
static void text(uint8_t select, const char *what)
{
	begin("text");
	table_len = 0;
	if (select != VIRTIO_INPUT_CFG_ID_NAME)
		put_text(VIRTIO_INPUT_CFG_ID_NAME, "x");
	put_text(select, what);
	put_keys();
	end();
}

#define LONG	"0123456789012345678901234567890123456789012345678901234567890123"

static void bad_feature(void) { good("bad"); create.features |= 1; }
static void bad_feature_50(void) { good("bad"); create.features |= 1ULL << 50; }
static void bad_one_queue(void) { good("bad"); create.num_queues = 1; create.queue_size[1] = 0; }
static void bad_three_queues(void) { good("bad"); create.num_queues = 3; create.queue_size[2] = 8; }
static void bad_long_events(void) { good("bad"); create.queue_size[0] = 128; }
static void bad_long_status(void) { good("bad"); create.queue_size[1] = 128; }
static void bad_short_status(void) { good("bad"); create.queue_size[1] = 1; }
static void bad_no_config(void) { good("bad"); create.config_len = 0; }
static void bad_cut_header(void) { good("bad"); create.config_len -= 21; }
static void bad_cut_answer(void) { good("bad"); create.config_len -= 1; }
static void bad_long_config(void) { good("bad"); create.config_len = 4097; }
static void bad_all_zero(void) { good("bad"); memset(table, 0, table_len); }
static void bad_all_ones(void) { good("bad"); memset(table, 0xff, sizeof(table)); create.config_len = 4096; }
static void bad_reserved(void) { good("bad"); table[3] = 1; }
static void bad_size_zero(void) { begin("bad"); put(VIRTIO_INPUT_CFG_PROP_BITS, 0, "", 0); end(); }
static void bad_no_name(void) { begin("bad"); table_len = 0; put_keys(); end(); }
static void bad_no_types(void) { begin("bad"); table_len = 0; put_text(VIRTIO_INPUT_CFG_ID_NAME, "x"); end(); }
static void bad_long_name(void) { text(VIRTIO_INPUT_CFG_ID_NAME, LONG); }
static void bad_long_serial(void) { text(VIRTIO_INPUT_CFG_ID_SERIAL, LONG); }
static void bad_newline(void) { text(VIRTIO_INPUT_CFG_ID_NAME, "a\nb"); }
static void bad_quote(void) { text(VIRTIO_INPUT_CFG_ID_NAME, "a\"b"); }
static void bad_delete(void) { text(VIRTIO_INPUT_CFG_ID_SERIAL, "\x7f"); }
static void bad_name_subsel(void) { begin("bad"); table[1] = 1; end(); }
static void bad_two_names(void) { more(VIRTIO_INPUT_CFG_ID_NAME, 0, 2); }
static void bad_two_ids(void) { more(VIRTIO_INPUT_CFG_ID_DEVIDS, 0, 8); }
static void bad_two_keys(void) { more(VIRTIO_INPUT_CFG_EV_BITS, EV_KEY, 2); }
static void bad_select_0(void) { more(VIRTIO_INPUT_CFG_UNSET, 0, 1); }
static void bad_select(void) { more(0x13, 0, 1); }
static void bad_long_props(void) { more(VIRTIO_INPUT_CFG_PROP_BITS, 0, 5); }
static void bad_props_subsel(void) { more(VIRTIO_INPUT_CFG_PROP_BITS, 1, 1); }
static void bad_long_rel(void) { more(VIRTIO_INPUT_CFG_EV_BITS, EV_REL, 3); }
static void bad_long_abs(void) { more(VIRTIO_INPUT_CFG_EV_BITS, EV_ABS, 9); }
static void bad_long_msc(void) { more(VIRTIO_INPUT_CFG_EV_BITS, EV_MSC, 2); }
static void bad_long_sw(void) { more(VIRTIO_INPUT_CFG_EV_BITS, EV_SW, 4); }
static void bad_long_snd(void) { more(VIRTIO_INPUT_CFG_EV_BITS, EV_SND, 2); }
static void bad_ff(void) { more(VIRTIO_INPUT_CFG_EV_BITS, EV_FF, 1); }
static void bad_syn(void) { more(VIRTIO_INPUT_CFG_EV_BITS, EV_SYN, 1); }
static void bad_type(void) { more(VIRTIO_INPUT_CFG_EV_BITS, 0x20, 1); }
static void bad_type_255(void) { more(VIRTIO_INPUT_CFG_EV_BITS, 0xff, 1); }
static void bad_not_described(void) { more(VIRTIO_INPUT_CFG_EV_BITS, EV_ABS, 1); }
static void bad_only_described(void) { begin("bad"); put_axis(ABS_X, 0, 1, 0, 0, 0); end(); }
static void bad_short_axis(void) { more(VIRTIO_INPUT_CFG_ABS_INFO, ABS_X, 19); }
static void bad_axis_64(void) { more(VIRTIO_INPUT_CFG_ABS_INFO, 64, 20); }
static void bad_min_max(void) { axis(1, 0, 0, 0, 0); }
static void bad_range(void) { axis(INT32_MIN, 0, 0, 0, 0); }
static void bad_range_most(void) { axis(0, INT32_MAX, 0, 0, 0); }
static void bad_range_wrap(void) { axis(-2, INT32_MAX, 0, 0, 0); }
static void bad_fuzz(void) { axis(0, 10, 11, 0, 0); }
static void bad_fuzz_sign(void) { axis(0, 10, -1, 0, 0); }
static void bad_flat(void) { axis(0, 10, 0, 11, 0); }
static void bad_flat_sign(void) { axis(0, 10, 0, INT32_MIN, 0); }
static void bad_res(void) { axis(0, 10, 0, 0, -1); }
static void bad_slots(void) { slots(0, 64); }
static void bad_slots_many(void) { slots(0, INT32_MAX - 1); }
static void bad_slots_sign(void) { slots(-1, 5); }

static void (*const bad[])(void) = {
	bad_feature, bad_feature_50, bad_one_queue, bad_three_queues,
	bad_long_events, bad_long_status, bad_short_status, bad_no_config,
	bad_cut_header, bad_cut_answer, bad_long_config, bad_all_zero,
	bad_all_ones, bad_reserved, bad_size_zero, bad_no_name, bad_no_types,
	bad_long_name, bad_long_serial, bad_newline, bad_quote, bad_delete,
	bad_name_subsel, bad_two_names, bad_two_ids, bad_two_keys, bad_select_0,
	bad_select, bad_long_props, bad_props_subsel, bad_long_rel,
	bad_long_abs, bad_long_msc, bad_long_sw, bad_long_snd, bad_ff, bad_syn,
	bad_type, bad_type_255, bad_not_described, bad_only_described,
	bad_short_axis, bad_axis_64, bad_min_max, bad_range, bad_range_most,
	bad_range_wrap, bad_fuzz, bad_fuzz_sign, bad_flat, bad_flat_sign,
	bad_res, bad_slots, bad_slots_many, bad_slots_sign,
};

static void test_create_invalid(void)
{
	int fd = open("/dev/virtio-loopback", O_RDWR | O_CLOEXEC);
	int before = count_parents();
	unsigned int i;

	EXPECT(fd >= 0);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		bad[i]();
		if (ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create) != -1 ||
		    errno != EINVAL) {
			fprintf(stderr, "  case %u: %m\n", i);
			fail(__FILE__, __LINE__, "accepted");
		}
	}
	good("fault");
	create.config = 8;
	EXPECT_ERRNO(ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create), EFAULT);
	EXPECT(count_parents() == before);
	/* what is just allowed */
	slots(0, 63);
	EXPECT(!ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create));
	EXPECT(count_parents() == before + 1);
	close(fd);
	axis(-1, INT32_MAX - 2, INT32_MAX - 1, 0, INT32_MAX);
	fd = open("/dev/virtio-loopback", O_RDWR | O_CLOEXEC);
	EXPECT(!ioctl(fd, VIRTIO_LOOPBACK_CREATE, &create));
}

/* A path below the parent device that fits a pattern; false if there is none. */
static bool find(uint32_t index, const char *rest, char *path, size_t size)
{
	char pattern[256];
	glob_t found;
	bool ok;

	snprintf(pattern, sizeof(pattern),
		 "/sys/devices/platform/virtio-loopback.%u/virtio*/%s", index,
		 rest);
	ok = !glob(pattern, 0, NULL, &found) && found.gl_pathc == 1;
	if (ok)
		snprintf(path, size, "%s", found.gl_pathv[0]);
	globfree(&found);
	return ok;
}

/* A file of the driver's input device. */
static const char *attribute(uint32_t index, const char *name)
{
	static char text[256];
	char rest[64], path[300];
	FILE *file;

	snprintf(rest, sizeof(rest), "input/input*/%s", name);
	EXPECT(find(index, rest, path, sizeof(path)));
	file = fopen(path, "r");
	EXPECT(file && fgets(text, sizeof(text), file));
	fclose(file);
	text[strcspn(text, "\n")] = 0;
	return text;
}

/* The event device of the driver, opened; -1 if there is none yet. */
static int open_evdev(uint32_t index)
{
	char path[300], node[320];

	if (!find(index, "input/input*/event*", path, sizeof(path)))
		return -1;
	snprintf(node, sizeof(node), "/dev/input/%s", strrchr(path, '/') + 1);
	return open(node, O_RDWR | O_CLOEXEC | O_NONBLOCK);
}

static int wait_evdev(uint32_t index)
{
	int fd = -1;

	EXPECT(WAIT_FOR((fd = open_evdev(index)) >= 0, 20000));
	return fd;
}

/*
 * Serves without giving buffers back. The event device may be there before the
 * event that says so is read.
 */
static int serve(struct served *s)
{
	int fd;

	s->dev.hold = true;
	serve_start(s, &create, false);
	fd = wait_evdev(s->dev.index);
	EXPECT(WAIT_FOR(s->dev.live, 5000));
	return fd;
}

/* A device whose buffers are taken and not given back, but by say(). */
static int start(struct served *s, const char *name)
{
	good(name);
	return serve(s);
}

/* Returns the next event buffer with an event in it. */
static void say(struct vdev *dev, uint16_t *next, uint16_t type, uint16_t code,
		int32_t value)
{
	struct vdev_queue *q = &dev->queues[EVENTS];
	struct virtio_input_event event = { type, code, value };
	struct vring_used_elem *used;
	uint64_t one = 1;
	uint16_t head;

	EXPECT(WAIT_FOR(__atomic_load_n(&q->ring.avail->idx, __ATOMIC_ACQUIRE) !=
			*next, 5000));
	head = q->ring.avail->ring[(*next)++ % q->ring.num];
	memcpy(dev->window + q->ring.desc[head].addr, &event, sizeof(event));
	used = &q->ring.used->ring[q->ring.used->idx % q->ring.num];
	used->id = head;
	used->len = sizeof(event);
	__atomic_store_n(&q->ring.used->idx, q->ring.used->idx + 1,
			 __ATOMIC_RELEASE);
	EXPECT(write(q->call, &one, 8) == 8);
}

/* The next event that is neither a report nor a light. */
static struct input_event heard(int fd)
{
	struct input_event event;
	struct pollfd p = { fd, POLLIN, 0 };

	do {
		EXPECT(poll(&p, 1, 5000) == 1);
		EXPECT(read(fd, &event, sizeof(event)) == sizeof(event));
	} while (event.type == EV_SYN || event.type == EV_LED);
	return event;
}

static bool is(struct input_event event, int type, int code, int value)
{
	return event.type == type && event.code == code && event.value == value;
}

static int light(int fd, int value)
{
	struct input_event event = { .type = EV_LED, .code = LED_CAPSL,
				     .value = value };

	return write(fd, &event, sizeof(event));
}

/* What the driver was told at probe, and what comes later. */
static void test_answers(void)
{
	struct served s = { 0 };
	struct virtio_loopback_config_set set;
	struct input_absinfo info;
	struct virtio_loopback_status st;
	uint16_t next = 0;
	int fd = start(&s, "answers");
	char byte = 1;

	EXPECT(!strcmp(attribute(s.dev.index, "name"), "a test device"));
	EXPECT(!strcmp(attribute(s.dev.index, "uniq"), "number 1"));
	EXPECT(!strcmp(attribute(s.dev.index, "id/bustype"), "0006"));
	EXPECT(!strcmp(attribute(s.dev.index, "id/version"), "0009"));
	EXPECT(!strcmp(attribute(s.dev.index, "capabilities/led"), "2"));
	EXPECT(!strcmp(attribute(s.dev.index, "capabilities/abs"), "1"));
	/* SYN, KEY, ABS, LED, REP */
	EXPECT(!strcmp(attribute(s.dev.index, "capabilities/ev"), "12000b"));
	EXPECT(!ioctl(fd, EVIOCGABS(ABS_X), &info));
	EXPECT(info.minimum == -5 && info.maximum == 1000 && info.fuzz == 1 &&
	       info.flat == 2 && info.resolution == 3);
	/* the driver wrote the configuration often, and nobody was told */
	EXPECT(s.dev.last_event.type == VIRTIO_LOOPBACK_EVENT_DRIVER_OK);
	st = status_of(&s.dev);
	EXPECT(!st.events_dropped && st.outstanding == 64 &&
	       st.bounce_used >= 64 && st.bounce_max <= 160 * 4096);
	/* nor can it be changed, not even by what would overflow a GPU's */
	set = (struct virtio_loopback_config_set){ 0, 1, (uintptr_t)&byte };
	EXPECT_ERRNO(ioctl(s.dev.session, VIRTIO_LOOPBACK_CONFIG_SET, &set),
		     EINVAL);
	set.length = create.config_len;
	EXPECT_ERRNO(ioctl(s.dev.session, VIRTIO_LOOPBACK_CONFIG_SET, &set),
		     EINVAL);

	say(&s.dev, &next, EV_KEY, KEY_A, 1);
	say(&s.dev, &next, EV_ABS, ABS_X, -4);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	EXPECT(is(heard(fd), EV_KEY, KEY_A, 1));
	EXPECT(is(heard(fd), EV_ABS, ABS_X, -4));
	/* which the driver repeats itself */
	EXPECT(is(heard(fd), EV_KEY, KEY_A, 2));
	serve_stop(&s);
	vdev_close(&s.dev);
}

/* Events of types, codes and values that nobody has announced, all of them. */
static void test_nonsense(void)
{
	struct served s = { 0 };
	uint16_t next = 0;
	int fd = start(&s, "nonsense"), i;
	unsigned int seed = 1;

	for (i = 0; i < 3000; i++) {
		seed = seed * 1103515245 + 12345;
		say(&s.dev, &next, seed >> 16 & 0x3f, seed >> 8 & 0x3ff, seed);
	}
	say(&s.dev, &next, 0xffff, 0xffff, -1);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	while (read(fd, &(struct input_event){ 0 }, sizeof(struct input_event)) > 0)
		;
	say(&s.dev, &next, EV_KEY, KEY_B, 0);
	say(&s.dev, &next, EV_KEY, KEY_B, 1);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	while (!is(heard(fd), EV_KEY, KEY_B, 1))
		;
	EXPECT(!status_of(&s.dev).bad_used);
	serve_stop(&s);
	vdev_close(&s.dev);
}

/* Used entries that were never there, and too many of them. */
static void test_bad_used(void)
{
	struct served s = { 0 };
	struct vdev_queue *q = &s.dev.queues[EVENTS];
	uint16_t next = 0, i;
	int fd = start(&s, "used");
	uint64_t one = 1;

	/* some buffer is there, before the index is looked at */
	say(&s.dev, &next, EV_KEY, KEY_A, 1);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	EXPECT(is(heard(fd), EV_KEY, KEY_A, 1));
	for (i = 0; i < 64; i++) {
		q->ring.used->ring[(q->ring.used->idx + i) % 64].id = 64 + i;
		q->ring.used->ring[(q->ring.used->idx + i) % 64].len = ~0u;
	}
	__atomic_store_n(&q->ring.used->idx, q->ring.used->idx + 64,
			 __ATOMIC_RELEASE);
	EXPECT(write(q->call, &one, 8) == 8);
	EXPECT(WAIT_FOR(status_of(&s.dev).bad_used == 64, 5000));
	__atomic_store_n(&q->ring.used->idx, q->ring.used->idx + 1000,
			 __ATOMIC_RELEASE);
	EXPECT(write(q->call, &one, 8) == 8);
	EXPECT(WAIT_FOR(status_of(&s.dev).bad_used == 65, 5000));
	say(&s.dev, &next, EV_KEY, KEY_A, 0);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	while (!is(heard(fd), EV_KEY, KEY_A, 0))
		;
	serve_stop(&s);
	vdev_close(&s.dev);
}

static void *light_up(void *arg)
{
	int fd = *(int *)arg, i;

	for (i = 0; i < 20000 && light(fd, i & 1) > 0; i++)
		;
	return NULL;
}

/*
 * One eventfd for everything: whoever is kicked calls, and whoever calls kicks,
 * each under locks of the input core and of the eventfd.
 */
static void test_one_eventfd(void)
{
	struct virtio_loopback_queue_fds fds;
	struct served s = { 0 };
	long long end = now_ms() + 4000;
	int fd = start(&s, "loop"), one_fd = eventfd(0, EFD_NONBLOCK), i;
	pthread_t threads[2];
	uint64_t one = 1;

	serve_stop(&s);
	for (i = 0; i < 2; i++) {
		fds = (struct virtio_loopback_queue_fds){ i, one_fd, one_fd, 0 };
		EXPECT(!ioctl(s.dev.session, VIRTIO_LOOPBACK_SET_QUEUE_FDS, &fds));
	}
	for (i = 0; i < 2; i++)
		EXPECT(!pthread_create(&threads[i], NULL, light_up, &fd));
	while (now_ms() < end) {
		struct vdev_queue *q = &s.dev.queues[(end - now_ms()) & 1];
		uint16_t idx = q->ring.used->idx;

		/* any head: some are outstanding */
		q->ring.used->ring[idx % 64].id = idx % 64;
		q->ring.used->ring[idx % 64].len = 8;
		__atomic_store_n(&q->ring.used->idx, idx + 1, __ATOMIC_RELEASE);
		EXPECT(write(one_fd, &one, 8) == 8);
	}
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	vdev_close(&s.dev);
	EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 5000));
}

/* Processor time of the machine, in ticks, that was not idle. */
static unsigned long long busy(void)
{
	unsigned long long user, nice, system;
	FILE *file = fopen("/proc/stat", "r");

	EXPECT(file && fscanf(file, "cpu %llu %llu %llu", &user, &nice, &system) == 3);
	fclose(file);
	return user + nice + system;
}

/* Nobody serves it: events never come, what is said is taken, and nothing goes round in circles. */
static void test_null(void)
{
	struct served s = { 0 };
	struct input_event event;
	int fd = start(&s, "null"), i;
	struct virtio_loopback_status st;
	unsigned long long before;
	char text[64];

	serve_stop(&s);
	close(s.dev.session);
	parent_attr(s.dev.index, "state", text, sizeof(text));
	EXPECT(!strcmp(text, "null"));
	/* more than the queue has room for */
	for (i = 0; i < 500; i++) {
		EXPECT(light(fd, i & 1) == sizeof(event));
		if (i % 50 == 0)
			sleep_ms(5);
	}
	sleep_ms(200);
	before = busy();
	sleep_ms(1000);
	EXPECT(busy() - before < 50);	/* ticks of 10 ms, of two processors */
	EXPECT(!ioctl(s.dev.control, VIRTIO_LOOPBACK_STATUS, &st));
	EXPECT(st.state == VIRTIO_LOOPBACK_STATE_NULL && st.outstanding == 64);
	while (read(fd, &event, sizeof(event)) == sizeof(event))
		EXPECT(event.type == EV_LED || event.type == EV_SYN);
	EXPECT(errno == EAGAIN);
	close(s.dev.control);
	EXPECT(WAIT_FOR(read(fd, &event, sizeof(event)) == -1 && errno == ENODEV,
			5000));
	EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 5000));
}

/* The driver comes and goes: nothing of it stays mapped, and it never waits long. */
static void test_rebind(void)
{
	struct served s = { 0 };
	char path[300], *name;
	int fd = start(&s, "rebind"), i, sysfs;
	long long begun;

	EXPECT(find(s.dev.index, "input", path, sizeof(path)));
	*strrchr(path, '/') = 0;
	name = strrchr(path, '/') + 1;
	for (i = 0; i < 20; i++) {
		EXPECT(light(fd, i & 1) > 0);
		begun = now_ms();
		sysfs = open("/sys/bus/virtio/drivers/virtio_input/unbind", O_WRONLY);
		EXPECT(write(sysfs, name, strlen(name)) == (ssize_t)strlen(name));
		close(sysfs);
		EXPECT(now_ms() - begun < 900);	/* the time that an unanswered reset takes */
		EXPECT(status_of(&s.dev).bounce_used == 0);
		close(fd);
		sysfs = open("/sys/bus/virtio/drivers/virtio_input/bind", O_WRONLY);
		EXPECT(write(sysfs, name, strlen(name)) == (ssize_t)strlen(name));
		close(sysfs);
		fd = wait_evdev(s.dev.index);
		EXPECT(WAIT_FOR(status_of(&s.dev).outstanding == 64, 5000));
	}
	EXPECT(s.dev.resets == 20);
	EXPECT(status_of(&s.dev).reset_timeouts == 0);
	serve_stop(&s);
	vdev_close(&s.dev);
}

/* The device side is killed, with a key held and a reader. */
static void test_killed(void)
{
	static struct served s;
	struct input_event event;
	int fds[2], fd, status;
	uint32_t index;
	uint16_t next = 0;
	pid_t pid;

	EXPECT(!pipe(fds));
	pid = fork();
	if (!pid) {
		fd = start(&s, "killed");
		say(&s.dev, &next, EV_KEY, KEY_A, 1);
		say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
		EXPECT(is(heard(fd), EV_KEY, KEY_A, 1));
		close(fd);
		if (write(fds[1], &s.dev.index, 4) != 4)
			_exit(1);
		pause();
	}
	EXPECT(read(fds[0], &index, 4) == 4);
	fd = wait_evdev(index);
	kill(pid, SIGKILL);
	EXPECT(waitpid(pid, &status, 0) == pid);
	EXPECT(WAIT_FOR(!parent_exists(index), 5000));
	EXPECT_ERRNO(read(fd, &event, sizeof(event)), ENODEV);
	EXPECT_ERRNO(light(fd, 1), ENODEV);
}

/* Another session goes on with the buffers of the first. */
static void test_kept(void)
{
	struct served s = { 0 };
	uint16_t next = 0;
	int fd;

	good("kept");
	create.keep_ms = 20000;
	fd = serve(&s);
	say(&s.dev, &next, EV_KEY, KEY_A, 1);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	EXPECT(is(heard(fd), EV_KEY, KEY_A, 1));
	serve_stop(&s);
	vdev_detach(&s.dev);
	EXPECT(light(fd, 1) > 0);
	s.dev.restart = VIRTIO_LOOPBACK_REOFFER;
	EXPECT(!vdev_attach(&s.dev));
	serve_resume(&s);
	EXPECT(WAIT_FOR(s.dev.live, 5000));
	EXPECT(s.dev.restarted[EVENTS] == 64 && s.dev.restarted[STATUS] == 1);
	next = 0;
	say(&s.dev, &next, EV_KEY, KEY_A, 0);
	say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
	while (!is(heard(fd), EV_KEY, KEY_A, 0))
		;
	serve_stop(&s);
	vdev_close(&s.dev);
}

/* A hundred times, every other one with a reader. */
static void test_cycles(void)
{
	struct served s;
	int i, fd;

	for (i = 0; i < 100; i++) {
		uint16_t next = 0;

		memset(&s, 0, sizeof(s));
		fd = start(&s, "cycles");
		say(&s.dev, &next, EV_KEY, KEY_B, 1);
		say(&s.dev, &next, EV_SYN, SYN_REPORT, 0);
		if (i & 1)
			close(fd);
		serve_stop(&s);
		vdev_close(&s.dev);
		EXPECT(WAIT_FOR(!parent_exists(s.dev.index), 5000));
		if (!(i & 1))
			close(fd);
	}
}

const struct test input_tests[] = {
	{ "input_create_invalid", test_create_invalid, 20 },
	{ "input_answers", test_answers, 30 },
	{ "input_nonsense", test_nonsense, 60 },
	{ "input_bad_used", test_bad_used, 30 },
	{ "input_one_eventfd", test_one_eventfd, 60 },
	{ "input_null", test_null, 30 },
	{ "input_rebind", test_rebind, 60 },
	{ "input_killed", test_killed, 30 },
	{ "input_kept", test_kept, 30 },
	{ "input_cycles", test_cycles, 120 },
	{ 0 }
};
