// SPDX-License-Identifier: GPL-2.0
/* See sim.h. */
#include "sim.h"

static struct sim *current;

void shim_before_read(const volatile void *at)
{
	const volatile u8 *byte = at;

	if (current && current->hostile && byte >= current->device_ring &&
	    byte < current->device_ring + current->ring_bytes)
		current->hostile(current);
}

/* Indirect tables are "mapped" at (head + 1) << 32. */
static const void *resolve(void *arg, u64 addr, u32 len)
{
	struct sim *sim = arg;
	u64 i = (addr >> 32) - 1;

	if ((u32)addr || i >= sim->num || !sim->mine[i].table ||
	    len > SIM_PARTS * sizeof(struct vring_desc))
		return NULL;
	return sim->mine[i].table;
}

static void seen(void *arg, const struct vlb_chain *chain)
{
	struct sim *sim = arg;
	unsigned int head = chain - sim->chains;
	const struct sim_chain *mine = &sim->mine[head];

	CHECK(head < sim->num && mine->added);
	CHECK(chain->writable == mine->writable);
	CHECK(chain->out_len == mine->out_len);
	CHECK(chain->in_len == mine->in_len);
	CHECK(!mine->out_len || chain->out_addr == mine->out_addr);
	CHECK(!mine->in_len || chain->in_addr == mine->in_addr);
	sim->forwarded++;
}

static void refresh(void *arg, u64 addr, u32 len)
{
	struct sim *sim = arg;

	(void)addr;
	sim->refreshed += len;
}

static const struct vlb_shadow_ops ops = {
	.resolve = resolve, .seen = seen, .refresh = refresh,
};

/* Page-aligned, as rings are; the end is exact, so that overruns are found. */
static u8 *ring_memory(size_t bytes)
{
	u8 *memory;

	CHECK(!posix_memalign((void **)&memory, PAGE_SIZE, bytes));
	memset(memory, 0, bytes);
	return memory;
}

void sim_start(struct sim *sim, unsigned int num, bool event_idx)
{
	unsigned int i;

	memset(sim, 0, sizeof(*sim));
	/* what an input does is the same each time */
	random_state = RANDOM_START;
	current = sim;
	sim->num = num;
	sim->event_idx = event_idx;
	sim->ring_bytes = vlb_shadow_ring_bytes(num);
	sim->driver_ring = ring_memory(sim->ring_bytes);
	sim->driver_copy = ring_memory(sim->ring_bytes);
	sim->device_ring = ring_memory(sim->ring_bytes);
	vring_init(&sim->ring, num, sim->driver_ring, PAGE_SIZE);
	vring_init(&sim->device, num, sim->device_ring, PAGE_SIZE);
	for (i = 0; i < num; i++)
		sim->free[i] = i;
	sim->num_free = num;
	sim->shadow.ops = &ops;
	sim->shadow.arg = sim;
	vlb_shadow_start(&sim->shadow, &sim->ring, sim->device_ring,
			 sim->chains, event_idx);
}

void sim_stop(struct sim *sim)
{
	unsigned int i;

	for (i = 0; i < sim->num; i++)
		free(sim->mine[i].table);
	free(sim->driver_ring);
	free(sim->driver_copy);
	free(sim->device_ring);
	current = NULL;
}

static u16 take_desc(struct sim *sim)
{
	/* not in order: a chain's indices are anything */
	u16 i = random_below(sim->num_free), desc = sim->free[i];

	sim->free[i] = sim->free[--sim->num_free];
	return desc;
}

/* The parts of a chain: @next gives the index of the one behind part i. */
static void fill_parts(struct sim_chain *mine, struct vring_desc *table,
		       const u16 *at, unsigned int outs, unsigned int ins,
		       u32 len)
{
	unsigned int i, n = outs + ins;

	for (i = 0; i < n; i++) {
		struct vring_desc *desc = &table[at[i]];
		bool in = i >= outs;

		desc->addr = htole64(0x1000000ULL * (i + 1) + random_below(4096));
		desc->len = htole32(len + i);
		desc->flags = htole16((in ? VRING_DESC_F_WRITE : 0) |
				      (i + 1 < n ? VRING_DESC_F_NEXT : 0));
		desc->next = htole16(i + 1 < n ? at[i + 1] : 0x7777);
		if (in && mine->writable > U32_MAX - (len + i))
			mine->writable = U32_MAX;
		else if (in)
			mine->writable += len + i;
		if (i == 0 && outs) {
			mine->out_addr = le64toh(desc->addr);
			mine->out_len = len + i;
		}
		if (i == outs) {
			mine->in_addr = le64toh(desc->addr);
			mine->in_len = len + i;
		}
	}
}

bool sim_add(struct sim *sim, unsigned int outs, unsigned int ins,
	     bool indirect, u32 len)
{
	unsigned int n = outs + ins, i;
	struct vring_desc *table = sim->ring.desc;
	u16 at[SIM_PARTS], head;
	struct sim_chain *mine;

	if (!n || n > SIM_PARTS || sim->num_free < (indirect ? 1 : n))
		return false;
	head = take_desc(sim);
	mine = &sim->mine[head];
	CHECK(!mine->added);
	memset(mine, 0, sizeof(*mine));
	mine->added = true;
	mine->order = sim->total++;
	mine->descs = indirect ? 1 : n;
	at[0] = indirect ? 0 : head;
	for (i = 1; i < n; i++)
		at[i] = indirect ? i : take_desc(sim);
	if (indirect) {
		mine->table = calloc(SIM_PARTS, sizeof(*table));
		table[head].addr = htole64(((u64)head + 1) << 32);
		table[head].len = htole32(n * sizeof(*table));
		table[head].flags = htole16(VRING_DESC_F_INDIRECT);
		table = mine->table;
	}
	fill_parts(mine, table, at, outs, ins, len);
	sim->ring.avail->ring[sim->avail % sim->num] = htole16(head);
	sim->avail++;
	sim->ring.avail->idx = htole16(sim->avail);
	sim->added++;
	memcpy(sim->driver_copy, sim->driver_ring, sim->ring_bytes);
	return true;
}

bool sim_notify_wanted(struct sim *sim)
{
	u16 old = sim->notified;

	sim->notified = sim->avail;
	if (old == sim->avail)
		return false;
	if (!sim->event_idx)
		return !(sim->ring.used->flags & htole16(VRING_USED_F_NO_NOTIFY));
	return vring_need_event(le16toh(vring_avail_event(&sim->ring)),
				sim->avail, old);
}

static void put_back(struct sim *sim, u16 head)
{
	struct sim_chain *mine = &sim->mine[head];
	u16 desc = head;

	while (mine->descs--) {
		sim->free[sim->num_free++] = desc;
		desc = le16toh(sim->ring.desc[desc].next);
	}
	free(mine->table);
	mine->table = NULL;
	mine->added = false;
}

unsigned int sim_reap(struct sim *sim)
{
	unsigned int done = 0;

	while (sim->used != le16toh(sim->ring.used->idx)) {
		struct vring_used_elem *elem;
		u32 id, len;

		elem = &sim->ring.used->ring[sim->used % sim->num];
		id = le32toh(elem->id);
		len = le32toh(elem->len);
		CHECK(id < sim->num && sim->mine[id].added);
		CHECK(len <= sim->mine[id].writable);
		put_back(sim, id);
		sim->used++;
		sim->added--;
		sim->forwarded--;
		done++;
		CHECK(done <= sim->num);
	}
	return done;
}

/* The list of outstanding chains is in the order the driver added them. */
static void check_order(struct sim *sim)
{
	u16 head = sim->shadow.oldest, older = VLB_NO_CHAIN;
	unsigned int count = 0;

	for (; head != VLB_NO_CHAIN; head = sim->chains[head].newer) {
		CHECK(head < sim->num && count++ < sim->num);
		CHECK(sim->chains[head].outstanding);
		CHECK(sim->chains[head].older == older);
		CHECK(older == VLB_NO_CHAIN ||
		      sim->mine[older].order < sim->mine[head].order);
		older = head;
	}
	CHECK(sim->shadow.newest == older);
	CHECK(sim->shadow.outstanding == count);
}

void sim_check(struct sim *sim)
{
	size_t mine = (u8 *)sim->ring.used - sim->driver_ring;
	u16 waiting = le16toh(sim->ring.used->idx) - sim->used;
	unsigned int i, outstanding = 0;

	/* nobody but the driver writes descriptors and its available ring */
	CHECK(!memcmp(sim->driver_ring, sim->driver_copy, mine));
	CHECK(waiting <= sim->forwarded);
	for (i = 0; i < sim->num; i++) {
		outstanding += sim->chains[i].outstanding;
		CHECK(!sim->chains[i].outstanding || sim->mine[i].added);
	}
	CHECK(sim->shadow.outstanding == outstanding);
	check_order(sim);
	CHECK(sim->forwarded == outstanding + waiting);
}
