#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""coverage.py CMD…: runs CMD, and says which functions of the module were reached meanwhile.

As root, with the module loaded and a kernel that has kprobe events (distributions' have). Each function gets a probe
before CMD starts, and keeps it: code that is changed under a running program trips emulators. Functions that the
compiler has inlined are not known to the kernel and not counted. Exit code: CMD's.
"""
import os
import subprocess
import sys

MODULE = "virtio_loopback"
TRACING = "/sys/kernel/debug/tracing/"


def write(file, text, flags=os.O_TRUNC):
    fd = os.open(TRACING + file, os.O_WRONLY | flags)
    os.write(fd, text.encode())
    os.close(fd)


def functions():
    with open(TRACING + "available_filter_functions") as lines:
        return sorted({line.split()[0] for line in lines if line.rstrip().endswith(f"[{MODULE}]")})


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.splitlines()[0])
    # Events have plainer names than functions.
    probes = {f"f{i}": name for i, name in enumerate(functions())}
    for event, name in probes.items():
        write("kprobe_events", f"p:{MODULE}/{event} {MODULE}:{name}\n", os.O_APPEND)
    write(f"events/{MODULE}/enable", "1")
    code = subprocess.run(sys.argv[1:]).returncode
    with open(TRACING + "kprobe_profile") as lines:
        hits = {fields[0]: int(fields[1]) + int(fields[2]) for fields in map(str.split, lines)}
    write(f"events/{MODULE}/enable", "0")
    for event in probes:
        write("kprobe_events", f"-:{MODULE}/{event}\n", os.O_APPEND)
    missing = [name for event, name in probes.items() if not hits.get(event)]
    print(f"{len(probes) - len(missing)} of {len(probes)} functions reached, not reached: {' '.join(missing) or 'none'}")
    sys.stdout.flush()
    sys.exit(code if code >= 0 else 1)


main()
