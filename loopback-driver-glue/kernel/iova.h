/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where scatter lists live in the window. All figures are in pages.
 *
 * Not locked: the caller holds the device's map_lock, exclusive for add and
 * remove, shared for find.
 */
#ifndef VLB_IOVA_H
#define VLB_IOVA_H

#include "plain.h"

/**
 * struct vlb_record - one mapped scatter list
 * @first: its first page in the window
 * @npages: length
 * @pages: its pages, owned by the driver until it unmaps them
 */
struct vlb_record {
	unsigned long first;
	unsigned long npages;
	struct page **pages;
};

/**
 * struct vlb_iova - part of a window that holds scatter lists
 * @tree: page index to struct vlb_record
 * @min: first page
 * @end: behind the last page
 * @next: where the next search starts, so that an address is reused as late
 *	as possible
 * @records: how many there are
 * @pages: their pages
 */
struct vlb_iova {
	struct maple_tree tree;
	unsigned long min;
	unsigned long end;
	unsigned long next;
	u32 records;
	u64 pages;
};

void vlb_iova_init(struct vlb_iova *iova, unsigned long min, unsigned long end);
void vlb_iova_destroy(struct vlb_iova *iova);
int vlb_iova_add(struct vlb_iova *iova, struct vlb_record *rec);
struct vlb_record *vlb_iova_find(struct vlb_iova *iova, unsigned long index);
struct vlb_record *vlb_iova_any(struct vlb_iova *iova);
struct vlb_record *vlb_iova_remove(struct vlb_iova *iova, unsigned long first);

#endif /* VLB_IOVA_H */
