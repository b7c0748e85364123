"""How much of an image is computed, and which sparse forms of a network are measured."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from basicsr_amsr.errors import UserError


class Amount(NamedTuple):
    """How much of an image is computed.

    Attributes:
        kind: 'keep', of its patches or windows; 'budget', of the dense network's MACs; 'keep_by_level', the patches
            over the level that this share of the patches is over to which a network was calibrated.
        value: over 0 and up to 1.
    """

    kind: Literal['keep', 'budget', 'keep_by_level']
    value: float

    def __str__(self) -> str:
        share = f'{100 * self.value:.6g} %'
        return share if self.kind == 'keep' else f'{self.kind.replace("_", " ")} {share}'


@dataclass(frozen=True)
class Grid:
    """Which sparse forms of a network are measured: all combinations.

    Args:
        amounts: how much is computed.
        patch_sizes: sides of AMSR's patches in LR pixels, 1 for pixels; None: that of the network's options.
        backends: what convolves in AMSR's sparse forms; None: what the network's options mean on the device.
        auto: each AMSR form also with `mode: auto`, which computes everything where that is measured to be faster.

    Raises:
        UserError: a value that is not possible.
    """

    amounts: tuple[Amount, ...]
    patch_sizes: tuple[int, ...] | None = None
    backends: tuple[str, ...] | None = None
    auto: bool = False

    def __post_init__(self) -> None:
        for amount in self.amounts:
            if not 0 < amount.value <= 1:
                raise UserError(f'--{amount.kind.replace("_", "-")} {amount.value:g}: give a share over 0 and up to 1.')
        for patch_size in self.patch_sizes or ():
            if patch_size < 1:
                raise UserError(f'--patch-size {patch_size}: give the side of the patches in LR pixels, 1 or more.')
