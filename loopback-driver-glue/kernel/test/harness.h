/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests that need the module. Each runs in a process of its own with a time
 * limit, so that neither a crash nor a hang ends the others.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include "vdev.h"

struct test {
	const char *name;
	void (*run)(void);
	int seconds;
};

extern const struct test argument_tests[];	/* uapi_args.c */
extern const struct test memory_tests[];	/* uapi_memory.c */
extern const struct test isolation_tests[];	/* uapi_isolation.c */
extern const struct test driver_tests[];	/* uapi_driver.c */
extern const struct test input_create_tests[];	/* uapi_input_create.c */
extern const struct test input_tests[];		/* uapi_input.c */
extern const struct test death_tests[];		/* uapi_death.c */
extern const struct test keep_tests[];		/* uapi_keep.c */
extern const struct test stress_tests[];	/* uapi_stress.c */
extern const struct test fault_tests[];		/* uapi_faults.c */

/*
 * Runs the tests of @groups, up to a NULL, whose names have @filter in them.
 * Returns the exit code.
 */
int run_tests(const struct test *const *groups, const char *filter);

/* Ends the test unless @c holds. */
#define EXPECT(c) do { \
	if (!(c)) \
		fail(__FILE__, __LINE__, #c); \
} while (0)

/* Ends the test unless @call fails with @err. */
#define EXPECT_ERRNO(call, err) do { \
	long ret_ = (call); \
	int errno_ = errno; \
	if (ret_ != -1 || errno_ != (err)) \
		fail_errno(__FILE__, __LINE__, #call, ret_, errno_, err); \
} while (0)

void fail(const char *file, int line, const char *what)
	__attribute__((noreturn));
void fail_errno(const char *file, int line, const char *what, long ret,
		int got, int wanted) __attribute__((noreturn));

/* Waits until @c holds, at most @ms milliseconds; its value is whether it does. */
#define WAIT_FOR(c, ms) ({ \
	long long end_ = now_ms() + (ms); \
	bool done_; \
	while (!(done_ = !!(c)) && now_ms() < end_) \
		sleep_ms(5); \
	done_; \
})

void sleep_ms(int ms);

/* A device with its device side in a thread. */
struct served {
	struct vdev dev;
	pthread_t thread;
	volatile int stop;
	int result;
};

/* Starts serving; with @wait_card until the driver's card is there. */
void serve_start(struct served *s, const struct virtio_loopback_create *create,
		 bool wait_card);
/* Stops the thread, leaves the files open. */
void serve_stop(struct served *s);
/* Another thread, with whatever files there are. */
void serve_resume(struct served *s);

struct virtio_loopback_status status_of(struct vdev *dev);

/* Reads a sysfs file of the parent device into @buf. */
void parent_attr(uint32_t index, const char *attr, char *buf, size_t size);
bool parent_exists(uint32_t index);
int count_parents(void);

/* The DRM node of a device: "card" or "renderD"; -1 if there is none yet. */
int card_number(uint32_t index, const char *kind);
int open_card(uint32_t index);
int open_render(uint32_t index);
/* The card of vgem, which imports dma-bufs; -1 if there is none yet. */
int open_vgem(void);

/* Where a buffer of the driver is in the window, 0 if there is none yet. */
uint64_t some_buffer(struct vdev *dev);

/* A dumb buffer with a mapping. */
struct dumb {
	int fd;
	uint32_t handle;
	uint32_t pitch;
	uint32_t fb;
	uint64_t size;
	uint32_t *pixels;
};

int dumb_create(struct dumb *d, int card, uint32_t width, uint32_t height);
void dumb_destroy(struct dumb *d);
/* Shows it on the first CRTC; returns 0 or -1. */
int dumb_show(struct dumb *d, uint32_t width, uint32_t height);
int dumb_dirty(struct dumb *d);
/* Different in every page and for every @seed. */
void fill_pattern(uint32_t *words, size_t bytes, uint32_t seed);
bool has_pattern(const uint32_t *words, size_t bytes, uint32_t seed);

/* A line of /proc/PID/stat's state, 0 if there is no such process. */
char process_state(int pid);

#endif
