// SPDX-License-Identifier: GPL-2.0
/*
 * EXPORT_DMABUF: pages of one scatter list of the driver as a dma-buf.
 *
 * The dma-buf holds references to the pages, so they are not given to anybody
 * else as long as it lives, and keep what was in them last when the driver
 * lets go of them.
 */
#include "compat.h"
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fcntl.h>
#include <linux/iosys-map.h>
#include <linux/scatterlist.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include "internal.h"

/**
 * struct vlb_export - what is behind a dma-buf
 * @pages: its pages, a reference each
 * @npages: how many
 * @lock: protects @vaddr and @attached
 * @vaddr: all pages in kernel space, once somebody asked; kept
 * @attached: tables mapped by other devices
 */
struct vlb_export {
	struct page **pages;
	unsigned long npages;
	struct mutex lock;
	void *vaddr;
	struct list_head attached;
};

/**
 * struct vlb_attached - a table mapped by another device
 * @entry: in vlb_export.attached
 * @device: that device
 * @table: its table, first member of the mapping that it was given
 */
struct vlb_attached {
	struct list_head entry;
	struct device *device;
	struct sg_table table;
};

static void free_export(struct vlb_export *export)
{
	unsigned long i;

	for (i = 0; i < export->npages; i++)
		put_page(export->pages[i]);
	kvfree(export->pages);
	kfree(export);
}

/* Bytes of the longest segment that an importer takes. */
static unsigned int max_segment(struct device *importer)
{
	size_t most = min_t(size_t, dma_get_max_seg_size(importer),
			    dma_max_mapping_size(importer));

	return max_t(size_t, most, PAGE_SIZE);
}

static struct sg_table *export_map(struct dma_buf_attachment *attachment,
				   enum dma_data_direction dir)
{
	struct vlb_export *export = attachment->dmabuf->priv;
	struct vlb_attached *attached;
	int err;

	attached = kzalloc(sizeof(*attached), GFP_KERNEL);
	if (!attached)
		return ERR_PTR(-ENOMEM);
	attached->device = attachment->dev;
	err = sg_alloc_table_from_pages_segment(&attached->table,
						export->pages, export->npages,
						0, export->npages << PAGE_SHIFT,
						max_segment(attachment->dev),
						GFP_KERNEL);
	if (err)
		goto fail;
	err = dma_map_sgtable(attachment->dev, &attached->table, dir, 0);
	if (err)
		goto fail_table;
	mutex_lock(&export->lock);
	list_add(&attached->entry, &export->attached);
	mutex_unlock(&export->lock);
	return &attached->table;

fail_table:
	sg_free_table(&attached->table);
fail:
	kfree(attached);
	return ERR_PTR(err);
}

static void export_unmap(struct dma_buf_attachment *attachment,
			 struct sg_table *table, enum dma_data_direction dir)
{
	struct vlb_export *export = attachment->dmabuf->priv;
	struct vlb_attached *attached = container_of(table, struct vlb_attached,
						     table);

	mutex_lock(&export->lock);
	list_del(&attached->entry);
	mutex_unlock(&export->lock);
	dma_unmap_sgtable(attachment->dev, table, dir, 0);
	sg_free_table(table);
	kfree(attached);
}

static int export_begin_cpu(struct dma_buf *buf, enum dma_data_direction dir)
{
	struct vlb_export *export = buf->priv;
	struct vlb_attached *attached;

	mutex_lock(&export->lock);
	list_for_each_entry(attached, &export->attached, entry)
		dma_sync_sgtable_for_cpu(attached->device, &attached->table,
					 dir);
	mutex_unlock(&export->lock);
	return 0;
}

static int export_end_cpu(struct dma_buf *buf, enum dma_data_direction dir)
{
	struct vlb_export *export = buf->priv;
	struct vlb_attached *attached;

	mutex_lock(&export->lock);
	list_for_each_entry(attached, &export->attached, entry)
		dma_sync_sgtable_for_device(attached->device, &attached->table,
					    dir);
	mutex_unlock(&export->lock);
	return 0;
}

/*
 * By number, not by page: these pages belong to the driver's own file, whose
 * reverse mapping must not meet ours. The mapping keeps the dma-buf, the
 * dma-buf the pages.
 */
static vm_fault_t export_fault(struct vm_fault *vmf)
{
	struct vlb_export *export = vmf->vma->vm_private_data;

	if (vmf->pgoff >= export->npages)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn(vmf->vma, vmf->address & PAGE_MASK,
			      page_to_pfn(export->pages[vmf->pgoff]));
}

static const struct vm_operations_struct export_vm_ops = {
	.fault = export_fault,
};

static int export_mmap(struct dma_buf *buf, struct vm_area_struct *vma)
{
	/* not VM_SHARED: a shared mapping of a read-only file lacks it */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	vlb_vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = buf->priv;
	vma->vm_ops = &export_vm_ops;
	return 0;
}

static int export_vmap(struct dma_buf *buf, struct iosys_map *map)
{
	struct vlb_export *export = buf->priv;

	mutex_lock(&export->lock);
	if (!export->vaddr)
		export->vaddr = vmap(export->pages, export->npages, VM_MAP,
				     PAGE_KERNEL);
	if (export->vaddr)
		iosys_map_set_vaddr(map, export->vaddr);
	mutex_unlock(&export->lock);
	return export->vaddr ? 0 : -ENOMEM;
}

static void export_release(struct dma_buf *buf)
{
	struct vlb_export *export = buf->priv;

	if (export->vaddr)
		vunmap(export->vaddr);
	free_export(export);
}

static const struct dma_buf_ops export_ops = {
	.map_dma_buf = export_map,
	.unmap_dma_buf = export_unmap,
	.begin_cpu_access = export_begin_cpu,
	.end_cpu_access = export_end_cpu,
	.mmap = export_mmap,
	.vmap = export_vmap,
	.release = export_release,
};

static bool valid_range(const struct vlb_device *dev,
			const struct virtio_loopback_range *range)
{
	return range->length && PAGE_ALIGNED(range->iova) &&
	       PAGE_ALIGNED(range->length) &&
	       range->iova < dev->window_size &&
	       range->length <= dev->window_size - range->iova;
}

static bool overlap(const struct virtio_loopback_range *a,
		    const struct virtio_loopback_range *b)
{
	return a->iova < b->iova + b->length && b->iova < a->iova + a->length;
}

/* Total pages, 0 if a range is bad or meets another. */
static unsigned long total_pages(const struct vlb_device *dev,
				 const struct virtio_loopback_range *ranges,
				 u32 count)
{
	u64 total = 0;
	u32 i, k;

	for (i = 0; i < count; i++) {
		if (!valid_range(dev, &ranges[i]))
			return 0;
		for (k = 0; k < i; k++)
			if (overlap(&ranges[i], &ranges[k]))
				return 0;
		total += ranges[i].length;
	}
	return total >> PAGE_SHIFT;
}

/*
 * The scatter list that begins an export of @total pages, which it has at the
 * least. Called with map_lock.
 */
static struct vlb_record *find_record(struct vlb_device *dev,
				      const struct virtio_loopback_range *ranges,
				      unsigned long total)
{
	struct vlb_record *rec;

	if (!dev->window_open)
		return ERR_PTR(-ENODEV);
	rec = vlb_iova_find(&dev->iova, ranges[0].iova >> PAGE_SHIFT);
	return rec && total <= rec->npages ? rec : ERR_PTR(-EINVAL);
}

/*
 * Takes references to the pages of one range, all of them inside @rec. A page
 * without a count of its own (an imported dma-buf may have such) is refused.
 */
static int take_range(struct vlb_export *export, struct vlb_record *rec,
		      const struct virtio_loopback_range *range)
{
	unsigned long first = range->iova >> PAGE_SHIFT;
	unsigned long npages = range->length >> PAGE_SHIFT, i;

	if (first < rec->first || npages > rec->npages ||
	    first - rec->first > rec->npages - npages)
		return -EINVAL;
	for (i = 0; i < npages; i++) {
		struct page *page = rec->pages[first - rec->first + i];

		if (!folio_try_get(page_folio(page)))
			return -EINVAL;
		export->pages[export->npages++] = page;
	}
	return 0;
}

/* Called with map_lock: the driver cannot unmap the record meanwhile. */
static int take_pages(struct vlb_device *dev, struct vlb_export *export,
		      const struct virtio_loopback_range *ranges, u32 count,
		      unsigned long total)
{
	struct vlb_record *rec = find_record(dev, ranges, total);
	u32 i;
	int err = 0;

	if (IS_ERR(rec))
		return PTR_ERR(rec);
	for (i = 0; i < count && !err; i++)
		err = take_range(export, rec, &ranges[i]);
	return err;
}

/* So that nothing is allocated by the size of a claim alone. */
static int check_total(struct vlb_device *dev,
		       const struct virtio_loopback_range *ranges,
		       unsigned long total)
{
	struct vlb_record *rec;

	if (!total)
		return -EINVAL;
	down_read(&dev->map_lock);
	rec = find_record(dev, ranges, total);
	up_read(&dev->map_lock);
	return PTR_ERR_OR_ZERO(rec);
}

static struct vlb_export *make_export(struct vlb_device *dev,
				      const struct virtio_loopback_range *ranges,
				      u32 count)
{
	unsigned long total = total_pages(dev, ranges, count);
	struct vlb_export *export;
	int err;

	err = check_total(dev, ranges, total);
	if (err)
		return ERR_PTR(err);
	export = kzalloc(sizeof(*export), GFP_KERNEL_ACCOUNT);
	if (!export)
		return ERR_PTR(-ENOMEM);
	mutex_init(&export->lock);
	INIT_LIST_HEAD(&export->attached);
	export->pages = kvmalloc_array(total, sizeof(*export->pages),
				       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	err = -ENOMEM;
	if (export->pages) {
		down_read(&dev->map_lock);
		err = take_pages(dev, export, ranges, count, total);
		up_read(&dev->map_lock);
	}
	if (!err)
		return export;
	free_export(export);
	return ERR_PTR(err);
}

static struct dma_buf *make_dmabuf(struct vlb_export *export, u32 flags)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct dma_buf *buf;

	info.ops = &export_ops;
	info.size = export->npages << PAGE_SHIFT;
	info.flags = flags & O_ACCMODE;
	info.priv = export;
	buf = dma_buf_export(&info);
	if (IS_ERR(buf))
		free_export(export);
	return buf;
}

/**
 * vlb_dmabuf_export - VIRTIO_LOOPBACK_EXPORT_DMABUF
 * @dev: the device
 * @arg: user address of struct virtio_loopback_export
 *
 * Return: a file descriptor; -EINVAL if a range is bad or not inside one
 * scatter list, -ENODEV if the driver's memory is not shown at present
 */
long vlb_dmabuf_export(struct vlb_device *dev, void __user *arg)
{
	struct virtio_loopback_range *ranges;
	struct virtio_loopback_export args;
	struct vlb_export *export;
	struct dma_buf *buf;
	int fd;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~(O_CLOEXEC | O_RDWR) || !args.num_ranges ||
	    args.num_ranges > VIRTIO_LOOPBACK_MAX_RANGES ||
	    args.reserved[0] || args.reserved[1])
		return -EINVAL;
	ranges = memdup_user(u64_to_user_ptr(args.ranges),
			     args.num_ranges * sizeof(*ranges));
	if (IS_ERR(ranges))
		return PTR_ERR(ranges);
	export = make_export(dev, ranges, args.num_ranges);
	kfree(ranges);
	if (IS_ERR(export))
		return PTR_ERR(export);
	buf = make_dmabuf(export, args.flags);
	if (IS_ERR(buf))
		return PTR_ERR(buf);
	fd = dma_buf_fd(buf, args.flags & O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(buf);
	return fd;
}
