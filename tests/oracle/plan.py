#!/usr/bin/env python3
"""An oracle for the planner: popularity and size, written from their definition.

Slow and plain on purpose: exact integers, sets, no cleverness.

    plan.py CLOSURE.json --strategy S --max-layers N --base-layers B

prints store_layers as JSON.  CLOSURE.json is an array of {path, narSize,
references}, or an object keyed by path, as `nix path-info --json` prints it.
With --batch the file holds one case a line, {"closure", "strategy",
"max_layers", "base_layers"}, and one result a line is printed.
"""

import argparse
import json
import sys


def read_closure(data):
    """The graph as {path: (narSize, set of other paths)}."""
    if isinstance(data, dict):
        data = [dict(info, path=path) for path, info in data.items()]
    graph = {}
    for info in data:
        references = set(info["references"]) - {info["path"]}
        graph[info["path"]] = (info.get("narSize", 0), references)
    for path, (_, references) in graph.items():
        for reference in references:
            if reference not in graph:
                raise ValueError(f"{path} refers to {reference}, which is missing")
    return graph


def needs_of_all(graph):
    """All that each path refers to, directly or not; fails on a cycle."""
    needs, open_ones = {}, set()
    for start in graph:
        stack = [start]
        while stack:
            path = stack[-1]
            if path in needs:
                stack.pop()
                continue
            open_ones.add(path)
            missing = [r for r in graph[path][1] if r not in needs]
            if any(r in open_ones for r in missing):
                raise ValueError("cycle")
            if missing:
                stack.extend(missing)
                continue
            found = set(graph[path][1])
            for reference in graph[path][1]:
                found |= needs[reference]
            needs[path] = found
            open_ones.discard(path)
            stack.pop()
    return needs


def popularities(graph):
    needs = needs_of_all(graph)
    users = {path: [] for path in graph}
    for path, (_, references) in graph.items():
        for reference in references:
            users[reference].append(path)
    # A path that needs more comes before what it needs.
    ways = {}
    for path in sorted(graph, key=lambda p: -len(needs[p])):
        ways[path] = sum(ways[user] for user in users[path]) or 1
    popularity = dict(ways)
    for path, below in needs.items():
        for other in below:
            popularity[other] += ways[path]
    return popularity


def rank_key(path):
    pieces = path.split("-")
    return "-".join(pieces[1:] + pieces[:1])


def rank(graph):
    popularity = popularities(graph)
    return sorted(graph, key=lambda path: (-popularity[path], rank_key(path)))


def plan_popularity(graph, limit):
    order = rank(graph)
    if len(order) <= limit:
        return [[path] for path in order]
    return [[path] for path in order[: limit - 1]] + [order[limit - 1 :]]


def name_and_hash(path):
    digits, name = path.rsplit("/", 1)[1].split("-", 1)
    return name, digits


def plan_size(graph, limit):
    needs = needs_of_all(graph)
    primaries = {path: frozenset() for path in graph}
    by_size = sorted(graph, key=lambda path: (graph[path][0], path))
    while by_size:
        taken = by_size.pop()
        users = {path for path in graph if taken in needs[path]}
        changed = dict(primaries)
        changed[taken] = frozenset([taken])
        for path in needs[taken]:
            kept = changed[path] - users
            changed[path] = kept if kept & needs[taken] else kept | {taken}
        if len(set(changed.values())) > limit:
            break
        primaries = changed
    layers = {}
    for path, key in primaries.items():
        layers.setdefault(key, []).append(path)

    def order(layer):
        closure = set(layer).union(*(needs[path] for path in layer))
        return sum(graph[path][0] for path in closure), layer[0]

    return sorted((sorted(layer, key=name_and_hash) for layer in layers.values()), key=order)


def plan(closure, strategy="popularity", max_layers=100, base_layers=0):
    """store_layers: a list of lists of store paths."""
    graph = read_closure(closure)
    limit = max_layers - 1 - base_layers
    if limit < (1 if graph else 0):
        raise ValueError(f"no layer for store paths: {base_layers} are the base's")
    if not graph:
        return []
    return {"popularity": plan_popularity, "size": plan_size}[strategy](graph, limit)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("closure")
    parser.add_argument("--strategy", default="popularity", choices=["popularity", "size"])
    parser.add_argument("--max-layers", type=int, default=100)
    parser.add_argument("--base-layers", type=int, default=0)
    parser.add_argument("--batch", action="store_true")
    args = parser.parse_args()
    with open(args.closure, encoding="utf-8") as file:
        if args.batch:
            for line in file:
                case = json.loads(line)
                layers = plan(case["closure"], case["strategy"], case["max_layers"],
                              case["base_layers"])
                print(json.dumps(layers, separators=(",", ":")))
            return 0
        layers = plan(json.load(file), args.strategy, args.max_layers, args.base_layers)
    print(json.dumps(layers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
