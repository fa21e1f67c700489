"""How the core is built, counted from its text: ``python attent/tests/structure.py`` prints it. Nothing is imported.

A *room* is an entry at the top of attent/: a module or a package. *Floors* are the rooms on the longest chain of
imports, a circle of rooms being one. A *circle* is a set of files that import each other. Every import counts, also
one within a function or for type checking; but not those in attent/__init__.py, whose names are lazy, nor that
importing a module runs its packages' ``__init__.py``. Tests and benchmarks are no part of it.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

CORE = "attent"
DISTRIBUTIONS = ("attent", "backends/torch", "backends/jax", "backends/tensorflow", "conformance")
APART = ("tests", "benchmarks")

Graph = dict[str, set[str]]


def files(root: Path) -> dict[str, Path]:
    """Return the core's files by dotted name, a package's ``__init__.py`` by the package's."""
    found = {}
    for path in sorted((root / CORE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not set(parts) & set(APART):
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path) -> Graph:
    """Return which of the core's files each of them imports."""
    there = files(root)
    graph: Graph = {}
    for name, path in there.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        named = (each for node in ast.walk(_tree(path)) for each in _named(node, package))
        graph[name] = set() if name == CORE else {_file(each, there) for each in named} - {name, ""}
    return graph


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _named(node: ast.AST, package: str) -> Iterator[str]:
    """Yield what a statement imports, with its home: ``a.b.c`` for ``from a.b import c``."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
        home = ".".join([*above, *filter(None, [node.module])])
        yield from (f"{home}.{alias.name}" for alias in node.names)


def _file(name: str, there: Mapping[str, Path]) -> str:
    """Return the file that a dotted name leads to, empty where it is not of the core."""
    while name and name not in there:
        name = name.rpartition(".")[0]
    return name


def rooms(graph: Graph) -> Graph:
    """Return which rooms each room imports."""
    found: Graph = {}
    for name, imported in graph.items():
        if name != CORE:
            found.setdefault(_room(name), set()).update({_room(each) for each in imported - {CORE}} - {_room(name)})
    return found


def _room(name: str) -> str:
    return name.split(".")[1]


def circles(graph: Graph) -> list[set[str]]:
    """Return the sets of more than one name that import each other, directly or through others."""
    return sorted((set(part) for part in _parts(graph) if len(part) > 1), key=sorted)


def _parts(graph: Graph) -> set[frozenset[str]]:
    """Return the strongly connected components."""
    reach = {name: _reached(name, graph) for name in graph}
    return {frozenset({name, *(other for other in reach[name] if name in reach[other])}) for name in graph}


def _reached(start: str, graph: Graph) -> set[str]:
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def floors(graph: Graph) -> int:
    """Return how many parts the longest chain of imports has, each circle contracted to one."""
    part_of = {name: part for part in _parts(graph) for name in part}

    @cache
    def height(part: frozenset[str]) -> int:
        below = {part_of[imported] for name in part for imported in graph[name]} - {part}
        return 1 + max(map(height, below), default=0)

    return max(map(height, part_of.values()), default=0)


def uphill(graph: Graph, layers: Sequence[Collection[str]]) -> list[str]:
    """Return the imports of a room in a higher layer. Layers come highest first; rooms in none are passed over."""
    depth = {room: number for number, layer in enumerate(layers) for room in layer}
    pairs = [(name, imported) for name in sorted(graph) for imported in sorted(graph[name] - {CORE})]
    placed = [(name, other) for name, other in pairs if {_room(name), _room(other)} <= depth.keys()]
    return [f"{name} imports {other}" for name, other in placed if depth[_room(other)] < depth[_room(name)]]


def plan_fields(root: Path) -> list[str]:
    """Return the fields of the dataclass ``Plan``."""
    nodes = [node for path in files(root).values() for node in ast.walk(_tree(path))]
    bodies = [node.body for node in nodes if isinstance(node, ast.ClassDef) and node.name == "Plan"]
    fields = [line for body in bodies for line in body if isinstance(line, ast.AnnAssign)]
    return [ast.unparse(line.target) for line in fields if "ClassVar" not in ast.unparse(line.annotation)]


def public_names(root: Path) -> list[str]:
    """Return what the core's files define at their top: functions, classes and assigned names without underscore."""
    found = []
    for home, path in files(root).items():
        names = dict.fromkeys(name for node in _tree(path).body for name in _defined(node))
        found += [f"{home}.{name}" for name in names if not name.startswith("_")]
    return found


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def lines(folder: Path) -> dict[str, int]:
    """Return the lines of a distribution's Python files: of its source, its tests and its benchmarks."""
    count = dict.fromkeys(("source", *APART), 0)
    for path in folder.rglob("*.py"):
        kind = next((part for part in path.relative_to(folder).parts if part in APART), "source")
        count[kind] += len(path.read_text("utf-8").splitlines())
    return count


def table(root: Path) -> str:
    """Return all numbers as text, and below them the circles."""
    graph = imports(root)
    between = rooms(graph)
    found = circles(graph)
    numbers = {
        "rooms": len(between),
        "floors": floors(between),
        "circles": len(found),
        "Plan fields": len(plan_fields(root)),
        "public names": len(public_names(root)),
    }
    rows = [f"{name:<20}{number:>7}" for name, number in numbers.items()]
    rows += ["", f"{'lines':<20}" + "".join(f"{kind:>12}" for kind in ("source", *APART))]
    for name in DISTRIBUTIONS:
        rows.append(f"{name:<20}" + "".join(f"{count:>12,}" for count in lines(root / name).values()))
    rows += [f"\na circle of {len(circle)}: {', '.join(sorted(circle))}" for circle in found]
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(Path(__file__).parents[2]))
