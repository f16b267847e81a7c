/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * virtio_loopback: a virtio transport whose device side is a process of the
 * same machine.
 *
 * /dev/virtio-loopback is the control device: one open file is one device.
 * VIRTIO_LOOPBACK_CREATE makes the device; VIRTIO_LOOPBACK_ATTACH gives the
 * session file through which one process serves it. Closing the session file
 * means "the device side is gone", closing the control file removes the device.
 * A device without a session may be kept for a time; then ATTACH is possible
 * again.
 *
 * Rules: all structures are the same for 32 and 64-bit callers, pointers are
 * __u64, every reserved field and unknown flag must be zero, every count and
 * size has a bound that is named here.
 */
#ifndef _UAPI_LINUX_VIRTIO_LOOPBACK_H
#define _UAPI_LINUX_VIRTIO_LOOPBACK_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VIRTIO_LOOPBACK_API_VERSION	1

#define VIRTIO_LOOPBACK_MAX_QUEUES	8
#define VIRTIO_LOOPBACK_MAX_QUEUE_SIZE	1024
#define VIRTIO_LOOPBACK_MAX_CONFIG	256	/* bytes, of a GPU */
#define VIRTIO_LOOPBACK_MAX_INPUT_CONFIG	4096	/* bytes, of an input device */
#define VIRTIO_LOOPBACK_MAX_INPUT_SLOTS	64	/* contacts of an input device */
#define VIRTIO_LOOPBACK_NAME_LEN	32	/* with the final NUL */
#define VIRTIO_LOOPBACK_MAX_RANGES	1024	/* of EXPORT_DMABUF */
#define VIRTIO_LOOPBACK_MAX_KEEP_MS	60000
#define VIRTIO_LOOPBACK_MIN_BOUNCE	(16 << 20)	/* bytes */

#define VIRTIO_LOOPBACK_IOCTL	0xB6

/**
 * struct virtio_loopback_create - a new device (control file, once)
 * @flags: must be 0
 * @device_id: virtio device id: 16 (GPU) or 18 (input)
 * @vendor_id: virtio vendor id, as the driver sees it
 * @features: feature bits offered to the driver. VERSION_1 and ACCESS_PLATFORM
 *	are required, and for a GPU INDIRECT_DESC; EVENT_IDX and INDIRECT_DESC
 *	are the only other transport bits (24 to 49) allowed. An input device
 *	has no bits of its own.
 * @window_size: bytes of IOVA space, a power of two from 1 GiB to 1 TiB; 0
 *	means 64 GiB
 * @num_queues: 1 to VIRTIO_LOOPBACK_MAX_QUEUES
 * @config_len: bytes at @config, 1 to VIRTIO_LOOPBACK_MAX_CONFIG, or of an input
 *	device to VIRTIO_LOOPBACK_MAX_INPUT_CONFIG
 * @queue_size: per queue, a power of two up to VIRTIO_LOOPBACK_MAX_QUEUE_SIZE;
 *	0 beyond @num_queues. A GPU's are at least 16 (control) and 2 (cursor),
 *	an input device's 2 to 64 (events and status).
 * @config: user address of the initial configuration space; of an input device,
 *	of the answers: see struct virtio_loopback_input_entry
 * @reset_timeout_ms: how long the driver's reset waits for
 *	VIRTIO_LOOPBACK_ACK, at most 10000; 0 means 1000
 * @keep_ms: how long the device is kept without a session, at most
 *	VIRTIO_LOOPBACK_MAX_KEEP_MS; 0: not at all
 * @name: unique among devices, [A-Za-z0-9._-], NUL-terminated
 * @index: out: N of the parent device "virtio-loopback.N"
 * @bounce_max: bytes that the copies of commands and responses may take, at
 *	least VIRTIO_LOOPBACK_MIN_BOUNCE; 0, or more than the module's parameter
 *	bounce_max_mb or than a quarter of the window: the least of these
 * @export_max: bytes of the driver's memory that dma-bufs may hold; 0: 2 GiB
 * @reserved: must be 0
 */
struct virtio_loopback_create {
	__u32 flags;
	__u32 device_id;
	__u32 vendor_id;
	__u32 num_queues;
	__u64 features;
	__u64 window_size;
	__u64 config;
	__u32 config_len;
	__u32 reset_timeout_ms;
	__u32 keep_ms;
	__u32 index;
	__u16 queue_size[VIRTIO_LOOPBACK_MAX_QUEUES];
	char name[VIRTIO_LOOPBACK_NAME_LEN];
	__u64 bounce_max;
	__u64 export_max;
	__u64 reserved[4];
};

/**
 * struct virtio_loopback_input_entry - an answer of an input device
 * @select: VIRTIO_INPUT_CFG_*: what the driver selects to be told this
 * @subsel: likewise
 * @size: bytes of the answer, 1 to 128, which follow
 * @reserved: must be 0
 *
 * The configuration of an input device (virtio 1.3, section 5.8.4) is a question,
 * @select and @subsel, and its answer. The driver asks while it probes and does
 * not wait, so all answers are given at CREATE: the configuration is a sequence
 * of these entries, each followed by its answer, without padding. To any other
 * question the answer has 0 bytes.
 *
 * ID_NAME must be there, printable and at most 63 bytes long, and so is
 * ID_SERIAL, if it is there. ID_DEVIDS has 8 bytes, PROP_BITS 1 to 4. EV_BITS is
 * for EV_KEY (at most 96 bytes), EV_REL (2), EV_ABS (8), EV_MSC (1), EV_SW (3),
 * EV_LED (2), EV_SND (1) and EV_REP (1), at least one of the first three. ABS_INFO
 * has 20 bytes, for exactly the axes of EV_ABS: from min to max, both signed, with
 * fuzz and flat inside that range and res not negative; ABS_MT_SLOT from 0 to at
 * most VIRTIO_LOOPBACK_MAX_INPUT_SLOTS - 1. No question is there twice.
 */
struct virtio_loopback_input_entry {
	__u8 select;
	__u8 subsel;
	__u8 size;
	__u8 reserved;
};

/**
 * struct virtio_loopback_queue_fds - eventfds of a queue (session file)
 * @queue: index
 * @kick: eventfd the module signals when the driver adds buffers; -1: none
 * @call: eventfd the device side signals when it used buffers; -1: none
 * @reserved: must be 0
 *
 * Both replace what was set before. Setting a kick eventfd signals it once,
 * so no buffer that the driver added earlier is missed.
 */
struct virtio_loopback_queue_fds {
	__u32 queue;
	__s32 kick;
	__s32 call;
	__u32 reserved;
};

/**
 * struct virtio_loopback_queue_info - a shadow virtqueue (session file)
 * @queue: in: index
 * @size: entries
 * @ready: 1 when the driver has set the queue up
 * @outstanding: buffers the device side has not returned
 * @next_avail: where a device side that has not taken any buffer starts in the
 *	available ring; how far one has got is not followed here
 * @avail_idx: out: index of the available ring, as the module has put it; what
 *	the device side writes there is not looked at
 * @desc: IOVA of the descriptor table
 * @avail: IOVA of the available ring
 * @used: IOVA of the used ring
 * @reserved: out: 0
 */
struct virtio_loopback_queue_info {
	__u32 queue;
	__u32 size;
	__u32 ready;
	__u32 outstanding;
	__u32 next_avail;
	__u32 avail_idx;
	__u64 desc;
	__u64 avail;
	__u64 used;
	__u64 reserved[2];
};

/**
 * struct virtio_loopback_config_set - change the configuration (session file)
 * @offset: first byte
 * @length: bytes; @offset + @length within the config_len of CREATE
 * @data: user address
 *
 * Raises the configuration change interrupt. An input device's configuration
 * does not change.
 */
struct virtio_loopback_config_set {
	__u32 offset;
	__u32 length;
	__u64 data;
};

/* enum for virtio_loopback_status.state */
#define VIRTIO_LOOPBACK_STATE_ATTACHED	1	/* a session serves the device */
#define VIRTIO_LOOPBACK_STATE_NULL	2	/* the null device answers */
#define VIRTIO_LOOPBACK_STATE_KEPT	3	/* waits for another session */
#define VIRTIO_LOOPBACK_STATE_WAITING	4	/* no session yet */

/**
 * struct virtio_loopback_status - what the device is doing (session, control
 * file)
 * @driver_status: the virtio status byte
 * @state: VIRTIO_LOOPBACK_STATE_*
 * @driver_features: feature bits the driver accepted
 * @outstanding: buffers the device side has not returned, all queues
 * @bounce_used: bounce slots (pages) that the driver has mapped
 * @bounce_pages: bounce slots that exist
 * @objects: scatter lists mapped (GEM objects)
 * @object_pages: their pages
 * @faults: page faults served in the window
 * @stale_faults: of these, faults outside any mapping (dummy page)
 * @bad_used: used entries refused: not outstanding, or beyond the ring
 * @clamped_used: used lengths cut to what the chain may write
 * @filtered_values: values of responses cut to their bound, and fence fields
 *	that were not those of the command
 * @events_dropped: events lost because nobody read them
 * @reset_timeouts: resets that went on without ACK
 * @index: as CREATE gave it
 * @keep_ms: as CREATE set it
 * @bounce_max: bytes that bounce slots may take
 * @exported_pages: pages that dma-bufs hold
 * @driver_starts: times a driver has set DRIVER_OK: whether the one that runs is
 *	the one that an earlier session knew
 */
struct virtio_loopback_status {
	__u32 driver_status;
	__u32 state;
	__u64 driver_features;
	__u32 outstanding;
	__u32 bounce_used;
	__u32 bounce_pages;
	__u32 objects;
	__u64 object_pages;
	__u64 faults;
	__u64 stale_faults;
	__u64 bad_used;
	__u64 clamped_used;
	__u64 filtered_values;
	__u64 events_dropped;
	__u64 reset_timeouts;
	__u32 index;
	__u32 keep_ms;
	__u64 bounce_max;
	__u64 exported_pages;
	__u64 driver_starts;
};

/* enum for virtio_loopback_outstanding.action */
#define VIRTIO_LOOPBACK_REOFFER	1	/* to the next device side */
#define VIRTIO_LOOPBACK_FAIL	2	/* the null device answers them */

/**
 * struct virtio_loopback_outstanding - what becomes of the buffers that a
 * device side took and did not return (session file)
 * @queue: index
 * @action: VIRTIO_LOOPBACK_REOFFER or VIRTIO_LOOPBACK_FAIL
 * @reserved: must be 0
 *
 * For when the old device side is known to be gone: it must not touch the ring
 * any more. What it has put in the used ring by then counts as returned. Then
 * the ring is laid out anew: both indices start at 0, and after REOFFER the
 * available ring has the outstanding buffers in the order in which the driver
 * added them, followed by whatever comes; what the device side reads of them is
 * as the driver wrote it. The old device side may have done any of them already.
 * Signals the kick eventfd.
 *
 * After ATTACH to a device that was kept, each queue is held until this call.
 *
 * Returns the number of buffers offered again, or answered; 0 if the driver is
 * not running.
 */
struct virtio_loopback_outstanding {
	__u32 queue;
	__u32 action;
	__u64 reserved;
};

/* enum for virtio_loopback_event.type */
#define VIRTIO_LOOPBACK_EVENT_FEATURES_OK	1	/* value: accepted features */
#define VIRTIO_LOOPBACK_EVENT_DRIVER_OK		2	/* value: accepted features */
#define VIRTIO_LOOPBACK_EVENT_CONFIG_WRITTEN	3	/* offset, length, value: bytes */
#define VIRTIO_LOOPBACK_EVENT_RESET		4	/* wants VIRTIO_LOOPBACK_ACK */
#define VIRTIO_LOOPBACK_EVENT_UNBOUND		5	/* the driver deleted its queues */

/**
 * struct virtio_loopback_event - read() from the session file gives whole events
 * @type: VIRTIO_LOOPBACK_EVENT_*
 * @sequence: what VIRTIO_LOOPBACK_ACK names
 * @offset: CONFIG_WRITTEN: first byte
 * @length: CONFIG_WRITTEN: bytes
 * @value: per type; CONFIG_WRITTEN: up to 8 bytes in memory order
 * @reserved: 0
 *
 * read() blocks unless O_NONBLOCK; poll() says POLLIN. After RESET the device
 * side must have stopped using the rings before it acknowledges.
 *
 * The first session of a device reads what happened since CREATE. A later one
 * (see keep_ms of CREATE) begins with FEATURES_OK or DRIVER_OK, if that is as
 * far as the driver has come.
 */
struct virtio_loopback_event {
	__u32 type;
	__u32 sequence;
	__u32 offset;
	__u32 length;
	__u64 value;
	__u64 reserved;
};

/**
 * struct virtio_loopback_range - part of the IOVA window
 * @iova: first byte, page-aligned
 * @length: bytes, whole pages
 */
struct virtio_loopback_range {
	__u64 iova;
	__u64 length;
};

/**
 * struct virtio_loopback_export - a dma-buf of mapped pages (memory file)
 * @flags: O_CLOEXEC and O_RDWR (or O_RDONLY) only
 * @num_ranges: 1 to VIRTIO_LOOPBACK_MAX_RANGES
 * @ranges: user address of struct virtio_loopback_range[]; all of them inside
 *	one scatter list of the driver (one GEM object)
 * @reserved: must be 0
 *
 * Returns the dma-buf's file descriptor. The dma-buf holds its pages: they
 * stay as they are when the driver unmaps them.
 */
struct virtio_loopback_export {
	__u32 flags;
	__u32 num_ranges;
	__u64 ranges;
	__u64 reserved[2];
};

/* /dev/virtio-loopback (control file) */
#define VIRTIO_LOOPBACK_GET_API_VERSION	_IOR(VIRTIO_LOOPBACK_IOCTL, 0x00, __u32)
#define VIRTIO_LOOPBACK_CREATE		_IOWR(VIRTIO_LOOPBACK_IOCTL, 0x01, struct virtio_loopback_create)
#define VIRTIO_LOOPBACK_ATTACH		_IO(VIRTIO_LOOPBACK_IOCTL, 0x02)	/* -> session fd */

/* session file; STATUS also control file */
#define VIRTIO_LOOPBACK_SET_QUEUE_FDS	_IOW(VIRTIO_LOOPBACK_IOCTL, 0x10, struct virtio_loopback_queue_fds)
#define VIRTIO_LOOPBACK_QUEUE_INFO	_IOWR(VIRTIO_LOOPBACK_IOCTL, 0x11, struct virtio_loopback_queue_info)
#define VIRTIO_LOOPBACK_CONFIG_SET	_IOW(VIRTIO_LOOPBACK_IOCTL, 0x12, struct virtio_loopback_config_set)
#define VIRTIO_LOOPBACK_STATUS		_IOR(VIRTIO_LOOPBACK_IOCTL, 0x13, struct virtio_loopback_status)
#define VIRTIO_LOOPBACK_GET_MEM_FD	_IO(VIRTIO_LOOPBACK_IOCTL, 0x14)	/* -> memory fd */
#define VIRTIO_LOOPBACK_ACK		_IOW(VIRTIO_LOOPBACK_IOCTL, 0x15, __u32)
#define VIRTIO_LOOPBACK_OUTSTANDING	_IOW(VIRTIO_LOOPBACK_IOCTL, 0x16, struct virtio_loopback_outstanding)
/* 0x17 to 0x1f: later versions */

/* memory file */
#define VIRTIO_LOOPBACK_EXPORT_DMABUF	_IOW(VIRTIO_LOOPBACK_IOCTL, 0x20, struct virtio_loopback_export)

#endif /* _UAPI_LINUX_VIRTIO_LOOPBACK_H */
