/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The few kernel primitives that the plain parts of the module use, for user
 * space. Simple rather than fast: the maple tree is a list.
 */
#ifndef VLB_TEST_SHIM_H
#define VLB_TEST_SHIM_H

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/types.h>
#include <linux/virtio_ring.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned int gfp_t;

#define __force
#define U32_MAX		UINT32_MAX
#define PAGE_SHIFT	12
#define PAGE_SIZE	(1UL << PAGE_SHIFT)
#define offset_in_page(p)	((unsigned long)(p) & (PAGE_SIZE - 1))
#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))
#define BITS_PER_LONG	(8 * sizeof(long))
#define BITS_TO_LONGS(n)	DIV_ROUND_UP(n, BITS_PER_LONG)

#define min(a, b) \
	({ __typeof__(a) a_ = (a); __typeof__(b) b_ = (b); a_ < b_ ? a_ : b_; })
#define max(a, b) \
	({ __typeof__(a) a_ = (a); __typeof__(b) b_ = (b); a_ > b_ ? a_ : b_; })
#define max_t(t, a, b)	max((t)(a), (t)(b))
#define min_t(t, a, b)	min((t)(a), (t)(b))

#define le16_to_cpu(x)	le16toh(x)
#define le32_to_cpu(x)	le32toh(x)
#define le64_to_cpu(x)	le64toh(x)
#define cpu_to_le16(x)	htole16(x)
#define cpu_to_le32(x)	htole32(x)

/*
 * Called before each READ_ONCE(): a hostile device side changes its ring just
 * then, which is the worst moment.
 */
void shim_before_read(const volatile void *at);
#define READ_ONCE(x) \
	(*({ shim_before_read(&(x)); (const volatile __typeof__(x) *)&(x); }))
#define WRITE_ONCE(x, v)	(*(volatile __typeof__(x) *)&(x) = (v))
#define smp_mb()	__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb()	__atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb()	__atomic_thread_fence(__ATOMIC_RELEASE)
#define array_index_nospec(i, n)	(i)

/* A warning of the code under test fails the test. */
#define WARN_ON_ONCE(c) \
	({ bool c_ = (c); if (c_) { fprintf(stderr, "%s:%d: WARN\n", __FILE__, __LINE__); abort(); } c_; })

typedef int spinlock_t;
#define spin_lock_init(l)		(*(l) = 0)
#define spin_lock_irqsave(l, f)		((f) = 0, (*(l))++ ? abort() : (void)0)
#define spin_unlock_irqrestore(l, f)	((void)(f), (*(l))--)

enum dma_data_direction {
	DMA_BIDIRECTIONAL = 0,
	DMA_TO_DEVICE = 1,
	DMA_FROM_DEVICE = 2,
};

#define GFP_KERNEL		1U
#define GFP_ATOMIC		2U
#define GFP_KERNEL_ACCOUNT	4U
#define __GFP_NOWARN		8U
#define __GFP_ZERO		16U

/* Allocations left until they begin to fail; negative: never. */
extern int shim_allocations;
static inline bool shim_may_allocate(void)
{
	if (!shim_allocations)
		return false;
	if (shim_allocations > 0)
		shim_allocations--;
	return true;
}

#define kvcalloc(n, size, gfp) \
	((void)(gfp), shim_may_allocate() ? calloc(n, size) : NULL)
#define kzalloc(size, gfp) \
	((void)(gfp), shim_may_allocate() ? calloc(1, size) : NULL)
#define kvfree(p)	free(p)
#define kfree(p)	free(p)

struct page {
	u8 bytes[PAGE_SIZE];
};

extern int shim_pages;	/* that exist */
static inline struct page *alloc_page(gfp_t gfp)
{
	struct page *page;

	if (!shim_may_allocate())
		return NULL;
	page = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	memset(page, gfp & __GFP_ZERO ? 0 : 0xa5, PAGE_SIZE);
	shim_pages++;
	return page;
}

static inline void __free_page(struct page *page)
{
	shim_pages--;
	free(page);
}

static inline void *page_address(struct page *page)
{
	return page->bytes;
}

static inline bool test_bit(unsigned long i, const unsigned long *map)
{
	return map[i / BITS_PER_LONG] >> i % BITS_PER_LONG & 1;
}

static inline void shim_assign(unsigned long *map, unsigned long first,
			       unsigned long n, bool value)
{
	for (; n--; first++) {
		unsigned long bit = 1UL << first % BITS_PER_LONG;

		if (value)
			map[first / BITS_PER_LONG] |= bit;
		else
			map[first / BITS_PER_LONG] &= ~bit;
	}
}
#define bitmap_set(map, first, n)	shim_assign(map, first, n, true)
#define bitmap_clear(map, first, n)	shim_assign(map, first, n, false)

/* The last bit that is set, @size if none is. */
static inline unsigned long find_last_bit(const unsigned long *map,
					  unsigned long size)
{
	unsigned long i = size;

	while (i--)
		if (test_bit(i, map))
			return i;
	return size;
}

/* The first zero area, or something that ends beyond @size. */
static inline unsigned long
bitmap_find_next_zero_area(unsigned long *map, unsigned long size,
			   unsigned long start, unsigned int n,
			   unsigned long align)
{
	unsigned long run = 0, i;

	(void)align;
	for (i = start; i < size; i++) {
		run = test_bit(i, map) ? 0 : run + 1;
		if (run == n)
			return i - n + 1;
	}
	return size + 1;
}

struct shim_entry {
	struct shim_entry *next;
	unsigned long first;
	unsigned long last;
	void *value;
};

struct maple_tree {
	struct shim_entry *entries;
};

void mt_init(struct maple_tree *mt);
void mtree_destroy(struct maple_tree *mt);
int mtree_insert_range(struct maple_tree *mt, unsigned long first,
		       unsigned long last, void *value, gfp_t gfp);
void *mtree_load(struct maple_tree *mt, unsigned long index);
void *mtree_erase(struct maple_tree *mt, unsigned long index);
void *mt_find(struct maple_tree *mt, unsigned long *index, unsigned long max);

#endif
