"""A second, independent planner: the definitions written down as they are.

No attempt at speed: sets and Python's own integers.  A closure here is a dict
{store path: (narSize, set of references without itself)}.
"""


def reach(graph):
    """{path: all it depends on, directly or not}, itself left out."""
    below = {}

    def visit(path):
        if path not in below:
            found = set()
            for ref in graph[path][1]:
                found |= {ref} | visit(ref)
            below[path] = found
        return below[path]

    for path in graph:
        visit(path)
    return below


def name_key(path):
    first, *rest = path.split("-")
    return "-".join(rest + [first])


def popularity(graph):
    """All paths, most popular first."""
    below = reach(graph)
    above = {path: set() for path in graph}
    for path, found in below.items():
        for d in found:
            above[d].add(path)
    referrers = {path: [] for path in graph}
    for path, (_, refs) in graph.items():
        for ref in refs:
            referrers[ref].append(path)
    ways = {}

    def count(path):
        if path not in ways:
            ways[path] = sum(map(count, referrers[path])) or 1
        return ways[path]

    score = {path: count(path) + sum(count(c) for c in above[path])
             for path in graph}
    return sorted(graph, key=lambda path: (-score[path], name_key(path)))


def by_popularity(graph, room):
    order = popularity(graph)
    if len(order) <= room:
        return [[path] for path in order]
    return [[path] for path in order[:room - 1]] + [order[room - 1:]]


def base_key(path):
    digits, name = path.rsplit("/", 1)[1].split("-", 1)
    return name, digits


def by_size(graph, room):
    below = reach(graph)
    sets = {path: frozenset() for path in graph}
    for top in sorted(graph, key=lambda p: (graph[p][0], p), reverse=True):
        new = dict(sets)
        new[top] = frozenset([top])
        depends_on_top = {p for p in graph if top in below[p]}
        for d in below[top]:
            kept = new[d] - depends_on_top
            if not kept & below[top]:
                kept |= {top}
            new[d] = kept
        if len(set(new.values())) > room:
            break
        sets = new
    groups = {}
    for path, key in sets.items():
        groups.setdefault(key, []).append(path)

    def weight(paths):
        whole = set(paths).union(*(below[p] for p in paths))
        return sum(graph[p][0] for p in whole)

    layers = [sorted(paths, key=base_key) for paths in groups.values()]
    return sorted(layers, key=lambda paths: (weight(paths), paths[0]))


def plan(infos, strategy, max_layers=100, base_layers=0):
    """infos: path-info records; a list of lists of store paths."""
    graph = {i["path"]: (i["narSize"], set(i["references"]) - {i["path"]})
             for i in infos}
    room = max_layers - 1 - base_layers
    if not graph:
        return []
    if room < 1:
        raise ValueError("no room for store layers")
    return (by_size if strategy == "size" else by_popularity)(graph, room)


def retain(infos, roots):
    """The records that can be reached from roots."""
    by_path = {i["path"]: i for i in infos}
    todo, seen = list(roots), set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += by_path[path]["references"]
    return [i for i in infos if i["path"] in seen]


def example():
    """The worked examples of both strategies."""
    sizes = dict(A=1, B=5, C=20, D=3, E=9, F=30, G=2)
    edges = "AB AG BC BE CD CE DF EF".split()
    graph = {p: (n, {e[1] for e in edges if e[0] == p})
             for p, n in sizes.items()}
    assert popularity(graph) == list("FEDCBGA"), popularity(graph)
    # One-letter names have no hash part: sort them by themselves.
    globals()["base_key"], keep = str, base_key
    try:
        assert list(map("".join, by_size(graph, 3))) == ["F", "CDE", "ABG"]
        assert list(map("".join, by_size(graph, 5))) == \
            ["F", "E", "CD", "B", "AG"]
    finally:
        globals()["base_key"] = keep


if __name__ == "__main__":
    example()
