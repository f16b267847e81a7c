// SPDX-License-Identifier: GPL-2.0
/*
 * shadow.c with a device side that writes anything anywhere in its ring, also
 * while it is being read. The input says what everybody does; the checks are
 * those of sim.c.
 */
#include "sim.h"

static const u8 *input, *end;

static u8 next(void)
{
	return input < end ? *input++ : 0;
}

static u16 next16(void)
{
	u16 low = next();

	return low | next() << 8;
}

/* Mostly the places that matter: the used ring's index and entries. */
static void write_somewhere(struct sim *sim)
{
	size_t used = (u8 *)sim->device.used - sim->device_ring;
	u8 what = next();

	if (what < 96)
		sim->device.used->idx =
			htole16(sim->shadow.used_seen + (what & 15));
	else if (what < 192)
		sim->device.used->ring[what % sim->num].id = htole32(next());
	else if (what < 224)
		sim->device.used->idx = next16();
	else
		sim->device_ring[(what & 1 ? used + next() : next16()) %
				 sim->ring_bytes] = next();
}

static void while_reading(struct sim *sim)
{
	if (next() < 64)
		write_somewhere(sim);
}

static void step(struct sim *sim)
{
	u8 what = next();

	switch (what % 8) {
	case 0:
	case 1:
		sim_add(sim, what >> 3 & 3, what >> 5 & 3, what & 8, 1 + next16());
		break;
	case 2:
		vlb_shadow_forward(&sim->shadow);
		break;
	case 3:
		vlb_shadow_kick_wanted(&sim->shadow);
		break;
	case 4: {
		unsigned int had = sim->shadow.outstanding;
		unsigned int done = vlb_shadow_collect(&sim->shadow);

		CHECK(done <= had && done <= sim->num);
		break;
	}
	case 5:
		sim_reap(sim);
		break;
	case 6:
		write_somewhere(sim);
		break;
	case 7: {
		u16 head = next() % sim->num;

		if (what > 240)
			CHECK(vlb_shadow_reoffer(&sim->shadow) ==
			      sim->shadow.outstanding);

		if (!sim->chains[head].outstanding)
			break;
		if (what > 192 && what <= 240) {
			vlb_shadow_refresh(&sim->shadow, head);
		} else {
			vlb_shadow_complete(&sim->shadow, head, next16());
			vlb_shadow_publish(&sim->shadow);
		}
		break;
	}
	}
	sim_check(sim);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct sim sim;
	u8 shape;

	input = data;
	end = data + size;
	shape = next();
	sim_start(&sim, 1U << shape % 7, shape & 128);
	sim.hostile = while_reading;
	while (input < end)
		step(&sim);
	sim_stop(&sim);
	return 0;
}

/* Without libFuzzer: the inputs named, or some from the fixed random numbers. */
#ifdef STANDALONE
static u8 bytes[4096];

static int play(const char *path)
{
	FILE *file = fopen(path, "rb");
	size_t size;

	if (!file) {
		perror(path);
		return 1;
	}
	size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	return LLVMFuzzerTestOneInput(bytes, size);
}

int main(int argc, char **argv)
{
	unsigned int i, k;

	for (i = 1; i < (unsigned int)argc; i++)
		if (play(argv[i]))
			return 1;
	for (i = 0; argc == 1 && i < 3000; i++) {
		u32 size = random_below(sizeof(bytes));

		for (k = 0; k < size; k++)
			bytes[k] = random_below(256);
		LLVMFuzzerTestOneInput(bytes, size);
	}
	puts("shadow, hostile device side: ok");
	return 0;
}
#endif
