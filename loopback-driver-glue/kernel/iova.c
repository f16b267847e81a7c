// SPDX-License-Identifier: GPL-2.0
/* Bookkeeping of scatter lists, see iova.h. */
#include "iova.h"

/* A hole behind each list, so that running over its end never meets another. */
#define VLB_IOVA_GUARD	1

/**
 * vlb_iova_init - an empty address space
 * @iova: the address space
 * @min: first page
 * @end: behind the last page
 */
void vlb_iova_init(struct vlb_iova *iova, unsigned long min, unsigned long end)
{
	mt_init(&iova->tree);
	iova->min = min;
	iova->end = end;
	iova->next = min;
	iova->records = 0;
	iova->pages = 0;
}

/**
 * vlb_iova_destroy - free the tree
 * @iova: the address space; its records belong to the caller
 */
void vlb_iova_destroy(struct vlb_iova *iova)
{
	mtree_destroy(&iova->tree);
}

/* First hole of @need pages in [@from, @to), or @to. */
static unsigned long find_hole(struct vlb_iova *iova, unsigned long from,
			       unsigned long to, unsigned long need)
{
	struct vlb_record *rec;
	unsigned long index;

	while (from < to && to - from >= need) {
		index = from;
		rec = mt_find(&iova->tree, &index, from + need - 1);
		if (!rec)
			return from;
		from = rec->first + rec->npages + VLB_IOVA_GUARD;
	}
	return to;
}

/**
 * vlb_iova_add - find a place for a scatter list
 * @iova: the address space
 * @rec: @rec->npages is set; @rec->first is the result
 *
 * Return: 0, -ENOSPC if no hole is long enough, or -ENOMEM
 */
int vlb_iova_add(struct vlb_iova *iova, struct vlb_record *rec)
{
	unsigned long need, first;
	int err;

	if (!rec->npages || rec->npages > iova->end - iova->min)
		return -ENOSPC;
	need = rec->npages + VLB_IOVA_GUARD;
	first = find_hole(iova, iova->next, iova->end, need);
	if (first == iova->end)
		first = find_hole(iova, iova->min, iova->end, need);
	if (first == iova->end)
		return -ENOSPC;

	err = mtree_insert_range(&iova->tree, first, first + rec->npages - 1,
				 rec, GFP_KERNEL);
	if (err)
		return err;
	rec->first = first;
	iova->next = first + need;
	iova->records++;
	iova->pages += rec->npages;
	return 0;
}

/**
 * vlb_iova_find - the scatter list at an address
 * @iova: the address space
 * @index: page in the window
 *
 * Return: the list, or NULL
 */
struct vlb_record *vlb_iova_find(struct vlb_iova *iova, unsigned long index)
{
	return mtree_load(&iova->tree, index);
}

/**
 * vlb_iova_any - some scatter list
 * @iova: the address space
 *
 * Return: the list, or NULL if there is none
 */
struct vlb_record *vlb_iova_any(struct vlb_iova *iova)
{
	unsigned long index = iova->min;

	return mt_find(&iova->tree, &index, iova->end);
}

/**
 * vlb_iova_remove - take a scatter list out
 * @iova: the address space
 * @first: its first page
 *
 * Return: the list, or NULL if none starts there
 */
struct vlb_record *vlb_iova_remove(struct vlb_iova *iova, unsigned long first)
{
	struct vlb_record *rec = mtree_load(&iova->tree, first);

	if (!rec || rec->first != first)
		return NULL;
	mtree_erase(&iova->tree, first);
	iova->records--;
	iova->pages -= rec->npages;
	return rec;
}
