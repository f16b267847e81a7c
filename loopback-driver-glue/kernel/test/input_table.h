/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of input devices share: uapi_input_create.c has it. */
#ifndef INPUT_TABLE_H
#define INPUT_TABLE_H

#include "../virtio_loopback.h"

/* The queues of an input device. */
#define EVENTS	0
#define STATUS	1

/*
 * What makes a keyboard with two keys, a light, repetition and an axis. It is
 * good, with its table, until the next one.
 */
struct virtio_loopback_create *keyboard_create(const char *name);

#endif
