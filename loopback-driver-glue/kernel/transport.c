// SPDX-License-Identifier: GPL-2.0
/* What the virtio core and the driver call: struct virtio_config_ops. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "compat.h"
#include <linux/completion.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/virtio_ring.h>
#include "internal.h"

/* How long a reset waits for the driver to reap what was completed. */
#define REAP_TRIES	10
#define REAP_STEP	(HZ / 10)

/* How often, and how long, it waits for the work items that do that. */
#define FLUSH_ROUNDS	3
#define FLUSH_TIMEOUT	(2 * HZ)

/* Bytes of the configuration space. */
static u32 config_space(const struct vlb_device *dev)
{
	return dev->type->space ?: dev->config.len;
}

static void vlb_get(struct virtio_device *vdev, unsigned int offset, void *buf,
		    unsigned int len)
{
	struct vlb_device *dev = vlb_from_vdev(vdev);
	u32 space = config_space(dev);
	unsigned long flags;

	memset(buf, 0, len);
	if (offset >= space)
		return;
	len = min(len, space - offset);
	spin_lock_irqsave(&dev->config_lock, flags);
	if (dev->type->space)
		dev->type->read_config(&dev->config, offset, buf, len);
	else
		memcpy(buf, dev->config.bytes + offset, len);
	spin_unlock_irqrestore(&dev->config_lock, flags);
}

static void vlb_set(struct virtio_device *vdev, unsigned int offset,
		    const void *buf, unsigned int len)
{
	struct vlb_device *dev = vlb_from_vdev(vdev);
	u32 space = config_space(dev), done;
	unsigned long flags;
	bool told;

	if (offset >= space || len > space - offset)
		return;
	spin_lock_irqsave(&dev->config_lock, flags);
	told = dev->type->driver_wrote(&dev->config, offset, buf, len);
	spin_unlock_irqrestore(&dev->config_lock, flags);
	if (!told)
		return;

	for (done = 0; done < len; done += 8) {
		struct virtio_loopback_event event = {
			.type = VIRTIO_LOOPBACK_EVENT_CONFIG_WRITTEN,
			.offset = offset + done,
			.length = min(len - done, 8U),
		};

		memcpy(&event.value, buf + done, event.length);
		vlb_event_post(dev, &event);
	}
}

static u32 vlb_generation(struct virtio_device *vdev)
{
	return atomic_read(&vlb_from_vdev(vdev)->generation);
}

static u8 vlb_get_status(struct virtio_device *vdev)
{
	return READ_ONCE(vlb_from_vdev(vdev)->status);
}

static void post_simple(struct vlb_device *dev, u32 type, u64 value)
{
	struct virtio_loopback_event event = { .type = type, .value = value };

	vlb_event_post(dev, &event);
}

/* The driver may be served from now on. Called with @dev->lock. */
static void go_live(struct vlb_device *dev)
{
	bool null = vlb_is_null(dev);
	u32 i;

	/* nobody is there to serve it, but somebody may come */
	if (!null && dev->session == VLB_SESSION_KEPT)
		return;
	if (!null)
		vlb_window_open(dev);
	for (i = 0; i < dev->num_queues; i++) {
		vlb_queue_set_mode(&dev->queues[i], null ? VLB_NULL : VLB_LIVE);
		vlb_queue_drain(&dev->queues[i]);
	}
	queue_work(vlb_drain_wq, &dev->refill_work);
}

static void vlb_set_status(struct virtio_device *vdev, u8 status)
{
	struct vlb_device *dev = vlb_from_vdev(vdev);
	u8 fresh;

	mutex_lock(&dev->lock);
	fresh = status & ~dev->status;
	WRITE_ONCE(dev->status, status);
	if (fresh & VIRTIO_CONFIG_S_FEATURES_OK)
		post_simple(dev, VIRTIO_LOOPBACK_EVENT_FEATURES_OK,
			    vdev->features);
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK) {
		atomic64_inc(&dev->stats.driver_starts);
		go_live(dev);
		post_simple(dev, VIRTIO_LOOPBACK_EVENT_DRIVER_OK,
			    vdev->features);
	}
	mutex_unlock(&dev->lock);
}

/* @epoch: the session that was asked. The next one knows nothing of it. */
static void wait_for_ack(struct vlb_device *dev, u32 sequence, u32 epoch)
{
	unsigned long timeout = msecs_to_jiffies(dev->reset_timeout_ms);

	if (!wait_event_timeout(dev->ack_wait,
				READ_ONCE(dev->acked) == sequence ||
				READ_ONCE(dev->removed) ||
				READ_ONCE(dev->session) != VLB_SESSION_ATTACHED ||
				READ_ONCE(dev->epoch) != epoch, timeout))
		atomic64_inc(&dev->stats.reset_timeouts);
	WRITE_ONCE(dev->reset_pending, 0);
}

/* Some buffer is still with the driver's side of the queues. */
static bool wait_for_reaping(struct vlb_device *dev)
{
	u32 i;
	int try;

	for (try = 0; try < REAP_TRIES; try++) {
		if (vlb_dma_wait_idle(dev, REAP_STEP))
			return true;
		/* what the driver added without notifying */
		for (i = 0; i < dev->num_queues; i++)
			vlb_queue_drain(&dev->queues[i]);
	}
	return false;
}

/**
 * struct vlb_flush - waiting for work items of the driver
 * @work: waits for them
 * @done: they have ended
 * @refs: @work and who waits for @done
 */
struct vlb_flush {
	struct work_struct work;
	struct completion done;
	refcount_t refs;
};

static void put_flush(struct vlb_flush *flush)
{
	if (refcount_dec_and_test(&flush->refs))
		kfree(flush);
}

static void flush_driver_work(struct work_struct *work)
{
	struct vlb_flush *flush = container_of(work, struct vlb_flush, work);
	int round;

	/* reaping queues the freeing of objects, and that may free more */
	for (round = 0; round < FLUSH_ROUNDS; round++)
		vlb_flush_schedule_work();
	complete(&flush->done);
	put_flush(flush);
}

/*
 * virtio_gpu reaps in a work item of the system's queue, and it has flushed
 * that item before the reset: after the reset it frees what the item uses. So
 * the items that our interrupts caused have to end here. Flushing a queue that
 * others use may take long, or wait for a lock that our caller holds: hence at
 * a distance and with a limit.
 */
static void let_driver_work_end(void)
{
	struct vlb_flush *flush = kmalloc(sizeof(*flush), GFP_KERNEL);

	if (!flush)
		return;
	INIT_WORK(&flush->work, flush_driver_work);
	init_completion(&flush->done);
	refcount_set(&flush->refs, 2);
	queue_work(vlb_drain_wq, &flush->work);
	if (!wait_for_completion_timeout(&flush->done, FLUSH_TIMEOUT))
		pr_warn("work items of the driver take long to end\n");
	put_flush(flush);
}

/* Gives back what the driver's buffers took, if nobody sees it any more. */
static void trim_bounce(struct vlb_device *dev)
{
	mutex_lock(&dev->lock);
	if (!dev->window_open)
		vlb_bounce_trim(&dev->bounce);
	mutex_unlock(&dev->lock);
}

/*
 * Afterwards nothing is in flight: the device side has acknowledged, or has
 * lost the window; the driver has every buffer back, unless it is one that does
 * not want them. Bounded in time whatever the device side does.
 */
static void vlb_reset(struct virtio_device *vdev)
{
	struct vlb_device *dev = vlb_from_vdev(vdev);
	struct virtio_loopback_event event = {
		.type = VIRTIO_LOOPBACK_EVENT_RESET,
	};
	bool was_ok, ask;
	u32 sequence = 0, epoch;

	mutex_lock(&dev->lock);
	was_ok = dev->status & VIRTIO_CONFIG_S_DRIVER_OK;
	ask = was_ok && !vlb_is_null(dev) &&
	      dev->session == VLB_SESSION_ATTACHED;
	if (ask)
		sequence = vlb_event_post(dev, &event);
	epoch = dev->epoch;
	dev->resetting = true;
	mutex_unlock(&dev->lock);

	if (ask)
		wait_for_ack(dev, sequence, epoch);

	mutex_lock(&dev->lock);
	WRITE_ONCE(dev->status, 0);
	dev->resetting = false;
	if (was_ok)
		vlb_device_quiesce(dev);
	mutex_unlock(&dev->lock);
	if (!was_ok || dev->type->drops_buffers)
		return;

	if (!wait_for_reaping(dev))
		pr_warn("%s: the driver kept %u bounce pages over a reset\n",
			dev->name, READ_ONCE(dev->bounce.used));
	let_driver_work_end();
	trim_bounce(dev);
}

static u64 vlb_get_features(struct virtio_device *vdev)
{
	return vlb_from_vdev(vdev)->features;
}

static int vlb_finalize_features(struct virtio_device *vdev)
{
	/* keeps the ring features it knows; CREATE allowed no others */
	vring_transport_features(vdev);
	return 0;
}

static const char *vlb_bus_name(struct virtio_device *vdev)
{
	return dev_name(vdev->dev.parent);
}

/*
 * Deleted queues are kept until the parent is released. The driver may look at
 * them after it deleted them: virtio_gpu reads num_free and calls notify from
 * ioctls that were under way when the device was unplugged. What they map is
 * taken down by the driver, or by us: virtio_input frees the memory of its event
 * buffers without.
 */
static void vlb_del_vqs(struct virtio_device *vdev)
{
	struct vlb_device *dev = vlb_from_vdev(vdev);
	u32 i;

	mutex_lock(&dev->lock);
	for (i = 0; i < dev->num_queues; i++)
		vlb_queue_down(&dev->queues[i]);
	mutex_unlock(&dev->lock);
	synchronize_rcu();

	spin_lock(&vdev->vqs_list_lock);
	list_splice_init(&vdev->vqs, &dev->parked);
	spin_unlock(&vdev->vqs_list_lock);

	if (dev->type->drops_buffers) {
		vlb_bounce_forget(&dev->bounce);
		trim_bounce(dev);
	}
	post_simple(dev, VIRTIO_LOOPBACK_EVENT_UNBOUND, 0);
}

/**
 * vlb_transport_free_parked - free the queues that the driver deleted
 * @dev: the device, whose card nobody has any more
 */
void vlb_transport_free_parked(struct vlb_device *dev)
{
	struct virtqueue *vq, *next;

	list_for_each_entry_safe(vq, next, &dev->parked, list)
		vring_del_virtqueue(vq);
}

static struct virtqueue *find_vq(struct vlb_device *dev, u32 index,
				 struct vlb_vq_info info)
{
	struct vlb_queue *q = &dev->queues[index];
	struct virtqueue *vq;
	int err;

	vq = vring_create_virtqueue(index, q->max, PAGE_SIZE, &dev->vdev, true,
				    true, info.ctx, vlb_queue_notify,
				    info.callback, info.name);
	if (!vq)
		return ERR_PTR(-ENOMEM);
	vq->priv = q;
	mutex_lock(&dev->lock);
	err = vlb_queue_up(q, vq);
	mutex_unlock(&dev->lock);
	if (err) {
		vring_del_virtqueue(vq);
		return ERR_PTR(err);
	}
	return vq;
}

static int vlb_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
			struct virtqueue *vqs[], VLB_VQ_INFO_ARGS,
			struct irq_affinity *desc)
{
	struct vlb_device *dev = vlb_from_vdev(vdev);
	u32 index = 0;
	unsigned int i;

	for (i = 0; i < nvqs; i++) {
		struct vlb_vq_info info = vlb_vq_info(i);
		struct virtqueue *vq;

		vqs[i] = NULL;
		if (!info.name)
			continue;
		vq = index < dev->num_queues ? find_vq(dev, index, info) :
					       ERR_PTR(-ENOENT);
		if (IS_ERR(vq)) {
			vlb_del_vqs(vdev);
			return PTR_ERR(vq);
		}
		vqs[i] = vq;
		index++;
	}
	return 0;
}

const struct virtio_config_ops vlb_config_ops = {
	.get = vlb_get,
	.set = vlb_set,
	.generation = vlb_generation,
	.get_status = vlb_get_status,
	.set_status = vlb_set_status,
	.reset = vlb_reset,
	.find_vqs = vlb_find_vqs,
	.del_vqs = vlb_del_vqs,
	.get_features = vlb_get_features,
	.finalize_features = vlb_finalize_features,
	.bus_name = vlb_bus_name,
};
