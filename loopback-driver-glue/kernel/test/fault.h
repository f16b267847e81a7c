/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations that fail on demand, for tests: distribution kernels have no
 * fault injection. plain.h includes this, after all kernel headers, in a module
 * that is built with -DVIRTIO_LOOPBACK_FAULTS (make VLB_FAULTS=1), and in no
 * other. It stands in front of everything the module calls that can run out of
 * memory or descriptors, and counts what is given back, so that a test sees a
 * leak as a number that is not 0.
 *
 * Module parameters, see fault.c: fault_at, fault_times, fault_tgid,
 * fault_only, fault_atomic, fault_seen, fault_failed, fault_where, fault_live.
 */
#ifndef VLB_TEST_FAULT_H
#define VLB_TEST_FAULT_H

#include <linux/anon_inodes.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/idr.h>
#include <linux/maple_tree.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/virtio.h>
#include <linux/virtio_ring.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

/*
 * Counts one call, and says whether it is to fail. @what is the function that
 * would be called, @where the one that calls it.
 */
bool vlb_fault(const char *what, const char *where, bool may_sleep);
/* One thing more, or fewer, that has to be given back. */
void vlb_fault_live(int change);

#define VLB_FAULT(what, may_sleep)	vlb_fault(#what, __func__, may_sleep)

static inline void *vlb_fault_got(void *thing)
{
	if (!IS_ERR_OR_NULL(thing))
		vlb_fault_live(1);
	return thing;
}

static inline int vlb_fault_did(int err)
{
	if (err >= 0)
		vlb_fault_live(1);
	return err;
}

static inline void vlb_fault_gave(const void *thing)
{
	if (thing)
		vlb_fault_live(-1);
}

/*
 * The real functions, some of which are macros, under other names. VLB_REAL
 * defines vlb_real_NAME.
 */
#define VLB_REAL(type, name, params, args) \
	static inline type vlb_real_##name params { return name args; }
#define VLB_REAL_VOID(name, params, args) \
	static inline void vlb_real_##name params { name args; }

VLB_REAL(void *, kmalloc, (size_t n, gfp_t gfp), (n, gfp))
VLB_REAL(void *, kzalloc, (size_t n, gfp_t gfp), (n, gfp))
VLB_REAL(void *, kvcalloc, (size_t n, size_t size, gfp_t gfp), (n, size, gfp))
VLB_REAL(void *, kvmalloc_array, (size_t n, size_t size, gfp_t gfp),
	 (n, size, gfp))
VLB_REAL(void *, __vmalloc, (unsigned long n, gfp_t gfp), (n, gfp))
VLB_REAL(struct page *, alloc_page, (gfp_t gfp), (gfp))
VLB_REAL(void *, alloc_pages_exact, (size_t n, gfp_t gfp), (n, gfp))
VLB_REAL(void *, memdup_user, (const void __user *p, size_t n), (p, n))
VLB_REAL(struct workqueue_struct *, alloc_workqueue,
	 (const char *name, unsigned int flags, int max), ("%s", flags, max, name))
VLB_REAL_VOID(kfree, (const void *p), (p))
VLB_REAL_VOID(kvfree, (const void *p), (p))
VLB_REAL_VOID(vfree, (const void *p), (p))
VLB_REAL_VOID(__free_page, (struct page *page), (page))
VLB_REAL_VOID(free_pages_exact, (void *p, size_t n), (p, n))

/* Allocators: NULL, or an error pointer, when they fail. */
#define VLB_FAULT_GET(name, gfp, failed, ...) \
	(VLB_FAULT(name, gfpflags_allow_blocking(gfp)) ? (failed) : \
	 vlb_fault_got(vlb_real_##name(__VA_ARGS__)))

#undef kmalloc
#define kmalloc(n, gfp)		VLB_FAULT_GET(kmalloc, gfp, NULL, n, gfp)
#undef kzalloc
#define kzalloc(n, gfp)		VLB_FAULT_GET(kzalloc, gfp, NULL, n, gfp)
#undef kvcalloc
#define kvcalloc(n, size, gfp)	VLB_FAULT_GET(kvcalloc, gfp, NULL, n, size, gfp)
#undef kvmalloc_array
#define kvmalloc_array(n, size, gfp) \
	VLB_FAULT_GET(kvmalloc_array, gfp, NULL, n, size, gfp)
#undef __vmalloc
#define __vmalloc(n, gfp)	VLB_FAULT_GET(__vmalloc, gfp, NULL, n, gfp)
#undef alloc_page
#define alloc_page(gfp)		VLB_FAULT_GET(alloc_page, gfp, NULL, gfp)
#undef alloc_pages_exact
#define alloc_pages_exact(n, gfp) \
	VLB_FAULT_GET(alloc_pages_exact, gfp, NULL, n, gfp)
#undef memdup_user
#define memdup_user(p, n) \
	VLB_FAULT_GET(memdup_user, GFP_KERNEL, ERR_PTR(-ENOMEM), p, n)
#undef alloc_workqueue
#define alloc_workqueue(name, flags, max) \
	VLB_FAULT_GET(alloc_workqueue, GFP_KERNEL, NULL, name, flags, max)

#undef kfree
#define kfree(p)		(vlb_fault_gave(p), vlb_real_kfree(p))
#undef kvfree
#define kvfree(p)		(vlb_fault_gave(p), vlb_real_kvfree(p))
#undef vfree
#define vfree(p)		(vlb_fault_gave(p), vlb_real_vfree(p))
#undef __free_page
#define __free_page(page)	(vlb_fault_gave(page), vlb_real___free_page(page))
#undef free_pages_exact
#define free_pages_exact(p, n) \
	(vlb_fault_gave(p), vlb_real_free_pages_exact(p, n))
#undef destroy_workqueue
#define destroy_workqueue(wq)	(vlb_fault_gave(wq), destroy_workqueue(wq))

/*
 * What allocates inside, and is a plain function everywhere: the name inside
 * its own macro is the function.
 */
#define vmap(pages, n, flags, prot) \
	((void *)(VLB_FAULT(vmap, true) ? NULL : \
		  vlb_fault_got(vmap(pages, n, flags, prot))))
#define vunmap(p)		(vlb_fault_gave(p), vunmap(p))
#define ida_alloc_max(ida, max, gfp) \
	(VLB_FAULT(ida_alloc_max, true) ? -ENOMEM : \
	 vlb_fault_did(ida_alloc_max(ida, max, gfp)))
#undef ida_free
#define ida_free(ida, id)	(vlb_fault_live(-1), ida_free(ida, id))
#define mtree_insert_range(tree, first, last, entry, gfp) \
	(VLB_FAULT(mtree_insert_range, true) ? -ENOMEM : \
	 mtree_insert_range(tree, first, last, entry, gfp))
#define simple_pin_fs(type, mount, count) \
	(VLB_FAULT(simple_pin_fs, true) ? -ENOMEM : \
	 vlb_fault_did(simple_pin_fs(type, mount, count)))
#define simple_release_fs(mount, count) \
	(vlb_fault_live(-1), simple_release_fs(mount, count))
#define alloc_anon_inode(sb) \
	(VLB_FAULT(alloc_anon_inode, true) ? ERR_PTR(-ENOMEM) : \
	 alloc_anon_inode(sb))
#define alloc_file_pseudo(inode, mount, name, flags, fops) \
	(VLB_FAULT(alloc_file_pseudo, true) ? ERR_PTR(-ENOMEM) : \
	 alloc_file_pseudo(inode, mount, name, flags, fops))
#define anon_inode_getfile(name, fops, priv, flags) \
	(VLB_FAULT(anon_inode_getfile, true) ? ERR_PTR(-ENOMEM) : \
	 anon_inode_getfile(name, fops, priv, flags))
#define get_unused_fd_flags(flags) \
	(VLB_FAULT(get_unused_fd_flags, true) ? -EMFILE : \
	 get_unused_fd_flags(flags))
#define misc_register(misc) \
	(VLB_FAULT(misc_register, true) ? -ENOMEM : misc_register(misc))
#define vmf_insert_pfn(vma, addr, pfn) \
	(VLB_FAULT(vmf_insert_pfn, true) ? VM_FAULT_OOM : \
	 vmf_insert_pfn(vma, addr, pfn))
#undef dma_buf_export
#define dma_buf_export(info) \
	(VLB_FAULT(dma_buf_export, true) ? ERR_PTR(-ENOMEM) : \
	 dma_buf_export(info))
#define dma_buf_fd(buf, flags) \
	(VLB_FAULT(dma_buf_fd, true) ? -EMFILE : dma_buf_fd(buf, flags))
#define sg_alloc_table_from_pages_segment(table, ...) \
	(VLB_FAULT(sg_alloc_table_from_pages_segment, true) ? -ENOMEM : \
	 vlb_fault_did(sg_alloc_table_from_pages_segment(table, __VA_ARGS__)))
#define sg_free_table(table)	(vlb_fault_live(-1), sg_free_table(table))
#define dma_map_sgtable(dev, table, dir, attrs) \
	(VLB_FAULT(dma_map_sgtable, true) ? -ENOMEM : \
	 vlb_fault_did(dma_map_sgtable(dev, table, dir, attrs)))
#define dma_unmap_sgtable(dev, table, dir, attrs) \
	(vlb_fault_live(-1), dma_unmap_sgtable(dev, table, dir, attrs))
#define vring_create_virtqueue(...) \
	(VLB_FAULT(vring_create_virtqueue, true) ? NULL : \
	 (struct virtqueue *)vlb_fault_got(vring_create_virtqueue(__VA_ARGS__)))
#define vring_del_virtqueue(vq) \
	(vlb_fault_live(-1), vring_del_virtqueue(vq))
#define eventfd_ctx_fdget(fd)	vlb_fault_got(eventfd_ctx_fdget(fd))
#define eventfd_ctx_fileget(file)	vlb_fault_got(eventfd_ctx_fileget(file))
#define eventfd_ctx_put(ctx)	(vlb_fault_gave(ctx), eventfd_ctx_put(ctx))

/* These begin the life of a device also when they fail. */
static inline int vlb_fault_platform_device(struct platform_device *pdev,
					    const char *where)
{
	if (!vlb_fault("platform_device_register", where, true))
		return platform_device_register(pdev);
	device_initialize(&pdev->dev);
	return -ENOMEM;
}
#define platform_device_register(pdev) \
	vlb_fault_platform_device(pdev, __func__)

static inline int vlb_fault_virtio_device(struct virtio_device *vdev,
					  const char *where)
{
	if (!vlb_fault("register_virtio_device", where, true))
		return register_virtio_device(vdev);
	device_initialize(&vdev->dev);
	return -ENOMEM;
}
#define register_virtio_device(vdev) \
	vlb_fault_virtio_device(vdev, __func__)

#endif /* VLB_TEST_FAULT_H */
