/* SPDX-License-Identifier: GPL-2.0 */
/* What the user-space tests share. */
#ifndef VLB_TEST_CHECK_H
#define VLB_TEST_CHECK_H

#include "shim.h"

#define CHECK(c) do { \
	if (!(c)) { \
		fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #c); \
		abort(); \
	} \
} while (0)

/* Always the same numbers, so that a failure repeats. */
#define RANDOM_START	0x9e3779b97f4a7c15
static u64 random_state = RANDOM_START;

static inline u32 random_below(u32 n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 32) % n;
}

#endif
