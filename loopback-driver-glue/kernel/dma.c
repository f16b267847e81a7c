// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver maps: the DMA operations of the parent device, which are the
 * transport's IOMMU.
 *
 * - Scatter lists (GEM objects) are shown as they are: their own pages, whole
 *   ones only, at consecutive addresses, so the device side reads them in
 *   place and gets one memory entry for up to 2 GiB.
 * - Single buffers (commands, responses, indirect tables, mapped under a
 *   spinlock) share their pages with other data, so they get a copy: bounce.h.
 * - Rings get memory that is nowhere in the window: the device side works on
 *   the shadow queue.
 *
 * Scatter lists are mapped and unmapped in process context only; that is what
 * DRM does, and zapping sleeps.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "compat.h"
#include <linux/memremap.h>
#include <linux/scatterlist.h>
#include "internal.h"

#define MAX_SEGMENT	0x80000000UL	/* lengths are u32 in virtio-gpu */

static void *vlb_alloc(struct device *parent, size_t size, dma_addr_t *handle,
		       gfp_t gfp, unsigned long attrs)
{
	struct vlb_device *dev = vlb_from_parent(parent);
	size_t bytes = PAGE_ALIGN(size);
	void *memory = alloc_pages_exact(bytes, gfp | __GFP_ZERO);

	/* unique, but leads nowhere */
	if (memory)
		*handle = dev->window_size +
			  atomic64_fetch_add(bytes, &dev->ring_handle);
	return memory;
}

static void vlb_free(struct device *parent, size_t size, void *memory,
		     dma_addr_t handle, unsigned long attrs)
{
	free_pages_exact(memory, PAGE_ALIGN(size));
}

static dma_addr_t vlb_map_buffer(struct device *parent, VLB_DMA_BUFFER,
				 size_t size, enum dma_data_direction dir,
				 unsigned long attrs)
{
	struct vlb_device *dev = vlb_from_parent(parent);
	void *buffer = vlb_dma_buffer(attrs);
	u64 slot;
	int err;

	if (!buffer)
		return DMA_MAPPING_ERROR;
	err = vlb_bounce_map(&dev->bounce, buffer, size, dir, &slot);
	if (vlb_bounce_is_low(&dev->bounce) || READ_ONCE(dev->bounce_stale))
		queue_work(vlb_drain_wq, &dev->refill_work);
	if (err) {
		pr_warn_ratelimited("%s: no bounce pages for %zu bytes: %u of %u in use\n",
				    dev->name, size,
				    READ_ONCE(dev->bounce.used),
				    dev->bounce.cap);
		return DMA_MAPPING_ERROR;
	}
	return VLB_BOUNCE_BASE + slot;
}

static void vlb_unmap_buffer(struct device *parent, dma_addr_t handle,
			     size_t size, enum dma_data_direction dir,
			     unsigned long attrs)
{
	struct vlb_device *dev = vlb_from_parent(parent);
	struct vlb_mapping mapping;
	int left;

	left = vlb_bounce_unmap(&dev->bounce, handle - VLB_BOUNCE_BASE,
				&mapping);
	if (WARN_ON_ONCE(left < 0))
		return;
	/* on the driver's own copy: the device side cannot change it any more */
	if (mapping.tag.type && mapping.dir != DMA_TO_DEVICE)
		atomic64_add(dev->type->filter(&mapping.tag, mapping.orig,
					       mapping.len),
			     &dev->stats.filtered);
	if (!left)
		wake_up_all(&dev->bounce_wait);
}

static void vlb_sync_for_cpu(struct device *parent, dma_addr_t handle,
			     size_t size, enum dma_data_direction dir)
{
	struct vlb_device *dev = vlb_from_parent(parent);

	if (dir != DMA_TO_DEVICE)
		vlb_bounce_sync(&dev->bounce, handle - VLB_BOUNCE_BASE, size,
				false);
}

static void vlb_sync_for_device(struct device *parent, dma_addr_t handle,
				size_t size, enum dma_data_direction dir)
{
	struct vlb_device *dev = vlb_from_parent(parent);

	if (dir != DMA_FROM_DEVICE)
		vlb_bounce_sync(&dev->bounce, handle - VLB_BOUNCE_BASE, size,
				true);
}

/* Scatter lists are the pages themselves. */
static void vlb_sync_sg(struct device *parent, struct scatterlist *sgl,
			int nents, enum dma_data_direction dir)
{
}

/* Whether an entry can be shown: whole pages of ordinary memory. */
static bool valid_entry(struct scatterlist *sg)
{
	struct page *page = sg_page(sg);

	return page && !sg->offset && sg->length &&
	       PAGE_ALIGNED(sg->length) && sg->length <= MAX_SEGMENT &&
	       !is_zone_device_page(page);
}

static long count_pages(struct scatterlist *sgl, int nents)
{
	struct scatterlist *sg;
	long pages = 0;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		if (!valid_entry(sg))
			return -EINVAL;
		pages += sg->length >> PAGE_SHIFT;
	}
	return pages ?: -EINVAL;
}

static void list_pages(struct scatterlist *sgl, int nents, struct page **pages)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		unsigned long pfn = page_to_pfn(sg_page(sg));
		unsigned long end = pfn + (sg->length >> PAGE_SHIFT);

		while (pfn < end)
			*pages++ = pfn_to_page(pfn++);
	}
}

/* The list's addresses are consecutive: as few segments as lengths allow. */
static int set_segments(struct scatterlist *sgl, int nents, u64 addr, u64 len)
{
	struct scatterlist *sg;
	int i, used = 0;

	for_each_sg(sgl, sg, nents, i) {
		u64 n = min_t(u64, len, MAX_SEGMENT);

		sg_dma_address(sg) = n ? addr : 0;
		sg_dma_len(sg) = n;
		used += !!n;
		addr += n;
		len -= n;
	}
	return used;
}

static void free_record(struct vlb_record *rec)
{
	kvfree(rec->pages);
	kfree(rec);
}

static struct vlb_record *make_record(struct scatterlist *sgl, int nents,
				      unsigned long npages)
{
	struct vlb_record *rec = kzalloc(sizeof(*rec), GFP_KERNEL_ACCOUNT);

	if (!rec)
		return NULL;
	rec->npages = npages;
	rec->pages = kvmalloc_array(npages, sizeof(*rec->pages),
				    GFP_KERNEL_ACCOUNT);
	if (!rec->pages) {
		kfree(rec);
		return NULL;
	}
	list_pages(sgl, nents, rec->pages);
	return rec;
}

static int vlb_map_sg(struct device *parent, struct scatterlist *sgl, int nents,
		      enum dma_data_direction dir, unsigned long attrs)
{
	struct vlb_device *dev = vlb_from_parent(parent);
	struct vlb_record *rec;
	long npages;
	int err;

	npages = count_pages(sgl, nents);
	if (npages < 0)
		return npages;
	rec = make_record(sgl, nents, npages);
	if (!rec)
		return -ENOMEM;

	down_write(&dev->map_lock);
	err = vlb_iova_add(&dev->iova, rec);
	/* a stale access may have left the dummy page there */
	if (!err && atomic64_read(&dev->stats.stale_faults))
		vlb_window_zap(dev, rec->first, rec->npages);
	up_write(&dev->map_lock);
	if (err) {
		free_record(rec);
		return -ENOMEM;
	}
	return set_segments(sgl, nents, (u64)rec->first << PAGE_SHIFT,
			    (u64)npages << PAGE_SHIFT);
}

static void vlb_unmap_sg(struct device *parent, struct scatterlist *sgl,
			 int nents, enum dma_data_direction dir,
			 unsigned long attrs)
{
	struct vlb_device *dev = vlb_from_parent(parent);
	struct vlb_record *rec;

	down_write(&dev->map_lock);
	rec = vlb_iova_remove(&dev->iova, sg_dma_address(sgl) >> PAGE_SHIFT);
	if (rec)
		vlb_window_zap(dev, rec->first, rec->npages);
	up_write(&dev->map_lock);
	if (!WARN_ON_ONCE(!rec))
		free_record(rec);
}

static int vlb_dma_supported(struct device *parent, u64 mask)
{
	return 1;
}

/* DRM builds its scatter lists with entries no longer than this. */
static size_t vlb_max_mapping_size(struct device *parent)
{
	return MAX_SEGMENT;
}

static const struct dma_map_ops vlb_dma_ops = {
	.alloc = vlb_alloc,
	.free = vlb_free,
	VLB_DMA_BUFFER_OPS(vlb_map_buffer, vlb_unmap_buffer),
	.map_sg = vlb_map_sg,
	.unmap_sg = vlb_unmap_sg,
	.sync_single_for_cpu = vlb_sync_for_cpu,
	.sync_single_for_device = vlb_sync_for_device,
	.sync_sg_for_cpu = vlb_sync_sg,
	.sync_sg_for_device = vlb_sync_sg,
	.dma_supported = vlb_dma_supported,
	.max_mapping_size = vlb_max_mapping_size,
};

/**
 * vlb_dma_init - give the parent its DMA operations
 * @dev: the device, before its parent is registered
 */
void vlb_dma_init(struct vlb_device *dev)
{
	struct device *parent = &dev->pdev.dev;

	set_dma_ops(parent, &vlb_dma_ops);
	dev->pdev.platform_dma_mask = DMA_BIT_MASK(64);
	parent->dma_mask = &dev->pdev.platform_dma_mask;
	parent->coherent_dma_mask = DMA_BIT_MASK(64);
	parent->dma_parms = &dev->pdev.dma_parms;
	dma_set_max_seg_size(parent, MAX_SEGMENT);
}

/**
 * vlb_dma_destroy - forget what the driver never unmapped
 * @dev: the device, which nobody else uses any more
 *
 * virtio_gpu loses an object now and then when it is unplugged.
 */
void vlb_dma_destroy(struct vlb_device *dev)
{
	struct vlb_record *rec;

	while (dev->inode && (rec = vlb_iova_any(&dev->iova))) {
		vlb_iova_remove(&dev->iova, rec->first);
		free_record(rec);
	}
}

/**
 * vlb_dma_wait_idle - wait until the driver has no buffer mapped
 * @dev: the device
 * @timeout: in jiffies
 *
 * Return: whether that is so
 */
bool vlb_dma_wait_idle(struct vlb_device *dev, unsigned long timeout)
{
	return wait_event_timeout(dev->bounce_wait,
				  !READ_ONCE(dev->bounce.used), timeout);
}
