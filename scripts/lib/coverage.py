#!/usr/bin/env python3
"""coverage.py PATH… — a table of what llvm-cov found in each PATH.json: covered of all functions, regions and lines.

PATH.files has the files and directories that count. Tests in them and what plays for tests do not.
"""

import json
import os
import re
import sys

KINDS = ("functions", "regions", "lines")
NOT_COUNTED = re.compile(r"(/|^)(tests|testing|fuzzing|mock)(\.rs|/)")


def cells(name, figures):
    texts = [f"{covered} of {count}, {100 * covered // max(count, 1)} %" for covered, count in figures]
    return "| " + " | ".join([name, *texts]) + " |"


def counts(path, wanted):
    path = os.path.realpath(path)
    inside = any(path == place or path.startswith(place + "/") for place in map(os.path.realpath, wanted))
    return inside and not NOT_COUNTED.search(short(path))


def short(path):
    """The path in the repository, or in the crate."""
    path = os.path.relpath(path)
    return re.sub(r"^.*/registry/src/[^/]*/", "", path)


def main(paths):
    print("| | functions | regions | lines |")
    print("|---|---|---|---|")
    for path in paths:
        with open(path + ".files", encoding="utf-8") as file:
            wanted = [line.rstrip("\n") for line in file]
        with open(path + ".json", encoding="utf-8") as file:
            files = json.load(file)["data"][0]["files"]
        files = [file for file in files if counts(file["filename"], wanted)]
        rows = [
            (short(file["filename"]), [(file["summary"][kind]["covered"], file["summary"][kind]["count"]) for kind in KINDS])
            for file in files
        ]
        totals = [tuple(map(sum, zip(*column))) for column in zip(*(figures for _, figures in rows))]
        print(cells(f"**{os.path.basename(path)}**", totals))
        for name, figures in rows:
            print(cells(name, figures))


main(sys.argv[1:])
