#!/usr/bin/env python3
"""piglit.py --known FILE --at-least N REFERENCE... -- RESULT...

Compares results of piglit, which are directories. Exits 1 if a test that passes in REFERENCE does not in RESULT, unless
FILE says why ("NAME: REASON" a line, # for comments); if such a test does pass; or if fewer than N pass in both. A
shader of a group is a test by itself.
"""

import argparse
import bz2
import collections
import json
import pathlib
import sys


def results(directories):
    """The result of each test, by name."""
    found = {}
    for directory in directories:
        with bz2.open(pathlib.Path(directory, "results.json.bz2")) as file:
            tests = json.load(file)["tests"]
        for name, test in tests.items():
            parts = {part: result for part, result in test.get("subtests", {}).items() if part != "__type__"}
            found.update({f"{name}@{part}": result for part, result in parts.items()} or {name: test["result"]})
    return found


def known_failures(path):
    """Reasons by name of a test. The names have colons, too, but no colon and space."""
    known = {}
    for line in pathlib.Path(path).read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.partition(": ")
            if not reason.strip():
                raise SystemExit(f"{path}: no reason: {line}")
            known[name] = reason
    return known


def main():
    """Compares and says how it went."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--known", required=True)
    parser.add_argument("--at-least", type=int, required=True)
    split = sys.argv.index("--")
    options, reference = parser.parse_known_args(sys.argv[1:split])
    reference, ours = results(reference), results(sys.argv[split + 1 :])
    known = known_failures(options.known)

    good = [name for name, result in reference.items() if result == "pass"]
    new = [name for name in good if ours.get(name) != "pass" and name not in known]
    passes = [name for name in known if name in good and ours.get(name) == "pass"]
    gone = [name for name in known if name not in good]
    count = collections.Counter()
    for name, result in reference.items():
        mine = ours.get(name, "missing")
        if result == "pass":
            count["passed by both" if mine == "pass" else "known" if name in known else "new failures"] += 1
        elif "skip" in (result, mine):
            count["skipped"] += 1
        else:
            count["better by virgl" if mine == "pass" else "failed by both"] += 1
    print(f"{len(reference)} tests: " + ", ".join(f"{many} {what}" for what, many in sorted(count.items())))
    for name in new:
        print(f"FAIL: passes by llvmpipe, but by virgl: {ours.get(name, 'missing')}: {name}")
    for name in passes:
        print(f"FAIL: passes, take it out of {options.known}: {name}")
    for name in gone:
        print(f"FAIL: not in the reference or fails there, take it out of {options.known}: {name}")
    enough = count["passed by both"] >= options.at_least
    if not enough:
        print(f"FAIL: fewer than {options.at_least} passed by both")
    return 0 if enough and not (new or passes or gone) else 1


if __name__ == "__main__":
    sys.exit(main())
