#!/usr/bin/env python3
"""lengths.py <FILES — the longest functions and files of those named on standard input; fails if one is too long.

Tests are not counted: #[cfg(test)] modules and files named tests.rs or in a tests directory. Relies on formatted code:
a function ends at the first line that has its own indentation and a closing brace.
"""

import re
import sys

FUNCTION_LIMIT = 60
FILE_LIMIT = 600
SHOWN = 5
RUST = re.compile(r"^( *)(?:pub(?:\([^)]*\))? )?(?:const )?(?:async )?(?:unsafe )?(?:extern \"C\" )?fn (\w+)")
SHELL = re.compile(r"^()(\w+)\(\) \{$")
C_NAME = re.compile(r"(\w+)\(")


def without_tests(lines):
    """The lines before the file's #[cfg(test)] module, which is its last item."""
    for number, line in enumerate(lines[:-1]):
        if line == "#[cfg(test)]" and lines[number + 1].startswith("mod ") and lines[number + 1].endswith("{"):
            return lines[:number]
    return lines


def end_of(lines, start, indentation):
    for number in range(start, len(lines)):
        if lines[number].startswith(indentation + "}"):
            return number
    return start


def c_name(before):
    """The function whose head ends the lines: in kernel style only its first line is not indented."""
    head = next((line for line in reversed(before) if line[:1].strip()), "")
    name = C_NAME.search(head)
    return name[1] if name else head


def functions(path, lines):
    """(length, "path:line name") of each function."""
    for number, line in enumerate(lines):
        if path.endswith((".c", ".h")):
            if line == "{":
                yield end_of(lines, number, "") - number + 1, f"{path}:{number} {c_name(lines[:number])}"
            continue
        found = (RUST if path.endswith(".rs") else SHELL).match(line)
        if found and not line.endswith(";"):
            yield end_of(lines, number, found[1]) - number + 1, f"{path}:{number + 1} {found[2]}"


def report(what, limit, lengths):
    """Prints the longest, and all that are over the limit; whether there are such."""
    lengths.sort(reverse=True)
    over = sum(length > limit for length, _ in lengths)
    print(f"{what}: {len(lengths)}, longest {lengths[0][0]} lines, {over} over {limit}")
    for length, name in lengths[: max(over, SHOWN)]:
        print(f"  {length:4} {name}")
    return over > 0


def main():
    files, parts = [], []
    for path in sys.stdin.read().split():
        if path.endswith("tests.rs") or "/tests/" in "/" + path or "/test/" in path:
            continue
        with open(path, encoding="utf-8") as file:
            lines = without_tests(file.read().split("\n")[:-1])
        files.append((len(lines), path))
        parts.extend(functions(path, lines))
    over = [report("files", FILE_LIMIT, files), report("functions", FUNCTION_LIMIT, parts)]
    return any(over)


if __name__ == "__main__":
    sys.exit(main())
