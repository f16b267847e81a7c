#!/usr/bin/env python3
"""uinput.py KIND FIFO: an input device of the kernel's uinput, for tests: a keyboard, mouse, tablet or touch screen.

Writes its node to standard output. Then it reads words from FIFO, whoever opens that how often: "CODE VALUE" pairs by
name or number, where each line is a frame, as "KEY_A 1". Lights that are set on it are written as "LED_NUML 1" lines.
"leave" ends it, and the device with it.
"""

import fcntl
import os
import select
import struct
import sys

EV = {"SYN": 0, "KEY": 1, "BTN": 1, "REL": 2, "ABS": 3, "LED": 17}
CODES = {
    "KEY_ESC": 1, "KEY_A": 30, "KEY_B": 48, "KEY_C": 46, "KEY_LEFTSHIFT": 42, "KEY_ENTER": 28, "KEY_SYSRQ": 99,
    "KEY_LEFTALT": 56, "KEY_NUMLOCK": 69, "KEY_POWER": 116,
    "BTN_LEFT": 0x110, "BTN_RIGHT": 0x111, "BTN_MIDDLE": 0x112, "BTN_SIDE": 0x113, "BTN_EXTRA": 0x114, "BTN_TOUCH": 0x14A,
    "REL_X": 0, "REL_Y": 1, "REL_HWHEEL": 6, "REL_WHEEL": 8, "REL_WHEEL_HI_RES": 11,
    "ABS_X": 0, "ABS_Y": 1, "ABS_MT_SLOT": 0x2F, "ABS_MT_POSITION_X": 0x35, "ABS_MT_POSITION_Y": 0x36,
    "ABS_MT_TRACKING_ID": 0x39, "LED_NUML": 0, "LED_CAPSL": 1, "LED_SCROLLL": 2,
}
LEDS = {value: name for name, value in CODES.items() if name.startswith("LED_")}
# Of each kind: keys, relative axes, absolute axes with their range, lights, properties.
BUTTONS = range(0x110, 0x115)
KINDS = {
    "keyboard": (range(1, 249), [], {}, [0, 1, 2], []),
    "mouse": (BUTTONS, [0, 1, 6, 8], {}, [], []),
    "tablet": (BUTTONS, [8], {0: 999, 1: 499}, [], []),
    "touch": ([0x14A], [], {0: 999, 1: 499, 0x2F: 4, 0x35: 999, 0x36: 499, 0x39: 65535}, [], [1]),
}


def request(direction, number, size):
    """The number of an ioctl of uinput (linux/uinput.h)."""
    return direction << 30 | size << 16 | ord("U") << 8 | number


def create(kind):
    """The descriptor and the name of a new device in sysfs."""
    keys, relative, absolute, lights, properties = KINDS[kind]
    fd = os.open("/dev/uinput", os.O_RDWR | os.O_NONBLOCK)

    def bit(number, value):
        fcntl.ioctl(fd, request(1, number, 4), value)

    for event, number, codes in [("KEY", 101, keys), ("REL", 102, relative), ("ABS", 103, absolute), ("LED", 105, lights)]:
        for code in codes:
            bit(100, EV[event])
            bit(number, code)
    for code in properties:
        bit(110, code)
    for axis, most in absolute.items():
        fcntl.ioctl(fd, request(1, 4, 28), struct.pack("HxxiiiiiI", axis, 0, 0, most, 0, 0, 0))
    fcntl.ioctl(fd, request(1, 3, 92), struct.pack("4H80sI", 3, 0x1234, 0x5678, 1, b"test " + kind.encode(), 0))
    fcntl.ioctl(fd, request(0, 1, 0))
    name = bytearray(64)
    fcntl.ioctl(fd, request(2, 44, 64), name)
    return fd, name.split(b"\0")[0].decode()


def node(name):
    """The node in /dev/input, once udev has made it."""
    for entry in os.listdir("/sys/devices/virtual/input/" + name):
        if entry.startswith("event"):
            return "/dev/input/" + entry
    raise SystemExit("no event device for " + name)


def put(fd, event, code, value):
    os.write(fd, struct.pack("llHHi", 0, 0, event, code, value))


def frame(fd, line):
    words = line.split()
    for name, value in zip(words[::2], words[1::2]):
        put(fd, EV[name.split("_")[0]], CODES[name], int(value))
    put(fd, 0, 0, 0)


def tell_lights(fd):
    try:
        events = os.read(fd, 24 * 64)
    except BlockingIOError:
        return
    for _, _, event, code, value in struct.iter_unpack("llHHi", events):
        if event == EV["LED"]:
            print(LEDS[code], value, flush=True)


def main():
    kind, fifo = sys.argv[1:]
    fd, name = create(kind)
    print(node(name), flush=True)
    # For reading and writing, so that it does not end when a writer does.
    lines = os.open(fifo, os.O_RDWR)
    rest = b""
    while True:
        ready, _, _ = select.select([lines, fd], [], [])
        if fd in ready:
            tell_lights(fd)
        if lines in ready:
            *whole, rest = (rest + os.read(lines, 4096)).split(b"\n")
            for line in whole:
                if line == b"leave":
                    return
                frame(fd, line.decode())


main()
