// SPDX-License-Identifier: GPL-2.0
/* shadow.c between the driver of sim.c and a device side that keeps the rules. */
#include "sim.h"

/* An honest device side. */
struct device {
	u16 avail;	/* next entry to take */
	u16 called;	/* value of used when it last thought about a call */
	u16 used;
	u16 held[SIM_MAX];	/* heads it works on */
	unsigned int num_held;
	bool asleep;
};

static struct sim sim;
static struct device dev;

static u32 writable_of(u16 head)
{
	struct vring_desc *table = sim.device.desc, *desc = &table[head];
	u32 total = 0;

	/* what the device sees of the chain is what the driver wrote */
	for (;;) {
		CHECK(!memcmp(desc, (u8 *)sim.ring.desc + ((u8 *)desc -
			      sim.device_ring), sizeof(*desc)));
		if (desc->flags & htole16(VRING_DESC_F_INDIRECT))
			return sim.mine[head].writable;
		if (desc->flags & htole16(VRING_DESC_F_WRITE))
			total += le32toh(desc->len);
		if (!(desc->flags & htole16(VRING_DESC_F_NEXT)))
			return total;
		desc = &table[le16toh(desc->next)];
	}
}

static void device_take(void)
{
	while (dev.avail != le16toh(sim.device.avail->idx)) {
		u16 head = le16toh(sim.device.avail->ring[dev.avail % sim.num]);

		CHECK(writable_of(head) == sim.mine[head].writable);
		dev.held[dev.num_held++] = head;
		dev.avail++;
	}
	if (sim.event_idx)
		vring_avail_event(&sim.device) = htole16(dev.avail);
	else
		sim.device.used->flags = 0;
	dev.asleep = true;
}

/* Returns @count held heads, in any order. Returns whether to call. */
static bool device_return(unsigned int count)
{
	u16 old;

	while (count-- && dev.num_held) {
		unsigned int i = random_below(dev.num_held);
		u16 head = dev.held[i];
		struct vring_used_elem *elem;

		dev.held[i] = dev.held[--dev.num_held];
		elem = &sim.device.used->ring[dev.used % sim.num];
		elem->id = htole32(head);
		elem->len = htole32(random_below(2) ? sim.mine[head].writable :
				    random_below(sim.mine[head].writable + 1));
		dev.used++;
	}
	sim.device.used->idx = htole16(dev.used);
	old = dev.called;
	dev.called = dev.used;
	if (old == dev.used)
		return false;
	if (!sim.event_idx)
		return !(sim.device.avail->flags &
			 htole16(VRING_AVAIL_F_NO_INTERRUPT));
	return vring_need_event(le16toh(vring_used_event(&sim.device)),
				dev.used, old);
}

static void driver_step(void)
{
	unsigned int n = 1 + random_below(4), added = 0;

	while (n--)
		added += sim_add(&sim, random_below(4), random_below(4),
				 random_below(2), 1 + random_below(5000));
	if (!added)
		return;
	/* the driver's notifications are never off */
	CHECK(sim_notify_wanted(&sim));
	CHECK(vlb_shadow_forward(&sim.shadow) == added);
	CHECK(vlb_shadow_forward(&sim.shadow) == 0);
	/* nobody sleeps while there is something to do */
	if (vlb_shadow_kick_wanted(&sim.shadow))
		dev.asleep = false;
	CHECK(!dev.asleep);
	CHECK(!vlb_shadow_kick_wanted(&sim.shadow));
}

static void device_step(void)
{
	unsigned int before = dev.num_held;

	if (!dev.asleep)
		device_take();
	else if (!sim.event_idx && random_below(2))
		sim.device.used->flags = 0;
	before = dev.num_held;
	if (device_return(random_below(6))) {
		unsigned int done = vlb_shadow_collect(&sim.shadow);

		CHECK(done == before - dev.num_held);
		CHECK(sim_reap(&sim) == done);
	} else {
		/* no call only if there was nothing */
		CHECK(before == dev.num_held);
	}
}

static void run(unsigned int num, bool event_idx)
{
	unsigned int step;

	memset(&dev, 0, sizeof(dev));
	sim_start(&sim, num, event_idx);
	dev.asleep = false;
	device_take();
	/* long enough for every index to wrap */
	for (step = 0; step < 70000; step++) {
		if (random_below(2))
			driver_step();
		else
			device_step();
		sim_check(&sim);
	}
	CHECK(sim.shadow.stats.bad_used == 0);
	CHECK(sim.shadow.stats.clamped_used == 0);
	sim_stop(&sim);
}

static void use(u16 slot, u32 id, u32 len)
{
	sim.device.used->ring[slot % sim.num].id = htole32(id);
	sim.device.used->ring[slot % sim.num].len = htole32(len);
}

/* Each thing a device side can do wrong, and that it is counted. */
static void test_wrong_used(void)
{
	struct vlb_shadow_stats *stats;
	u16 head;

	sim_start(&sim, 8, true);
	stats = &sim.shadow.stats;
	CHECK(sim_add(&sim, 1, 1, false, 100));
	CHECK(vlb_shadow_forward(&sim.shadow) == 1);
	head = le16toh(sim.device.avail->ring[0]);

	use(0, 8, 0);			/* no such descriptor */
	use(1, U32_MAX, 0);
	use(2, (head + 1) % 8, 0);	/* not outstanding */
	sim.device.used->idx = htole16(3);
	CHECK(vlb_shadow_collect(&sim.shadow) == 0);
	CHECK(stats->bad_used == 3 && sim.ring.used->idx == 0);

	sim.device.used->idx = htole16(3 + 9);	/* out of reach */
	CHECK(vlb_shadow_collect(&sim.shadow) == 0);
	CHECK(stats->bad_used == 4);
	/* and it can go on from where it says it is */
	use(12, head, 5000);		/* longer than the chain */
	sim.device.used->idx = htole16(13);
	CHECK(vlb_shadow_collect(&sim.shadow) == 1);
	CHECK(stats->bad_used == 4 && stats->clamped_used == 1);
	CHECK(sim.ring.used->ring[0].len == htole32(101));
	CHECK(sim_reap(&sim) == 1);

	use(13, head, 0);		/* a second time */
	sim.device.used->idx = htole16(14);
	CHECK(vlb_shadow_collect(&sim.shadow) == 0);
	CHECK(stats->bad_used == 5);
	sim_check(&sim);
	sim_stop(&sim);
}

static void always_more(struct sim *s)
{
	s->device.used->idx = htole16(le16toh(s->device.used->idx) + 1);
}

/* A used index that always moves on does not keep the kernel busy. */
static void test_endless_used(void)
{
	sim_start(&sim, 8, true);
	sim.hostile = always_more;
	CHECK(vlb_shadow_collect(&sim.shadow) == 0);
	CHECK(sim.shadow.stats.bad_used <= 8);
	sim_stop(&sim);
}

/* Without the device side: the null device's way. */
static void test_complete(void)
{
	unsigned int i;

	sim_start(&sim, 8, false);
	for (i = 0; i < 8; i++)
		CHECK(sim_add(&sim, 0, 1, false, 10));
	CHECK(vlb_shadow_forward(&sim.shadow) == 8);
	for (i = 0; i < 8; i++) {
		CHECK(sim.chains[i].outstanding);
		vlb_shadow_complete(&sim.shadow, i, i ? 4 : 1000);
	}
	CHECK(sim.ring.used->idx == 0);
	vlb_shadow_publish(&sim.shadow);
	CHECK(sim.ring.used->idx == htole16(8));
	CHECK(sim.ring.used->ring[0].len == htole32(10));
	CHECK(sim.ring.used->ring[1].len == htole32(4));
	CHECK(sim_reap(&sim) == 8 && sim.shadow.outstanding == 0);
	sim_check(&sim);
	sim_stop(&sim);
}

/* Another device side begins with what the first had, and loses nothing. */
static void test_reoffer(unsigned int num, bool event_idx)
{
	unsigned int round, i;

	sim_start(&sim, num, event_idx);
	for (round = 0; round < 500; round++) {
		memset(&dev, 0, sizeof(dev));
		for (i = 0; i < num; i++)
			sim_add(&sim, 1, 1, random_below(2), 100);
		vlb_shadow_forward(&sim.shadow);
		device_take();
		device_return(random_below(num + 1));
		if (random_below(2))
			vlb_shadow_collect(&sim.shadow);
		/* it dies, with anything in the ring */
		memset(sim.device_ring, 0xa5, sim.ring_bytes);
		i = sim.shadow.outstanding;
		CHECK(vlb_shadow_reoffer(&sim.shadow) == i);
		CHECK(le16toh(sim.device.avail->idx) == i);
		CHECK(!sim.device.used->idx && !sim.device.avail->flags);
		sim_check(&sim);
		/* device_take() checks the descriptors */
		memset(&dev, 0, sizeof(dev));
		device_take();
		CHECK(dev.num_held == i);
		while (i-- > 1)
			CHECK(sim.mine[dev.held[i - 1]].order <
			      sim.mine[dev.held[i]].order);
		/* the ring goes on from there */
		sim_add(&sim, 1, 1, true, 100);
		vlb_shadow_forward(&sim.shadow);
		device_take();
		CHECK(dev.num_held == sim.shadow.outstanding);
		device_return(num);
		vlb_shadow_collect(&sim.shadow);
		CHECK(!sim.shadow.outstanding);
		sim_reap(&sim);
		CHECK(!sim.added);
		sim_check(&sim);
		vlb_shadow_reoffer(&sim.shadow);
	}
	CHECK(!sim.shadow.stats.bad_used && !sim.shadow.stats.clamped_used);
	sim_stop(&sim);
}

/* What is read of a chain is shown again, and nothing else. */
static void test_refresh(void)
{
	sim_start(&sim, 8, false);
	CHECK(sim_add(&sim, 2, 2, false, 100));
	CHECK(sim_add(&sim, 2, 2, true, 1000));
	CHECK(vlb_shadow_forward(&sim.shadow) == 2);
	vlb_shadow_refresh(&sim.shadow, sim.shadow.oldest);
	CHECK(sim.refreshed == 100 + 101);
	sim.refreshed = 0;
	vlb_shadow_refresh(&sim.shadow, sim.shadow.newest);
	CHECK(sim.refreshed == 4 * sizeof(struct vring_desc) + 1000 + 1001);
	sim_stop(&sim);
}

/* Sums of lengths do not wrap. */
static void test_saturation(void)
{
	sim_start(&sim, 8, false);
	CHECK(sim_add(&sim, 0, 4, true, 0x80000000));
	CHECK(vlb_shadow_forward(&sim.shadow) == 1);
	CHECK(sim.chains[le16toh(sim.device.avail->ring[0])].writable ==
	      U32_MAX);
	sim_stop(&sim);
}

int main(void)
{
	unsigned int num;

	test_wrong_used();
	test_endless_used();
	test_complete();
	test_saturation();
	test_refresh();
	for (num = 1; num <= SIM_MAX; num *= 2) {
		run(num, true);
		run(num, false);
		test_reoffer(num, true);
		test_reoffer(num, false);
	}
	puts("shadow: ok");
	return 0;
}
