#!/usr/bin/env python3
"""pixels.py IMAGE CHECK ARGUMENT... [CHECK ARGUMENT...]

Checks the pixels of a picture; exits 1 and says what is wrong at the first check that fails.

  size W H                      width and height are these
  pixel X Y RRGGBB              the pixel there has this colour, give or take 3 in each component
  colours MIN X0 Y0 X1 Y1       the area shows at least MIN different colours
  plain X0 Y0 X1 Y1             the area has one colour
  differs OTHER PERCENT         at least PERCENT of the pixels differ from the picture OTHER
  same OTHER PERCENT            at most PERCENT of them do, and both have the same size

Coordinates are fractions of the width and height, 0 to 1. Areas and pictures are sampled, every fourth pixel of every
fourth row. Reads binary PPM itself, all else through ImageMagick's convert.
"""

import re
import subprocess
import sys

TOLERANCE = 3
STEP = 4


class Picture:
    """8-bit RGB pixels."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        if not data.startswith(b"P6"):
            command = ["convert", path, "-depth", "8", "ppm:-"]
            data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        header = re.match(rb"P6\s+(?:#.*\n)*(\d+)\s+(\d+)\s+255\s", data)
        if not header:
            raise SystemExit(f"{path}: not an 8-bit picture")
        self.path, self.width, self.height = path, int(header[1]), int(header[2])
        self.data = data[header.end() :]
        if len(self.data) != 3 * self.width * self.height:
            raise SystemExit(f"{path}: cut short")

    def at(self, column, row):
        start = 3 * (row * self.width + column)
        return self.data[start : start + 3]

    def column(self, fraction):
        return min(int(float(fraction) * self.width), self.width - 1)

    def row(self, fraction):
        return min(int(float(fraction) * self.height), self.height - 1)

    def samples(self, x0="0", y0="0", x1="1", y1="1"):
        columns = range(self.column(x0), self.column(x1) + 1, STEP)
        for row in range(self.row(y0), self.row(y1) + 1, STEP):
            for column in columns:
                yield self.at(column, row)


def size(picture, width, height):
    actual = f"{picture.width}x{picture.height}"
    return None if actual == f"{width}x{height}" else f"is {actual}, not {width}x{height}"


def pixel(picture, x, y, colour):
    expected = bytes.fromhex(colour)
    actual = picture.at(picture.column(x), picture.row(y))
    if all(abs(a - e) <= TOLERANCE for a, e in zip(actual, expected)):
        return None
    return f"pixel at {x},{y} is {actual.hex()}, not {colour}"


def colours(picture, minimum, *area):
    count = len(set(picture.samples(*area)))
    return None if count >= int(minimum) else f"{count} colours in {','.join(area)}, not {minimum} or more"


def plain(picture, *area):
    count = len(set(picture.samples(*area)))
    return None if count == 1 else f"{count} colours in {','.join(area)}, not one"


def difference(picture, other):
    """Per cent of the pixels."""
    pairs = list(zip(picture.samples(), Picture(other).samples()))
    return 100 * sum(a != b for a, b in pairs) / len(pairs)


def same(picture, other, percent):
    reference = Picture(other)
    if wrong := size(picture, reference.width, reference.height):
        return wrong
    share = difference(picture, other)
    return None if share <= float(percent) else f"{share:.2f}% of the pixels differ from {other}, not {percent}% or less"


def differs(picture, other, percent):
    share = difference(picture, other)
    return None if share >= float(percent) else f"{share:.2f}% of the pixels differ from {other}, not {percent}% or more"


CHECKS = {
    "size": (size, 2),
    "pixel": (pixel, 3),
    "colours": (colours, 5),
    "plain": (plain, 4),
    "differs": (differs, 2),
    "same": (same, 2),
}


def main(arguments):
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    picture, rest = Picture(arguments[0]), arguments[1:]
    while rest:
        check, count = CHECKS[rest[0]]
        wrong = check(picture, *rest[1 : count + 1])
        if wrong:
            print(f"{picture.path}: {wrong}", file=sys.stderr)
            return 1
        rest = rest[count + 1 :]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
