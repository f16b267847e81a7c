// SPDX-License-Identifier: GPL-2.0
/* See shim.h. */
#include "shim.h"

int shim_allocations = -1;
int shim_pages;

void mt_init(struct maple_tree *mt)
{
	mt->entries = NULL;
}

void mtree_destroy(struct maple_tree *mt)
{
	while (mt->entries) {
		struct shim_entry *entry = mt->entries;

		mt->entries = entry->next;
		free(entry);
	}
}

static struct shim_entry **find(struct maple_tree *mt, unsigned long first,
				unsigned long last)
{
	struct shim_entry **at, **best = NULL;

	for (at = &mt->entries; *at; at = &(*at)->next)
		if ((*at)->first <= last && (*at)->last >= first &&
		    (!best || (*at)->first < (*best)->first))
			best = at;
	return best;
}

int mtree_insert_range(struct maple_tree *mt, unsigned long first,
		       unsigned long last, void *value, gfp_t gfp)
{
	struct shim_entry *entry;

	(void)gfp;
	if (find(mt, first, last))
		return -EEXIST;
	if (!shim_may_allocate())
		return -ENOMEM;
	entry = malloc(sizeof(*entry));
	*entry = (struct shim_entry){ mt->entries, first, last, value };
	mt->entries = entry;
	return 0;
}

void *mtree_load(struct maple_tree *mt, unsigned long index)
{
	struct shim_entry **at = find(mt, index, index);

	return at ? (*at)->value : NULL;
}

void *mtree_erase(struct maple_tree *mt, unsigned long index)
{
	struct shim_entry **at = find(mt, index, index), *entry;
	void *value;

	if (!at)
		return NULL;
	entry = *at;
	value = entry->value;
	*at = entry->next;
	free(entry);
	return value;
}

void *mt_find(struct maple_tree *mt, unsigned long *index, unsigned long max)
{
	struct shim_entry **at = find(mt, *index, max);

	if (!at)
		return NULL;
	*index = (*at)->last + 1;
	return (*at)->value;
}
