"""The imports between the package's modules and folders, those inside functions counted."""
from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import basicsr_amsr

ROOT = Path(basicsr_amsr.__file__).parent
NAME = ROOT.name
Edges = dict[str, dict[str, set[str]]]  # who imports, whom, 'file:line' of each import


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    return {'.'.join((NAME, *path.relative_to(ROOT).with_suffix('').parts)).removesuffix('.__init__'): path
            for path in ROOT.rglob('*.py')}


def place(module: str) -> str:
    """The folder of the package that a module lies in, or the module itself where it lies beside them."""
    return module.split('.')[1]


def folder_imports() -> Edges:
    """Which folder imports which; the package's own face, which only names what lies below, is left out."""
    return _edges(place)


def module_imports() -> Edges:
    """Which module imports which."""
    return _edges(lambda module: module.removeprefix(f'{NAME}.'))


def _edges(of: Callable[[str], str]) -> Edges:
    known, edges = modules(), defaultdict(lambda: defaultdict(set))
    for module, path in known.items():
        for line, target in imported(path, known) if module != NAME else ():
            if target != NAME and of(target) != of(module):
                edges[of(module)][of(target)].add(f'{path.relative_to(ROOT)}:{line}')
    return {source: dict(targets) for source, targets in edges.items()}


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[tuple[int, str]]:
    """Modules of the package that a file imports, anywhere in it, with the line."""
    for node in import_statements(path):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f'{node.module}.{alias.name}' for alias in node.names]
            names = [name if name in known else node.module for name in whole]
        yield from ((node.lineno, name) for name in names if name in known)


@cache
def import_statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Those of a file, anywhere in it."""
    return [node for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
            if isinstance(node, (ast.Import, ast.ImportFrom))]


def cycles(edges: Mapping[str, Mapping[str, object]]) -> list[set[str]]:
    """Groups of nodes of which each reaches the others, by Warshall's transitive closure."""
    nodes = {*edges, *(target for targets in edges.values() for target in targets)}
    reached = {node: set(edges.get(node, ())) for node in nodes}
    for middle in nodes:
        for node in nodes:
            if middle in reached[node]:
                reached[node] |= reached[middle]
    groups = {frozenset(other for other in reached[node] if node in reached[other]) for node in nodes}
    return [set(group) for group in groups if len(group) > 1]
