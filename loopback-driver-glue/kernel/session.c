// SPDX-License-Identifier: GPL-2.0
/*
 * The session file: the process that serves a device. Its release means that
 * this process has gone, however it went.
 */
#include "compat.h"
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>
#include "internal.h"

/* If there is no room, the oldest goes. Called with the lock. */
static void add_event(struct vlb_events *events,
		      struct virtio_loopback_event *event)
{
	event->sequence = ++events->sequence;
	if (events->count == VLB_EVENTS) {
		events->head = (events->head + 1) % VLB_EVENTS;
		events->count--;
		events->dropped++;
	}
	events->ring[(events->head + events->count) % VLB_EVENTS] = *event;
	events->count++;
}

/**
 * vlb_event_post - tell the device side something; any context
 * @dev: the device
 * @event: what; its sequence is set
 *
 * If nobody reads, the oldest event makes room: the newest tell how things are.
 *
 * Return: the sequence
 */
u32 vlb_event_post(struct vlb_device *dev, struct virtio_loopback_event *event)
{
	struct vlb_events *events = &dev->events;
	unsigned long flags;

	spin_lock_irqsave(&events->lock, flags);
	add_event(events, event);
	/* before anybody can read it, and acknowledge */
	if (event->type == VIRTIO_LOOPBACK_EVENT_RESET)
		WRITE_ONCE(dev->reset_pending, event->sequence);
	spin_unlock_irqrestore(&events->lock, flags);
	wake_up_interruptible_poll(&events->wait, EPOLLIN);
	return event->sequence;
}

/**
 * vlb_event_restart - begin anew for another session
 * @dev: the device
 *
 * What the last session did not read is of no use to this one, which is told
 * how far the driver has come. Called with @dev->lock.
 */
void vlb_event_restart(struct vlb_device *dev)
{
	struct virtio_loopback_event event = { .value = dev->vdev.features };
	struct vlb_events *events = &dev->events;

	if (vlb_is_running(dev))
		event.type = VIRTIO_LOOPBACK_EVENT_DRIVER_OK;
	else if (dev->status & VIRTIO_CONFIG_S_FEATURES_OK && !dev->resetting)
		event.type = VIRTIO_LOOPBACK_EVENT_FEATURES_OK;
	spin_lock_irq(&events->lock);
	events->count = 0;
	if (event.type)
		add_event(events, &event);
	spin_unlock_irq(&events->lock);
}

/*
 * An event that could not be read after all is the oldest again, unless newer
 * ones have taken its place meanwhile.
 */
static void put_back(struct vlb_events *events,
		     const struct virtio_loopback_event *event)
{
	spin_lock_irq(&events->lock);
	if (events->count == VLB_EVENTS) {
		events->dropped++;
	} else {
		events->head = (events->head + VLB_EVENTS - 1) % VLB_EVENTS;
		events->ring[events->head] = *event;
		events->count++;
	}
	spin_unlock_irq(&events->lock);
	wake_up_interruptible_poll(&events->wait, EPOLLIN);
}

static bool take_event(struct vlb_events *events,
		       struct virtio_loopback_event *event)
{
	bool found;

	spin_lock_irq(&events->lock);
	found = events->count;
	if (found) {
		*event = events->ring[events->head];
		events->head = (events->head + 1) % VLB_EVENTS;
		events->count--;
	}
	spin_unlock_irq(&events->lock);
	return found;
}

/* 0, the end of the file, means that the device is being removed. */
static ssize_t session_read(struct file *file, char __user *user, size_t count,
			    loff_t *pos)
{
	struct vlb_device *dev = file->private_data;
	struct virtio_loopback_event event;
	ssize_t done = 0;
	int err;

	if (count < sizeof(event))
		return -EINVAL;
	while (done + sizeof(event) <= count) {
		if (take_event(&dev->events, &event)) {
			if (copy_to_user(user + done, &event, sizeof(event))) {
				put_back(&dev->events, &event);
				return done ?: -EFAULT;
			}
			done += sizeof(event);
			continue;
		}
		if (done || READ_ONCE(dev->removed))
			break;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(dev->events.wait,
					       READ_ONCE(dev->events.count) ||
					       READ_ONCE(dev->removed));
		if (err)
			return err;
	}
	return done;
}

static __poll_t session_poll(struct file *file, poll_table *table)
{
	struct vlb_device *dev = file->private_data;
	__poll_t mask = 0;

	poll_wait(file, &dev->events.wait, table);
	if (READ_ONCE(dev->events.count))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(dev->removed))
		mask |= EPOLLIN | EPOLLRDNORM | EPOLLHUP;
	return mask;
}

static long set_queue_fds(struct vlb_device *dev, void __user *user)
{
	struct virtio_loopback_queue_fds fds;
	long ret;

	if (copy_from_user(&fds, user, sizeof(fds)))
		return -EFAULT;
	if (fds.reserved || fds.queue >= dev->num_queues)
		return -EINVAL;
	fds.queue = array_index_nospec(fds.queue, dev->num_queues);
	mutex_lock(&dev->lock);
	ret = vlb_is_null(dev) ? -ENODEV :
	      vlb_queue_set_fds(&dev->queues[fds.queue], fds.kick, fds.call);
	mutex_unlock(&dev->lock);
	return ret;
}

static bool valid_queue_info(const struct vlb_device *dev,
			     const struct virtio_loopback_queue_info *info)
{
	const size_t head = offsetofend(struct virtio_loopback_queue_info,
					queue);

	return info->queue < dev->num_queues &&
	       !memchr_inv((const u8 *)info + head, 0, sizeof(*info) - head);
}

static long queue_info(struct vlb_device *dev, void __user *user)
{
	struct virtio_loopback_queue_info info;
	struct vlb_queue *q;
	struct vring ring;
	u64 base;

	if (copy_from_user(&info, user, sizeof(info)))
		return -EFAULT;
	if (!valid_queue_info(dev, &info))
		return -EINVAL;
	q = &dev->queues[array_index_nospec(info.queue, dev->num_queues)];

	spin_lock_irq(&q->lock);
	info.ready = q->vq ? 1 : 0;
	info.size = q->vq ? q->shadow.driver.num : q->max;
	info.outstanding = q->vq ? q->shadow.outstanding : 0;
	info.avail_idx = q->vq ? q->shadow.offered : 0;
	spin_unlock_irq(&q->lock);

	vring_init(&ring, info.size, q->ring, PAGE_SIZE);
	base = vlb_queue_iova(q);
	info.desc = base + ((u8 *)ring.desc - (u8 *)q->ring);
	info.avail = base + ((u8 *)ring.avail - (u8 *)q->ring);
	info.used = base + ((u8 *)ring.used - (u8 *)q->ring);
	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

/* The copy is checked and shown as a whole, or nothing changes. */
static int apply_config(struct vlb_device *dev, u32 offset, u32 length,
			const u8 *data)
{
	u8 config[VIRTIO_LOOPBACK_MAX_CONFIG];
	int err = -EINVAL;

	spin_lock_irq(&dev->config_lock);
	memcpy(config, dev->config.bytes, dev->config.len);
	memcpy(config + offset, data, length);
	if (dev->type->valid_config(config, dev->config.len)) {
		memcpy(dev->config.bytes, config, dev->config.len);
		atomic_inc(&dev->generation);
		err = 0;
	}
	spin_unlock_irq(&dev->config_lock);
	return err;
}

static long config_set(struct vlb_device *dev, void __user *user)
{
	struct virtio_loopback_config_set set;
	u8 data[VIRTIO_LOOPBACK_MAX_CONFIG];
	long ret = -ENODEV;

	if (copy_from_user(&set, user, sizeof(set)))
		return -EFAULT;
	/* a configuration that can be set fits @data: see max_config */
	if (dev->type->fixed_config || !set.length ||
	    set.offset > dev->config.len ||
	    set.length > dev->config.len - set.offset)
		return -EINVAL;
	if (copy_from_user(data, u64_to_user_ptr(set.data), set.length))
		return -EFAULT;

	mutex_lock(&dev->lock);
	if (!vlb_is_null(dev)) {
		ret = apply_config(dev, set.offset, set.length, data);
		/* before that there is no driver to interrupt, nor its lock */
		if (!ret && dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
			virtio_config_changed(&dev->vdev);
	}
	mutex_unlock(&dev->lock);
	return ret;
}

static void queue_status(struct vlb_device *dev,
			 struct virtio_loopback_status *status)
{
	u32 i;

	for (i = 0; i < dev->num_queues; i++) {
		struct vlb_queue *q = &dev->queues[i];

		spin_lock_irq(&q->lock);
		if (q->vq)
			status->outstanding += q->shadow.outstanding;
		status->bad_used += q->shadow.stats.bad_used;
		status->clamped_used += q->shadow.stats.clamped_used;
		spin_unlock_irq(&q->lock);
	}
}

static u32 public_state(const struct vlb_device *dev)
{
	if (vlb_is_null(dev))
		return VIRTIO_LOOPBACK_STATE_NULL;
	switch (READ_ONCE(dev->session)) {
	case VLB_SESSION_NONE:
		return VIRTIO_LOOPBACK_STATE_WAITING;
	case VLB_SESSION_KEPT:
		return VIRTIO_LOOPBACK_STATE_KEPT;
	default:
		return VIRTIO_LOOPBACK_STATE_ATTACHED;
	}
}

/**
 * vlb_session_status - VIRTIO_LOOPBACK_STATUS
 * @dev: the device
 * @user: user address of struct virtio_loopback_status
 *
 * Return: 0 or -EFAULT
 */
long vlb_session_status(struct vlb_device *dev, void __user *user)
{
	struct virtio_loopback_status status = {
		.driver_status = READ_ONCE(dev->status),
		.state = public_state(dev),
		.bounce_used = READ_ONCE(dev->bounce.used),
		.bounce_pages = READ_ONCE(dev->bounce.ready),
		.faults = atomic64_read(&dev->stats.faults),
		.stale_faults = atomic64_read(&dev->stats.stale_faults),
		.filtered_values = atomic64_read(&dev->stats.filtered),
		.events_dropped = READ_ONCE(dev->events.dropped),
		.reset_timeouts = atomic64_read(&dev->stats.reset_timeouts),
		.index = dev->index,
		.keep_ms = dev->keep_ms,
		.bounce_max = (u64)dev->bounce.cap << PAGE_SHIFT,
		.exported_pages = atomic64_read(&dev->exports->pages),
		.driver_starts = atomic64_read(&dev->stats.driver_starts),
	};

	if (status.driver_status & VIRTIO_CONFIG_S_FEATURES_OK)
		status.driver_features = dev->vdev.features;
	down_read(&dev->map_lock);
	status.objects = dev->iova.records;
	status.object_pages = dev->iova.pages;
	up_read(&dev->map_lock);
	queue_status(dev, &status);
	return copy_to_user(user, &status, sizeof(status)) ? -EFAULT : 0;
}

/* Takes no lock that the driver's reset, which waits for this, may hold. */
static long acknowledge(struct vlb_device *dev, void __user *user)
{
	u32 sequence;

	if (get_user(sequence, (u32 __user *)user))
		return -EFAULT;
	if (!sequence || sequence != READ_ONCE(dev->reset_pending))
		return -ESTALE;
	WRITE_ONCE(dev->acked, sequence);
	wake_up_all(&dev->ack_wait);
	return 0;
}

static long outstanding(struct vlb_device *dev, void __user *user)
{
	struct virtio_loopback_outstanding args;
	bool fail;
	long ret;

	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	fail = args.action == VIRTIO_LOOPBACK_FAIL;
	if (args.reserved || args.queue >= dev->num_queues ||
	    (!fail && args.action != VIRTIO_LOOPBACK_REOFFER))
		return -EINVAL;
	args.queue = array_index_nospec(args.queue, dev->num_queues);
	mutex_lock(&dev->lock);
	if (vlb_is_null(dev))
		ret = -ENODEV;
	else
		ret = vlb_is_running(dev) ?
		      vlb_queue_restart(&dev->queues[args.queue], fail) : 0;
	mutex_unlock(&dev->lock);
	return ret;
}

static long session_ioctl(struct file *file, unsigned int cmd,
			  unsigned long arg)
{
	struct vlb_device *dev = file->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case VIRTIO_LOOPBACK_SET_QUEUE_FDS:
		return set_queue_fds(dev, user);
	case VIRTIO_LOOPBACK_QUEUE_INFO:
		return queue_info(dev, user);
	case VIRTIO_LOOPBACK_CONFIG_SET:
		return config_set(dev, user);
	case VIRTIO_LOOPBACK_STATUS:
		return vlb_session_status(dev, user);
	case VIRTIO_LOOPBACK_GET_MEM_FD:
		return arg ? -EINVAL : vlb_window_file(dev);
	case VIRTIO_LOOPBACK_ACK:
		return acknowledge(dev, user);
	case VIRTIO_LOOPBACK_OUTSTANDING:
		return outstanding(dev, user);
	default:
		return -ENOTTY;
	}
}

static int session_release(struct inode *inode, struct file *file)
{
	struct vlb_device *dev = file->private_data;
	u32 i;

	mutex_lock(&dev->lock);
	vlb_device_session_gone(dev);
	for (i = 0; i < dev->num_queues; i++)
		vlb_queue_drop_fds(&dev->queues[i]);
	mutex_unlock(&dev->lock);
	vlb_device_put(dev);
	return 0;
}

static const struct file_operations session_fops = {
	.owner = THIS_MODULE,
	.read = session_read,
	.poll = session_poll,
	.unlocked_ioctl = session_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = session_release,
};

/* Called with @dev->lock. */
static int install_session(struct vlb_device *dev)
{
	struct file *file;
	int fd;

	if (dev->session == VLB_SESSION_ATTACHED)
		return -EBUSY;
	if (dev->session == VLB_SESSION_GONE)
		return -ENOTCONN;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = anon_inode_getfile("[virtio-loopback-session]", &session_fops,
				  dev, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	vlb_device_get(dev);
	vlb_device_session_new(dev);
	fd_install(fd, file);
	return fd;
}

/**
 * vlb_session_open - make the session file
 * @dev: the device
 *
 * Return: a file descriptor; -EBUSY if there is a session, -ENOTCONN if there
 * was one and the device is not kept
 */
int vlb_session_open(struct vlb_device *dev)
{
	int fd;

	mutex_lock(&dev->lock);
	fd = install_session(dev);
	mutex_unlock(&dev->lock);
	return fd;
}
