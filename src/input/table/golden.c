/*
 * Answers of input devices as the kernel's own headers have them: cc golden.c && ./a.out >golden.txt
 * One line each: device, select, subsel, bytes. The devices are those of src/input/kind.rs for the GPU "gpu0".
 */
#include <stdio.h>
#include <string.h>
#include <linux/input.h>
#include <linux/virtio_input.h>

static void put(const char *device, int select, int subsel, const void *bytes, unsigned int size)
{
	unsigned int i;

	printf("%s %d %d ", device, select, subsel);
	for (i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)bytes)[i]);
	printf("\n");
}

static void put_bits(const char *device, int select, int subsel, const int *codes, unsigned int count)
{
	unsigned char bits[128] = { 0 };
	unsigned int i, size = 0;

	for (i = 0; i < count; i++) {
		bits[codes[i] / 8] |= 1 << codes[i] % 8;
		if (codes[i] / 8 + 1 > (int)size)
			size = codes[i] / 8 + 1;
	}
	put(device, select, subsel, bits, size);
}

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void put_axis(const char *device, int axis, int max)
{
	struct virtio_input_absinfo info = { 0, max, 0, 0, 0 };

	put(device, VIRTIO_INPUT_CFG_ABS_INFO, axis, &info, sizeof(info));
}

static void begin(const char *device, const char *name, int product)
{
	struct virtio_input_devids ids = { BUS_VIRTUAL, 0x1af4, product, 1 };

	put(device, VIRTIO_INPUT_CFG_ID_NAME, 0, name, strlen(name));
	put(device, VIRTIO_INPUT_CFG_ID_SERIAL, 0, "gpu0", 4);
	put(device, VIRTIO_INPUT_CFG_ID_DEVIDS, 0, &ids, sizeof(ids));
}

int main(void)
{
	static const int not_ours[] = { KEY_SYSRQ, KEY_POWER, KEY_SLEEP, KEY_WAKEUP, KEY_SUSPEND, KEY_BLUETOOTH,
					KEY_WLAN, KEY_UWB, KEY_WIMAX, KEY_RFKILL };
	static const int leds[] = { LED_NUML, LED_CAPSL, LED_SCROLLL }, repeat[] = { REP_DELAY, REP_PERIOD };
	static const int buttons[] = { BTN_LEFT, BTN_RIGHT, BTN_MIDDLE, BTN_SIDE, BTN_EXTRA };
	static const int wheels[] = { REL_WHEEL, REL_HWHEEL, REL_WHEEL_HI_RES, REL_HWHEEL_HI_RES };
	static const int motion[] = { REL_X, REL_Y, REL_WHEEL, REL_HWHEEL, REL_WHEEL_HI_RES, REL_HWHEEL_HI_RES };
	static const int plane[] = { ABS_X, ABS_Y }, direct[] = { INPUT_PROP_DIRECT }, touch[] = { BTN_TOUCH };
	static const int contact[] = { ABS_X, ABS_Y, ABS_MT_SLOT, ABS_MT_TRACKING_ID, ABS_MT_POSITION_X, ABS_MT_POSITION_Y };
	int keys[256], count = 0, key;
	unsigned int i;

	for (key = KEY_ESC; key <= KEY_MICMUTE; key++) {
		for (i = 0; i < COUNT(not_ours) && not_ours[i] != key; i++)
			;
		if (i == COUNT(not_ours))
			keys[count++] = key;
	}
	begin("keyboard", "gpu0 scanout 0 keyboard", 0x0101);
	put_bits("keyboard", VIRTIO_INPUT_CFG_EV_BITS, EV_KEY, keys, count);
	put_bits("keyboard", VIRTIO_INPUT_CFG_EV_BITS, EV_LED, leds, COUNT(leds));
	put_bits("keyboard", VIRTIO_INPUT_CFG_EV_BITS, EV_REP, repeat, COUNT(repeat));
	begin("pointer", "gpu0 scanout 0 pointer", 0x0102);
	put_bits("pointer", VIRTIO_INPUT_CFG_EV_BITS, EV_KEY, buttons, COUNT(buttons));
	put_bits("pointer", VIRTIO_INPUT_CFG_EV_BITS, EV_REL, wheels, COUNT(wheels));
	put_bits("pointer", VIRTIO_INPUT_CFG_EV_BITS, EV_ABS, plane, COUNT(plane));
	put_axis("pointer", ABS_X, 32767);
	put_axis("pointer", ABS_Y, 32767);
	begin("mouse", "gpu0 scanout 0 mouse", 0x0103);
	put_bits("mouse", VIRTIO_INPUT_CFG_EV_BITS, EV_KEY, buttons, COUNT(buttons));
	put_bits("mouse", VIRTIO_INPUT_CFG_EV_BITS, EV_REL, motion, COUNT(motion));
	begin("touch", "gpu0 scanout 0 touch", 0x0104);
	put_bits("touch", VIRTIO_INPUT_CFG_PROP_BITS, 0, direct, COUNT(direct));
	put_bits("touch", VIRTIO_INPUT_CFG_EV_BITS, EV_KEY, touch, COUNT(touch));
	put_bits("touch", VIRTIO_INPUT_CFG_EV_BITS, EV_ABS, contact, COUNT(contact));
	put_axis("touch", ABS_X, 32767);
	put_axis("touch", ABS_Y, 32767);
	put_axis("touch", ABS_MT_SLOT, 15);
	put_axis("touch", ABS_MT_POSITION_X, 32767);
	put_axis("touch", ABS_MT_POSITION_Y, 32767);
	put_axis("touch", ABS_MT_TRACKING_ID, 65535);
	return 0;
}
