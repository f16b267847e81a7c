/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the threads of a round share, in the process that has the module's
 * files: fuzz_round.c starts them, fuzz_files.c has the files and makes up
 * arguments, fuzz_calls.c and fuzz_memory.c make the calls.
 */
#ifndef FUZZ_ROUND_H
#define FUZZ_ROUND_H

#include <pthread.h>

#include "harness.h"
#include "fuzz.h"

#define SERVERS		2
#define FILES		12	/* of each kind */
#define MAPS		24

enum kind { CONTROL, SESSION, MEMORY, DMABUF, EVENTFD, OTHER, KINDS };

/* File descriptors, plus 1; 0: none. */
extern atomic_int files[KINDS][FILES];

struct map {
	_Atomic(uint8_t *) at;
	atomic_size_t length;
};
extern struct map maps[MAPS];

/* A thread that serves devices, one after the other. */
struct server {
	struct vdev dev;
	pthread_t thread;
	struct rng rng;
	int number;
	struct recent recent;
};
extern struct server servers[SERVERS];

/* Files are under way from the first to the second. */
extern int sockets[2];
/* The card of vgem, or -1. */
extern int vgem;

void close_if(int fd);
/* What was in its place is closed. */
void put(struct rng *r, enum kind kind, int fd);
/* A file of @kind, or -1. */
int peek(struct rng *r, enum kind kind);
int peek_any(struct rng *r);
/* Mostly a file of @kind. */
int peek_about(struct rng *r, enum kind kind);

uint64_t some_value(struct rng *r);
/* An address in the window where something may be. */
uint64_t some_address(struct rng *r);
/* Bytes of an argument that are wrong, now and then. */
void spoil(struct rng *r, void *arg, size_t size);
/* @arg, or an address that is no good for it. */
void *place(struct rng *r, void *arg, size_t size);
/* A GPU that is just allowed. */
void random_create(struct rng *r, struct virtio_loopback_create *create,
		   struct virtio_gpu_config *config);

/* Any call on any file. */
void random_call(struct rng *r);

/* Calls about mappings. */
void call_map(struct rng *r);
void call_touch(struct rng *r);
void call_look(struct rng *r);
void call_remap(struct rng *r);
void call_fork(struct rng *r);

#endif
