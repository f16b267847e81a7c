// SPDX-License-Identifier: GPL-2.0
/*
 * A device from CREATE to the last reference.
 *
 * The parent platform device has no driver. DRM holds a reference to it as
 * long as a client has the card open, and such a client still unmaps buffers
 * after the virtio device has gone; so the parent's release, not the
 * unregistering, is what ends a device. The last reference may be dropped
 * anywhere; the memory goes in a work item that the module's exit waits for.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "compat.h"
#include <linux/delay.h>
#include <linux/idr.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/sysfs.h>
#include "internal.h"

#define VLB_MAX_DEVICES		256
#define VLB_EXPORT_DEFAULT	(2ULL << 30)

static unsigned int bounce_max_mb = 1280;
module_param(bounce_max_mb, uint, 0444);
MODULE_PARM_DESC(bounce_max_mb,
		 "most memory for bounce pages of one device, MiB (16 to 2048)");

static DEFINE_IDA(vlb_ida);

/* Protects the list of the devices whose control file is open. */
static DEFINE_MUTEX(vlb_list_lock);
static LIST_HEAD(vlb_list);

static ssize_t name_show(struct device *parent, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%s\n", vlb_from_parent(parent)->name);
}
static DEVICE_ATTR_RO(name);

static ssize_t state_show(struct device *parent, struct device_attribute *attr,
			  char *buf)
{
	struct vlb_device *dev = vlb_from_parent(parent);
	const char *state = "waiting";

	if (vlb_is_null(dev))
		state = "null";
	else if (READ_ONCE(dev->session) == VLB_SESSION_ATTACHED)
		state = "attached";
	else if (READ_ONCE(dev->session) == VLB_SESSION_KEPT)
		state = "kept";
	return sysfs_emit(buf, "%s\n", state);
}
static DEVICE_ATTR_RO(state);

static struct attribute *vlb_attrs[] = {
	&dev_attr_name.attr,
	&dev_attr_state.attr,
	NULL
};
ATTRIBUTE_GROUPS(vlb);

/* The name is free again as soon as the control file is closed. */
static int claim_name(struct vlb_device *dev)
{
	struct vlb_device *other;
	int err = 0;

	mutex_lock(&vlb_list_lock);
	list_for_each_entry(other, &vlb_list, entry)
		if (!strcmp(other->name, dev->name))
			err = -EEXIST;
	if (!err)
		list_add_tail(&dev->entry, &vlb_list);
	mutex_unlock(&vlb_list_lock);
	return err;
}

static void release_name(struct vlb_device *dev)
{
	mutex_lock(&vlb_list_lock);
	list_del_init(&dev->entry);
	mutex_unlock(&vlb_list_lock);
}

static void release_index(struct vlb_device *dev)
{
	if (dev->index >= 0)
		ida_free(&vlb_ida, dev->index);
	dev->index = -1;
}

/* The end of a device, also of one whose making failed half-way. */
static void device_free(struct vlb_device *dev)
{
	u32 i;

	release_name(dev);
	cancel_delayed_work_sync(&dev->release_work);
	cancel_delayed_work_sync(&dev->keep_work);
	cancel_work_sync(&dev->drain_work);
	cancel_work_sync(&dev->refill_work);
	cancel_delayed_work_sync(&dev->shrink_work);
	for (i = 0; i < dev->num_queues; i++)
		vlb_queue_destroy(&dev->queues[i]);
	vlb_dma_destroy(dev);
	vlb_window_destroy(dev);
	vlb_bounce_destroy(&dev->bounce);
	vlb_account_put(dev->exports);
	release_index(dev);
	kfree(dev->config.bytes);
	kfree(dev);
	module_put(THIS_MODULE);
}

static void free_work(struct work_struct *work)
{
	device_free(container_of(work, struct vlb_device, free_work));
}

static void last_put(struct kref *refs)
{
	struct vlb_device *dev = container_of(refs, struct vlb_device, refs);

	queue_work(vlb_lifecycle_wq, &dev->free_work);
}

/**
 * vlb_device_get - take a reference
 * @dev: the device
 */
void vlb_device_get(struct vlb_device *dev)
{
	kref_get(&dev->refs);
}

/**
 * vlb_device_put - drop a reference; any context
 * @dev: the device
 */
void vlb_device_put(struct vlb_device *dev)
{
	kref_put(&dev->refs, last_put);
}

/* Freeing the queues names the parent in traces: the last chance for that. */
static void parent_release(struct device *parent)
{
	struct vlb_device *dev = vlb_from_parent(parent);

	vlb_transport_free_parked(dev);
	vlb_device_put(dev);
}

static void vdev_release(struct device *d)
{
	vlb_device_put(vlb_from_vdev(dev_to_virtio(d)));
}

#define VLB_PROBES		5
#define VLB_PROBE_INTERVAL	100 /* ms */

/*
 * The status as it was before the driver came. Somebody may bind a driver by
 * hand meanwhile, hence device_lock.
 *
 * Return: whether there was anything to forget
 */
static bool forget_failure(struct vlb_device *dev)
{
	bool failed;

	device_lock(&dev->vdev.dev);
	mutex_lock(&dev->lock);
	failed = !dev->vdev.dev.driver && dev->status & VIRTIO_CONFIG_S_FAILED;
	if (failed)
		WRITE_ONCE(dev->status, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	mutex_unlock(&dev->lock);
	device_unlock(&dev->vdev.dev);
	return failed;
}

static void probe_again(struct vlb_device *dev)
{
	int probes;

	for (probes = 1; probes < VLB_PROBES && !READ_ONCE(dev->removed) &&
	     READ_ONCE(dev->status) & VIRTIO_CONFIG_S_FAILED; probes++) {
		msleep(VLB_PROBE_INTERVAL);
		vlb_wait_for_unregistering();
		if (!forget_failure(dev) || device_attach(&dev->vdev.dev) > 0)
			break;
	}
}

static void register_vdev(struct vlb_device *dev)
{
	int err;

	vlb_device_get(dev);
	vlb_wait_for_unregistering();
	dev->vdev.dev.parent = &dev->pdev.dev;
	dev->vdev.dev.release = vdev_release;
	dev->vdev.config = &vlb_config_ops;
	err = register_virtio_device(&dev->vdev);
	if (err) {
		pr_err("%s: cannot register the virtio device: %d\n",
		       dev->name, err);
		put_device(&dev->vdev.dev);
		return;
	}
	dev->registered = true;
	probe_again(dev);
}

/*
 * Registers, which takes as long as the driver's probe, and unregisters. Being
 * one work item, it never does both at the same time. It may run twice for a
 * removal: once more if it was running already when it was queued.
 */
static void lifecycle_work(struct work_struct *work)
{
	struct vlb_device *dev = container_of(work, struct vlb_device,
					      lifecycle_work);

	if (!READ_ONCE(dev->removed)) {
		register_vdev(dev);
	} else if (!dev->unregistered) {
		dev->unregistered = true;
		vlb_unplug(dev);
		platform_device_unregister(&dev->pdev);
	}
	vlb_device_put(dev);
}

/* Each run has a reference of its own. */
static void queue_lifecycle(struct vlb_device *dev)
{
	vlb_device_get(dev);
	if (!queue_work(vlb_lifecycle_wq, &dev->lifecycle_work))
		vlb_device_put(dev);
}

/* Nothing goes to the device side or comes from it. Called with @dev->lock. */
static void hold_all(struct vlb_device *dev)
{
	u32 i;

	for (i = 0; i < dev->num_queues; i++)
		vlb_queue_hold(&dev->queues[i]);
}

/**
 * vlb_device_stall - nothing is answered, until release_work lets go
 * @dev: a device that is being removed
 *
 * Called with @dev->lock.
 */
void vlb_device_stall(struct vlb_device *dev)
{
	hold_all(dev);
	dev->frames_before = atomic_read(&dev->frames);
	dev->stalled_at = jiffies;
	mod_delayed_work(vlb_drain_wq, &dev->release_work, VLB_HOLD);
}

/**
 * vlb_device_answer_all - the null device answers from now on
 * @dev: the device
 *
 * Called with @dev->lock.
 */
void vlb_device_answer_all(struct vlb_device *dev)
{
	u32 i;

	for (i = 0; i < dev->num_queues; i++) {
		vlb_queue_set_mode(&dev->queues[i], VLB_NULL);
		vlb_queue_drain(&dev->queues[i]);
	}
}

static void drain_work(struct work_struct *work)
{
	struct vlb_device *dev = container_of(work, struct vlb_device,
					      drain_work);
	u32 i;

	for (i = 0; i < dev->num_queues; i++)
		vlb_queue_drain(&dev->queues[i]);
}

static void release_work(struct work_struct *work)
{
	struct vlb_device *dev = container_of(to_delayed_work(work),
					      struct vlb_device, release_work);

	mutex_lock(&dev->lock);
	/* else it comes again: see unplug.c */
	if (time_after_eq(jiffies, dev->stalled_at + VLB_HOLD))
		vlb_device_answer_all(dev);
	mutex_unlock(&dev->lock);
}

/* The deadline may be that of an earlier session: then there is a later one. */
static void keep_work(struct work_struct *work)
{
	struct vlb_device *dev = container_of(to_delayed_work(work),
					      struct vlb_device, keep_work);

	mutex_lock(&dev->lock);
	if (dev->session == VLB_SESSION_KEPT && !dev->removed &&
	    time_after_eq(jiffies, dev->keep_until)) {
		WRITE_ONCE(dev->session, VLB_SESSION_GONE);
		vlb_device_quiesce(dev);
	}
	mutex_unlock(&dev->lock);
}

static void refill_work(struct work_struct *work)
{
	struct vlb_device *dev = container_of(work, struct vlb_device,
					      refill_work);

	vlb_bounce_refill(&dev->bounce);
	vlb_window_freshen(dev);
}

static void shrink_work(struct work_struct *work)
{
	vlb_window_shrink(container_of(to_delayed_work(work),
				       struct vlb_device, shrink_work));
}

static void init_fields(struct vlb_device *dev)
{
	kref_init(&dev->refs);
	mutex_init(&dev->lock);
	init_waitqueue_head(&dev->ack_wait);
	init_waitqueue_head(&dev->bounce_wait);
	INIT_WORK(&dev->lifecycle_work, lifecycle_work);
	INIT_WORK(&dev->drain_work, drain_work);
	INIT_DELAYED_WORK(&dev->release_work, release_work);
	INIT_DELAYED_WORK(&dev->keep_work, keep_work);
	INIT_WORK(&dev->refill_work, refill_work);
	INIT_DELAYED_WORK(&dev->shrink_work, shrink_work);
	INIT_WORK(&dev->free_work, free_work);
	spin_lock_init(&dev->config_lock);
	INIT_LIST_HEAD(&dev->entry);
	INIT_LIST_HEAD(&dev->parked);
	spin_lock_init(&dev->events.lock);
	init_waitqueue_head(&dev->events.wait);
	init_rwsem(&dev->map_lock);
	dev->index = -1;
}

static void init_shape(struct vlb_device *dev,
		       const struct virtio_loopback_create *create)
{
	dev->vdev.id.device = create->device_id;
	dev->vdev.id.vendor = create->vendor_id;
	dev->features = create->features;
	dev->window_size = create->window_size ?: VLB_WINDOW_DEFAULT;
	dev->reset_timeout_ms = create->reset_timeout_ms ?: 1000;
	dev->keep_ms = create->keep_ms;
	dev->config.len = create->config_len;
	strscpy(dev->name, create->name, sizeof(dev->name));
}

static int init_memory(struct vlb_device *dev,
		       const struct virtio_loopback_create *create)
{
	u64 cap = (u64)clamp(bounce_max_mb, 16U, 2048U) << 20;
	int err;
	u32 i;

	/* small windows keep three quarters for scatter lists */
	cap = min(cap, dev->window_size / 4);
	if (create->bounce_max)
		cap = min_t(u64, cap, create->bounce_max);
	if (dev->type->bounce_pages)
		cap = min_t(u64, cap,
			    (u64)dev->type->bounce_pages << PAGE_SHIFT);
	dev->exports = vlb_account_create((create->export_max ?:
					   VLB_EXPORT_DEFAULT) >> PAGE_SHIFT);
	if (!dev->exports)
		return -ENOMEM;
	err = vlb_bounce_init(&dev->bounce, cap >> PAGE_SHIFT);
	if (err)
		return err;
	err = vlb_window_init(dev);
	if (err)
		return err;
	dev->num_queues = create->num_queues;
	for (i = 0; i < dev->num_queues; i++) {
		err = vlb_queue_init(&dev->queues[i], dev, i,
				     create->queue_size[i]);
		if (err)
			return err;
	}
	vlb_bounce_refill(&dev->bounce);
	return 0;
}

/**
 * vlb_device_create - make a device that nobody sees yet
 * @create: checked
 * @type: of @create->device_id
 * @config: initial configuration, @create->config_len bytes that kfree() frees;
 *	it belongs to this call, also if that fails
 *
 * Return: the device with one reference, to be started or removed; -EEXIST if
 * the name is taken, -ENOSPC if there are too many devices, -ENOMEM
 */
struct vlb_device *vlb_device_create(const struct virtio_loopback_create *create,
				     const struct vlb_type_ops *type,
				     u8 *config)
{
	struct vlb_device *dev;
	int err;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);
	if (!dev) {
		kfree(config);
		return ERR_PTR(-ENOMEM);
	}
	__module_get(THIS_MODULE);
	init_fields(dev);
	dev->type = type;
	dev->config.bytes = config;
	init_shape(dev, create);
	err = ida_alloc_max(&vlb_ida, VLB_MAX_DEVICES - 1, GFP_KERNEL);
	if (err < 0)
		goto fail;
	dev->index = err;
	err = init_memory(dev, create);
	if (err)
		goto fail;
	err = claim_name(dev);
	if (err)
		goto fail;
	return dev;

fail:
	device_free(dev);
	return ERR_PTR(err);
}

/**
 * vlb_device_start - show the device to the driver core
 * @dev: from vlb_device_create()
 *
 * Does not wait for the driver. After an error the device can only be
 * discarded.
 *
 * Return: 0 or a negative error
 */
int vlb_device_start(struct vlb_device *dev)
{
	int err;

	dev->pdev.name = "virtio-loopback";
	dev->pdev.id = dev->index;
	dev->pdev.dev.release = parent_release;
	dev->pdev.dev.groups = vlb_groups;
	vlb_dma_init(dev);

	vlb_device_get(dev);
	err = platform_device_register(&dev->pdev);
	if (err) {
		platform_device_put(&dev->pdev);
		return err;
	}
	queue_lifecycle(dev);
	return 0;
}

/**
 * vlb_device_discard - give up a device that nobody has seen
 * @dev: from vlb_device_create(), not started
 *
 * Its name and index are free afterwards, its memory a little later.
 */
void vlb_device_discard(struct vlb_device *dev)
{
	release_name(dev);
	release_index(dev);
	vlb_device_put(dev);
}

/**
 * vlb_device_quiesce - stop the device side, answer everything in flight
 * @dev: the device
 *
 * The order matters: nothing new goes to the device side, then it loses its
 * view of the memory, then the null device writes its answers there. Does not
 * wait for the driver. Called with @dev->lock.
 */
void vlb_device_quiesce(struct vlb_device *dev)
{
	lockdep_assert_held(&dev->lock);
	hold_all(dev);
	vlb_window_close(dev);
	vlb_device_answer_all(dev);
}

/* All that is in flight waits, for another session or for the deadline. */
static void keep(struct vlb_device *dev)
{
	unsigned long time = msecs_to_jiffies(dev->keep_ms);

	hold_all(dev);
	vlb_window_close(dev);
	dev->keep_until = jiffies + time;
	mod_delayed_work(vlb_drain_wq, &dev->keep_work, time);
}

/**
 * vlb_device_session_gone - the process that served the device has gone
 * @dev: the device
 *
 * Called with @dev->lock.
 */
void vlb_device_session_gone(struct vlb_device *dev)
{
	bool kept = dev->keep_ms && !dev->removed;

	WRITE_ONCE(dev->session, kept ? VLB_SESSION_KEPT : VLB_SESSION_GONE);
	wake_up_all(&dev->ack_wait);
	if (kept)
		keep(dev);
	else if (!dev->removed)	/* a removal does this in its own time */
		vlb_device_quiesce(dev);
}

/**
 * vlb_device_session_new - a process serves the device from now on
 * @dev: the device: the first session, or it is kept
 *
 * Queues of a kept device stay held: the process has to say what becomes of
 * what is outstanding. Called with @dev->lock.
 */
void vlb_device_session_new(struct vlb_device *dev)
{
	bool kept = dev->session == VLB_SESSION_KEPT;

	WRITE_ONCE(dev->epoch, dev->epoch + 1);
	WRITE_ONCE(dev->session, VLB_SESSION_ATTACHED);
	if (!kept)
		return;
	cancel_delayed_work(&dev->keep_work);
	vlb_event_restart(dev);
	if (vlb_is_running(dev))
		vlb_window_open(dev);
}

/**
 * vlb_device_remove - the control file is closed
 * @dev: a started device
 *
 * Does not wait for the driver.
 */
void vlb_device_remove(struct vlb_device *dev)
{
	release_name(dev);
	mutex_lock(&dev->lock);
	WRITE_ONCE(dev->removed, true);
	wake_up_all(&dev->ack_wait);
	wake_up_all(&dev->events.wait);
	vlb_device_quiesce(dev);
	if (dev->type->card)
		vlb_device_stall(dev);
	mutex_unlock(&dev->lock);
	queue_lifecycle(dev);
}
