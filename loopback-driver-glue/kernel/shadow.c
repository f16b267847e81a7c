// SPDX-License-Identifier: GPL-2.0
/* Shadow virtqueue, see shadow.h. Split ring: virtio 1.3, section 2.7. */
#include "shadow.h"

/* VERSION_1 is required, so every ring value is little-endian. */
static u16 get16(const __virtio16 *p)
{
	return le16_to_cpu((__force __le16)READ_ONCE(*p));
}

static void set16(__virtio16 *p, u16 value)
{
	WRITE_ONCE(*p, (__force __virtio16)cpu_to_le16(value));
}

static u32 get32(const __virtio32 *p)
{
	return le32_to_cpu((__force __le32)READ_ONCE(*p));
}

static u64 get64(const __virtio64 *p)
{
	return le64_to_cpu((__force __le64)READ_ONCE(*p));
}

/* The event fields behind the last ring entries: virtio 1.3, 2.7.6 and 2.7.8. */
static __virtio16 *used_event(struct vring *ring)
{
	return &ring->avail->ring[ring->num];
}

static __virtio16 *avail_event(struct vring *ring)
{
	return (__virtio16 *)&ring->used->ring[ring->num];
}

/**
 * vlb_shadow_ring_bytes - memory that a device ring takes
 * @num: entries
 *
 * Return: bytes
 */
size_t vlb_shadow_ring_bytes(unsigned int num)
{
	return vring_size(num, PAGE_SIZE);
}

/**
 * vlb_shadow_start - begin with empty rings
 * @s: the queue; @s->ops and @s->arg are set and stay, @s->stats goes on
 * @driver: the driver's ring, just made
 * @device_ring: memory of the device's ring, vlb_shadow_ring_bytes() long
 * @chains: one element per entry
 * @event_idx: whether VIRTIO_RING_F_EVENT_IDX is negotiated
 */
void vlb_shadow_start(struct vlb_shadow *s, const struct vring *driver,
		      void *device_ring, struct vlb_chain *chains,
		      bool event_idx)
{
	memset(device_ring, 0, vlb_shadow_ring_bytes(driver->num));
	memset(chains, 0, driver->num * sizeof(*chains));
	s->driver = *driver;
	vring_init(&s->device, driver->num, device_ring, PAGE_SIZE);
	s->chains = chains;
	s->event_idx = event_idx;
	s->avail = 0;
	s->offered = 0;
	s->kicked = 0;
	s->used_seen = 0;
	s->used = 0;
	s->outstanding = 0;
	s->oldest = VLB_NO_CHAIN;
	s->newest = VLB_NO_CHAIN;
}

static void link_newest(struct vlb_shadow *s, u16 head)
{
	struct vlb_chain *chain = &s->chains[head];

	chain->older = s->newest;
	chain->newer = VLB_NO_CHAIN;
	if (s->newest == VLB_NO_CHAIN)
		s->oldest = head;
	else
		s->chains[s->newest].newer = head;
	s->newest = head;
	chain->outstanding = true;
	s->outstanding++;
}

static void unlink_chain(struct vlb_shadow *s, u16 head)
{
	struct vlb_chain *chain = &s->chains[head];

	if (chain->older == VLB_NO_CHAIN)
		s->oldest = chain->newer;
	else
		s->chains[chain->older].newer = chain->newer;
	if (chain->newer == VLB_NO_CHAIN)
		s->newest = chain->older;
	else
		s->chains[chain->newer].older = chain->older;
	chain->outstanding = false;
	s->outstanding--;
}

static void note_part(struct vlb_chain *chain, const struct vring_desc *desc)
{
	u32 len = get32(&desc->len);

	if (!(get16((const __virtio16 *)&desc->flags) & VRING_DESC_F_WRITE)) {
		if (!chain->out_len) {
			chain->out_addr = get64(&desc->addr);
			chain->out_len = len;
		}
		return;
	}
	if (!chain->in_len) {
		chain->in_addr = get64(&desc->addr);
		chain->in_len = len;
	}
	if (chain->writable > U32_MAX - len)
		chain->writable = U32_MAX;
	else
		chain->writable += len;
}

static void note_indirect(struct vlb_shadow *s, struct vlb_chain *chain,
			  const struct vring_desc *desc)
{
	u32 len = get32(&desc->len);
	u32 count = len / sizeof(*desc);
	const struct vring_desc *table;
	u32 i;

	table = s->ops->resolve(s->arg, get64(&desc->addr), len);
	if (!table)
		return;
	/* Linux builds the table in order; @next is never anything else. */
	for (i = 0; i < count; i++) {
		note_part(chain, &table[i]);
		if (!(get16(&table[i].flags) & VRING_DESC_F_NEXT))
			break;
	}
}

/*
 * The descriptor behind @desc in the driver's ring, NULL at a chain's end. A
 * chain has at most as many as the ring: *@left counts down from there.
 */
static const struct vring_desc *next_desc(const struct vlb_shadow *s,
					  const struct vring_desc *desc,
					  unsigned int *left)
{
	u16 next = get16(&desc->next);

	if (!--*left || !(get16(&desc->flags) & VRING_DESC_F_NEXT) ||
	    next >= s->driver.num)
		return NULL;
	return &s->driver.desc[next];
}

static bool is_indirect(const struct vring_desc *desc)
{
	return get16(&desc->flags) & VRING_DESC_F_INDIRECT;
}

/* Records what a chain may do. */
static void note_chain(struct vlb_shadow *s, u16 head)
{
	struct vlb_chain *chain = &s->chains[head];
	const struct vring_desc *desc = &s->driver.desc[head];
	unsigned int left = s->driver.num;

	memset(chain, 0, sizeof(*chain));
	for (; desc; desc = next_desc(s, desc, &left)) {
		if (is_indirect(desc)) {
			note_indirect(s, chain, desc);
			break;
		}
		note_part(chain, desc);
	}
	link_newest(s, head);
	s->ops->seen(s->arg, chain);
}

/* Shows one chain to the device side, up to the index of its ring. */
static void offer_chain(struct vlb_shadow *s, u16 head)
{
	const struct vring_desc *desc = &s->driver.desc[head];
	unsigned int left = s->driver.num;

	for (; desc; desc = next_desc(s, desc, &left)) {
		s->device.desc[desc - s->driver.desc] = *desc;
		if (is_indirect(desc))
			break;
	}
	set16(&s->device.avail->ring[s->offered & (s->device.num - 1)], head);
	s->offered++;
}

/* Descriptors and entries before the index. */
static void publish_offered(struct vlb_shadow *s)
{
	smp_wmb();
	set16(&s->device.avail->idx, s->offered);
}

/**
 * vlb_shadow_forward - give the driver's new buffers to the device side
 * @s: the queue
 *
 * Leaves the driver's notifications enabled: it will notify for the next one.
 *
 * Return: how many chains are new
 */
unsigned int vlb_shadow_forward(struct vlb_shadow *s)
{
	struct vring *from = &s->driver;
	unsigned int mask = from->num - 1, total = 0;
	u16 idx;

	for (;;) {
		idx = get16(&from->avail->idx);
		if (idx == s->avail)
			break;
		/* the driver is trusted: only a bug of it gets here */
		if (WARN_ON_ONCE((u16)(idx - s->avail) > from->num))
			break;
		/* entries are written before idx */
		smp_rmb();
		for (; s->avail != idx; s->avail++) {
			u16 head = get16(&from->avail->ring[s->avail & mask]);

			if (WARN_ON_ONCE(head >= from->num ||
					 s->chains[head].outstanding))
				continue;
			note_chain(s, head);
			offer_chain(s, head);
			total++;
		}
		if (s->event_idx)
			set16(avail_event(from), s->avail);
		/* ask to be notified, then look again */
		smp_mb();
	}
	if (total)
		publish_offered(s);
	return total;
}

static void refresh_part(struct vlb_shadow *s, const struct vring_desc *desc)
{
	if (!(get16(&desc->flags) & VRING_DESC_F_WRITE))
		s->ops->refresh(s->arg, get64(&desc->addr), get32(&desc->len));
}

static void refresh_indirect(struct vlb_shadow *s,
			     const struct vring_desc *desc)
{
	u32 len = get32(&desc->len), i;
	const struct vring_desc *table;

	table = s->ops->resolve(s->arg, get64(&desc->addr), len);
	for (i = 0; table && i < len / sizeof(*desc); i++) {
		refresh_part(s, &table[i]);
		if (!(get16(&table[i].flags) & VRING_DESC_F_NEXT))
			break;
	}
}

/**
 * vlb_shadow_refresh - show again what the device side reads of a chain
 * @s: the queue
 * @head: of an outstanding chain, which stays that meanwhile
 *
 * A device side that has gone may have written anything there. The caller need
 * not serialise this with other calls: the driver's part of the chain is all
 * that is looked at.
 */
void vlb_shadow_refresh(struct vlb_shadow *s, u16 head)
{
	const struct vring_desc *desc = &s->driver.desc[head];
	unsigned int left = s->driver.num;

	for (; desc; desc = next_desc(s, desc, &left)) {
		refresh_part(s, desc);
		if (is_indirect(desc)) {
			refresh_indirect(s, desc);
			break;
		}
	}
}

/**
 * vlb_shadow_reoffer - begin anew with another device side
 * @s: the queue; the old device side has gone
 *
 * The device's ring is as at the start, then it has every outstanding chain, in
 * the order in which the driver added them.
 *
 * Return: how many chains these are
 */
unsigned int vlb_shadow_reoffer(struct vlb_shadow *s)
{
	u16 head;

	memset(s->device.desc, 0, vlb_shadow_ring_bytes(s->device.num));
	s->offered = 0;
	s->used_seen = 0;
	for (head = s->oldest; head != VLB_NO_CHAIN;
	     head = s->chains[head].newer)
		offer_chain(s, head);
	s->kicked = s->offered;
	publish_offered(s);
	return s->outstanding;
}

/**
 * vlb_shadow_kick_wanted - whether the device side asks for a kick
 * @s: the queue, after vlb_shadow_forward()
 *
 * Return: true if there are chains since the last call, and the device side
 * wants to hear of them
 */
bool vlb_shadow_kick_wanted(struct vlb_shadow *s)
{
	u16 now = s->offered, before = s->kicked;

	if (now == before)
		return false;
	s->kicked = now;
	/* publish idx before reading what the device side asks for */
	smp_mb();
	if (s->event_idx)
		return vring_need_event(get16(avail_event(&s->device)),
					now, before);
	return !(get16(&s->device.used->flags) & VRING_USED_F_NO_NOTIFY);
}

static void push_used(struct vlb_shadow *s, u16 head, u32 len)
{
	struct vring_used_elem *elem;

	elem = &s->driver.used->ring[s->used & (s->driver.num - 1)];
	elem->id = (__force __virtio32)cpu_to_le32(head);
	elem->len = (__force __virtio32)cpu_to_le32(len);
	s->used++;
	unlink_chain(s, head);
}

/**
 * vlb_shadow_complete - return a chain without the device side
 * @s: the queue
 * @head: of an outstanding chain
 * @len: bytes written into it
 *
 * The driver sees it after vlb_shadow_publish().
 */
void vlb_shadow_complete(struct vlb_shadow *s, u16 head, u32 len)
{
	push_used(s, head, min(len, s->chains[head].writable));
}

/**
 * vlb_shadow_publish - show the driver what was completed
 * @s: the queue
 */
void vlb_shadow_publish(struct vlb_shadow *s)
{
	/* used entries before idx */
	smp_wmb();
	set16(&s->driver.used->idx, s->used);
}

/* Takes one used entry of the device side. Returns true if it was a good one. */
static bool take_used(struct vlb_shadow *s)
{
	struct vring_used_elem *elem;
	u32 id, len;

	elem = &s->device.used->ring[s->used_seen & (s->device.num - 1)];
	id = get32(&elem->id);
	len = get32(&elem->len);
	s->used_seen++;

	if (id >= s->device.num) {
		s->stats.bad_used++;
		return false;
	}
	id = array_index_nospec(id, s->device.num);
	if (!s->chains[id].outstanding) {
		s->stats.bad_used++;
		return false;
	}
	if (len > s->chains[id].writable) {
		s->stats.clamped_used++;
		len = s->chains[id].writable;
	}
	push_used(s, id, len);
	return true;
}

/**
 * vlb_shadow_collect - take back what the device side has used
 * @s: the queue
 *
 * Asks the device side to signal the next used buffer, and looks again after
 * asking. Takes at most as many entries as the ring has: no more can be
 * outstanding, so only a device side that breaks the rules has more.
 *
 * Return: how many chains went back to the driver, which has to be interrupted
 * if there are any
 */
unsigned int vlb_shadow_collect(struct vlb_shadow *s)
{
	unsigned int budget = s->device.num, done = 0;
	bool asked = false;

	while (budget) {
		u16 idx = get16(&s->device.used->idx);
		u16 count = idx - s->used_seen;

		if (!count) {
			if (asked || !s->event_idx)
				break;
			set16(used_event(&s->device), s->used_seen);
			/* ask to be called, then look again */
			smp_mb();
			asked = true;
			continue;
		}
		asked = false;
		if (count > s->device.num) {
			/* out of reach: nothing in between means anything */
			s->stats.bad_used++;
			s->used_seen = idx;
			budget--;
			continue;
		}
		/* idx before entries */
		smp_rmb();
		for (; count && budget; count--, budget--)
			done += take_used(s);
	}
	if (s->event_idx && !asked)
		set16(used_event(&s->device), s->used_seen);
	if (done)
		vlb_shadow_publish(s);
	return done;
}
