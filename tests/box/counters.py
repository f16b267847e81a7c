#!/usr/bin/env python3
"""What the kernel has in use, to compare before and after something that shall leave nothing behind.

counters.py take FILE                       writes the counters of now
counters.py compare BEFORE AFTER CYCLES     exit code 1, with a line for each, if a counter has grown by half or more of
                                            CYCLES: an object, page or file left by every cycle, or by every other one

"pages" are those in use that nothing else accounts for: what drivers allocate page by page. "open files" is what the
kernel says, which counts per processor and is late by some; the objects of "slab filp" are exact.
"""

import glob
import json
import os
import sys

PAGE = os.sysconf("SC_PAGE_SIZE")
# Counters of /proc/vmstat in pages, each an account of its own.
PAGES = (
    "nr_anon_pages", "nr_shmem", "nr_page_table_pages", "nr_slab_unreclaimable", "nr_unevictable", "nr_mlock",
)
# Caches whose objects come and go with what is looked at, in any process: names, inodes, and their tree nodes.
RECLAIMABLE = ("dentry", "inode_cache", "proc_inode_cache", "sock_inode_cache", "shmem_inode_cache", "ext4_inode_cache",
               "v9fs_inode_cache", "radix_tree_node", "buffer_head", "kernfs_node_cache", "lsm_inode_cache")

# Freed, but kept until there are many; what is in use of them is counted otherwise.
LAZY = ("vmap_area",)


def read(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def write(path, text):
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError:
        pass  # a cache that has gone meanwhile


def slabs():
    """Objects in use by cache.

    A processor's current slab counts as full. Shrinking gives it back; so everything is opened and allocated before
    the caches are shrunk, and nothing in between.
    """
    os.sync()
    # What was used lately is spared at first.
    for _ in range(3):
        write("/proc/sys/vm/drop_caches", "3")
    paths = [path for path in glob.glob("/sys/kernel/slab/*/shrink") if not os.path.islink(os.path.dirname(path))]
    # Last the cache that writing to such a file itself takes two bytes from: the larger ones of its kind first.
    paths.sort(key=lambda path: -int(read(os.path.dirname(path) + "/object_size")))
    files = [os.open(path, os.O_WRONLY) for path in paths]
    info = os.open("/proc/slabinfo", os.O_RDONLY)
    for _ in range(2):
        for file in files:
            os.write(file, b"1")
        os.lseek(info, 0, os.SEEK_SET)
        text = b""
        while more := os.read(info, 1 << 20):
            text += more
    for file in [*files, info]:
        os.close(file)
    lines = text.decode("ascii").splitlines()[2:]
    return {name: int(active) for name, active, *_ in (line.split() for line in lines)}


def vmalloc_areas(text):
    """Areas in use; freed ones stay in the list until there are many."""
    return [line for line in text.splitlines() if "unpurged" not in line]


def page_counters():
    stat = {name: int(value) for name, value in (line.split() for line in read("/proc/vmstat").splitlines())}
    meminfo = {line.split(":")[0]: int(line.split()[1]) * 1024 // PAGE for line in read("/proc/meminfo").splitlines()}
    # Free pages that a processor has for itself are not in nr_free_pages.
    # Kernel stacks are in VmallocUsed.
    local = sum(int(line.split()[1]) for line in read("/proc/zoneinfo").splitlines()
                if line.startswith("              count:"))
    accounted = (stat["nr_free_pages"] + local + stat["nr_file_pages"] + stat["nr_anon_pages"]
                 + stat["nr_page_table_pages"] + stat["nr_slab_reclaimable"] + stat["nr_slab_unreclaimable"]
                 + meminfo["Percpu"] + meminfo["VmallocUsed"])
    counters = {name: stat[name] for name in PAGES}
    counters["pages"] = meminfo["MemTotal"] - accounted
    for name in ("VmallocUsed", "Percpu", "KernelStack"):
        counters[name] = meminfo[name]
    return counters


def count(pattern):
    return len(glob.glob(pattern))


def kernel_threads():
    return sum(1 for path in glob.glob("/proc/[0-9]*/stat") if read_or(path).rpartition(")")[2].split()[1:2] == ["2"])


def read_or(path):
    try:
        return read(path)
    except OSError:
        return ""


def take():
    counters = {"slab " + name: value for name, value in slabs().items() if name not in LAZY}
    read_or("/proc/sys/vm/stat_refresh")
    counters |= {"page counter " + name: value for name, value in page_counters().items()}
    counters["open files"] = int(read("/proc/sys/fs/file-nr").split()[0])
    counters["kernel threads"] = kernel_threads()
    areas = vmalloc_areas(read("/proc/vmallocinfo"))
    counters["vmalloc areas"] = len(areas)
    counters["vmalloc areas of virtio_loopback"] = sum("[virtio_loopback]" in area for area in areas)
    counters["devices"] = count("/sys/devices/platform/virtio-loopback.*")
    counters["virtio devices"] = count("/sys/bus/virtio/devices/*")
    counters["cards"] = count("/sys/class/drm/card*")
    for line in read("/proc/modules").splitlines():
        name, _, references = line.split()[:3]
        if name in ("virtio_loopback", "virtio_gpu", "drm", "drm_kms_helper", "virtio_dma_buf"):
            counters["references of " + name] = int(references)
    return counters


def compare(before, after, cycles):
    """Prints what has grown too much, and the largest of the rest; returns how many have."""
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    bound = max(1, cycles // 2)
    wrong = 0
    for name, more in sorted(grown.items(), key=lambda item: -item[1]):
        reclaimable = name.removeprefix("slab ") in RECLAIMABLE
        if more >= (cycles if reclaimable else bound):
            print(f"leak: {name}: {before.get(name, 0)} before, {after[name]} after {cycles} cycles")
            wrong += 1
    most = sorted(grown.items(), key=lambda item: -item[1])[:6]
    print("grown most: " + ", ".join(f"{name} {more:+}" for name, more in most))
    return wrong


def main():
    if sys.argv[1] == "take":
        counters = take()
        with open(sys.argv[2], "w", encoding="ascii") as file:
            json.dump(counters, file)
        return 0
    before, after = (json.loads(read(path)) for path in sys.argv[2:4])
    return 1 if compare(before, after, int(sys.argv[4])) else 0


sys.exit(main())
