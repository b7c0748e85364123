"""Sections of classes and functions that declare none: their keyword arguments."""
from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, Field, Strict, create_model

from basicsr_amsr.options.mistakes import is_number
from basicsr_amsr.options.read import read
from basicsr_amsr.options.section import (
    Count,
    Decay,
    Iterations,
    IterationsOrNone,
    Number,
    OpenSection,
    Positive,
    PositiveNumber,
    Section,
)

# Types of arguments that have one meaning wherever they occur, for signatures that say none.
KNOWN: dict[str, Any] = {
    'upscale': Positive, 'lr': PositiveNumber, 'betas': Annotated[tuple[Decay, Decay], Strict(False)],
    'weight_decay': Number, 'loss_weight': float, 'crop_border': Count, 'test_y_channel': bool,
    'milestones': list[IterationsOrNone], 'restarts': list[IterationsOrNone], 'periods': list[Iterations],
    'restart_weights': list[Number],
    'gamma': Number, 'eta_min': Number,
}
PLAIN = (int, float, bool, str, type(None), Any)
CONTAINERS = (list, tuple, dict, Mapping, Sequence)


class Arguments(Section):
    """Keyword arguments; None is what is written."""

    nothing_is_default = False


class OpenArguments(OpenSection):
    """Keyword arguments of a function that takes any."""

    nothing_is_default = False


@functools.lru_cache(maxsize=512)
def section_of(called: Callable[..., Any], skip: tuple[str, ...] = (), required: bool = True) -> type[Section]:
    """The section that holds the keyword arguments of a class or function, with their types where it says them.

    Annotations may carry limits: `patch_size: Annotated[int, Field(ge=1)] = 4`. Meanings are read off the `Args:` of
    the docstring.

    Args:
        called: a class or function.
        skip: arguments that no option file gives.
        required: whether arguments without default have to be there.
    """
    parameters = inspect.signature(called).parameters
    hints, meanings = _hints(called), argument_meanings(called)
    fields: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name in skip or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        empty = parameter.default is parameter.empty
        default = None if empty else parameter.default
        fields[name] = (_field_type(name, hints.get(name), ... if empty and required else default),
                        Field(... if empty and required else default, description=meanings.get(name),
                              validate_default=False))
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    model: type[Section] = create_model(getattr(called, '__name__', 'Options'),
                                        __base__=OpenArguments if open_ended else Arguments, **fields)
    return model


def check_arguments(called: Callable[..., Any], place: str, **given: Any) -> None:
    """Check arguments against the signature of a class, for those who build it without an option file.

    Raises:
        UserError: one line for each argument that does not fit.
    """
    read(section_of(called), given, place)


def _hints(called: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(called.__init__ if inspect.isclass(called) else called, include_extras=True)
    except Exception:  # names that only a type checker sees
        return {}


def _field_type(name: str, hint: Any, default: Any) -> Any:
    known = _checkable(hint)
    if known is None and name in KNOWN:
        known = KNOWN[name]
    if known is None:
        return Annotated[Any, AfterValidator(_not_quoted)] if isinstance(default, (int, float)) else Any
    return known | None if default is None and known is not Any else known


def _checkable(hint: Any) -> Any:
    """The type as it can be checked in an option file, where a tuple is a list; None where it cannot."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in PLAIN or hint in CONTAINERS or origin is Literal:
        return hint
    if origin is Annotated:
        inner = _checkable(args[0])
        return None if inner is None else Annotated[(inner, *args[1:])]
    inner = [arg if arg is Ellipsis else _checkable(arg) for arg in args]
    if not args or any(arg is None for arg in inner):
        return None
    if origin in (Union, types.UnionType):
        return Union[tuple(inner)]  # noqa: UP007
    if origin is tuple:
        return Annotated[tuple[tuple(inner)], Strict(False)]  # type: ignore[misc]
    return hint if origin in CONTAINERS or origin in (Mapping, Sequence) else None


def _not_quoted(value: Any) -> Any:
    if isinstance(value, str) and is_number(value):
        raise ValueError(f'it is the text {value!r}: leave the quotes out.')
    return value


def argument_meanings(called: Any) -> dict[str, str]:
    """What the `Args:` of a docstring say of each argument: 'name (type): meaning' or 'name, name: meaning'."""
    doc = inspect.getdoc(called) or ''
    if inspect.isclass(called) and 'Args:' not in doc:
        doc = inspect.getdoc(called.__init__) or ''
    block = re.search(r'^Args:\n((?:[ \t]+.*\n?|\n)+)', doc, re.M)
    meanings: dict[str, str] = {}
    for entry in re.split(r'\n(?=\S)', textwrap.dedent(block[1]).strip()) if block else ():
        match = re.match(r'([\w, ]+?)(?: \([^)]*\))?: (.+)', ' '.join(entry.split()))
        if match:
            meanings.update(dict.fromkeys((name.strip() for name in match[1].split(',')), match[2]))
    return meanings


def ignores_other_keywords(called: Any) -> bool:
    """Whether a function takes **kwargs and never looks at them: a misspelt keyword is then lost in silence."""
    if not (inspect.isfunction(called) or inspect.isclass(called)):
        return False
    parameters = inspect.signature(called).parameters.values()
    name = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
    try:
        source = inspect.getsource(called.__init__ if inspect.isclass(called) else called)
        tree = ast.parse(textwrap.dedent(source))
    except (OSError, TypeError, SyntaxError):
        return False
    return name is not None and not any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))
