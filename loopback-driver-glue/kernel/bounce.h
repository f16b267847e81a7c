/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Bounce slots: pages that stand in the window for the small buffers the
 * driver maps (commands, responses, indirect tables). Slab and vmalloc pages
 * carry other people's data, so the device side gets a copy and never the page.
 *
 * A slot is one page of a region of consecutive IOVAs. Slots below @ready have
 * a page and keep it, unless few are in use for long; a mapping of n pages takes n neighbouring slots, the
 * lowest that are free, so the working set stays small and stays mapped by the
 * device side. A page is zeroed when it is allocated; what an earlier mapping
 * left in it, the same device side has already seen.
 *
 * Offsets are bytes from the start of the region.
 */
#ifndef VLB_BOUNCE_H
#define VLB_BOUNCE_H

#include "plain.h"

/**
 * struct vlb_tag - what the device type's code noted about a mapping
 * @type: not 0 if there is a note; else as the other fields up to that code
 * @flags: of the command that a response belongs to
 * @fence_id: likewise
 * @ctx_id: likewise
 * @ring_idx: likewise
 */
struct vlb_tag {
	u32 type;
	u32 flags;
	u64 fence_id;
	u32 ctx_id;
	u8 ring_idx;
};

/**
 * struct vlb_slot - one page of the bounce region
 * @page: its page
 * @orig: first slot of a mapping: the driver's memory
 * @len: first slot of a mapping: bytes
 * @first: the mapping's first slot
 * @tag: first slot of a mapping
 * @dir: first slot of a mapping: enum dma_data_direction
 */
struct vlb_slot {
	struct page *page;
	void *orig;
	struct vlb_tag tag;
	u32 len;
	u32 first;
	u8 dir;
};

#define VLB_CHUNK_SLOTS	(PAGE_SIZE / sizeof(struct vlb_slot))

/**
 * struct vlb_bounce - the bounce region of a device
 * @lock: protects everything here. Innermost lock, taken with interrupts off
 * @cap: most slots there may be
 * @ready: slots that have a page
 * @used: slots that are mapped
 * @hint: no slot below is free
 * @target: free slots that should have a page
 * @map: bit per slot, set when mapped, or about to lose its page
 * @chunks: VLB_CHUNK_SLOTS slots each
 *
 * The contents of a mapped slot belong to the mapping, so they are copied
 * without the lock.
 */
struct vlb_bounce {
	spinlock_t lock;
	u32 cap;
	u32 ready;
	u32 used;
	u32 hint;
	u32 target;
	unsigned long *map;
	struct vlb_slot **chunks;
};

/**
 * struct vlb_mapping - a mapping that was taken down
 * @orig: the driver's memory
 * @len: bytes
 * @tag: see struct vlb_slot
 * @dir: enum dma_data_direction
 */
struct vlb_mapping {
	void *orig;
	struct vlb_tag tag;
	u32 len;
	u8 dir;
};

int vlb_bounce_init(struct vlb_bounce *b, u32 cap);
void vlb_bounce_destroy(struct vlb_bounce *b);
int vlb_bounce_map(struct vlb_bounce *b, void *orig, size_t len,
		   enum dma_data_direction dir, u64 *offset);
int vlb_bounce_unmap(struct vlb_bounce *b, u64 offset,
		     struct vlb_mapping *mapping);
int vlb_bounce_sync(struct vlb_bounce *b, u64 offset, size_t len,
		    bool to_device);
void *vlb_bounce_origin(struct vlb_bounce *b, u64 offset, size_t len);
int vlb_bounce_tag(struct vlb_bounce *b, u64 offset,
		   const struct vlb_tag *tag);
int vlb_bounce_write(struct vlb_bounce *b, u64 offset, const void *from,
		     size_t len);
struct page *vlb_bounce_page(struct vlb_bounce *b, u64 offset);
bool vlb_bounce_is_low(struct vlb_bounce *b);
void vlb_bounce_refill(struct vlb_bounce *b);
void vlb_bounce_forget(struct vlb_bounce *b);
void vlb_bounce_trim(struct vlb_bounce *b);
bool vlb_bounce_is_high(struct vlb_bounce *b);
u32 vlb_bounce_shrink_begin(struct vlb_bounce *b, u32 *first);
u32 vlb_bounce_shrink_end(struct vlb_bounce *b, u32 first, u32 n);

#endif /* VLB_BOUNCE_H */
