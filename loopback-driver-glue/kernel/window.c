// SPDX-License-Identifier: GPL-2.0
/*
 * The memory file: a device's IOVA window for mmap().
 *
 * A mapping covers any part of the window and is never changed by us: pages
 * appear in it by page fault, and disappear when the driver unmaps them. A
 * fault looks its page up and inserts it under map_lock held shared; whoever
 * takes pages away does so under map_lock held exclusive and zaps before it
 * lets go, so no fault can bring a page back that has gone.
 *
 * VM_PFNMAP keeps the kernel's own users out (no reference to a page can be
 * had: no O_DIRECT, no vmsplice, no process_vm_readv), and since every mapping
 * is found through the one inode of the device, zapping reaches them all.
 */
#include "compat.h"
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/vmalloc.h>
#include "internal.h"

#define VLB_FS_MAGIC	0x766c6200	/* "vlb" */

/* Pages of a scatter list that one fault brings in at most. */
#define FAULT_AROUND	32UL

static struct vfsmount *vlb_mount;
static int vlb_mount_count;

static int vlb_init_fs_context(struct fs_context *fc)
{
	/* mmap() refuses PROT_EXEC; init_pseudo() does this since 6.17 */
	fc->s_iflags |= SB_I_NOEXEC;
	return init_pseudo(fc, VLB_FS_MAGIC) ? 0 : -ENOMEM;
}

/* Not registered: only pinned while there are devices. */
static struct file_system_type vlb_fs_type = {
	.name = "virtio_loopback",
	.owner = THIS_MODULE,
	.init_fs_context = vlb_init_fs_context,
	.kill_sb = kill_anon_super,
};

/* The page of the null-device era, and of every address without a mapping. */
static struct page *dummy_page(struct vlb_device *dev)
{
	atomic64_inc(&dev->stats.stale_faults);
	return dev->dummy;
}

static struct page *ring_page(struct vlb_device *dev, u64 addr)
{
	u64 offset = addr - VLB_RING_BASE;
	u32 i = offset / VLB_RING_STRIDE;
	struct vlb_queue *q;

	if (addr < VLB_RING_BASE || i >= dev->num_queues)
		return NULL;
	q = &dev->queues[array_index_nospec(i, dev->num_queues)];
	offset %= VLB_RING_STRIDE;
	if (offset >= PAGE_ALIGN(vlb_shadow_ring_bytes(q->max)))
		return NULL;
	return vmalloc_to_page(q->ring + offset);
}

/* The page at @index outside the scatter lists. */
static struct page *small_page(struct vlb_device *dev, unsigned long index)
{
	u64 addr = (u64)index << PAGE_SHIFT;
	struct page *page;

	if (addr < VLB_BOUNCE_BASE)
		return ring_page(dev, addr);
	page = vlb_bounce_page(&dev->bounce, addr - VLB_BOUNCE_BASE);
	/* the slot may get one later, see vlb_window_freshen() */
	if (!page)
		WRITE_ONCE(dev->bounce_stale, true);
	return page;
}

/*
 * Inserts the pages of @rec around the fault, as far as they are in the same
 * aligned group. Those that are there already are left alone.
 */
static vm_fault_t insert_record(struct vm_fault *vmf, struct vlb_record *rec)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long first, last, i;
	vm_fault_t ret;

	ret = vmf_insert_pfn(vma, vmf->address & PAGE_MASK,
			     page_to_pfn(rec->pages[vmf->pgoff - rec->first]));
	if (ret != VM_FAULT_NOPAGE)
		return ret;

	first = max3(round_down(vmf->pgoff, FAULT_AROUND), rec->first,
		     vma->vm_pgoff);
	last = min3(round_down(vmf->pgoff, FAULT_AROUND) + FAULT_AROUND,
		    rec->first + rec->npages, vma->vm_pgoff + vma_pages(vma));
	for (i = first; i < last; i++) {
		if (i == vmf->pgoff)
			continue;
		if (vmf_insert_pfn(vma, vma->vm_start +
				   ((i - vma->vm_pgoff) << PAGE_SHIFT),
				   page_to_pfn(rec->pages[i - rec->first])) !=
		    VM_FAULT_NOPAGE)
			break;
	}
	return ret;
}

static vm_fault_t window_fault(struct vm_fault *vmf)
{
	struct vlb_device *dev = vmf->vma->vm_private_data;
	struct vlb_record *rec = NULL;
	struct page *page = NULL;
	vm_fault_t ret;

	atomic64_inc(&dev->stats.faults);
	down_read(&dev->map_lock);
	if (dev->window_open) {
		if (vmf->pgoff >= dev->iova.min)
			rec = vlb_iova_find(&dev->iova, vmf->pgoff);
		else
			page = small_page(dev, vmf->pgoff);
	}
	if (rec) {
		ret = insert_record(vmf, rec);
	} else {
		if (!page)
			page = dummy_page(dev);
		ret = vmf_insert_pfn(vmf->vma, vmf->address & PAGE_MASK,
				     page_to_pfn(page));
	}
	up_read(&dev->map_lock);
	return ret;
}

static const struct vm_operations_struct window_vm_ops = {
	.fault = window_fault,
};

static int window_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct vlb_device *dev = file->private_data;
	u64 pages = dev->window_size >> PAGE_SHIFT;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff > pages || vma_pages(vma) > pages - vma->vm_pgoff)
		return -EINVAL;
	vlb_vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTCOPY | VM_DONTEXPAND |
			 VM_DONTDUMP);
	vma->vm_private_data = dev;
	vma->vm_ops = &window_vm_ops;
	return 0;
}

static long window_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct vlb_device *dev = file->private_data;

	if (cmd != VIRTIO_LOOPBACK_EXPORT_DMABUF)
		return -ENOTTY;
	return vlb_dmabuf_export(dev, (void __user *)arg);
}

static loff_t window_llseek(struct file *file, loff_t offset, int whence)
{
	struct vlb_device *dev = file->private_data;

	return fixed_size_llseek(file, offset, whence, dev->window_size);
}

static int window_release(struct inode *inode, struct file *file)
{
	vlb_device_put(file->private_data);
	return 0;
}

static const struct file_operations window_fops = {
	.owner = THIS_MODULE,
	.mmap = window_mmap,
	.unlocked_ioctl = window_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = window_llseek,
	.release = window_release,
};

/**
 * vlb_window_file - make a memory file
 * @dev: the device
 *
 * Return: a file descriptor or a negative error; -ENODEV after a take-over
 */
int vlb_window_file(struct vlb_device *dev)
{
	struct file *file;
	int fd;

	if (vlb_is_null(dev))
		return -ENODEV;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	/* alloc_file_pseudo() takes over the first, the file's end drops both */
	ihold(dev->inode);
	__module_get(THIS_MODULE);
	file = alloc_file_pseudo(dev->inode, vlb_mount,
				 "[virtio-loopback-memory]", O_RDWR,
				 &window_fops);
	if (IS_ERR(file)) {
		module_put(THIS_MODULE);
		iput(dev->inode);
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	vlb_device_get(dev);
	file->private_data = dev;
	fd_install(fd, file);
	return fd;
}

/**
 * vlb_window_zap - let the next access to some pages fault again
 * @dev: the device
 * @first: first page
 * @npages: how many; 0: all to the end
 *
 * Called with map_lock held exclusive.
 */
void vlb_window_zap(struct vlb_device *dev, unsigned long first,
		    unsigned long npages)
{
	unmap_mapping_range(dev->inode->i_mapping, (loff_t)first << PAGE_SHIFT,
			    (loff_t)npages << PAGE_SHIFT, 1);
}

/**
 * vlb_window_freshen - take stale pages of bounce slots out of view
 * @dev: the device
 *
 * A slot that was looked at before it had a page shows the dummy page. Slots
 * get pages in atomic context, which cannot zap: so that is done here, after
 * the fact. Only a device side that looks where nothing is mapped has to wait.
 */
void vlb_window_freshen(struct vlb_device *dev)
{
	unsigned long first = VLB_BOUNCE_BASE >> PAGE_SHIFT;

	if (!READ_ONCE(dev->bounce_stale))
		return;
	down_write(&dev->map_lock);
	WRITE_ONCE(dev->bounce_stale, false);
	vlb_window_zap(dev, first, dev->iova.min - first);
	up_write(&dev->map_lock);
}

static void set_window(struct vlb_device *dev, bool open)
{
	down_write(&dev->map_lock);
	dev->window_open = open;
	vlb_window_zap(dev, 0, 0);
	if (!open)
		clear_page(page_address(dev->dummy));
	up_write(&dev->map_lock);
}

/**
 * vlb_window_open - show the driver's memory
 * @dev: the device
 */
void vlb_window_open(struct vlb_device *dev)
{
	set_window(dev, true);
}

/**
 * vlb_window_close - revoke the device side's view of all memory
 * @dev: the device
 *
 * Every mapping shows zeros afterwards, whatever process it is in.
 */
void vlb_window_close(struct vlb_device *dev)
{
	set_window(dev, false);
}

/**
 * vlb_window_init - make the address space and its inode
 * @dev: the device; its bounce region exists
 *
 * Return: 0 or a negative error; then vlb_window_destroy() is still to be
 * called
 */
int vlb_window_init(struct vlb_device *dev)
{
	u64 sg_base = VLB_BOUNCE_BASE + ((u64)dev->bounce.cap << PAGE_SHIFT);
	struct inode *inode;
	int err;

	vlb_iova_init(&dev->iova, sg_base >> PAGE_SHIFT,
		      dev->window_size >> PAGE_SHIFT);
	dev->dummy = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!dev->dummy)
		return -ENOMEM;
	err = simple_pin_fs(&vlb_fs_type, &vlb_mount, &vlb_mount_count);
	if (err)
		return err;
	inode = alloc_anon_inode(vlb_mount->mnt_sb);
	if (IS_ERR(inode)) {
		simple_release_fs(&vlb_mount, &vlb_mount_count);
		return PTR_ERR(inode);
	}
	i_size_write(inode, dev->window_size);
	dev->inode = inode;
	return 0;
}

/**
 * vlb_window_destroy - the opposite; safe if init failed or was not called
 * @dev: the device, without memory files
 */
void vlb_window_destroy(struct vlb_device *dev)
{
	if (dev->inode) {
		iput(dev->inode);
		simple_release_fs(&vlb_mount, &vlb_mount_count);
	}
	if (dev->dummy) {
		vlb_iova_destroy(&dev->iova);
		__free_page(dev->dummy);
	}
}
