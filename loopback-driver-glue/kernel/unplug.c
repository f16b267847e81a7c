// SPDX-License-Identifier: GPL-2.0
/*
 * Taking a device from virtio_gpu, in a moment when its clients wait, and only
 * one at a time.
 */
#include "compat.h"
#include <linux/delay.h>
#include <linux/jiffies.h>
#include "internal.h"

static atomic_t vlb_unregistering = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(vlb_unregistered);

/**
 * vlb_wait_for_unregistering - wait until no card is being taken away
 *
 * The first card makes a slab cache of virtio_gpu and the last one destroys it.
 * If a card is made in the moment before the name of a destroyed cache is free
 * again, the kernel complains and the probe fails. So no probe begins while a
 * card is taken away, unless that takes longer than it ever should; and as a
 * card may also go with its last client, a probe that failed is tried again.
 */
void vlb_wait_for_unregistering(void)
{
	wait_event_timeout(vlb_unregistered, !atomic_read(&vlb_unregistering),
			   HZ);
}

static void unregister_card(struct vlb_device *dev)
{
	atomic_inc(&vlb_unregistering);
	unregister_virtio_device(&dev->vdev);
	if (atomic_dec_and_test(&vlb_unregistering))
		wake_up_all(&vlb_unregistered);
}

/*
 * virtio_gpu forgets an object, and the kernel complains of it when the last
 * user has gone, if a client is between two commands of one frame when the
 * card is unplugged. At a frame's end, which it notifies us of, it waits for
 * the answer, 50 ms at the most. So at a removal all that is in flight is
 * answered, and then nothing: whoever draws soon waits, and then the card is
 * unplugged. Who has not drawn for VLB_STALL is taken to rest. In the end the
 * null device lets them go.
 */
#define VLB_STALL	msecs_to_jiffies(100)
#define VLB_WAIT_FROM	msecs_to_jiffies(4)
#define VLB_WAIT_TO	msecs_to_jiffies(40)
#define VLB_STALLS	8

/* All that is in flight is answered, and then nothing until release_work. */
static void stall_again(struct vlb_device *dev)
{
	mutex_lock(&dev->lock);
	vlb_device_answer_all(dev);
	vlb_device_stall(dev);
	mutex_unlock(&dev->lock);
}

/*
 * Until the clients wait or rest. Return: false if it is too late, as can be
 * on a busy machine: the first of them go on.
 */
static bool wait_for_clients(struct vlb_device *dev)
{
	unsigned long since = dev->stalled_at;

	while (READ_ONCE(dev->status) & VIRTIO_CONFIG_S_DRIVER_OK) {
		unsigned long now = jiffies;

		if (time_after_eq(now, since + VLB_HOLD))
			return false;
		if (atomic_read(&dev->frames) != dev->frames_before) {
			unsigned long frame = READ_ONCE(dev->frame_at);

			if (time_after_eq(now, frame + VLB_WAIT_TO))
				return false;
			if (time_after(now, frame + VLB_WAIT_FROM))
				return true;
		} else if (time_after_eq(now, since + VLB_STALL)) {
			return true;
		}
		schedule_timeout_uninterruptible(1);
	}
	return true;
}

static void wait_for_stall(struct vlb_device *dev)
{
	int stalls;

	for (stalls = 1; !wait_for_clients(dev) && stalls < VLB_STALLS; stalls++)
		stall_again(dev);
}

/*
 * Removals of several devices would wait for each other inside the driver core,
 * where a stall ends meanwhile. So they take turns, unless one takes longer than
 * it ever should.
 */
static atomic_t vlb_removing = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(vlb_removed);

#define VLB_TURN	(5 * HZ)

static void begin_removal(void)
{
	if (!wait_event_timeout(vlb_removed,
				!atomic_cmpxchg(&vlb_removing, 0, 1), VLB_TURN))
		atomic_inc(&vlb_removing);
}

static void end_removal(void)
{
	if (atomic_dec_and_test(&vlb_removing))
		wake_up_all(&vlb_removed);
}

/**
 * vlb_unplug - take the device from its driver, if it ever was registered
 * @dev: the device, whose control file is closed and whose queues are held
 *
 * Waits for the driver to let go. Only a card's clients have to be stopped for
 * that: those of other types are told so by their own subsystem.
 */
void vlb_unplug(struct vlb_device *dev)
{
	if (!dev->type->card) {
		if (dev->registered)
			unregister_virtio_device(&dev->vdev);
		return;
	}
	begin_removal();
	wait_for_stall(dev);
	if (dev->registered)
		unregister_card(dev);
	end_removal();
}
