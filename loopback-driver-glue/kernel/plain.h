/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What shadow.c, bounce.c and iova.c are allowed to use. They are plain C: the
 * same files are built into the module and into the user-space tests, where
 * test/shim.h stands for the kernel.
 */
#ifndef VLB_PLAIN_H
#define VLB_PLAIN_H

#ifdef __KERNEL__
#include <linux/bitmap.h>
#include <linux/dma-direction.h>
#include <linux/gfp.h>
#include <linux/maple_tree.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/virtio_ring.h>
#ifdef VIRTIO_LOOPBACK_FAULTS
#include "test/fault.h"	/* allocations that fail on demand */
#endif
#else
#include "test/shim.h"
#endif

#endif /* VLB_PLAIN_H */
