// SPDX-License-Identifier: GPL-2.0
/*
 * virtio_loopback: a virtio transport whose device side is a process of the
 * same machine. This file: the module and the control file.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "compat.h"
#include <linux/ctype.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/rcupdate.h>
#include <linux/uaccess.h>
#include <uapi/linux/virtio_config.h>
#include <uapi/linux/virtio_ring.h>
#include "internal.h"

struct workqueue_struct *vlb_lifecycle_wq;
struct workqueue_struct *vlb_drain_wq;

/**
 * struct vlb_control - an open control file
 * @lock: protects @dev
 * @dev: its device, or NULL
 */
struct vlb_control {
	struct mutex lock;
	struct vlb_device *dev;
};

#define VLB_REQUIRED_FEATURES	(BIT_ULL(VIRTIO_F_VERSION_1) | \
				 BIT_ULL(VIRTIO_F_ACCESS_PLATFORM))
#define VLB_TRANSPORT_FEATURES	(VLB_REQUIRED_FEATURES | \
				 BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | \
				 BIT_ULL(VIRTIO_RING_F_EVENT_IDX))

static bool valid_features(u64 features)
{
	return (features & VLB_REQUIRED_FEATURES) == VLB_REQUIRED_FEATURES &&
	       !(features & VLB_TRANSPORT_MASK & ~VLB_TRANSPORT_FEATURES);
}

static bool valid_window(u64 size)
{
	return !size || (is_power_of_2(size) && size >= VLB_WINDOW_MIN &&
			 size <= VLB_WINDOW_MAX);
}

static bool valid_queues(const struct virtio_loopback_create *create)
{
	u32 i;

	if (!create->num_queues ||
	    create->num_queues > VIRTIO_LOOPBACK_MAX_QUEUES)
		return false;
	for (i = 0; i < VIRTIO_LOOPBACK_MAX_QUEUES; i++) {
		u16 size = create->queue_size[i];

		if (i >= create->num_queues ? size != 0 :
		    !is_power_of_2(size) || size > VIRTIO_LOOPBACK_MAX_QUEUE_SIZE)
			return false;
	}
	return true;
}

/* Zero behind the NUL, so that nothing of the caller's stack comes along. */
static bool valid_name(const char *name)
{
	size_t len = strnlen(name, VIRTIO_LOOPBACK_NAME_LEN), i;

	if (!len || len == VIRTIO_LOOPBACK_NAME_LEN)
		return false;
	for (i = 0; i < len; i++)
		if (!isalnum(name[i]) && !strchr("._-", name[i]))
			return false;
	return !memchr_inv(name + len, 0, VIRTIO_LOOPBACK_NAME_LEN - len);
}

/* The type of a virtio device id, NULL if it is none of ours. */
static const struct vlb_type_ops *type_of(u32 device_id)
{
	if (device_id == vlb_gpu_ops.device_id)
		return &vlb_gpu_ops;
	if (device_id == vlb_input_ops.device_id)
		return &vlb_input_ops;
	return NULL;
}

static bool valid_create(const struct virtio_loopback_create *create,
			 const struct vlb_type_ops *type)
{
	return type && !create->flags &&
	       create->keep_ms <= VIRTIO_LOOPBACK_MAX_KEEP_MS &&
	       (!create->bounce_max ||
		create->bounce_max >= VIRTIO_LOOPBACK_MIN_BOUNCE) &&
	       !memchr_inv(create->reserved, 0, sizeof(create->reserved)) &&
	       create->config_len && create->config_len <= type->max_config &&
	       create->reset_timeout_ms <= 10000 &&
	       valid_features(create->features) &&
	       valid_window(create->window_size) && valid_queues(create) &&
	       valid_name(create->name) && type->valid_create(create);
}

/* Called with @control->lock. */
static long create_device(struct vlb_control *control,
			  const struct vlb_type_ops *type,
			  struct virtio_loopback_create *create,
			  struct virtio_loopback_create __user *user)
{
	struct vlb_device *dev;
	u8 *config;
	int err;

	if (control->dev)
		return -EBUSY;
	/* a copy first: what is checked is what is shown */
	config = memdup_user(u64_to_user_ptr(create->config),
			     create->config_len);
	if (IS_ERR(config))
		return PTR_ERR(config);
	if (!type->valid_config(config, create->config_len)) {
		kfree(config);
		return -EINVAL;
	}
	dev = vlb_device_create(create, type, config);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	err = put_user(dev->index, &user->index);
	if (!err)
		err = vlb_device_start(dev);
	if (err) {
		vlb_device_discard(dev);
		return err;
	}
	control->dev = dev;
	return 0;
}

static long control_create(struct vlb_control *control,
			   struct virtio_loopback_create __user *user)
{
	const struct vlb_type_ops *type;
	struct virtio_loopback_create create;
	long ret;

	if (copy_from_user(&create, user, sizeof(create)))
		return -EFAULT;
	type = type_of(create.device_id);
	if (!valid_create(&create, type))
		return -EINVAL;
	mutex_lock(&control->lock);
	ret = create_device(control, type, &create, user);
	mutex_unlock(&control->lock);
	return ret;
}

static long control_attach(struct vlb_control *control)
{
	long ret = -ENXIO;

	mutex_lock(&control->lock);
	if (control->dev)
		ret = vlb_session_open(control->dev);
	mutex_unlock(&control->lock);
	return ret;
}

static long control_status(struct vlb_control *control, void __user *user)
{
	long ret = -ENXIO;

	mutex_lock(&control->lock);
	if (control->dev)
		ret = vlb_session_status(control->dev, user);
	mutex_unlock(&control->lock);
	return ret;
}

static long control_ioctl(struct file *file, unsigned int cmd,
			  unsigned long arg)
{
	struct vlb_control *control = file->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case VIRTIO_LOOPBACK_GET_API_VERSION:
		return put_user(VIRTIO_LOOPBACK_API_VERSION,
				(__u32 __user *)user);
	case VIRTIO_LOOPBACK_CREATE:
		return control_create(control, user);
	case VIRTIO_LOOPBACK_ATTACH:
		return arg ? -EINVAL : control_attach(control);
	case VIRTIO_LOOPBACK_STATUS:
		return control_status(control, user);
	default:
		return -ENOTTY;
	}
}

static int control_open(struct inode *inode, struct file *file)
{
	struct vlb_control *control;

	control = kzalloc(sizeof(*control), GFP_KERNEL_ACCOUNT);
	if (!control)
		return -ENOMEM;
	mutex_init(&control->lock);
	file->private_data = control;
	return stream_open(inode, file);
}

static int control_release(struct inode *inode, struct file *file)
{
	struct vlb_control *control = file->private_data;

	if (control->dev) {
		vlb_device_remove(control->dev);
		vlb_device_put(control->dev);
	}
	kfree(control);
	return 0;
}

/* Nothing ever happens here; without it, poll() would always say so. */
static __poll_t control_poll(struct file *file, poll_table *table)
{
	return 0;
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.open = control_open,
	.release = control_release,
	.poll = control_poll,
	.unlocked_ioctl = control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice control_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "virtio-loopback",
	.fops = &control_fops,
	.mode = 0600,
};

static int __init vlb_init(void)
{
	int err = -ENOMEM;

	BUILD_BUG_ON(sizeof(struct virtio_loopback_create) != 152);
	BUILD_BUG_ON(sizeof(struct virtio_loopback_event) != 32);
	BUILD_BUG_ON(sizeof(struct virtio_loopback_status) != 128);
	BUILD_BUG_ON(VLB_RING_BASE + VIRTIO_LOOPBACK_MAX_QUEUES *
		     VLB_RING_STRIDE > VLB_BOUNCE_BASE);
	BUILD_BUG_ON(PAGE_ALIGN(vring_size(VIRTIO_LOOPBACK_MAX_QUEUE_SIZE,
					   PAGE_SIZE)) > VLB_RING_STRIDE);

	vlb_lifecycle_wq = alloc_workqueue("virtio_loopback", WQ_UNBOUND, 0);
	vlb_drain_wq = alloc_workqueue("virtio_loopback_drain",
				       WQ_UNBOUND | WQ_HIGHPRI, 0);
	if (vlb_lifecycle_wq && vlb_drain_wq)
		err = misc_register(&control_misc);
	if (!err)
		return 0;
	if (vlb_drain_wq)
		destroy_workqueue(vlb_drain_wq);
	if (vlb_lifecycle_wq)
		destroy_workqueue(vlb_lifecycle_wq);
	return err;
}

/*
 * No device is left: each holds a reference to the module. What may be left is
 * the end of the work item that dropped the last one, and of the function that
 * queued it, wherever that was preempted.
 */
static void __exit vlb_exit(void)
{
	misc_deregister(&control_misc);
	destroy_workqueue(vlb_lifecycle_wq);
	destroy_workqueue(vlb_drain_wq);
	synchronize_rcu_tasks();
}

module_init(vlb_init);
module_exit(vlb_exit);

MODULE_AUTHOR("The virtio-loopback-gpu authors");
MODULE_DESCRIPTION("Virtio transport whose device side is a process");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
VLB_IMPORT_DMA_BUF();
