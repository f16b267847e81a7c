// SPDX-License-Identifier: GPL-2.0
/*
 * Input devices: the tables of answers that CREATE takes, and those that it
 * does not.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include <linux/input.h>
#include <linux/virtio_input.h>

#include "harness.h"
#include "input_table.h"

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

struct virtio_loopback_create *keyboard_create(const char *name)
{
	good(name);
	return &create;
}

const struct test input_create_tests[] = {
	{ "input_create_invalid", test_create_invalid, 20 },
	{ 0 }
};
