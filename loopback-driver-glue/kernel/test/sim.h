/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio driver and the memory both rings live in, to drive shadow.c. It
 * checks what a driver must be able to rely on: each buffer comes back at most
 * once, with no more bytes than it has room for, and its own ring is never
 * written except for the used ring.
 */
#ifndef VLB_TEST_SIM_H
#define VLB_TEST_SIM_H

#include "check.h"
#include "../shadow.h"

#define SIM_MAX		64
#define SIM_PARTS	8	/* of an indirect table */

/* What the driver knows of a chain it has added. */
struct sim_chain {
	bool added;
	u64 order;		/* among all that were ever added */
	u16 descs;		/* taken from the free list */
	u32 writable;
	u64 out_addr, in_addr;
	u32 out_len, in_len;
	struct vring_desc *table;	/* indirect */
};

struct sim {
	unsigned int num;
	bool event_idx;
	struct vlb_shadow shadow;
	struct vlb_chain chains[SIM_MAX];
	/* the driver */
	u8 *driver_ring;
	u8 *driver_copy;	/* as the driver left it, but the used ring */
	struct vring ring;
	struct sim_chain mine[SIM_MAX];
	u16 free[SIM_MAX];
	u16 num_free;
	u16 avail;
	u16 notified;
	u16 used;
	u64 total;		/* chains that were ever added */
	u32 added;		/* chains the driver waits for */
	u32 forwarded;		/* of these, seen by the shadow queue */
	u64 refreshed;		/* bytes */
	/* shared with the device side */
	u8 *device_ring;
	size_t ring_bytes;
	struct vring device;
	/* called before a read of the shared ring */
	void (*hostile)(struct sim *sim);
};

void sim_start(struct sim *sim, unsigned int num, bool event_idx);
void sim_stop(struct sim *sim);

/* Adds a chain of @outs and @ins parts, false if there is no room. */
bool sim_add(struct sim *sim, unsigned int outs, unsigned int ins,
	     bool indirect, u32 len);

/* Whether the driver has to notify of what it added since the last time. */
bool sim_notify_wanted(struct sim *sim);

/* Takes back what is in the driver's used ring, returns how many. */
unsigned int sim_reap(struct sim *sim);

/* Compares everything that can be compared. */
void sim_check(struct sim *sim);

#endif
