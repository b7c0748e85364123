"""The graphs of one network, for the kinds of sizes that it treats alike."""
from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

from basicsr_amsr.execution.graph.ops import Graph
from basicsr_amsr.execution.graph.read import read
from basicsr_amsr.execution.graph.trace import Forward


class Traces:
    """Traces a network when it meets a size that no graph so far holds for. Copies and pickles start anew.

    Args:
        forward: called as `forward(net, x)` in place of `net(x)`.
    """

    def __init__(self, forward: Forward | None = None) -> None:
        self.forward = forward
        self._graphs: dict[tuple[torch.dtype, str], list[Graph]] = {}
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
            graph = read(net, x, self.forward)
            known.append(graph)
        return graph

    def __reduce__(self) -> tuple[Any, ...]:
        return Traces, (self.forward,)
