// SPDX-License-Identifier: GPL-2.0
/* iova.c against an array that says whose each page is. */
#include "check.h"
#include "../iova.h"

#define MIN	100UL
#define END	612UL
#define RECORDS	64

static struct vlb_iova iova;
static struct vlb_record records[RECORDS];
static struct vlb_record *owner[END + 8];

void shim_before_read(const volatile void *at)
{
	(void)at;
}

/* Whether any hole takes @npages and the guard page behind it. */
static bool hole_exists(unsigned long npages)
{
	unsigned long i, run = 0;

	for (i = MIN; i < END; i++) {
		bool guard = i > MIN && owner[i - 1] && !owner[i];

		run = owner[i] || guard ? 0 : run + 1;
		if (run > npages)
			return true;
	}
	return false;
}

static void compare(void)
{
	u64 pages = 0;
	u32 used = 0;
	unsigned long i;

	for (i = 0; i < END + 8; i++) {
		CHECK(vlb_iova_find(&iova, i) == owner[i]);
		pages += owner[i] != NULL;
	}
	for (i = 0; i < RECORDS; i++)
		used += records[i].npages != 0;
	CHECK(iova.records == used);
	CHECK(iova.pages == pages);
}

static void add(struct vlb_record *rec, unsigned long npages)
{
	bool room = hole_exists(npages);
	unsigned long i;
	int err;

	rec->npages = npages;
	err = vlb_iova_add(&iova, rec);
	CHECK(err == (room ? 0 : -ENOSPC));
	if (err) {
		rec->npages = 0;
		return;
	}
	CHECK(rec->first >= MIN && rec->first + npages < END);
	/* the pages before and behind are holes */
	CHECK(!owner[rec->first - 1] && !owner[rec->first + npages]);
	for (i = 0; i < npages; i++) {
		CHECK(!owner[rec->first + i]);
		owner[rec->first + i] = rec;
	}
}

static void drop(struct vlb_record *rec)
{
	unsigned long i;

	if (rec->npages > 1)
		CHECK(!vlb_iova_remove(&iova, rec->first + 1));
	CHECK(vlb_iova_remove(&iova, rec->first) == rec);
	CHECK(!vlb_iova_remove(&iova, rec->first));
	for (i = 0; i < rec->npages; i++)
		owner[rec->first + i] = NULL;
	rec->npages = 0;
}

static void test_random(void)
{
	int step;

	for (step = 0; step < 20000; step++) {
		struct vlb_record *rec = &records[random_below(RECORDS)];

		if (rec->npages)
			drop(rec);
		else
			add(rec, 1 + random_below(random_below(8) ? 24 : 300));
		if (step % 16 == 0)
			compare();
	}
	for (step = 0; step < RECORDS; step++)
		if (records[step].npages)
			drop(&records[step]);
	compare();
}

static void test_limits(void)
{
	struct vlb_record *rec = &records[0];

	rec->npages = 0;
	CHECK(vlb_iova_add(&iova, rec) == -ENOSPC);
	rec->npages = END - MIN;	/* no room for the guard */
	CHECK(vlb_iova_add(&iova, rec) == -ENOSPC);
	rec->npages = ~0UL;
	CHECK(vlb_iova_add(&iova, rec) == -ENOSPC);
	rec->npages = END - MIN - 1;
	CHECK(vlb_iova_add(&iova, rec) == 0);
	CHECK(rec->first == MIN);
	CHECK(vlb_iova_remove(&iova, MIN) == rec);
	CHECK(!vlb_iova_remove(&iova, MIN - 1));
	rec->npages = 0;
}

/* An address is not given out again while others have never been used. */
static void test_reuse_is_late(void)
{
	struct vlb_record rec = { .npages = 10 };
	unsigned long last = 0;
	int i;

	for (i = 0; i < 20; i++) {
		CHECK(vlb_iova_add(&iova, &rec) == 0);
		CHECK(rec.first > last);
		last = rec.first;
		vlb_iova_remove(&iova, rec.first);
	}
}

static void test_no_memory(void)
{
	struct vlb_record rec = { .npages = 10 };

	shim_allocations = 0;
	CHECK(vlb_iova_add(&iova, &rec) == -ENOMEM);
	shim_allocations = -1;
	CHECK(iova.records == 0 && iova.pages == 0);
	CHECK(vlb_iova_add(&iova, &rec) == 0);
	vlb_iova_remove(&iova, rec.first);
}

int main(void)
{
	vlb_iova_init(&iova, MIN, END);
	test_reuse_is_late();
	test_limits();
	test_no_memory();
	test_random();
	vlb_iova_destroy(&iova);
	puts("iova: ok");
	return 0;
}
