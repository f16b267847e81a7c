/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's own view of a device. The user's view is virtio_loopback.h.
 *
 * Parts, one file each: main.c (module, control file), device.c (lifetime),
 * unplug.c (its end for the driver), transport.c (what the virtio core calls),
 * queue.c (shadow queues, eventfds), session.c (what the device side calls),
 * window.c (the memory file), dma.c (what the driver maps), dmabuf.c
 * (EXPORT_DMABUF), gpu.c and input.c (what is special about a device type), and
 * the plain parts shadow.c, bounce.c and iova.c.
 *
 * Lock order, outermost first. Locks on one line are never held together.
 *
 *	struct vlb_control.lock
 *	the driver core's device_lock
 *	struct vlb_device.lock		sleeps; also held over copies from user
 *	mm->mmap_lock			(page faults)
 *	struct vlb_device.map_lock	sleeps
 *	inode->i_mapping->i_mmap_rwsem	(unmap_mapping_range)
 *
 *	eventfd's wait queue lock	(call callback)
 *	the driver's queue lock		(notify; input: under the event_lock)
 *	struct vlb_queue.lock		interrupts off
 *	struct vlb_bounce.lock, struct vlb_events.lock, struct vlb_device.config_lock
 *
 * A kick eventfd is signalled, and the driver is interrupted, with none of
 * ours held: the first takes that eventfd's wait queue lock, the second runs
 * the driver's callback. That of virtio_input takes the input core's event_lock,
 * under which virtio_input also notifies, and under which others are woken. So
 * it is never run under an eventfd's wait queue lock, which is what a call is
 * noticed under, but from call_work: see deferred_call.
 */
#ifndef VLB_INTERNAL_H
#define VLB_INTERNAL_H

#include <linux/atomic.h>
#include <linux/eventfd.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "bounce.h"
#include "iova.h"
#include "shadow.h"
#include "virtio_loopback.h"

/* Feature bits that are not the device type's: virtio 1.3, section 2.2. */
#define VLB_TRANSPORT_MASK	GENMASK_ULL(49, 24)

/* Layout of the window: rings, bounce slots, scatter lists. */
#define VLB_RING_BASE	0x100000ULL	/* below: never mapped */
#define VLB_RING_STRIDE	0x20000ULL	/* also with pages of 64 KiB */
#define VLB_BOUNCE_BASE	0x1000000ULL

#define VLB_WINDOW_MIN		(1ULL << 30)
#define VLB_WINDOW_MAX		(1ULL << 40)
#define VLB_WINDOW_DEFAULT	(64ULL << 30)

#define VLB_EVENTS	64

/* How long the clients of a card that is removed wait at most, see unplug.c. */
#define VLB_HOLD	msecs_to_jiffies(160)

struct vlb_device;
struct vlb_queue;

/**
 * enum vlb_mode - where a queue's buffers go
 * @VLB_DOWN: the driver has no queue
 * @VLB_HELD: into the shadow ring, where they wait; nothing comes back
 * @VLB_LIVE: to the device side and back
 * @VLB_NULL: the null device answers them
 */
enum vlb_mode { VLB_DOWN, VLB_HELD, VLB_LIVE, VLB_NULL };

/**
 * enum vlb_session_state - whether a process serves the device
 * @VLB_SESSION_NONE: not yet
 * @VLB_SESSION_ATTACHED: yes
 * @VLB_SESSION_KEPT: no longer; another may, until the deadline
 * @VLB_SESSION_GONE: no longer; the null device has taken over
 */
enum vlb_session_state {
	VLB_SESSION_NONE,
	VLB_SESSION_ATTACHED,
	VLB_SESSION_KEPT,
	VLB_SESSION_GONE,
};

/**
 * struct vlb_config - what the configuration space is made of
 * @bytes: as CREATE gave them
 * @len: how many
 * @select: a type whose @bytes are a table: what the driver has selected
 * @subsel: likewise
 */
struct vlb_config {
	u8 *bytes;
	u32 len;
	u8 select;
	u8 subsel;
};

/**
 * struct vlb_type_ops - what is special about one virtio device id
 * @device_id: virtio device id
 * @max_config: most bytes of configuration that CREATE takes
 * @space: bytes of the configuration space, 0 if it is the configuration
 * @fixed_config: CONFIG_SET is refused
 * @card: the driver makes a DRM card: see unplug.c
 * @drops_buffers: the driver does not take its buffers back at its end: what
 *	they map is forgotten when it deletes its queues
 * @deferred_call: the driver's callback is not run under an eventfd's lock
 * @held_queues: bit per queue whose buffers the null device never answers
 * @bounce_pages: most bounce slots that the driver can use, 0 if that is not
 *	known
 * @valid_create: whether a device of this shape makes sense
 * @valid_config: whether a driver can be shown this configuration
 * @read_config: @space is not 0: what the driver reads at @offset, which with
 *	@len is inside it. Called with config_lock
 * @driver_wrote: the driver wrote @len bytes at @offset, which are inside the
 *	configuration space: do what the device would. Called with config_lock.
 *	Returns whether the device side is told
 * @seen: a new chain; may tag its buffers with vlb_bounce_tag(). May be NULL
 * @answer: the null device's answer; returns its bytes
 * @filter: @resp, tagged with @tag, is about to be seen by the driver: cut
 *	what the driver does not check. Returns how many values were wrong
 */
struct vlb_type_ops {
	u32 device_id;
	u32 max_config;
	u32 space;
	bool fixed_config;
	bool card;
	bool drops_buffers;
	bool deferred_call;
	u32 held_queues;
	u32 bounce_pages;
	bool (*valid_create)(const struct virtio_loopback_create *create);
	bool (*valid_config)(const u8 *config, u32 config_len);
	void (*read_config)(const struct vlb_config *config, u32 offset,
			    void *buf, u32 len);
	bool (*driver_wrote)(struct vlb_config *config, u32 offset,
			     const void *buf, u32 len);
	void (*seen)(struct vlb_bounce *bounce, const struct vlb_chain *chain);
	u32 (*answer)(struct vlb_bounce *bounce, const struct vlb_chain *chain);
	u32 (*filter)(const struct vlb_tag *tag, void *resp, u32 len);
};

/**
 * struct vlb_call - a call eventfd that is listened to
 * @queue: whose
 * @ctx: the eventfd; our reference keeps its wait queue alive
 * @wait: our place in that wait queue
 * @table: only used to get there
 */
struct vlb_call {
	struct vlb_queue *queue;
	struct eventfd_ctx *ctx;
	wait_queue_entry_t wait;
	poll_table table;
};

/**
 * struct vlb_queue - one virtqueue
 * @dev: whose
 * @index: its number
 * @max: entries asked for at CREATE
 * @ring: memory of the shadow ring, vmalloc
 * @chains: @max elements
 * @lock: protects @vq, @mode and @shadow
 * @vq: the driver's queue, or NULL
 * @mode: see enum vlb_mode
 * @shadow: see shadow.h
 * @kick: eventfd, changed under @dev->lock
 * @call: protected by @dev->lock
 * @kick_work: signals @kick when notify() may not
 * @call_work: takes what was used when the callback of @call may not
 */
struct vlb_queue {
	struct vlb_device *dev;
	u32 index;
	u32 max;
	void *ring;
	struct vlb_chain *chains;
	spinlock_t lock;
	struct virtqueue *vq;
	enum vlb_mode mode;
	struct vlb_shadow shadow;
	struct eventfd_ctx __rcu *kick;
	struct vlb_call *call;
	struct work_struct kick_work;
	struct work_struct call_work;
};

/**
 * struct vlb_events - what read() of the session file gives
 * @lock: protects the rest
 * @wait: readers
 * @ring: the events
 * @head: oldest
 * @count: how many
 * @sequence: of the newest
 * @dropped: oldest events that had to make room
 */
struct vlb_events {
	spinlock_t lock;
	wait_queue_head_t wait;
	struct virtio_loopback_event ring[VLB_EVENTS];
	u32 head;
	u32 count;
	u32 sequence;
	u64 dropped;
};

/**
 * struct vlb_account - what the dma-bufs of a device hold; they outlive it
 * @refs: the device and each dma-buf
 * @pages: how many they hold
 * @max: how many they may
 */
struct vlb_account {
	refcount_t refs;
	atomic64_t pages;
	u64 max;
};

/**
 * struct vlb_stats - figures that are counted without a lock
 * @faults: page faults in the window
 * @stale_faults: of these, outside any mapping
 * @filtered: values of responses that were cut or put right
 * @reset_timeouts: resets that went on without an acknowledgement
 * @driver_starts: times a driver has set DRIVER_OK
 */
struct vlb_stats {
	atomic64_t faults;
	atomic64_t stale_faults;
	atomic64_t filtered;
	atomic64_t reset_timeouts;
	atomic64_t driver_starts;
};

/**
 * struct vlb_device - a loopback device
 * @pdev: the parent: DMA operations, and what DRM holds on to
 * @vdev: the virtio device, its child
 * @refs: control file, session file, memory files, @pdev, @vdev, work items
 * @type: see struct vlb_type_ops
 * @entry: in the list of all devices
 * @name: unique name
 * @index: N of "virtio-loopback.N"
 * @features: offered to the driver
 * @window_size: bytes
 * @reset_timeout_ms: see struct virtio_loopback_create
 * @keep_ms: likewise
 * @lock: protects @status, @session, @keep_until, @epoch, @removed, @resetting
 *	and every change of a queue's mode
 * @status: virtio status byte; also read without the lock
 * @session: see enum vlb_session_state; also read without the lock
 * @keep_until: VLB_SESSION_KEPT: jiffies of the deadline
 * @epoch: how many sessions there have been; also read without the lock, and
 *	changed only while the window is closed or nobody has a memory file
 * @removed: the control file is closed; also read without the lock
 * @resetting: between the driver's wish to reset and its end
 * @reset_pending: sequence of the reset that waits for its acknowledgement, or 0
 * @acked: sequence of the last acknowledged reset
 * @ack_wait: the driver's reset waits here
 * @registered: the lifecycle work has registered @vdev
 * @unregistered: the lifecycle work has undone that
 * @lifecycle_work: registers and unregisters
 * @drain_work: answers for the null device
 * @release_work: the null device begins to, after a removal
 * @keep_work: it begins to at the deadline
 * @stalled_at: jiffies when the clients of a removed device were made to wait
 * @frames: how often the driver has notified the first queue
 * @frame_at: jiffies when it last did
 * @frames_before: what @frames was at @stalled_at
 * @refill_work: gives bounce slots pages, and shows them
 * @shrink_work: takes pages from bounce slots again
 * @free_work: the end
 * @config_lock: protects @config
 * @config: see there
 * @generation: changes with @config
 * @num_queues: how many of @queues exist
 * @queues: the queues
 * @parked: queues the driver has deleted; it may still look at them
 * @events: see there
 * @map_lock: shared: page faults and look-ups; exclusive: changes of @iova and
 *	@window_open, each followed by a zap of what no longer holds
 * @window_open: false: every page of the window is the dummy page
 * @iova: scatter lists
 * @bounce: bounce slots
 * @bounce_wait: woken when no slot is in use any more
 * @bounce_stale: a bounce slot without a page may show the dummy page; set
 *	with @map_lock
 * @dummy: what a stale address shows; of this device only
 * @inode: of all memory files of the device
 * @ring_handle: next DMA handle for a driver's ring, beyond the window
 * @exports: see there
 * @stats: see there
 */
struct vlb_device {
	struct platform_device pdev;
	struct virtio_device vdev;
	struct kref refs;
	const struct vlb_type_ops *type;
	struct list_head entry;
	char name[VIRTIO_LOOPBACK_NAME_LEN];
	int index;
	u64 features;
	u64 window_size;
	u32 reset_timeout_ms;
	u32 keep_ms;

	struct mutex lock;
	u8 status;
	enum vlb_session_state session;
	unsigned long keep_until;
	u32 epoch;
	bool removed;
	bool resetting;
	u32 reset_pending;
	u32 acked;
	wait_queue_head_t ack_wait;

	bool registered;
	bool unregistered;
	struct work_struct lifecycle_work;
	struct work_struct drain_work;
	struct delayed_work release_work;
	struct delayed_work keep_work;
	unsigned long stalled_at;
	atomic_t frames;
	unsigned long frame_at;
	int frames_before;
	struct work_struct refill_work;
	struct delayed_work shrink_work;
	struct work_struct free_work;

	spinlock_t config_lock;
	struct vlb_config config;
	atomic_t generation;

	u32 num_queues;
	struct vlb_queue queues[VIRTIO_LOOPBACK_MAX_QUEUES];
	struct list_head parked;
	struct vlb_events events;

	struct rw_semaphore map_lock;
	bool window_open;
	struct vlb_iova iova;
	struct vlb_bounce bounce;
	wait_queue_head_t bounce_wait;
	bool bounce_stale;
	struct page *dummy;
	struct inode *inode;
	atomic64_t ring_handle;
	struct vlb_account *exports;
	struct vlb_stats stats;
};

static inline struct vlb_device *vlb_from_parent(struct device *dev)
{
	return container_of(dev, struct vlb_device, pdev.dev);
}

static inline struct vlb_device *vlb_from_vdev(struct virtio_device *vdev)
{
	return container_of(vdev, struct vlb_device, vdev);
}

/* Nobody serves the device any more: the null device does. */
static inline bool vlb_is_null(const struct vlb_device *dev)
{
	return READ_ONCE(dev->removed) ||
	       READ_ONCE(dev->session) == VLB_SESSION_GONE;
}

/* The driver is served, or will be. Called with @dev->lock. */
static inline bool vlb_is_running(const struct vlb_device *dev)
{
	return dev->status & VIRTIO_CONFIG_S_DRIVER_OK && !dev->resetting;
}

/* main.c */
extern struct workqueue_struct *vlb_lifecycle_wq;
extern struct workqueue_struct *vlb_drain_wq;

/* device.c */
struct vlb_device *vlb_device_create(const struct virtio_loopback_create *create,
				     const struct vlb_type_ops *type,
				     u8 *config);
int vlb_device_start(struct vlb_device *dev);
void vlb_device_discard(struct vlb_device *dev);
void vlb_device_remove(struct vlb_device *dev);
void vlb_device_get(struct vlb_device *dev);
void vlb_device_put(struct vlb_device *dev);
void vlb_device_quiesce(struct vlb_device *dev);
void vlb_device_stall(struct vlb_device *dev);
void vlb_device_answer_all(struct vlb_device *dev);
void vlb_device_session_gone(struct vlb_device *dev);
void vlb_device_session_new(struct vlb_device *dev);

/* unplug.c */
void vlb_wait_for_unregistering(void);
void vlb_unplug(struct vlb_device *dev);

/* transport.c */
extern const struct virtio_config_ops vlb_config_ops;
void vlb_transport_free_parked(struct vlb_device *dev);

/* queue.c */
int vlb_queue_init(struct vlb_queue *q, struct vlb_device *dev, u32 index,
		   u32 max);
void vlb_queue_destroy(struct vlb_queue *q);
int vlb_queue_up(struct vlb_queue *q, struct virtqueue *vq);
void vlb_queue_down(struct vlb_queue *q);
void vlb_queue_set_mode(struct vlb_queue *q, enum vlb_mode mode);
bool vlb_queue_notify(struct virtqueue *vq);
void vlb_queue_hold(struct vlb_queue *q);
unsigned int vlb_queue_drain(struct vlb_queue *q);
unsigned int vlb_queue_restart(struct vlb_queue *q, bool fail);
int vlb_queue_set_fds(struct vlb_queue *q, int kick, int call);
void vlb_queue_drop_fds(struct vlb_queue *q);
u64 vlb_queue_iova(const struct vlb_queue *q);

/* session.c */
int vlb_session_open(struct vlb_device *dev);
long vlb_session_status(struct vlb_device *dev, void __user *user);
void vlb_event_restart(struct vlb_device *dev);
u32 vlb_event_post(struct vlb_device *dev, struct virtio_loopback_event *event);

/* window.c */
int vlb_window_init(struct vlb_device *dev);
void vlb_window_destroy(struct vlb_device *dev);
int vlb_window_file(struct vlb_device *dev);
void vlb_window_open(struct vlb_device *dev);
void vlb_window_close(struct vlb_device *dev);
void vlb_window_freshen(struct vlb_device *dev);
void vlb_window_shrink(struct vlb_device *dev);
void vlb_window_zap(struct vlb_device *dev, unsigned long first,
		    unsigned long npages);

/* dma.c */
void vlb_dma_init(struct vlb_device *dev);
void vlb_dma_destroy(struct vlb_device *dev);
bool vlb_dma_wait_idle(struct vlb_device *dev, unsigned long timeout);

/* dmabuf.c */
struct vlb_account *vlb_account_create(u64 max_pages);
void vlb_account_put(struct vlb_account *account);
long vlb_dmabuf_export(struct vlb_device *dev, void __user *arg);

/* gpu.c */
extern const struct vlb_type_ops vlb_gpu_ops;

/* input.c */
extern const struct vlb_type_ops vlb_input_ops;

#endif /* VLB_INTERNAL_H */
