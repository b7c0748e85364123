"""Operators as they are declared, the passes that they run in, and what a program holds of both."""
from __future__ import annotations

from dataclasses import dataclass

from basicsr_amsr.execution.native.maps import Grid, Map, Patches, Slice
from basicsr_amsr.execution.native.steps import Step, Values
from basicsr_amsr.execution.native.tables import PATCH, RESAMPLING, OpKind, Type


@dataclass(eq=False)
class Op:
    """One operator as it is declared."""
    kind: OpKind
    sources: list[Slice]
    out: Slice
    out_channels: int
    steps: tuple[Step, ...] = ()
    compute: Type = Type.FLOAT32
    kernel: int = 1
    stride: int = 1
    pad: int = 0
    groups: int = 1
    shuffle: int = 1
    weight: Values | None = None
    bias: Values | None = None
    ratio: tuple[float, float] | None = None
    reach: int = 0
    rectified: bool = False
    eps: float = 0.

    @property
    def edge(self) -> int:
        """The side of the patches that it computes, in pixels."""
        return 6 if self.kind == OpKind.WINOGRAD6 else PATCH

    @property
    def in_channels(self) -> int:
        """Channels of all sources together."""
        return sum(source.channels for source in self.sources)

    @property
    def reads_around(self) -> bool:
        """Whether a pixel of the output depends on other pixels than its own."""
        around = (*RESAMPLING, OpKind.MEAN, OpKind.GATHER)
        return self.kernel > 1 or self.stride > 1 or self.kind in around


@dataclass(eq=False)
class Pass:
    """Operators that run together, group of patches by group of patches. Passes of one stage make a wavefront."""
    patches: Patches
    stage: int
    ops: list[Op]


class Declarations:
    """Maps and passes that were declared so far, and the grids that checks ask for."""

    def __init__(self) -> None:
        self.image_grid = Grid(lambda height, width: (height, width))
        self.block_grid: Grid | None = None
        self.maps: list[Map] = []
        self.passes: list[Pass] = []
