// SPDX-License-Identifier: GPL-2.0
/*
 * Virtqueues: the shadow queue of shadow.c between the driver's notify and the
 * device side's eventfds.
 *
 * An interrupt is given under rcu_read_lock(), from looking @vq up to the end
 * of the driver's callback. vlb_queue_down() clears @vq and the caller waits
 * for a grace period, so no callback runs in a driver that has gone.
 */
#include "compat.h"
#include <linux/file.h>
#include <linux/sched.h>
#include <linux/virtio_ring.h>
#include <linux/vmalloc.h>
#include "internal.h"

static const void *queue_resolve(void *arg, u64 addr, u32 len)
{
	struct vlb_queue *q = arg;

	return vlb_bounce_origin(&q->dev->bounce, addr - VLB_BOUNCE_BASE, len);
}

static void queue_seen(void *arg, const struct vlb_chain *chain)
{
	struct vlb_queue *q = arg;

	if (q->dev->type->seen)
		q->dev->type->seen(&q->dev->bounce, chain);
}

static void queue_refresh(void *arg, u64 addr, u32 len)
{
	struct vlb_queue *q = arg;

	vlb_bounce_sync(&q->dev->bounce, addr - VLB_BOUNCE_BASE, len, true);
}

static const struct vlb_shadow_ops queue_shadow_ops = {
	.resolve = queue_resolve,
	.seen = queue_seen,
	.refresh = queue_refresh,
};

/* Signals the kick eventfd, if there is one. */
static void signal_kick(struct vlb_queue *q)
{
	struct eventfd_ctx *kick;

	rcu_read_lock();
	kick = rcu_dereference(q->kick);
	if (kick)
		vlb_eventfd_signal(kick);
	rcu_read_unlock();
}

static void kick_work(struct work_struct *work)
{
	signal_kick(container_of(work, struct vlb_queue, kick_work));
}

/* From any context: eventfd_signal() must not be nested in another one. */
static void kick(struct vlb_queue *q)
{
	if (eventfd_signal_allowed())
		signal_kick(q);
	else
		queue_work(vlb_drain_wq, &q->kick_work);
}

static void call_work(struct work_struct *work);

/**
 * vlb_queue_init - make a queue's memory
 * @q: the queue, zeroed
 * @dev: whose
 * @index: its number
 * @max: entries, a power of two
 *
 * Return: 0 or -ENOMEM
 */
int vlb_queue_init(struct vlb_queue *q, struct vlb_device *dev, u32 index,
		   u32 max)
{
	q->dev = dev;
	q->index = index;
	q->max = max;
	spin_lock_init(&q->lock);
	INIT_WORK(&q->kick_work, kick_work);
	INIT_WORK(&q->call_work, call_work);
	q->shadow.ops = &queue_shadow_ops;
	q->shadow.arg = q;
	q->ring = __vmalloc(PAGE_ALIGN(vlb_shadow_ring_bytes(max)),
			    GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	q->chains = kvcalloc(max, sizeof(*q->chains), GFP_KERNEL_ACCOUNT);
	if (!q->ring || !q->chains)
		return -ENOMEM;
	return 0;
}

/**
 * vlb_queue_destroy - free a queue's memory; safe after a failed init
 * @q: the queue, with neither a driver nor eventfds
 */
void vlb_queue_destroy(struct vlb_queue *q)
{
	if (!q->dev)
		return;
	cancel_work_sync(&q->kick_work);
	cancel_work_sync(&q->call_work);
	vfree(q->ring);
	kvfree(q->chains);
}

/**
 * vlb_queue_iova - where the shadow ring is
 * @q: the queue
 *
 * Return: offset in the window
 */
u64 vlb_queue_iova(const struct vlb_queue *q)
{
	return VLB_RING_BASE + q->index * VLB_RING_STRIDE;
}

/**
 * vlb_queue_up - the driver has made its queue
 * @q: the queue
 * @vq: the driver's
 *
 * Return: 0, or -EBUSY if there is one already
 */
int vlb_queue_up(struct vlb_queue *q, struct virtqueue *vq)
{
	bool event_idx = virtio_has_feature(vq->vdev, VIRTIO_RING_F_EVENT_IDX);
	unsigned long flags;
	int err = -EBUSY;

	spin_lock_irqsave(&q->lock, flags);
	if (!q->vq) {
		vlb_shadow_start(&q->shadow, virtqueue_get_vring(vq), q->ring,
				 q->chains, event_idx);
		q->vq = vq;
		q->mode = VLB_HELD;
		err = 0;
	}
	spin_unlock_irqrestore(&q->lock, flags);
	return err;
}

/**
 * vlb_queue_down - the driver deletes its queue
 * @q: the queue
 *
 * The caller waits for an RCU grace period before the driver may go.
 */
void vlb_queue_down(struct vlb_queue *q)
{
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	q->vq = NULL;
	q->mode = VLB_DOWN;
	spin_unlock_irqrestore(&q->lock, flags);
}

/* The device side has used buffers; any context. */
static void collect(struct vlb_queue *q)
{
	struct virtqueue *vq;
	unsigned int done = 0;
	unsigned long flags;

	rcu_read_lock();
	spin_lock_irqsave(&q->lock, flags);
	vq = q->vq;
	if (vq && q->mode == VLB_LIVE)
		done = vlb_shadow_collect(&q->shadow);
	spin_unlock_irqrestore(&q->lock, flags);
	if (done)
		vring_interrupt(0, vq);
	rcu_read_unlock();
}

static void call_work(struct work_struct *work)
{
	collect(container_of(work, struct vlb_queue, call_work));
}

/**
 * vlb_queue_set_mode - say where buffers go from now on
 * @q: the queue; nothing happens if the driver has none
 * @mode: VLB_HELD, VLB_LIVE or VLB_NULL
 *
 * Called with @q->dev->lock. After VLB_NULL call vlb_queue_drain().
 */
void vlb_queue_set_mode(struct vlb_queue *q, enum vlb_mode mode)
{
	unsigned long flags;
	bool live;

	spin_lock_irqsave(&q->lock, flags);
	if (q->vq)
		q->mode = mode;
	live = q->mode == VLB_LIVE;
	if (live) {
		vlb_shadow_forward(&q->shadow);
		q->shadow.kicked = q->shadow.offered;
	}
	spin_unlock_irqrestore(&q->lock, flags);
	if (!live)
		return;
	kick(q);
	/* what the device side used before, and called for in vain */
	collect(q);
}

/**
 * vlb_queue_hold - nothing goes to the device side or comes from it
 * @q: the queue
 *
 * What the device side has used by now still comes back. Called with
 * @q->dev->lock.
 */
void vlb_queue_hold(struct vlb_queue *q)
{
	collect(q);
	vlb_queue_set_mode(q, VLB_HELD);
}

/**
 * vlb_queue_notify - the driver has added buffers; any context
 * @vq: the driver's queue, perhaps one that it has deleted already
 *
 * Return: true: false would break the queue
 */
bool vlb_queue_notify(struct virtqueue *vq)
{
	struct vlb_queue *q = vq->priv;
	bool wanted = false, drain = false;
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	if (q->vq == vq) {
		vlb_shadow_forward(&q->shadow);
		if (q->mode == VLB_LIVE)
			wanted = vlb_shadow_kick_wanted(&q->shadow);
		drain = q->mode == VLB_NULL;
	}
	spin_unlock_irqrestore(&q->lock, flags);

	if (!q->index) {
		WRITE_ONCE(q->dev->frame_at, jiffies);
		atomic_inc(&q->dev->frames);
	}
	if (wanted)
		kick(q);
	if (drain)
		queue_work(vlb_drain_wq, &q->dev->drain_work);
	return true;
}

/**
 * vlb_queue_drain - the null device answers every buffer there is
 * @q: the queue; nothing happens unless its mode is VLB_NULL, nor if it is one
 *	whose buffers wait for something that may never come
 *
 * Return: how many it answered
 */
unsigned int vlb_queue_drain(struct vlb_queue *q)
{
	struct vlb_shadow *s = &q->shadow;
	struct virtqueue *vq;
	unsigned int done = 0;
	unsigned long flags;

	rcu_read_lock();
	spin_lock_irqsave(&q->lock, flags);
	vq = q->vq;
	if (vq && q->mode == VLB_NULL &&
	    !(q->dev->type->held_queues & BIT(q->index))) {
		vlb_shadow_forward(s);
		for (; s->outstanding; done++) {
			u16 head = s->oldest;

			vlb_shadow_complete(s, head,
					    q->dev->type->answer(&q->dev->bounce,
								 &s->chains[head]));
		}
		vlb_shadow_publish(s);
	}
	spin_unlock_irqrestore(&q->lock, flags);
	if (done)
		vring_interrupt(0, vq);
	rcu_read_unlock();
	return done;
}

/* The chain behind @head that is outstanding, the first for VLB_NO_CHAIN. */
static u16 next_outstanding(struct vlb_queue *q, u16 head)
{
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	if (!q->vq)
		head = VLB_NO_CHAIN;
	else if (head == VLB_NO_CHAIN)
		head = q->shadow.oldest;
	else
		head = q->shadow.chains[head].newer;
	spin_unlock_irqrestore(&q->lock, flags);
	return head;
}

/**
 * vlb_queue_restart - begin anew with another device side
 * @q: the queue of a driver that runs; the old device side has gone
 * @fail: answer what is outstanding, instead of offering it again
 *
 * Called with @q->dev->lock.
 *
 * Return: how many chains were offered again, or answered
 */
unsigned int vlb_queue_restart(struct vlb_queue *q, bool fail)
{
	unsigned int offered = 0, failed = 0;
	unsigned long flags;
	u16 head;

	vlb_queue_hold(q);
	if (fail) {
		vlb_queue_set_mode(q, VLB_NULL);
		failed = vlb_queue_drain(q);
		vlb_queue_set_mode(q, VLB_HELD);
	}
	/* a held queue gains chains, but loses none; long, so without its lock */
	for (head = next_outstanding(q, VLB_NO_CHAIN); head != VLB_NO_CHAIN;
	     head = next_outstanding(q, head)) {
		vlb_shadow_refresh(&q->shadow, head);
		cond_resched();
	}

	spin_lock_irqsave(&q->lock, flags);
	if (q->vq)
		offered = vlb_shadow_reoffer(&q->shadow);
	spin_unlock_irqrestore(&q->lock, flags);
	vlb_queue_set_mode(q, VLB_LIVE);
	return fail ? failed : offered;
}

/* Runs in the eventfd's wake-up, with its wait queue lock held. */
static int call_wake(wait_queue_entry_t *wait, unsigned int mode, int sync,
		     void *key)
{
	struct vlb_call *call = container_of(wait, struct vlb_call, wait);
	u64 count;

	/*
	 * EPOLLHUP: the last file of the eventfd is closed, so nobody will
	 * signal it again. Our reference keeps the wait queue, and our place
	 * in it, until the eventfd is replaced or the session ends.
	 */
	if (key_to_poll(key) & EPOLLIN) {
		eventfd_ctx_do_read(call->ctx, &count);
		if (call->queue->dev->type->deferred_call)
			queue_work(vlb_drain_wq, &call->queue->call_work);
		else
			collect(call->queue);
	}
	return 0;
}

static void call_enqueue(struct file *file, wait_queue_head_t *head,
			 poll_table *table)
{
	struct vlb_call *call = container_of(table, struct vlb_call, table);

	add_wait_queue(head, &call->wait);
}

static struct vlb_call *call_create(struct vlb_queue *q, int fd)
{
	struct vlb_call *call;
	struct file *file;

	file = eventfd_fget(fd);
	if (IS_ERR(file))
		return ERR_CAST(file);
	call = kzalloc(sizeof(*call), GFP_KERNEL_ACCOUNT);
	if (!call) {
		fput(file);
		return ERR_PTR(-ENOMEM);
	}
	call->queue = q;
	call->ctx = eventfd_ctx_fileget(file);
	init_waitqueue_func_entry(&call->wait, call_wake);
	init_poll_funcptr(&call->table, call_enqueue);
	if (vfs_poll(file, &call->table) & EPOLLIN)
		collect(q);
	fput(file);
	return call;
}

static void call_destroy(struct vlb_call *call)
{
	u64 count;

	eventfd_ctx_remove_wait_queue(call->ctx, &call->wait, &count);
	eventfd_ctx_put(call->ctx);
	kfree(call);
}

/* Takes over both references. Called with @q->dev->lock. */
static void replace_fds(struct vlb_queue *q, struct eventfd_ctx *kick,
			struct vlb_call *call)
{
	kick = rcu_replace_pointer(q->kick, kick,
				   lockdep_is_held(&q->dev->lock));
	swap(q->call, call);
	if (call)
		call_destroy(call);
	if (kick) {
		synchronize_rcu();
		eventfd_ctx_put(kick);
	}
}

/**
 * vlb_queue_set_fds - set both eventfds
 * @q: the queue
 * @kick_fd: signalled when the driver adds buffers, and once now; -1: none
 * @call_fd: signalled by the device side when it used buffers; -1: none
 *
 * Called with @q->dev->lock.
 *
 * Return: 0, -EBADF (not open), -EINVAL (not an eventfd) or -ENOMEM; after an
 * error nothing has changed
 */
int vlb_queue_set_fds(struct vlb_queue *q, int kick_fd, int call_fd)
{
	struct eventfd_ctx *kick_ctx = NULL;
	struct vlb_call *call = NULL;

	if (kick_fd != -1) {
		kick_ctx = eventfd_ctx_fdget(kick_fd);
		if (IS_ERR(kick_ctx))
			return PTR_ERR(kick_ctx);
	}
	if (call_fd != -1) {
		call = call_create(q, call_fd);
		if (IS_ERR(call)) {
			if (kick_ctx)
				eventfd_ctx_put(kick_ctx);
			return PTR_ERR(call);
		}
	}
	replace_fds(q, kick_ctx, call);
	kick(q);
	return 0;
}

/**
 * vlb_queue_drop_fds - forget both eventfds
 * @q: the queue
 *
 * Called with @q->dev->lock.
 */
void vlb_queue_drop_fds(struct vlb_queue *q)
{
	replace_fds(q, NULL, NULL);
}
