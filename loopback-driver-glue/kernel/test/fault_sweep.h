/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that runs out in every place there is, one after the other. Needs the
 * module that VLB_FAULTS=1 makes, see fault.h.
 *
 * A sweep lets the first allocation of an operation fail, then the second, and
 * so on until the operation needs no more than that. Each failure must be the
 * documented one, change nothing, and leave nothing behind.
 *
 * Allocations that may not sleep are left out: these are for pages of bounce
 * slots, in the middle of a command, and virtio_gpu itself warns and loses an
 * object when a command cannot be mapped. bounce_test.c has them.
 */
#ifndef FAULT_SWEEP_H
#define FAULT_SWEEP_H

#include "harness.h"

#define FOREVER	1000000000u

/* The device of the test, and where a buffer of its client is. */
extern struct virtio_loopback_create create;
extern struct virtio_gpu_config config;
extern struct served s;
extern struct virtio_loopback_range range;

/* A parameter of the module, good until the next. */
char *parameter(const char *name);
long figure(const char *name);

/*
 * Calls of @pid, or of all: the @at-th from now and @times - 1 after it fail.
 * Not those for spare bounce pages, hundreds, which are all alike.
 */
void arm(unsigned int at, unsigned int times, pid_t pid);
/* Spare bounce pages, then, for whomever. */
void arm_spares(unsigned int at, unsigned int times);
void disarm(void);

/* Whether there is, soon, nothing left of any device. */
bool at_rest(void);

/*
 * One call of @op by this process for each of its allocations. @op returns -1
 * and errno, or something else; @check says that nothing has changed. Returns
 * how many allocations there were.
 */
unsigned int sweep(long (*op)(void), void (*check)(void));

/* A served device; it is gone, and all that was for it. */
void start(const char *name);
void end_device(void);
/* The same with a client in this process, which has one buffer. */
void start_client(const char *name, struct dumb *d, int *card);
void end_client(struct dumb *d, int card);

extern const struct test fault_driver_tests[];	/* uapi_faults_driver.c */

#endif
