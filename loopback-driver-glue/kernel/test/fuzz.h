/* SPDX-License-Identifier: GPL-2.0 */
/*
 * uapi_fuzz: random sequences of calls. uapi_fuzz.c starts the processes and
 * judges, fuzz_calls.c is the process that has the module's files, and
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
extern struct gate *gates;

/* Exit codes of a round. */
#define ROUND_OK	0
#define ROUND_SECRET	3	/* a page was seen that must not be */

/* One round of @ms milliseconds; does not return. */
void fuzz_round(uint64_t seed, int ms, uint64_t secret)
	__attribute__((noreturn));

/* What these do until they are killed. */
void drawing_client(uint64_t seed, uint64_t secret)
	__attribute__((noreturn));
/* Takes the driver from devices, and gives it back; not from @keeper. */
void binder(uint64_t seed, uint32_t keeper) __attribute__((noreturn));

#endif
