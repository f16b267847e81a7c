#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""coverage.py CMD…: runs CMD, and says which functions of the module were reached meanwhile.

As root, with the module loaded and a kernel that has the function tracer (distributions' have). A function counts once:
it is taken out of the filter when it has been seen, so what is called often costs nothing after that. Functions that the
compiler has inlined are not known to the kernel and not counted. Exit code: CMD's.
"""
import re
import subprocess
import sys
import threading
import time

MODULE = "virtio_loopback"
TRACING = "/sys/kernel/debug/tracing/"
# An empty filter would mean all functions of the kernel. This one is called when it is too late to matter.
NEVER = "__x64_sys_reboot"


def write(file, text, mode="w"):
    with open(TRACING + file, mode) as out:
        out.write(text)


def functions():
    with open(TRACING + "available_filter_functions") as lines:
        return {line.split()[0] for line in lines if line.rstrip().endswith(f"[{MODULE}]")}


def collect(lines, wanted, seen):
    """Reads the trace until its end."""
    called = re.compile(r": ([\w.]+) <-")
    for line in lines:
        match = called.search(line)
        if not match or match[1] not in wanted or match[1] in seen:
            continue
        seen.add(match[1])
        try:
            write("set_ftrace_filter", f"!{match[1]}\n", "a")
        except OSError:
            pass  # the module has been removed meanwhile


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.splitlines()[0])
    wanted, seen = functions(), set()
    write("tracing_on", "0")
    write("current_tracer", "nop")
    write("set_ftrace_filter", NEVER + "\n")
    write("set_ftrace_filter", f":mod:{MODULE}\n", "a")
    write("current_tracer", "function")
    write("tracing_on", "1")
    # A process, so that it can be ended: it waits for more for ever.
    pipe = subprocess.Popen(["cat", TRACING + "trace_pipe"], stdout=subprocess.PIPE, text=True, errors="replace")
    reader = threading.Thread(target=collect, args=(pipe.stdout, wanted, seen))
    reader.start()
    code = subprocess.run(sys.argv[1:]).returncode
    time.sleep(2)
    write("tracing_on", "0")
    pipe.terminate()
    pipe.wait()
    reader.join()
    write("current_tracer", "nop")
    missing = " ".join(sorted(wanted - seen)) or "none"
    print(f"{len(seen)} of {len(wanted)} functions reached, not reached: {missing}")
    sys.exit(code if code >= 0 else 1)


main()
