// SPDX-License-Identifier: GPL-2.0
/*
 * What is special about an input device (virtio 1.3, section 5.8): a
 * configuration space of questions and answers, and buffers that wait for
 * events for as long as there are none.
 *
 * The events themselves are not looked at: what they may say is what the answers
 * have announced, and the input core drops the rest, as it does for uinput.
 */
#include "compat.h"
#include <linux/input.h>
#include <linux/overflow.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_input.h>
#include "internal.h"

#define INPUT_QUEUES		2	/* events and status */
#define INPUT_EVENT_QUEUE	0

/* The driver has so many event buffers, however large the queue is. */
#define INPUT_MAX_QUEUE		64

/*
 * One for each buffer that both queues have room for, and some more for those
 * that are on two pages.
 */
#define INPUT_BOUNCE_PAGES	160

/* The driver's buffers for name and serial number, with their final NUL. */
#define INPUT_MAX_TEXT		63

/**
 * struct input_table - what the entries of a table say together
 * @name: there is a name
 * @serial: there is a serial number
 * @ids: there are ids
 * @props: there are properties
 * @types: event types with EV_BITS
 * @axes: axes in those of EV_ABS
 * @described: axes with ABS_INFO
 */
struct input_table {
	bool name;
	bool serial;
	bool ids;
	bool props;
	u32 types;
	u64 axes;
	u64 described;
};

static bool input_valid_create(const struct virtio_loopback_create *create)
{
	u32 i;

	if (create->num_queues != INPUT_QUEUES ||
	    create->features & ~VLB_TRANSPORT_MASK)
		return false;
	for (i = 0; i < INPUT_QUEUES; i++)
		if (create->queue_size[i] < 2 ||
		    create->queue_size[i] > INPUT_MAX_QUEUE)
			return false;
	return true;
}

/* Sets *@seen. Returns whether it was not set: no entry is there twice. */
static bool first(bool *seen)
{
	bool was = *seen;

	*seen = true;
	return !was;
}

/*
 * It gets into uevents, /proc and logs: no control characters, nor quotes, which
 * the uevent has around it.
 */
static bool valid_text(const u8 *text, u32 len)
{
	u32 i;

	if (len > INPUT_MAX_TEXT)
		return false;
	for (i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] == 0x7f || text[i] == '"')
			return false;
	return true;
}

/* Bytes that the bits of an event type can have, 0 if it is none of ours. */
static u32 most_bits(u8 type)
{
	switch (type) {
	case EV_KEY:
		return DIV_ROUND_UP(KEY_CNT, 8);
	case EV_REL:
		return DIV_ROUND_UP(REL_CNT, 8);
	case EV_ABS:
		return DIV_ROUND_UP(ABS_CNT, 8);
	case EV_MSC:
		return DIV_ROUND_UP(MSC_CNT, 8);
	case EV_SW:
		return DIV_ROUND_UP(SW_CNT, 8);
	case EV_LED:
		return DIV_ROUND_UP(LED_CNT, 8);
	case EV_SND:
		return DIV_ROUND_UP(SND_CNT, 8);
	case EV_REP:
		return 1;
	default:
		return 0;
	}
}

static bool valid_bits(struct input_table *table, u8 type, const u8 *bits,
		       u32 len)
{
	u32 i;

	if (len > most_bits(type) || table->types & BIT(type))
		return false;
	table->types |= BIT(type);
	for (i = 0; type == EV_ABS && i < len; i++)
		table->axes |= (u64)bits[i] << 8 * i;
	return true;
}

static s32 abs_field(const u8 *info, size_t offset)
{
	return get_unaligned_le32(info + offset);
}

#define ABS_FIELD(info, field) \
	abs_field(info, offsetof(struct virtio_input_absinfo, field))

/*
 * The driver allocates as many contacts as it is told. Ranges are what uinput
 * allows, too, and one less, for the input core counts their values.
 */
static bool valid_axis(struct input_table *table, u8 axis, const u8 *info,
		       u32 len)
{
	s32 min, max, range;

	if (axis >= ABS_CNT || len != sizeof(struct virtio_input_absinfo) ||
	    table->described & BIT_ULL(axis))
		return false;
	table->described |= BIT_ULL(axis);
	min = ABS_FIELD(info, min);
	max = ABS_FIELD(info, max);
	if (max < min || check_sub_overflow(max, min, &range) ||
	    range == S32_MAX)
		return false;
	if (axis == ABS_MT_SLOT &&
	    (min || max >= VIRTIO_LOOPBACK_MAX_INPUT_SLOTS))
		return false;
	return ABS_FIELD(info, fuzz) >= 0 && ABS_FIELD(info, fuzz) <= range &&
	       ABS_FIELD(info, flat) >= 0 && ABS_FIELD(info, flat) <= range &&
	       ABS_FIELD(info, res) >= 0;
}

static bool valid_entry(struct input_table *table,
			const struct virtio_loopback_input_entry *entry,
			const u8 *answer)
{
	switch (entry->select) {
	case VIRTIO_INPUT_CFG_ID_NAME:
		return !entry->subsel && first(&table->name) &&
		       valid_text(answer, entry->size);
	case VIRTIO_INPUT_CFG_ID_SERIAL:
		return !entry->subsel && first(&table->serial) &&
		       valid_text(answer, entry->size);
	case VIRTIO_INPUT_CFG_ID_DEVIDS:
		return !entry->subsel && first(&table->ids) &&
		       entry->size == sizeof(struct virtio_input_devids);
	case VIRTIO_INPUT_CFG_PROP_BITS:
		return !entry->subsel && first(&table->props) &&
		       entry->size <= DIV_ROUND_UP(INPUT_PROP_CNT, 8);
	case VIRTIO_INPUT_CFG_EV_BITS:
		return valid_bits(table, entry->subsel, answer, entry->size);
	case VIRTIO_INPUT_CFG_ABS_INFO:
		return valid_axis(table, entry->subsel, answer, entry->size);
	default:
		return false;
	}
}

/*
 * The entry at *@at of a table of @len bytes, and *@at behind its answer. NULL
 * at the end, and if the entry does not end where the table does.
 */
static const struct virtio_loopback_input_entry *
next_entry(const u8 *bytes, u32 len, u32 *at)
{
	const struct virtio_loopback_input_entry *entry;

	if (len - *at < sizeof(*entry))
		return NULL;
	entry = (const void *)(bytes + *at);
	if (!entry->size || entry->size > len - *at - sizeof(*entry))
		return NULL;
	*at += sizeof(*entry) + entry->size;
	return entry;
}

static const u8 *answer_of(const struct virtio_loopback_input_entry *entry)
{
	return (const u8 *)(entry + 1);
}

static bool input_valid_config(const u8 *config, u32 config_len)
{
	const u32 of_use = BIT(EV_KEY) | BIT(EV_REL) | BIT(EV_ABS);
	const struct virtio_loopback_input_entry *entry;
	struct input_table table = {};
	u32 at = 0;

	while ((entry = next_entry(config, config_len, &at)))
		if (entry->reserved ||
		    !valid_entry(&table, entry, answer_of(entry)))
			return false;
	return at == config_len && table.name && table.types & of_use &&
	       table.axes == table.described;
}

static void input_read_config(const struct vlb_config *config, u32 offset,
			      void *buf, u32 len)
{
	struct virtio_input_config space = {
		.select = config->select,
		.subsel = config->subsel,
	};
	const struct virtio_loopback_input_entry *entry;
	u32 at = 0;

	while ((entry = next_entry(config->bytes, config->len, &at)))
		if (entry->select == config->select &&
		    entry->subsel == config->subsel) {
			space.size = entry->size;
			memcpy(&space.u, answer_of(entry), entry->size);
			break;
		}
	memcpy(buf, (u8 *)&space + offset, len);
}

/* The question is all that can be written. It is answered here. */
static bool input_driver_wrote(struct vlb_config *config, u32 offset,
			       const void *buf, u32 len)
{
	const u8 *bytes = buf;
	u32 i;

	for (i = 0; i < len; i++) {
		if (offset + i == offsetof(struct virtio_input_config, select))
			config->select = bytes[i];
		if (offset + i == offsetof(struct virtio_input_config, subsel))
			config->subsel = bytes[i];
	}
	return false;
}

/* What the driver says is taken, and nothing happens: a light, a sound. */
static u32 input_answer(struct vlb_bounce *bounce,
			const struct vlb_chain *chain)
{
	return 0;
}

/*
 * An event buffer that came back without an event would be read as one and be
 * given again at once, for ever: so the null device holds them. The driver does
 * not take them back at its end either, nor does it unmap them.
 */
const struct vlb_type_ops vlb_input_ops = {
	.device_id = VIRTIO_ID_INPUT,
	.max_config = VIRTIO_LOOPBACK_MAX_INPUT_CONFIG,
	.space = sizeof(struct virtio_input_config),
	.fixed_config = true,
	.drops_buffers = true,
	.deferred_call = true,
	.held_queues = BIT(INPUT_EVENT_QUEUE),
	.bounce_pages = INPUT_BOUNCE_PAGES,
	.valid_create = input_valid_create,
	.valid_config = input_valid_config,
	.read_config = input_read_config,
	.driver_wrote = input_driver_wrote,
	.answer = input_answer,
};
