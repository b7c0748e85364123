"""The graphs of one network, for the kinds of sizes that it treats alike."""
from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.graph.on_disk import read_or_keep
from basicsr_amsr.execution.graph.ops import Graph
from basicsr_amsr.execution.graph.trace import Forward


class Traces:
    """Traces a network when it meets a size that no graph so far holds for. Copies and pickles start anew.

    Args:
        forward: called as `forward(net, x)` in place of `net(x)`. several: it returns several maps, not one image.
    """

    def __init__(self, forward: Forward | None = None, several: bool = False) -> None:
        self.forward, self.several = forward, several
        self._graphs: dict[tuple[torch.dtype, str], list[Graph]] = {}
        self._refused: dict[Any, UserError] = {}
        self._lock = threading.Lock()

    def graph(self, net: nn.Module, x: torch.Tensor) -> Graph:
        """The graph for images of the shape, type and device of x.

        Raises:
            UserError: the network cannot be read.
        """
        size = (x.shape[0], x.shape[2], x.shape[3])
        known = self._graphs.setdefault((x.dtype, x.device.type), [])
        for graph in known:
            if graph.holds_for(size):
                return graph
        with self._lock:
            key = (*size, x.dtype, x.device.type)
            if key in self._refused:
                raise self._refused[key]
            try:
                graph = read_or_keep(net, x, self.forward, self.several)
            except UserError as error:
                self._refused[key] = error
                raise
            known.append(graph)
        return graph

    def add(self, graph: Graph, device: str) -> None:
        """Take over the graph of a network that is built alike, unless it holds tensors of that network."""
        if not graph.constants and not graph.merges:
            self._graphs.setdefault((graph.image_type, device), []).append(graph)

    def __reduce__(self) -> tuple[Any, ...]:
        return Traces, (self.forward, self.several)
