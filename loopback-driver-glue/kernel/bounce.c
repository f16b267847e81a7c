// SPDX-License-Identifier: GPL-2.0
/* Bookkeeping of bounce slots, see bounce.h. */
#include "bounce.h"

/* Free slots kept ready: at first, and after the atomic path had to allocate. */
#define VLB_TARGET_MIN	256
#define VLB_TARGET_MAX	4096

/* Slots that lose their page in one go, with faults and mappings waiting. */
#define VLB_SHRINK_STEP	4096

static struct vlb_slot *slot_at(struct vlb_bounce *b, u32 i)
{
	return &b->chunks[i / VLB_CHUNK_SLOTS][i % VLB_CHUNK_SLOTS];
}

/**
 * vlb_bounce_init - an empty region
 * @b: the region, zeroed
 * @cap: most slots there may be
 *
 * Return: 0 or -ENOMEM
 */
int vlb_bounce_init(struct vlb_bounce *b, u32 cap)
{
	spin_lock_init(&b->lock);
	b->cap = cap;
	b->target = min_t(u32, VLB_TARGET_MIN, cap);
	b->map = kvcalloc(BITS_TO_LONGS(cap), sizeof(*b->map),
			  GFP_KERNEL_ACCOUNT);
	b->chunks = kvcalloc(DIV_ROUND_UP(cap, VLB_CHUNK_SLOTS),
			     sizeof(*b->chunks), GFP_KERNEL_ACCOUNT);
	if (b->map && b->chunks)
		return 0;
	vlb_bounce_destroy(b);
	return -ENOMEM;
}

/**
 * vlb_bounce_destroy - free the region; safe after a failed vlb_bounce_init()
 * @b: the region, nothing mapped
 */
void vlb_bounce_destroy(struct vlb_bounce *b)
{
	u32 i;

	for (i = 0; i < b->ready; i++)
		__free_page(slot_at(b, i)->page);
	if (b->chunks)
		for (i = 0; i < DIV_ROUND_UP(b->cap, VLB_CHUNK_SLOTS); i++)
			kfree(b->chunks[i]);
	kvfree(b->chunks);
	kvfree(b->map);
	b->chunks = NULL;
	b->map = NULL;
	b->ready = 0;
}

/* Gives the next slot a page. Called with the lock held. */
static int add_page(struct vlb_bounce *b, struct page *page, gfp_t gfp)
{
	struct vlb_slot **chunk = &b->chunks[b->ready / VLB_CHUNK_SLOTS];

	if (!*chunk)
		*chunk = kzalloc(PAGE_SIZE, gfp);
	if (!*chunk)
		return -ENOMEM;
	slot_at(b, b->ready)->page = page;
	b->ready++;
	return 0;
}

/* Gives all slots below @end a page, from atomic context. */
static int grow_atomic(struct vlb_bounce *b, u32 end)
{
	gfp_t gfp = GFP_ATOMIC | __GFP_NOWARN | __GFP_ZERO;

	if (b->ready < end)
		b->target = min_t(u32, 2 * b->target, VLB_TARGET_MAX);
	while (b->ready < end) {
		struct page *page = alloc_page(gfp);

		if (!page)
			return -ENOMEM;
		if (add_page(b, page, gfp)) {
			__free_page(page);
			return -ENOMEM;
		}
	}
	return 0;
}

/* Takes @n neighbouring slots. Returns the first, or a negative error. */
static int take_slots(struct vlb_bounce *b, u32 n)
{
	unsigned long first;

	if (n > b->cap - b->used)
		return -ENOSPC;
	first = bitmap_find_next_zero_area(b->map, b->cap, b->hint, n, 0);
	if (first + n > b->cap)
		return -ENOSPC;
	if (grow_atomic(b, first + n))
		return -ENOMEM;
	bitmap_set(b->map, first, n);
	b->used += n;
	if (n == 1)
		b->hint = first + 1;
	return first;
}

/* Number of slots that @len bytes at @offset in the first page take. */
static u32 slots_for(unsigned long offset, size_t len)
{
	return DIV_ROUND_UP(offset + len, PAGE_SIZE);
}

/* The first slot of the mapping that holds all of a range, NULL if none. */
static struct vlb_slot *find_mapping(struct vlb_bounce *b, u64 offset,
				     size_t len)
{
	u64 i = offset >> PAGE_SHIFT, start;
	struct vlb_slot *slot;

	if (i >= b->ready || !test_bit(i, b->map))
		return NULL;
	slot = slot_at(b, slot_at(b, i)->first);
	start = ((u64)slot->first << PAGE_SHIFT) + offset_in_page(slot->orig);
	if (offset < start || len > slot->len ||
	    offset - start > slot->len - len)
		return NULL;
	return slot;
}

/* The same, but the range has to begin where the mapping does. */
static struct vlb_slot *find_start(struct vlb_bounce *b, u64 offset)
{
	struct vlb_slot *slot = find_mapping(b, offset, 0);

	if (!slot || offset_in_page(slot->orig) != offset_in_page(offset) ||
	    offset >> PAGE_SHIFT != slot->first)
		return NULL;
	return slot;
}

enum copy { COPY_IN, COPY_OUT, COPY_ZERO };

/* Copies between a region of slots at @offset and @mem. The slots are ours. */
static void copy_slots(struct vlb_bounce *b, u64 offset, void *mem, size_t len,
		       enum copy what)
{
	while (len) {
		u32 i = offset >> PAGE_SHIFT;
		size_t n = min_t(size_t, len, PAGE_SIZE - offset_in_page(offset));
		void *at = page_address(slot_at(b, i)->page) +
			   offset_in_page(offset);

		if (what == COPY_IN)
			memcpy(at, mem, n);
		else if (what == COPY_OUT)
			memcpy(mem, at, n);
		else
			memset(at, 0, n);
		offset += n;
		mem += n;
		len -= n;
	}
}

/**
 * vlb_bounce_map - map a buffer of the driver
 * @b: the region
 * @orig: the buffer, consecutive in kernel memory
 * @len: its bytes
 * @dir: DMA_FROM_DEVICE buffers are shown as zeros, others as they are
 * @offset: out: where it is; same offset in the page as @orig
 *
 * Callable from any context.
 *
 * Return: 0, -ENOSPC when @cap is reached, or -ENOMEM
 */
int vlb_bounce_map(struct vlb_bounce *b, void *orig, size_t len,
		   enum dma_data_direction dir, u64 *offset)
{
	u32 n = slots_for(offset_in_page(orig), len), i;
	unsigned long flags;
	int first;

	if (!len || len > (size_t)b->cap << PAGE_SHIFT)
		return -ENOSPC;
	spin_lock_irqsave(&b->lock, flags);
	first = take_slots(b, n);
	if (first >= 0) {
		struct vlb_slot *slot = slot_at(b, first);

		slot->orig = orig;
		slot->len = len;
		slot->dir = dir;
		slot->tag = (struct vlb_tag){};
		for (i = 0; i < n; i++)
			slot_at(b, first + i)->first = first;
	}
	spin_unlock_irqrestore(&b->lock, flags);
	if (first < 0)
		return first;

	*offset = ((u64)first << PAGE_SHIFT) + offset_in_page(orig);
	copy_slots(b, *offset, orig, len,
		   dir == DMA_FROM_DEVICE ? COPY_ZERO : COPY_IN);
	return 0;
}

/**
 * vlb_bounce_unmap - take a mapping down
 * @b: the region
 * @offset: as vlb_bounce_map() gave it
 * @mapping: out: what it was
 *
 * What the device side wrote is in the driver's memory afterwards, unless the
 * direction is DMA_TO_DEVICE.
 *
 * Return: slots still in use in the whole region, or -ENOENT
 */
int vlb_bounce_unmap(struct vlb_bounce *b, u64 offset,
		     struct vlb_mapping *mapping)
{
	struct vlb_slot *slot;
	unsigned long flags;
	u32 n, first;
	int left;

	spin_lock_irqsave(&b->lock, flags);
	slot = find_start(b, offset);
	if (slot) {
		mapping->orig = slot->orig;
		mapping->len = slot->len;
		mapping->tag = slot->tag;
		mapping->dir = slot->dir;
	}
	spin_unlock_irqrestore(&b->lock, flags);
	if (!slot)
		return -ENOENT;

	if (mapping->dir != DMA_TO_DEVICE)
		copy_slots(b, offset, mapping->orig, mapping->len, COPY_OUT);

	first = offset >> PAGE_SHIFT;
	n = slots_for(offset_in_page(offset), mapping->len);
	spin_lock_irqsave(&b->lock, flags);
	bitmap_clear(b->map, first, n);
	b->used -= n;
	b->hint = min(b->hint, first);
	left = b->used;
	spin_unlock_irqrestore(&b->lock, flags);
	return left;
}

/**
 * vlb_bounce_sync - copy part of a mapping that stays mapped
 * @b: the region
 * @offset: first byte
 * @len: bytes
 * @to_device: direction
 *
 * Return: 0 or -ENOENT
 */
int vlb_bounce_sync(struct vlb_bounce *b, u64 offset, size_t len,
		    bool to_device)
{
	void *orig = vlb_bounce_origin(b, offset, len);

	if (!orig)
		return -ENOENT;
	copy_slots(b, offset, orig, len, to_device ? COPY_IN : COPY_OUT);
	return 0;
}

/**
 * vlb_bounce_origin - the driver's own memory behind a range
 * @b: the region
 * @offset: first byte
 * @len: bytes, inside one mapping
 *
 * Return: kernel address, valid until the mapping is taken down; or NULL
 */
void *vlb_bounce_origin(struct vlb_bounce *b, u64 offset, size_t len)
{
	struct vlb_slot *slot;
	void *orig = NULL;
	unsigned long flags;

	spin_lock_irqsave(&b->lock, flags);
	slot = find_mapping(b, offset, len);
	if (slot)
		orig = slot->orig + (offset - ((u64)slot->first << PAGE_SHIFT) -
				     offset_in_page(slot->orig));
	spin_unlock_irqrestore(&b->lock, flags);
	return orig;
}

/**
 * vlb_bounce_tag - note something about a mapping
 * @b: the region
 * @offset: as vlb_bounce_map() gave it
 * @tag: given back by vlb_bounce_unmap()
 *
 * Return: 0 or -ENOENT
 */
int vlb_bounce_tag(struct vlb_bounce *b, u64 offset,
		   const struct vlb_tag *tag)
{
	struct vlb_slot *slot;
	unsigned long flags;

	spin_lock_irqsave(&b->lock, flags);
	slot = find_start(b, offset);
	if (slot)
		slot->tag = *tag;
	spin_unlock_irqrestore(&b->lock, flags);
	return slot ? 0 : -ENOENT;
}

/**
 * vlb_bounce_write - write as the device side would
 * @b: the region
 * @offset: as vlb_bounce_map() gave it
 * @from: what to write; the rest of the mapping becomes zero
 * @len: bytes at @from, cut to the mapping
 *
 * Return: bytes of @from written, or -ENOENT
 */
int vlb_bounce_write(struct vlb_bounce *b, u64 offset, const void *from,
		     size_t len)
{
	struct vlb_slot *slot;
	unsigned long flags;
	u32 total = 0;

	spin_lock_irqsave(&b->lock, flags);
	slot = find_start(b, offset);
	if (slot)
		total = slot->len;
	spin_unlock_irqrestore(&b->lock, flags);
	if (!slot)
		return -ENOENT;

	len = min_t(size_t, len, total);
	copy_slots(b, offset, (void *)from, len, COPY_IN);
	copy_slots(b, offset + len, NULL, total - len, COPY_ZERO);
	return len;
}

/**
 * vlb_bounce_page - the page at an address
 * @b: the region
 * @offset: any byte
 *
 * Return: the slot's page, or NULL if it has none yet. It stays the slot's
 * page until vlb_bounce_trim().
 */
struct page *vlb_bounce_page(struct vlb_bounce *b, u64 offset)
{
	u64 i = offset >> PAGE_SHIFT;
	struct page *page = NULL;
	unsigned long flags;

	spin_lock_irqsave(&b->lock, flags);
	if (i < b->ready)
		page = slot_at(b, array_index_nospec(i, b->ready))->page;
	spin_unlock_irqrestore(&b->lock, flags);
	return page;
}

/**
 * vlb_bounce_is_low - whether vlb_bounce_refill() should be called
 * @b: the region
 *
 * Return: true when few free slots have a page
 */
bool vlb_bounce_is_low(struct vlb_bounce *b)
{
	u32 ready = READ_ONCE(b->ready), used = READ_ONCE(b->used);

	return ready < b->cap && ready - min(used, ready) < b->target / 2;
}

/**
 * vlb_bounce_refill - give @target free slots a page; may sleep
 * @b: the region
 */
void vlb_bounce_refill(struct vlb_bounce *b)
{
	struct vlb_slot *spare = NULL;
	unsigned long flags;
	bool more = true;

	while (more) {
		struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

		if (!spare)
			spare = kzalloc(PAGE_SIZE, GFP_KERNEL);
		if (!page || !spare) {
			if (page)
				__free_page(page);
			break;
		}
		spin_lock_irqsave(&b->lock, flags);
		more = b->ready < b->cap && b->ready - b->used < b->target;
		if (more) {
			struct vlb_slot **chunk;

			chunk = &b->chunks[b->ready / VLB_CHUNK_SLOTS];
			if (!*chunk) {
				*chunk = spare;
				spare = NULL;
			}
			add_page(b, page, 0);
		}
		spin_unlock_irqrestore(&b->lock, flags);
		if (!more)
			__free_page(page);
	}
	kfree(spare);
}

/**
 * vlb_bounce_forget - take all mappings down, without a look at them
 * @b: the region, too small to be shrunk: see vlb_bounce_is_high()
 *
 * For a driver that has gone and that never unmaps: what its buffers were in is
 * not its memory any more.
 */
void vlb_bounce_forget(struct vlb_bounce *b)
{
	unsigned long flags;

	spin_lock_irqsave(&b->lock, flags);
	bitmap_clear(b->map, 0, b->cap);
	b->used = 0;
	b->hint = 0;
	spin_unlock_irqrestore(&b->lock, flags);
}

/**
 * vlb_bounce_trim - give back the pages of free slots
 * @b: the region; the caller makes sure that nobody but us uses the pages
 *
 * Stops at the highest slot that is mapped.
 */
void vlb_bounce_trim(struct vlb_bounce *b)
{
	struct page *page;
	unsigned long flags;

	do {
		page = NULL;
		spin_lock_irqsave(&b->lock, flags);
		if (b->ready && !test_bit(b->ready - 1, b->map)) {
			b->ready--;
			page = slot_at(b, b->ready)->page;
			slot_at(b, b->ready)->page = NULL;
		}
		b->target = min_t(u32, VLB_TARGET_MIN, b->cap);
		spin_unlock_irqrestore(&b->lock, flags);
		if (page)
			__free_page(page);
	} while (page);
}

/**
 * vlb_bounce_is_high - whether many slots have a page and few are used
 * @b: the region
 *
 * Return: true when vlb_bounce_shrink_begin() should be called, if it stays so
 */
bool vlb_bounce_is_high(struct vlb_bounce *b)
{
	u32 ready = READ_ONCE(b->ready), used = READ_ONCE(b->used);

	return ready > 2 * VLB_TARGET_MAX && used < ready / 4;
}

/**
 * vlb_bounce_shrink_begin - take free slots at the end out of use
 * @b: the region
 * @first: out: the first of them
 *
 * The caller takes their pages out of the device side's view, so that a later
 * mapping of such a slot is not confused with what was there, and calls
 * vlb_bounce_shrink_end().
 *
 * Return: how many, perhaps none
 */
u32 vlb_bounce_shrink_begin(struct vlb_bounce *b, u32 *first)
{
	unsigned long flags, keep, last;
	u32 n = 0;

	spin_lock_irqsave(&b->lock, flags);
	if (vlb_bounce_is_high(b)) {
		last = find_last_bit(b->map, b->ready);
		keep = last < b->ready ? last + 1 : 0;
		keep = max_t(unsigned long, keep, b->used + VLB_TARGET_MAX);
		keep = max_t(unsigned long, keep, b->ready - VLB_SHRINK_STEP);
		if (keep < b->ready)
			n = b->ready - keep;
		*first = keep;
		bitmap_set(b->map, keep, n);
		b->target = min_t(u32, VLB_TARGET_MIN, b->cap);
	}
	spin_unlock_irqrestore(&b->lock, flags);
	return n;
}

/**
 * vlb_bounce_shrink_end - give back the pages of slots taken out of use
 * @b: the region
 * @first: from vlb_bounce_shrink_begin()
 * @n: likewise
 *
 * If slots behind them have got pages meanwhile, they keep theirs.
 *
 * Return: how many pages went
 */
u32 vlb_bounce_shrink_end(struct vlb_bounce *b, u32 first, u32 n)
{
	u32 slot = first + n, gone = 0;
	unsigned long flags;

	while (slot-- > first) {
		struct page *page = NULL;

		spin_lock_irqsave(&b->lock, flags);
		if (b->ready == slot + 1) {
			b->ready--;
			page = slot_at(b, slot)->page;
			slot_at(b, slot)->page = NULL;
			gone++;
		}
		bitmap_clear(b->map, slot, 1);
		b->hint = min(b->hint, slot);
		spin_unlock_irqrestore(&b->lock, flags);
		if (page)
			__free_page(page);
	}
	return gone;
}
