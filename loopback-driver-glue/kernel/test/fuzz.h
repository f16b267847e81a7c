/* SPDX-License-Identifier: GPL-2.0 */
/*
 * uapi_fuzz: random sequences of calls. uapi_fuzz.c starts the processes and
 * judges, fuzz_round.c is the process that has the module's files, and
 * fuzz_clients.c those that have the cards and the secrets.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdatomic.h>

#include "hostile.h"

/*
 * virtio_gpu loses objects of a client that is in the middle of something when
 * its card goes, and the kernel warns of it: docs/uapi.md, limits. So clients
 * use only cards whose gate is open, and the gate of a device is closed, and
 * its clients leave, before it is removed. By index of the device; shared by
 * all processes.
 */
#define GATES	256
struct gate {
	atomic_bool keeper;	/* stays */
	atomic_bool open;
	atomic_int inside;
};

/* What all processes share. */
struct shared {
	struct gate gates[GATES];
	uint64_t secret;	/* in no window, see hoarder() */
	atomic_uint seen;	/* in how many pages it was */
};
extern struct shared *shared;

/* Where buffers of a device are or have been, to look at them there. */
#define RECENT		32
struct recent {
	atomic_ullong at[RECENT];
};
/* Notes some buffer, which it returns, or 0. */
uint64_t note_buffer(struct recent *recent, struct vdev *dev, struct rng *r);
/*
 * Looks at one of them in the mapping that stays, where a page that is not
 * taken away in time would be seen with what it is used for then.
 */
void look_at_buffer(struct recent *recent, struct vdev *dev, struct rng *r);
/* Looks for the secret. */
void look(const volatile uint64_t *words, size_t count);

/* One round of @ms milliseconds; does not return. */
void fuzz_round(uint64_t seed, int ms) __attribute__((noreturn));

/* What these do until they are killed. */
void drawing_client(uint64_t seed) __attribute__((noreturn));
/* Takes the driver from devices, and gives it back; not from @keeper. */
void binder(uint64_t seed, uint32_t keeper) __attribute__((noreturn));

#endif
