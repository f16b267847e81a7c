// SPDX-License-Identifier: GPL-2.0
/* The files of a round, and what is said of them: arguments, good and bad. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <unistd.h>
#include <sys/mman.h>

#include "fuzz_round.h"

atomic_int files[KINDS][FILES];
struct map maps[MAPS];
struct server servers[SERVERS];
int sockets[2];
int vgem = -1;

void close_if(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* What was in its place is closed. */
void put(struct rng *r, enum kind kind, int fd)
{
	if (fd >= 0)
		close_if(atomic_exchange(&files[kind][below(r, FILES)],
					 fd + 1) - 1);
}

int peek(struct rng *r, enum kind kind)
{
	uint32_t i = below(r, FILES), n;
	int fd;

	for (n = 0; n < FILES; n++, i++) {
		fd = atomic_load(&files[kind][i % FILES]) - 1;
		if (fd >= 0)
			return fd;
	}
	return -1;
}

int peek_any(struct rng *r)
{
	return peek(r, below(r, KINDS));
}

/* Mostly a file of @kind. */
int peek_about(struct rng *r, enum kind kind)
{
	return below(r, 20) ? peek(r, kind) : peek_any(r);
}

uint64_t some_value(struct rng *r)
{
	switch (below(r, 5)) {
	case 0:
		return below(r, 4);
	case 1:
		return PAGE * below(r, 64);
	case 2:
		return (rnd(r) & 0xfffffffffULL) & ~(PAGE - 1);
	case 3:
		return 1ULL << below(r, 64);
	default:
		return rnd(r);
	}
}

/* An address in the window where something may be. */
uint64_t some_address(struct rng *r)
{
	uint64_t buffer;

	switch (below(r, 6)) {
	case 0:
		return 0x100000 + PAGE * below(r, 64);		/* rings */
	case 1:
		return 0x1000000 + PAGE * below(r, 600);	/* bounce */
	case 2:
		return some_value(r) & ~(PAGE - 1);
	default:
		buffer = some_buffer(&servers[below(r, SERVERS)].dev);
		return buffer + PAGE * below(r, 4);
	}
}

/* Bytes of an argument that are wrong, now and then. */
void spoil(struct rng *r, void *arg, size_t size)
{
	uint8_t *bytes = arg;

	if (below(r, 4))
		return;
	if (below(r, 2))
		bytes[below(r, size)] ^= 1 << below(r, 8);
	else
		bytes[below(r, size)] = rnd(r);
}

/* A copy that can be read, and no result be written to. */
static void *read_only(const void *arg, size_t size)
{
	static __thread uint8_t *page;

	if (!page)
		page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	if (page == MAP_FAILED || mprotect(page, PAGE, PROT_READ | PROT_WRITE))
		return NULL;
	memcpy(page, arg, size);
	mprotect(page, PAGE, PROT_READ);
	return page;
}

/*
 * @arg, or an address that is bad, or ends too early, or is in a window: then
 * the module's copy takes a page fault of the module.
 */
void *place(struct rng *r, void *arg, size_t size)
{
	static uint8_t *edge;

	if (below(r, 10))
		return arg;
	if (below(r, 2))
		return atomic_load(&maps[below(r, MAPS)].at) + below(r, PAGE);
	if (below(r, 2))
		return (void *)(uintptr_t)some_value(r);
	if (below(r, 2))
		return read_only(arg, size);
	if (!edge) {
		edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (edge == MAP_FAILED || munmap(edge + PAGE, PAGE))
			return NULL;
	}
	return edge + PAGE - below(r, size);
}
