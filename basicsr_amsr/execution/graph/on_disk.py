"""Keeps graphs on disk, so that the next program that runs a network need not trace it: importing torch.export and
tracing take seconds."""
from __future__ import annotations

import hashlib
import logging
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import nn

from basicsr_amsr.caches import cache_folder
from basicsr_amsr.execution.graph.ops import Enter, Graph
from basicsr_amsr.execution.graph.run_by_torch import run
from basicsr_amsr.execution.graph.signature import PLAIN, signature
from basicsr_amsr.execution.graph.trace import Forward, evaluating
from basicsr_amsr.files import write_whole

FORMAT = 1
VARIABLE = 'BASICSR_AMSR_GRAPHS'  # names another folder; 'off': every program traces
SIDES = ((24, 16), (40, 32), (64, 64))  # of images that a kept graph is tried with
NEAR = {torch.float64: 1e-6, torch.float32: 1e-4}  # of the largest value
NEAR_HALF = 2e-2  # the same for half types
MOST = 200  # files
PACKAGE = Path(__file__).parents[2]
log = logging.getLogger('basicsr')


def read_or_keep(net: nn.Module, x: torch.Tensor, forward: Forward | None = None, several: bool = False) -> Graph:
    """What `from_export.read` gives, from disk where an earlier program traced a network that is built alike.

    A graph is kept under a hash of the network's signature, the image's shape and type, the versions of Python and
    PyTorch, and name, size and time of all code that the network can rest on. It is taken if it gives the network's own
    result for a small image; one with units that masks skip is not kept.

    Args, errors: as `from_export.read`.
    """
    file = None if several else file_of(net, x, forward)
    graph = load(file, net, x, forward) if file and file.is_file() else None
    if graph is None:
        from basicsr_amsr.execution.graph.from_export import read  # brings torch.export along: seconds

        graph = read(net, x, forward, several)
        if file and small_size(graph) and not any(isinstance(op, Enter) for op in graph.ops):
            save(file, graph)
    return graph


def small_size(graph: Graph) -> tuple[int, int, int] | None:
    """The size (b, h, w) of a small image that a graph holds for; None where there is none."""
    batch, *traced = graph.traced
    sizes = (*SIDES, tuple(traced)) if max(traced) <= max(SIDES[-1]) else SIDES
    return next(((batch, height, width) for height, width in sizes if graph.holds_for((batch, height, width))), None)


def folder() -> Path | None:
    """Where graphs are kept; None where the user wants none."""
    given = os.environ.get(VARIABLE)
    return None if given == 'off' else Path(given) if given else cache_folder() / 'graphs'


def file_of(net: nn.Module, x: torch.Tensor, forward: Forward | None) -> Path | None:
    """Where the graph of a network would be kept; None where it cannot be."""
    parent = folder()
    if parent is None:
        return None
    kinds: set[Any] = {Graph}
    try:
        key = [FORMAT, sys.version, torch.__version__, tuple(x.shape), str(x.dtype),
               x.device.type, named((forward, signature(net)), kinds), *stamps(kinds)]
    except (TypeError, OSError):
        return None
    return parent / f'{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.graph'


def named(value: Any, kinds: set[Any]) -> Any:
    """A signature with its classes and functions by name, which are added to `kinds`; TypeError where another program
    would not find them by it."""
    if isinstance(value, tuple):
        return tuple(named(each, kinds) for each in value)
    if isinstance(value, (type, FunctionType)) and value is not type(None):
        found: Any = sys.modules.get(value.__module__)
        for name in value.__qualname__.split('.'):
            found = getattr(found, name, None)
        if found is not value:
            raise TypeError(value)
        kinds.add(value)
        return f'{value.__module__}.{value.__qualname__}'
    if isinstance(value, PLAIN) or value is type(None):
        return repr(value)
    raise TypeError(type(value))


def stamps(kinds: set[Any]) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of every file of code that a network's trace may depend on.

    These are the packages that its classes and functions come from. Where one of them is not installed, all loaded
    modules that are not installed count too. PyTorch is left out: its version is part of the key.

    Raises:
        TypeError: code has no file.
    """
    packages: set[Path] = set()
    for root in {kind.__module__.partition('.')[0] for kind in kinds} - {'torch', 'builtins'}:
        module = sys.modules[root]
        places = getattr(module, '__path__', None) or [getattr(module, '__file__', None)]
        packages |= {Path(str(place)) for place in places if place}
        if not all(places):
            raise TypeError(root)
    files = {file for package in packages for file in ([package] if package.is_file() else package.rglob('*.py'))}
    if not all(map(is_installed, packages)):
        loaded = {getattr(module, '__file__', None) for name, module in list(sys.modules.items())
                  if name.partition('.')[0] != 'torch'}
        files |= {Path(file) for file in loaded if file and not is_installed(Path(file))}
    for file in sorted(files):
        status = file.stat()
        yield str(file), status.st_size, status.st_mtime_ns


def is_installed(place: Path) -> bool:
    """Whether a package or module is Python's, installed, or ours."""
    return any(place.is_relative_to(folder) for folder in (sys.prefix, sys.base_prefix, PACKAGE))


@torch.no_grad()
def load(file: Path, net: nn.Module, x: torch.Tensor, forward: Forward | None) -> Graph | None:
    """The graph of a file; None where it cannot be read or is not seen to give what the network gives."""
    try:
        graph: Graph = pickle.loads(file.read_bytes())
        batch, *sides = small_size(graph) or graph.traced
        first = next(net.parameters(), x)
        noise = torch.rand(batch, x.shape[1], *sides, generator=torch.Generator().manual_seed(0))  # not the user's
        image = noise.to(x.device, first.dtype)
        with torch.inference_mode(False), evaluating(net):
            expected = net(image) if forward is None else forward(net, image)
            given = run(graph, net, image)
        if not expected.isfinite().all():  # of weights that overflow: nothing can be compared
            return None
        near = NEAR.get(first.dtype, NEAR_HALF) * float(expected.abs().amax())
        if given.shape == expected.shape and float((given - expected).abs().amax()) <= near:
            return graph
        problem = f'does not give what {type(net).__name__} gives'
    except Exception as error:  # whatever a damaged file can raise
        problem = f'cannot be read ({error})'
    log.warning('Kept graph: %s %s: the network is traced again.', file, problem)
    return None


def save(file: Path, graph: Graph) -> None:
    """Keep a graph, and the newest `MOST` of all."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(file, pickle.dumps(graph))
        for old in sorted(file.parent.glob('*.graph'), key=lambda each: each.stat().st_mtime, reverse=True)[MOST:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning('Kept graph: %s cannot be written (%s): the next program traces again; %s names another folder.',
                    file, error.strerror or error, VARIABLE)
