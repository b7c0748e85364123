"""The whole image of a converted network, computed tile by tile."""
from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from basicsr_amsr.amsr.twin import twin_of
from basicsr_amsr.execution.reading import Unreadable
from basicsr_amsr.execution.region.program import Program
from basicsr_amsr.execution.region.reading import read_network
from basicsr_amsr.execution.region.sparse import run_tiled


class Whole:
    """What a network computes, read when it is first asked for: that takes seconds. Copies of the network share it.

    Args:
        program: where it is known.
    """

    def __init__(self, program: Program | None = None) -> None:
        self._program, self._read = program, program is not None

    def program(self, net: Any) -> Program | None:
        """What the converted network `net` computes; None where that cannot be read."""
        if not self._read:
            plain = twin_of(net)
            plain.__class__ = net.plain_class
            with _disable_current_modes(), suppress(Unreadable):  # no counter around the network sees it
                self._program = read_network(plain)
            self._read = True
        return self._program

    def run(self, net: Any, x: torch.Tensor) -> torch.Tensor | None:
        """The plain network's image to rounding, of LR images (B, C, H, W); None where its program cannot be read."""
        program = self.program(net)
        return None if program is None else run_tiled(program, net, x, net.amsr.backend)
