// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of windows and of dma-bufs: made, looked through, changed and taken
 * away, whatever else happens to them at the time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "fuzz_round.h"

void look(const volatile uint64_t *words, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (words[i] == shared->secret) {
			atomic_fetch_add(&shared->seen, 1);
			return;
		}
}

uint64_t note_buffer(struct recent *recent, struct vdev *dev, struct rng *r)
{
	struct vdev_resource *res;
	int i, first = below(r, VDEV_RESOURCES);

	for (i = 0; i < VDEV_RESOURCES; i++) {
		uint64_t at;

		res = &dev->resources[(first + i) % VDEV_RESOURCES];
		at = res->first.addr;
		if (res->id && at && at < dev->window_size) {
			atomic_store(&recent->at[below(r, RECENT)], at);
			return at;
		}
	}
	return 0;
}

void look_at_buffer(struct recent *recent, struct vdev *dev, struct rng *r)
{
	uint64_t at = atomic_load(&recent->at[below(r, RECENT)]);
	const uint8_t *window = dev->window;

	if (!window || window == MAP_FAILED || !at)
		return;
	if (!GUARDED())
		look((const uint64_t *)(window + at), 4 * PAGE / 8);
	guarded = false;
}

void call_map(struct rng *r)
{
	size_t length = PAGE * (1 + below(r, 16));
	int prot = below(r, 8) ? PROT_READ | PROT_WRITE : below(r, 8);
	int flags = below(r, 16) ? MAP_SHARED : MAP_PRIVATE;
	uint32_t i = below(r, MAPS);
	off_t offset = below(r, 8) ? some_address(r) : some_value(r);
	int fd = peek(r, MEMORY);
	uint8_t *at;

	if (below(r, 3) == 0) {
		fd = peek(r, DMABUF);
		offset = PAGE * below(r, 4);
	}
	if (!below(r, 8))
		flags |= MAP_POPULATE;
	if (!below(r, 16))
		flags |= MAP_LOCKED;
	at = mmap(NULL, length, prot, flags, fd, offset);
	if (at == MAP_FAILED)
		return;
	/* the mapping that was there stays until the end */
	atomic_store(&maps[i].length, 0);
	atomic_store(&maps[i].at, at);
	atomic_store(&maps[i].length, length);
}

/* Part of a mapping, page by page; not all of it need be there still. */
static uint8_t *some_part(struct rng *r, size_t *length)
{
	uint32_t i = below(r, MAPS);
	size_t pages = atomic_load(&maps[i].length) / PAGE;
	uint32_t first;

	if (!pages)
		return NULL;
	first = below(r, pages);
	*length = PAGE * (1 + below(r, pages - first));
	return atomic_load(&maps[i].at) + first * PAGE;
}

void call_touch(struct rng *r)
{
	size_t length;
	uint8_t *at = some_part(r, &length);

	if (!at)
		return;
	if (!GUARDED()) {
		look((uint64_t *)at, length / 8);
		if (below(r, 2))
			((volatile uint32_t *)at)[below(r, length / 4)] = rnd(r);
	}
	guarded = false;
}

void call_look(struct rng *r)
{
	struct server *srv = &servers[below(r, SERVERS)];

	look_at_buffer(&srv->recent, &srv->dev, r);
}

void call_remap(struct rng *r)
{
	static const int advices[] = {
		MADV_DONTNEED, MADV_REMOVE, MADV_DOFORK, MADV_DONTFORK,
		MADV_WILLNEED, MADV_HUGEPAGE, MADV_DODUMP, MADV_COLD,
		MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	};
	size_t length;
	uint8_t *at = some_part(r, &length);
	struct iovec local = { &length, sizeof(length) }, remote = { at, 8 };

	if (!at)
		return;
	switch (below(r, 7)) {
	case 0:
		munmap(at, length);
		break;
	case 1:
		mprotect(at, length, below(r, 8));
		break;
	case 2:
		mremap(at, length, PAGE * below(r, 20), below(r, 2));
		break;
	case 3:
		madvise(at, length, advices[below(r, sizeof(advices) /
						  sizeof(*advices))]);
		break;
	case 4:
		if (below(r, 2))
			mlock(at, length);
		else
			munlock(at, length);
		break;
	case 5:
		msync(at, length, MS_SYNC);
		break;
	default:
		/* the kernel must not follow it */
		if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 8 &&
		    length == shared->secret)
			atomic_fetch_add(&shared->seen, 1);
	}
}

/* A child that has all the files for a moment, and no window. */
void call_fork(struct rng *r)
{
	uint32_t us = below(r, 20000);
	struct rng mine = { rnd(r) | 1 };
	pid_t pid;
	int i;

	if (below(r, 8))
		return;
	pid = fork();
	if (!pid) {
		for (i = 0; i < 20; i++)
			call_touch(&mine);
		usleep(us);
		_exit(0);
	}
	if (pid > 0 && below(r, 2))
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	else
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
}
