#!/usr/bin/env python3
"""licences.py DENY-TOML — fails if a dependency has a licence the file's [licenses] table does not allow.

Understands the part of cargo-deny's format the file uses: licenses.allow (SPDX identifiers) and licenses.exceptions
(name, allow). Expressions with AND, OR, WITH and parentheses are evaluated.
"""

import json
import re
import subprocess
import sys
import tomllib


def allowed(expression, licences):
    """Whether the SPDX expression can be met with the licences. "A/B" is the old way to write "A OR B"."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        met = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = conjunction() or met
        return met

    def conjunction():
        met = term()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = term() and met
        return met

    def term():
        token = tokens.pop(0)
        if token == "(":
            met = alternatives()
            tokens.pop(0)
            return met
        if tokens[:1] == ["WITH"]:
            token = " ".join([token, tokens.pop(0), tokens.pop(0)])
        return token in licences

    return alternatives()


def main(path):
    with open(path, "rb") as file:
        rules = tomllib.load(file)["licenses"]
    exceptions = {rule["name"]: rule["allow"] for rule in rules.get("exceptions", [])}
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]
    packages = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    wrong = 0
    for package in packages:
        licences = [*rules["allow"], *exceptions.get(package["name"], [])]
        if not package["license"] or not allowed(package["license"], licences):
            wrong += 1
            print(f"{package['name']} {package['version']}: {package['license'] or 'no licence'}", file=sys.stderr)
    print(f"licences: {len(packages)} packages, {wrong} not allowed")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
