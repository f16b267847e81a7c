// SPDX-License-Identifier: GPL-2.0
/* bounce.c against buffers whose bytes are known. */
#include "check.h"
#include "../bounce.h"

#define CAP	700U	/* more than the first target, more than two chunks */
#define BUFFERS	48
#define LONGEST	(9 * PAGE_SIZE)

struct buffer {
	u8 *memory;	/* LONGEST + PAGE_SIZE, page-aligned */
	u8 *orig;	/* NULL: not mapped */
	u32 len;
	enum dma_data_direction dir;
	u64 offset;
	struct vlb_tag tag;
};

static struct vlb_bounce b;
static struct buffer buffers[BUFFERS];
static u8 expected[LONGEST];

void shim_before_read(const volatile void *at)
{
	(void)at;
}

/* A byte of the region as the device side sees it. */
static u8 *device_byte(u64 offset)
{
	struct page *page = vlb_bounce_page(&b, offset);

	CHECK(page);
	return page->bytes + offset_in_page(offset);
}

static void fill(u8 *at, u32 len)
{
	while (len--)
		*at++ = random_below(256);
}

static u32 slots_of(const struct buffer *buf)
{
	return (offset_in_page(buf->orig) + buf->len + PAGE_SIZE - 1) /
	       PAGE_SIZE;
}

static u32 used_slots(void)
{
	u32 i, used = 0;

	for (i = 0; i < BUFFERS; i++)
		if (buffers[i].orig)
			used += slots_of(&buffers[i]);
	return used;
}

static bool overlaps(const struct buffer *x, const struct buffer *y)
{
	u64 a = x->offset / PAGE_SIZE, c = y->offset / PAGE_SIZE;

	return a < c + slots_of(y) && c < a + slots_of(x);
}

static void map(struct buffer *buf)
{
	u32 i;
	int err;

	buf->len = 1 + random_below(random_below(4) ? 300 : LONGEST);
	buf->orig = buf->memory + random_below(PAGE_SIZE);
	buf->dir = random_below(3);
	memset(&buf->tag, 0, sizeof(buf->tag));
	fill(buf->orig, buf->len);
	err = vlb_bounce_map(&b, buf->orig, buf->len, buf->dir, &buf->offset);
	if (err) {
		buf->orig = NULL;
		/* either memory ran out, or no run of slots is long enough */
		CHECK(err == -ENOMEM || err == -ENOSPC);
		return;
	}
	CHECK(offset_in_page(buf->offset) == offset_in_page(buf->orig));
	CHECK(buf->offset / PAGE_SIZE + slots_of(buf) <= CAP);
	for (i = 0; i < BUFFERS; i++)
		CHECK(&buffers[i] == buf || !buffers[i].orig ||
		      !overlaps(&buffers[i], buf));
	for (i = 0; i < buf->len; i++)
		CHECK(*device_byte(buf->offset + i) ==
		      (buf->dir == DMA_FROM_DEVICE ? 0 : buf->orig[i]));
}

/* The device side writes everywhere in the mapping's pages. */
static void scribble(struct buffer *buf)
{
	u64 first = buf->offset / PAGE_SIZE * PAGE_SIZE, i;

	for (i = 0; i < slots_of(buf) * PAGE_SIZE; i++)
		*device_byte(first + i) = random_below(256);
	for (i = 0; i < buf->len; i++)
		expected[i] = *device_byte(buf->offset + i);
}

static void unmap(struct buffer *buf)
{
	struct vlb_mapping mapping;
	u32 left = used_slots() - slots_of(buf);
	u8 before = buf->orig > buf->memory ? buf->orig[-1] : 0;
	u8 behind = buf->orig[buf->len];

	if (buf->dir == DMA_TO_DEVICE)
		memcpy(expected, buf->orig, buf->len);
	if (random_below(2))
		scribble(buf);
	else if (buf->dir != DMA_TO_DEVICE)
		for (u32 i = 0; i < buf->len; i++)
			expected[i] = *device_byte(buf->offset + i);
	if (buf->dir == DMA_TO_DEVICE)
		memcpy(expected, buf->orig, buf->len);

	CHECK(vlb_bounce_unmap(&b, buf->offset, &mapping) == (int)left);
	CHECK(mapping.orig == buf->orig && mapping.len == buf->len);
	CHECK(mapping.dir == buf->dir);
	CHECK(!memcmp(&mapping.tag, &buf->tag, sizeof(buf->tag)));
	CHECK(!memcmp(buf->orig, expected, buf->len));
	CHECK(buf->orig == buf->memory || buf->orig[-1] == before);
	CHECK(buf->orig[buf->len] == behind);
	buf->orig = NULL;
	CHECK(vlb_bounce_unmap(&b, buf->offset, &mapping) == -ENOENT);
}

/* Look-ups inside and outside of a mapping. */
static void probe(struct buffer *buf)
{
	u32 at = random_below(buf->len), n = 1 + random_below(buf->len - at);
	bool start = offset_in_page(buf->offset) != 0;

	CHECK(vlb_bounce_origin(&b, buf->offset + at, n) == buf->orig + at);
	CHECK(!vlb_bounce_origin(&b, buf->offset + at, buf->len - at + 1));
	CHECK(!vlb_bounce_origin(&b, buf->offset + at, SIZE_MAX));
	if (start)
		CHECK(!vlb_bounce_origin(&b, buf->offset - 1, 1));
	buf->tag.type = random_below(1000);
	buf->tag.fence_id = random_below(1000);
	CHECK(vlb_bounce_tag(&b, buf->offset, &buf->tag) == 0);
	CHECK(vlb_bounce_tag(&b, buf->offset + 1, &buf->tag) == -ENOENT);
}

static void sync_part(struct buffer *buf)
{
	u32 at = random_below(buf->len), n = 1 + random_below(buf->len - at);

	if (random_below(2)) {
		fill(buf->orig + at, n);
		CHECK(vlb_bounce_sync(&b, buf->offset + at, n, true) == 0);
	} else {
		*device_byte(buf->offset + at) ^= 0xff;
		CHECK(vlb_bounce_sync(&b, buf->offset + at, n, false) == 0);
	}
	for (u32 i = at; i < at + n; i++)
		CHECK(buf->orig[i] == *device_byte(buf->offset + i));
}

static void write_answer(struct buffer *buf)
{
	u8 answer[64];
	u32 n = min(buf->len, (u32)sizeof(answer));

	fill(answer, sizeof(answer));
	CHECK(vlb_bounce_write(&b, buf->offset, answer, sizeof(answer)) ==
	      (int)n);
	for (u32 i = 0; i < buf->len; i++)
		CHECK(*device_byte(buf->offset + i) == (i < n ? answer[i] : 0));
	CHECK(vlb_bounce_write(&b, buf->offset + 1, answer, 1) == -ENOENT);
}

static void check_counts(void)
{
	CHECK(b.used == used_slots());
	CHECK(b.ready <= b.cap && b.used <= b.ready);
	CHECK(shim_pages == (int)b.ready);
	CHECK(!vlb_bounce_page(&b, (u64)b.ready << PAGE_SHIFT));
	CHECK(!vlb_bounce_page(&b, ~0ULL));
	CHECK(!vlb_bounce_origin(&b, ~0ULL, 1));
}

static void test_random(void)
{
	int step, i;

	for (step = 0; step < 12000; step++) {
		struct buffer *buf = &buffers[random_below(BUFFERS)];

		if (random_below(50) == 0)
			shim_allocations = random_below(4);
		if (!buf->orig)
			map(buf);
		else if (random_below(3) == 0)
			unmap(buf);
		else if (random_below(3) == 0)
			sync_part(buf);
		else if (random_below(3) == 0)
			write_answer(buf);
		else
			probe(buf);
		shim_allocations = -1;
		if (random_below(64) == 0)
			vlb_bounce_trim(&b);
		if (vlb_bounce_is_low(&b))
			vlb_bounce_refill(&b);
		check_counts();
	}
	for (i = 0; i < BUFFERS; i++)
		if (buffers[i].orig)
			unmap(&buffers[i]);
	CHECK(b.used == 0);
	vlb_bounce_trim(&b);
	CHECK(b.ready == 0 && shim_pages == 0);
}

/* Every slot can be used, one more cannot, and all come back. */
static void test_cap(void)
{
	static u8 byte;
	static u64 offsets[CAP];
	struct vlb_mapping mapping;
	u64 none;
	u32 i;

	for (i = 0; i < CAP; i++) {
		CHECK(!vlb_bounce_map(&b, &byte, 1, DMA_TO_DEVICE, &offsets[i]));
		CHECK(offsets[i] >> PAGE_SHIFT == i);
	}
	CHECK(vlb_bounce_map(&b, &byte, 1, DMA_TO_DEVICE, &none) == -ENOSPC);
	/* two single holes do not make a double one */
	CHECK(vlb_bounce_unmap(&b, offsets[10], &mapping) == (int)CAP - 1);
	CHECK(vlb_bounce_unmap(&b, offsets[12], &mapping) == (int)CAP - 2);
	CHECK(vlb_bounce_map(&b, buffers[0].memory, 2 * PAGE_SIZE,
			     DMA_TO_DEVICE, &none) == -ENOSPC);
	CHECK(vlb_bounce_unmap(&b, offsets[11], &mapping) == (int)CAP - 3);
	CHECK(!vlb_bounce_map(&b, buffers[0].memory, 2 * PAGE_SIZE,
			      DMA_TO_DEVICE, &none));
	CHECK(none >> PAGE_SHIFT == 10);
	vlb_bounce_unmap(&b, none, &mapping);
	for (i = 0; i < CAP; i++)
		if (i < 10 || i > 12)
			CHECK(vlb_bounce_unmap(&b, offsets[i], &mapping) >= 0);
	CHECK(b.used == 0);
	CHECK(vlb_bounce_map(&b, &byte, 0, DMA_TO_DEVICE, &none) == -ENOSPC);
	CHECK(vlb_bounce_map(&b, &byte, SIZE_MAX, DMA_TO_DEVICE, &none) ==
	      -ENOSPC);
}

/* What a driver that never unmaps had is free, and is not looked at. */
static void test_forget(void)
{
	static u8 bytes[2] = { 1, 2 };
	struct vlb_mapping mapping;
	u64 first, second, again;

	CHECK(!vlb_bounce_map(&b, &bytes[0], 1, DMA_FROM_DEVICE, &first));
	CHECK(!vlb_bounce_map(&b, buffers[0].memory, 2 * PAGE_SIZE,
			      DMA_FROM_DEVICE, &second));
	*device_byte(first) = 9;
	vlb_bounce_forget(&b);
	CHECK(b.used == 0 && bytes[0] == 1);
	CHECK(vlb_bounce_unmap(&b, first, &mapping) == -ENOENT);
	CHECK(vlb_bounce_unmap(&b, second, &mapping) == -ENOENT);
	CHECK(!vlb_bounce_map(&b, &bytes[1], 1, DMA_TO_DEVICE, &again));
	CHECK(again >> PAGE_SHIFT == 0 && b.used == 1);
	CHECK(vlb_bounce_unmap(&b, again, &mapping) == 0);
}

static u32 shrink(struct vlb_bounce *big)
{
	u32 first, n, total = 0;

	while ((n = vlb_bounce_shrink_begin(big, &first)))
		total += vlb_bounce_shrink_end(big, first, n);
	return total;
}

/* Pages go when few slots are used, but none that is, or that is at its end. */
static void test_shrink(void)
{
	static struct vlb_bounce big;
	static u64 offsets[20000];
	struct vlb_mapping mapping;
	int pages = shim_pages;
	u32 first, n, i;
	static u8 byte;
	u64 other;

	memset(&big, 0, sizeof(big));
	CHECK(!vlb_bounce_init(&big, 20000));
	for (i = 0; i < 20000; i++)
		CHECK(!vlb_bounce_map(&big, &byte, 1, DMA_TO_DEVICE,
				      &offsets[i]));
	CHECK(!vlb_bounce_is_high(&big) && !shrink(&big));
	for (i = 0; i < 20000; i++)
		if (i != 5 && i != 12000)
			vlb_bounce_unmap(&big, offsets[i], &mapping);
	/* as far as the one that is used */
	CHECK(vlb_bounce_is_high(&big));
	CHECK(shrink(&big) == 20000 - 12001 && big.ready == 12001);
	CHECK(shim_pages == pages + 12001);
	vlb_bounce_unmap(&big, offsets[12000], &mapping);
	/* slots taken out of use are not given to a mapping */
	n = vlb_bounce_shrink_begin(&big, &first);
	CHECK(n == 4096 && first == 12001 - 4096);
	for (i = 0; i < first - 1; i++)
		CHECK(!vlb_bounce_map(&big, &byte, 1, DMA_TO_DEVICE, &other) &&
		      other >> PAGE_SHIFT < first);
	/* the next is behind them, so they stay */
	CHECK(!vlb_bounce_map(&big, &byte, 1, DMA_TO_DEVICE, &other));
	CHECK(other >> PAGE_SHIFT == 12001 && big.ready == 12002);
	CHECK(vlb_bounce_shrink_end(&big, first, n) == 0);
	CHECK(big.ready == 12002 && shim_pages == pages + 12002);
	/* and are used again */
	CHECK(!vlb_bounce_map(&big, &byte, 1, DMA_TO_DEVICE, &other));
	CHECK(other >> PAGE_SHIFT == first);
	vlb_bounce_destroy(&big);
	CHECK(shim_pages == pages);
}

static void test_init_without_memory(void)
{
	static struct vlb_bounce other;

	for (int n = 0; n < 2; n++) {
		memset(&other, 0, sizeof(other));
		shim_allocations = n;
		CHECK(vlb_bounce_init(&other, CAP) == -ENOMEM);
	}
	shim_allocations = -1;
}

/*
 * The sweep that fault_test leaves out: a command that needs more pages than
 * there are, with no memory for the first, the second, … of them.
 */
static void test_map_without_memory(void)
{
	const u32 slots = 2 * VLB_CHUNK_SLOTS + 3;
	u8 *command = aligned_alloc(PAGE_SIZE, slots * PAGE_SIZE);
	int pages = shim_pages, err = -ENOMEM, n;
	static struct vlb_bounce other;
	struct vlb_mapping mapping;
	u64 offset;

	memset(command, 0x5a, slots * PAGE_SIZE);
	for (n = 0; err; n++) {
		memset(&other, 0, sizeof(other));
		CHECK(!vlb_bounce_init(&other, CAP));
		shim_allocations = n;
		err = vlb_bounce_map(&other, command, slots * PAGE_SIZE,
				     DMA_TO_DEVICE, &offset);
		shim_allocations = -1;
		CHECK(err == 0 || err == -ENOMEM);
		CHECK(other.used == (err ? 0 : slots));
		/* what there was memory for stays, for the next */
		CHECK(other.ready == (u32)(shim_pages - pages));
		if (err)
			CHECK(!vlb_bounce_map(&other, command,
					      slots * PAGE_SIZE, DMA_TO_DEVICE,
					      &offset));
		CHECK(offset == 0);
		CHECK(vlb_bounce_unmap(&other, offset, &mapping) == 0);
		vlb_bounce_destroy(&other);
		CHECK(shim_pages == pages);
	}
	/* a page for each, and three chunks of slots */
	CHECK(n == (int)slots + 3 + 1);
	free(command);
}

int main(void)
{
	int i;

	test_init_without_memory();
	test_map_without_memory();
	CHECK(!vlb_bounce_init(&b, CAP));
	for (i = 0; i < BUFFERS; i++) {
		buffers[i].memory = aligned_alloc(PAGE_SIZE,
						  LONGEST + 2 * PAGE_SIZE);
		memset(buffers[i].memory, 0, LONGEST + 2 * PAGE_SIZE);
	}
	CHECK(vlb_bounce_is_low(&b));
	vlb_bounce_refill(&b);
	CHECK(b.ready == 256 && !vlb_bounce_is_low(&b));
	test_cap();
	test_forget();
	test_shrink();
	test_random();
	vlb_bounce_destroy(&b);
	CHECK(shim_pages == 0);
	for (i = 0; i < BUFFERS; i++)
		free(buffers[i].memory);
	puts("bounce: ok");
	return 0;
}
