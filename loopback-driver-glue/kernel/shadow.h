/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shadow virtqueue: the split ring of the driver on one side, a copy of it
 * that the device side works on at the other.
 *
 * The driver's ring is kernel memory and trusted; the device side never sees
 * it. The device ring is shared with a process that may write anything there
 * at any time: it is written by us, and of it only the used ring is ever read,
 * each value once. Both rings have the same number of entries, and a chain
 * keeps its head index, so nothing needs translating.
 *
 * Not locked: the caller serialises all calls for one queue.
 */
#ifndef VLB_SHADOW_H
#define VLB_SHADOW_H

#include "plain.h"

/**
 * struct vlb_chain - one descriptor chain of the driver
 * @out_addr: DMA address of the first part the device side reads
 * @in_addr: DMA address of the first part the device side may write
 * @out_len: bytes at @out_addr, 0 when there is none
 * @in_len: bytes at @in_addr, 0 when there is none
 * @writable: bytes the device side may write, all parts
 * @older: head of the outstanding chain that was added before, or VLB_NO_CHAIN
 * @newer: head of the one that was added next, or VLB_NO_CHAIN
 * @outstanding: the device side has the chain
 */
struct vlb_chain {
	u64 out_addr;
	u64 in_addr;
	u32 out_len;
	u32 in_len;
	u32 writable;
	u16 older;
	u16 newer;
	bool outstanding;
};

#define VLB_NO_CHAIN	0xffff	/* rings have at most 32768 entries */

/**
 * struct vlb_shadow_ops - what the shadow queue needs to know of its device
 * @resolve: kernel address of the driver's own memory behind a DMA address
 *	(never of memory that the device side can write), NULL if the driver
 *	has not mapped all of it
 * @seen: called once for each new chain, before the device side can see it
 * @refresh: show the device side what the driver has at an address again,
 *	whatever was written there meanwhile
 */
struct vlb_shadow_ops {
	const void *(*resolve)(void *arg, u64 addr, u32 len);
	void (*seen)(void *arg, const struct vlb_chain *chain);
	void (*refresh)(void *arg, u64 addr, u32 len);
};

/**
 * struct vlb_shadow_stats - what a device side did wrong
 * @bad_used: used entries refused: head not outstanding, or index out of reach
 * @clamped_used: used lengths cut to what the chain may write
 */
struct vlb_shadow_stats {
	u64 bad_used;
	u64 clamped_used;
};

/**
 * struct vlb_shadow - state of a shadow virtqueue
 * @ops: see there
 * @arg: first argument of @ops
 * @driver: the driver's ring
 * @device: the ring that the device side works on
 * @chains: one per descriptor, indexed by head
 * @event_idx: VIRTIO_RING_F_EVENT_IDX is negotiated
 * @avail: next entry of the driver's available ring
 * @offered: next entry of the device's available ring
 * @kicked: value of @offered when the last kick was decided
 * @used_seen: next entry of the device's used ring
 * @used: next entry of the driver's used ring
 * @outstanding: chains that the device side has
 * @oldest: head of the first of these, or VLB_NO_CHAIN
 * @newest: head of the last of these, or VLB_NO_CHAIN
 * @stats: see there
 */
struct vlb_shadow {
	const struct vlb_shadow_ops *ops;
	void *arg;
	struct vring driver;
	struct vring device;
	struct vlb_chain *chains;
	bool event_idx;
	u16 avail;
	u16 offered;
	u16 kicked;
	u16 used_seen;
	u16 used;
	u32 outstanding;
	u16 oldest;
	u16 newest;
	struct vlb_shadow_stats stats;
};

void vlb_shadow_start(struct vlb_shadow *s, const struct vring *driver,
		      void *device_ring, struct vlb_chain *chains,
		      bool event_idx);
size_t vlb_shadow_ring_bytes(unsigned int num);
unsigned int vlb_shadow_forward(struct vlb_shadow *s);
void vlb_shadow_refresh(struct vlb_shadow *s, u16 head);
unsigned int vlb_shadow_reoffer(struct vlb_shadow *s);
bool vlb_shadow_kick_wanted(struct vlb_shadow *s);
unsigned int vlb_shadow_collect(struct vlb_shadow *s);
void vlb_shadow_complete(struct vlb_shadow *s, u16 head, u32 len);
void vlb_shadow_publish(struct vlb_shadow *s);

#endif /* VLB_SHADOW_H */
