"""The eyes of a QEMU machine: takes the pictures that a test in the machine asks for.

qemu_screen.py DIRECTORY: DIRECTORY/qmp is QEMU's QMP socket. For each file want-NAME the picture of the first console
becomes NAME.ppm. Ends with QEMU.
"""

import json
import os
import socket
import sys
import time


def connect(path, seconds=60):
    """A socket to PATH, waited for."""
    end = time.monotonic() + seconds
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            return connection
        except OSError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


class Monitor:
    """QEMU's machine protocol, one command after another."""

    def __init__(self, path):
        self.stream = connect(path).makefile("rw")
        self.stream.readline()
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        self.stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            line = self.stream.readline()
            if not line:
                raise EOFError
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]


def serve(directory):
    monitor = Monitor(os.path.join(directory, "qmp"))
    while True:
        for name in os.listdir(directory):
            if not name.startswith("want-"):
                continue
            path = os.path.join(directory, name.removeprefix("want-") + ".ppm")
            try:
                monitor.command("screendump", filename=path + ".new")
                os.rename(path + ".new", path)
            except (RuntimeError, OSError) as error:
                print(f"{name}: {error}", flush=True)
            os.unlink(os.path.join(directory, name))
        # Also notices that QEMU has ended.
        monitor.command("query-status")
        time.sleep(0.2)


try:
    serve(sys.argv[1])
except (EOFError, OSError) as error:
    print(error or "QEMU has ended", flush=True)
