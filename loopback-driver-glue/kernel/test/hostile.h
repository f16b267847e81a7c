/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs share that look for what they must not see, or break what
 * they can: uapi_fuzz, reader, scribble, and the stress tests.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vdev.h"

#define PAGE	4096UL

struct rng {
	uint64_t state;
};

/* xorshift64*: the same numbers for the same seed. */
static inline uint64_t rnd(struct rng *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return r->state * 0x2545f4914f6cdd1dULL;
}

static inline uint32_t below(struct rng *r, uint32_t n)
{
	return (rnd(r) >> 33) % n;
}

static inline struct rng rng_of(uint64_t seed, uint64_t stream)
{
	struct rng r = { (seed + 1) * 0x9e3779b97f4a7c15ULL ^
			 (stream + 1) * 0xd1342543de82ef95ULL };

	if (!r.state)
		r.state = 1;
	rnd(&r);
	return r;
}

/*
 * Where a thread goes on when it has touched memory that is not there. Armed
 * with GUARDED(), whose value is 0 at first, and 1 after such an access.
 */
extern __thread sigjmp_buf guard;
extern __thread volatile bool guarded;
void install_guard(void);
#define GUARDED()	(guarded = true, sigsetjmp(guard, 1))

/* What the kernel says from now on. */
void kernel_log_open(void);
/* The next line of it that is a warning; false if there is none. */
#define KERNEL_LINE	1024
bool kernel_warning(char line[KERNEL_LINE]);

/*
 * Writes @secret wherever a page that somebody gave back may have gone, until
 * it is killed.
 */
void hoarder(uint64_t seed, uint64_t secret) __attribute__((noreturn));

/* The same once, in anonymous memory: pages that this process gave back. */
void hoard_once(uint64_t secret, size_t bytes);

/* Word that no program has by chance. */
uint64_t secret_of(uint64_t seed);

/*
 * Writes nonsense into some of all that a device side can reach: rings,
 * commands, responses, buffers. Then it calls the driver.
 */
void scribble(struct vdev *dev, struct rng *r);

/*
 * Another device, with a device side and a client that behave, in processes of
 * their own. All words of its buffers are @word.
 */
struct other {
	pid_t server;
	pid_t client;
	uint32_t index;
};
void other_start(struct other *other, uint64_t word);
/* Whether nobody has disturbed it; then it is gone. */
bool other_end(struct other *other);

#endif
