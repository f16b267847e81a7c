/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every difference between kernel versions, and nothing else. Tried on 6.1,
 * 6.12 and 7.2.
 */
#ifndef VLB_COMPAT_H
#define VLB_COMPAT_H

#include <linux/dma-map-ops.h>
#include <linux/eventfd.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/version.h>
#include <linux/virtio_config.h>
#include <linux/workqueue.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "virtio_loopback needs Linux 6.1 or later"
#endif

#ifndef CONFIG_64BIT
#error "virtio_loopback needs a 64-bit kernel: the window is mapped as a whole"
#endif

/*
 * Without its own dma_map_ops on the parent device there is no window: the
 * driver would hand out physical addresses. 6.12 renamed the option.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#ifndef CONFIG_ARCH_HAS_DMA_OPS
#error "virtio_loopback needs CONFIG_ARCH_HAS_DMA_OPS (on x86: GART_IOMMU or XEN)"
#endif
#elif !defined(CONFIG_DMA_OPS)
#error "virtio_loopback needs CONFIG_DMA_OPS"
#endif

/*
 * The single-buffer operations: struct page until 6.18, physical addresses
 * later. VLB_DMA_BUFFER declares the arguments, vlb_dma_buffer() gives their
 * kernel address or NULL.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#define VLB_DMA_BUFFER		phys_addr_t phys
#define vlb_dma_buffer(attrs)	\
	((attrs) & DMA_ATTR_MMIO ? NULL : phys_to_virt(phys))
#define VLB_DMA_BUFFER_OPS(map, unmap)	.map_phys = (map), .unmap_phys = (unmap)
#else
#define VLB_DMA_BUFFER		struct page *page, unsigned long offset
#define vlb_dma_buffer(attrs)	(page_address(page) + offset)
#define VLB_DMA_BUFFER_OPS(map, unmap)	.map_page = (map), .unmap_page = (unmap)
#endif

/* What find_vqs is told of each queue: one array of structures since 6.11. */
struct vlb_vq_info {
	const char *name;
	vq_callback_t *callback;
	bool ctx;
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define VLB_VQ_INFO_ARGS	struct virtqueue_info infos[]
#define vlb_vq_info(i)		\
	((struct vlb_vq_info){ infos[i].name, infos[i].callback, infos[i].ctx })
#else
#define VLB_VQ_INFO_ARGS	vq_callback_t *callbacks[], \
				const char * const names[], const bool *ctxs
#define vlb_vq_info(i)		\
	((struct vlb_vq_info){ names[i], callbacks[i], ctxs && ctxs[i] })
#endif

static inline void vlb_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

static inline void vlb_vm_flags_set(struct vm_area_struct *vma,
				    unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

/* Waits for what schedule_work() has queued: on system_wq until 6.17. */
static inline void vlb_flush_schedule_work(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	__flush_workqueue(system_percpu_wq);
#else
	__flush_workqueue(system_wq);
#endif
}

/* The namespace became a string in 6.13. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
#define VLB_IMPORT_DMA_BUF()	MODULE_IMPORT_NS("DMA_BUF")
#else
#define VLB_IMPORT_DMA_BUF()	MODULE_IMPORT_NS(DMA_BUF)
#endif

#endif /* VLB_COMPAT_H */
