"""What is timed: a form of a network and what runs it."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from basicsr_amsr.bench.grid import Amount
from basicsr_amsr.bench.views import LAYOUTS, View

Forward = Callable[[torch.Tensor], torch.Tensor]
EAGER, NATIVE, COMPILED, OPENVINO, ONNXRUNTIME = 'torch', 'native', 'torch.compile', 'openvino', 'onnxruntime'
EXPORTED = {OPENVINO: '.xml', ONNXRUNTIME: '.onnx'}  # they run a graph of a file


class Equality(NamedTuple):
    """Two functions of the image that have to give the same; `what` names the second."""

    what: str
    own: Forward
    reference: Forward


@dataclass(frozen=True)
class Contender:
    """Something that is timed, in a process of its own.

    Args:
        form: what it computes, in words, such as 'dense channels-last' or 'patches 8, masked'.
        backend: what runs it: COMPILED, one of EXPORTED, else operators of PyTorch with kernels of that name.
        kind: 'dense' (computes what the sparse forms leave out), 'sparse', 'auto' (either of them, as measured costs
            say), or 'reference' (stands beside).
        view: how it is made of the network.
        net: the same for the checks beforehand; None for what runs another contender's form in another way.
        like: name of that contender, whose picture it has to give.
        stock: with the allocator as the C library has it.
        keep: of the patches or windows, what it has to compute of an image of the measured size; None where
            that depends on the image. slack: how far it may be from it, as there are whole patches only.
        most_macs: what it may cost, where a budget was asked for.
        equalities: what has to hold, on images of any size.
    """

    form: str
    backend: str
    kind: Literal['dense', 'sparse', 'auto', 'reference']
    view: View
    net: Any = None
    like: str | None = None
    stock: bool = False
    keep: float | None = 1.0
    slack: float = 0.0
    most_macs: float = math.inf
    equalities: tuple[Equality, ...] = ()

    @property
    def name(self) -> str:
        """Unique among the contenders of a network."""
        form = self.form if self.amount is None else f'{self.form}, {self.amount}'
        return f'{form} ({self.backend})'

    @property
    def amount(self) -> Amount | None:
        """The amount to compute that was asked for, if any."""
        return self.view.amount

    @property
    def layout(self) -> torch.memory_format:
        """Memory format of weights and images."""
        return LAYOUTS[self.view.layout]

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output for an image in any memory format."""
        return self.net(x.contiguous(memory_format=self.layout))
