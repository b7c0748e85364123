"""What is timed: a network in one form, run by one backend."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.unit import INSIDE

Forward = Callable[[torch.Tensor], torch.Tensor]
EAGER, COMPILED = 'torch', 'torch.compile'


class Amount(NamedTuple):
    """How much of an image is computed.

    Attributes:
        kind: 'ratio', of its tiles, windows or patches; 'budget', of the dense network's MACs; 'share', the tiles over
            the level that this share of the tiles is over to which a network was calibrated.
        value: over 0 and up to 1.
    """

    kind: Literal['ratio', 'budget', 'share']
    value: float

    def __str__(self) -> str:
        share = f'{100 * self.value:.6g} %'
        return share if self.kind == 'ratio' else f'{self.kind} {share}'


class Equality(NamedTuple):
    """Two functions of the image that have to give the same; `what` names the second."""

    what: str
    own: Forward
    reference: Forward


@dataclass(frozen=True)
class Grid:
    """Which sparse forms of a network are measured: all combinations.

    Args:
        amounts: how much is computed.
        tiles: sides of AMSR's tiles in LR pixels, 1 for pixels; None: that of the network's options.
        insides: AMSR's `inside`; None: that of the network's options.
        backends: what convolves in AMSR's sparse forms; None: what the network's options mean on the device.
        auto: each AMSR form also with `mode: auto`, which computes everything where that is measured to be faster.

    Raises:
        UserError: a value that is not possible.
    """

    amounts: tuple[Amount, ...]
    tiles: tuple[int, ...] | None = None
    insides: tuple[str, ...] | None = None
    backends: tuple[str, ...] | None = None
    auto: bool = False

    def __post_init__(self) -> None:
        for amount in self.amounts:
            if not 0 < amount.value <= 1:
                raise UserError(f'--{amount.kind} {amount.value:g}: give a share over 0 and up to 1.')
        for tile in self.tiles or ():
            if tile < 1:
                raise UserError(f'--tile {tile}: give the side of the tiles in LR pixels, 1 or more.')
        for inside in self.insides or ():
            if inside not in INSIDE:
                raise UserError(f"--inside {inside}: give {' or '.join(INSIDE)}.")
            if inside == 'exact' and any(amount.kind == 'budget' for amount in self.amounts):
                raise UserError('--budget: what --inside exact costs depends on where the mask is: leave one out.')


@dataclass(frozen=True)
class Contender:
    """Something that is timed.

    Args:
        form: what it computes, such as 'dense channels-last' or 'tiles 8, masked'.
        backend: what runs it.
        net: maps images (1, C, H, W) to images; without gradient.
        kind: 'dense' (a rival: computes what the sparse forms leave out), 'sparse', 'auto' (either of them, as measured
            costs say), or 'reference' (stands beside).
        layout: memory format of its input.
        tile: side of the tiles, windows or patches. inside: AMSR's. amount: what was asked for.
        share: of the tiles, windows or patches, what it has to compute of an image of the measured size; None where
            that depends on the image. slack: how far it may be from it, as there are whole tiles only.
        most_macs: what it may cost, where a budget was asked for.
        equalities: what has to hold, on images of any size.
    """

    form: str
    backend: str
    net: nn.Module
    kind: Literal['dense', 'sparse', 'auto', 'reference']
    layout: torch.memory_format = torch.channels_last
    tile: int | None = None
    inside: str | None = None
    amount: Amount | None = None
    share: float | None = 1.0
    slack: float = 0.0
    most_macs: float = math.inf
    equalities: tuple[Equality, ...] = ()

    @property
    def name(self) -> str:
        """Unique among the contenders of a network."""
        form = self.form if self.amount is None else f'{self.form}, {self.amount}'
        return f'{form} ({self.backend})'

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output for an image in any memory format."""
        return self.net(x.contiguous(memory_format=self.layout))
