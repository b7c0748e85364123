"""Translates numbers of a trace, which may be symbols of torch.export, into those that follow from an image's size."""
from __future__ import annotations

from typing import Any

import sympy
from torch.utils._sympy.printers import PythonPrinter

from basicsr_amsr.execution.graph.sizes import NAMES, OfValues, Size


class Symbols:
    """Translates the symbols of torch.export.

    Args:
        shape: of the image, as it was traced: symbols where it is free, numbers where the trace holds for these alone.
        environment: the trace's ShapeEnv, or None where every size is a number.
    """

    def __init__(self, shape: tuple[Any, ...], environment: Any) -> None:
        self.environment = environment
        self.replaced = dict(environment.replacements) if environment is not None else {}
        self.names: dict[sympy.Symbol, sympy.Symbol] = {}
        self.fixed: list[str] = []
        for name, dim in zip(NAMES, (shape[0], *shape[2:]), strict=True):
            expression = _expression(dim)
            if isinstance(expression, sympy.Symbol) and expression not in self.names:
                self.names[expression] = sympy.Symbol(name, integer=True, positive=True)
            else:
                self.fixed.append(f'{name} == {self._source(expression)}')

    def read(self, number: Any) -> Any:
        """A number of a trace as a number, or as a Size; raises OfValues."""
        expression = _expression(number)
        if not isinstance(expression, sympy.Basic):
            return expression
        if expression.is_Integer:
            return int(expression)
        return Size(self._source(expression))

    def condition(self) -> Size:
        """For which sizes a trace holds: a Size that is a truth; raises OfValues."""
        parts = list(self.fixed)
        if self.environment is not None:
            for symbol, name in self.names.items():
                span = self.environment.var_to_range[symbol]
                parts += [f'{name} >= {int(span.lower)}'] if span.lower.is_Integer else []
                parts += [f'{name} <= {int(span.upper)}'] if span.upper.is_Integer else []
            parts += [self._source(guard.expr) for guard in self.environment.guards]
        return Size(' and '.join(f'({part})' for part in dict.fromkeys(parts)) or 'True')

    def _source(self, expression: Any) -> str:
        expression = sympy.sympify(expression).xreplace(self.replaced)
        expression = expression.xreplace(self.names)
        if expression.free_symbols - set(self.names.values()):
            raise OfValues
        return PythonPrinter().doprint(expression)


def _expression(number: Any) -> Any:
    node = getattr(number, 'node', None)
    return number if node is None else node.expr
