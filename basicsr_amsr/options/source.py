"""Which keys of its options a class reads, from its source: for classes that declare nothing."""
from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

Section = tuple[str, ...]
READERS = ('get', 'pop', 'setdefault')


@dataclass
class Reads:
    """Keys by the section they are read from: () for the options that the class gets, ('train',) below them.

    Attributes:
        keys: what is read from each section.
        anywhere: keys read from something of which the source alone does not tell where it comes from.
        dynamic: sections that are read with keys that are computed: anything may stand there.
    """

    keys: dict[Section, set[str]] = field(default_factory=dict)
    anywhere: set[str] = field(default_factory=set)
    dynamic: set[Section] = field(default_factory=set)
    complete: bool = True

    def known(self, section: Section) -> set[str]:
        """The keys that are read from a section."""
        return self.keys.get(section, set())


def reads(cls: type) -> Reads:
    """What a class and its bases read. Outside BasicSR that includes the loaded modules of the class's package."""
    whole = Reads()
    for module in _modules(cls):
        part = _module_reads(module)
        if part is None:
            whole.complete = False
            continue
        for section, keys in part.keys.items():
            whole.keys.setdefault(section, set()).update(keys)
        whole.anywhere |= part.anywhere
        whole.dynamic |= part.dynamic
    return whole


def _modules(cls: type) -> Iterator[ModuleType]:
    names = dict.fromkeys(base.__module__ for base in inspect.getmro(cls))
    packages = {name.split('.')[0] for name in names} - {'torch', 'builtins', 'abc', 'typing', 'basicsr'}
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and (
                (name in names and name.startswith('basicsr.'))
                or (name.split('.')[0] in packages and not name.startswith('basicsr_amsr.'))
                or (name in names and name.startswith('basicsr_amsr.'))):
            yield module


@functools.lru_cache(maxsize=256)
def _module_reads(module: ModuleType) -> Reads | None:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):
        return None
    reader = _Reader()
    reader.visit(tree)
    reader.visit(tree)  # again: a name may be used before the line that says what it is
    return reader.found


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found = Reads()
        self.names: dict[str, Section] = {'opt': ()}

    def section(self, node: ast.AST) -> Section | None:
        """The section that an expression stands for, or None."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            return self.names.get(node.attr)
        holder, key = self.access(node)
        inside = self.section(holder) if holder is not None else None
        return (*inside, key) if inside is not None and isinstance(key, str) else None

    @staticmethod
    def access(node: ast.AST) -> tuple[ast.AST | None, Any]:
        """(holder, key) of `holder[key]` and `holder.get(key)`; the key is None where it is computed."""
        if isinstance(node, ast.Subscript):
            return node.value, node.slice.value if isinstance(node.slice, ast.Constant) else None
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS
                and node.args):
            return node.func.value, node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        return None, None

    def note(self, holder: ast.AST | None, key: Any) -> None:
        section = self.section(holder) if holder is not None else None
        if isinstance(key, str):
            keys = self.found.anywhere if section is None else self.found.keys.setdefault(section, set())
            keys.add(key)
        elif key is None and section is not None:
            self.found.dynamic.add(section)

    def visit_Assign(self, node: ast.Assign) -> None:
        section = self.section(node.value)
        for target in node.targets:
            name = getattr(target, 'id', None) or getattr(target, 'attr', None)
            if section is not None and name:
                self.names.setdefault(name, section)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.note(*self.access(node))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        holder, key = self.access(node)
        if holder is not None:
            self.note(holder, key)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if isinstance(node.ops[0], (ast.In, ast.NotIn)) and isinstance(node.left, ast.Constant):
            self.note(node.comparators[0], node.left.value)
        self.generic_visit(node)


def constants(function: Any) -> set[str]:
    """The strings in a function's source: the names that a chain of `if` knows."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
