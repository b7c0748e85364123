"""Rewrites what BasicSR's modules import of torchvision, SciPy and distutils: under the name that it has today, and, as
those take seconds, when it is used."""
from __future__ import annotations

import ast
import importlib
from types import CodeType
from typing import Any

MOVED = {
    'torchvision.transforms.functional_tensor': 'torchvision.transforms.functional',
    'scipy.ndimage.filters': 'scipy.ndimage',
    'distutils.version.LooseVersion': 'packaging.version.Version',
}
ROOTS = ('torchvision', 'scipy', 'distutils')


class Later:
    """A module, or what one holds, that is imported when it is used: called, asked for something, or inherited from.

    Args:
        path: such as 'scipy.special' or 'scipy.special.gamma'.
    """

    def __init__(self, path: str) -> None:
        self.__dict__['_path'] = path

    def _found(self) -> Any:
        if '_real' not in self.__dict__:
            module, _, name = self._path.rpartition('.')
            real = getattr(importlib.import_module(module), name, None) if module else None
            self.__dict__['_real'] = importlib.import_module(self._path) if real is None else real
        return self.__dict__['_real']

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._found()(*args, **kwargs)

    def __mro_entries__(self, bases: tuple[type, ...]) -> tuple[type, ...]:
        return (self._found(),)


class _Rewriter(ast.NodeTransformer):
    """Makes `name = Later(path)` of imports."""

    def visit_Import(self, node: ast.Import) -> Any:
        return [self._assigned(node, alias.asname or alias.name.split('.')[0],
                               alias.name if alias.asname else alias.name.split('.')[0])
                if alias.name.split('.')[0] in ROOTS else ast.copy_location(ast.Import([alias]), node)
                for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if node.level or not node.module or node.module.split('.')[0] not in ROOTS:
            return node
        return [self._assigned(node, alias.asname or alias.name, f'{MOVED.get(node.module, node.module)}.{alias.name}')
                for alias in node.names]

    @staticmethod
    def _assigned(node: ast.stmt, target: str, path: str) -> ast.stmt:
        found = ast.parse(f'{target} = __import__({__name__!r}, fromlist=["Later"]).Later({MOVED.get(path, path)!r})')
        for part in ast.walk(found):
            ast.copy_location(part, node)
        return found.body[0]


def rewritten(source: str, file: str) -> CodeType | None:
    """The code of a module of this source; None where it imports nothing of these."""
    if not any(root in source for root in ROOTS):
        return None
    tree: Any = _Rewriter().visit(ast.parse(source, file))
    code: CodeType = compile(tree, file, 'exec')
    return code
