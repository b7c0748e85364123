"""A unit of a network that sparse execution can evaluate at some pixels only."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn

from basicsr_amsr.errors import UserError

# 'masked': what lies inside the unit is 0 outside the mask. 'exact': it is computed wherever an active pixel needs it.
Inside = Literal['masked', 'exact']
INSIDE = ('masked', 'exact')

# Modules that map each pixel by itself.
POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.Identity)


class Step(NamedTuple):
    """A convolution and the pointwise modules after it."""

    conv: nn.Conv2d
    after: tuple[nn.Module, ...]

    @property
    def reach(self) -> tuple[int, int]:
        """How far the convolution looks, in rows and columns."""
        return tuple(d * (k - 1) // 2 for d, k in zip(self.conv.dilation, self.conv.kernel_size, strict=True))  # type: ignore[return-value]


def add(x: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    """The residual connection."""
    return x + body


def replace(x: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    """No residual connection: a lone convolution makes the identity per convolution, the paper's formula."""
    return body


def pointwise(modules: tuple[nn.Module, ...], x: torch.Tensor) -> torch.Tensor:
    """The modules one after the other."""
    for module in modules:
        x = module(x)
    return x


@dataclass(frozen=True)
class ConvUnit:
    """combine(x, body(x)), for instance x + conv(relu(conv(x))): what a mask skips as a whole.

    A skipped pixel keeps the unit's input, which has as many channels as its output.

    Args:
        stages: the body: convolutions that keep height and width (stride 1, zero padding), and pointwise activations.
        combine: joins input and body, pixel by pixel, from two tensors (·, C, ·, ·): `add`, `replace`, or a function of
            your own (a scaled sum, a ReLU after the sum).

    Raises:
        UserError: a stage that cannot be evaluated at some pixels only, named.
    """

    stages: tuple[nn.Module, ...]
    combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = add

    def __post_init__(self) -> None:
        object.__setattr__(self, 'stages', tuple(self.stages))
        for number, stage in enumerate(self.stages):
            _check(f'stage {number}', stage)
        if not self.steps:
            raise UserError('unit: there is no convolution in it.')
        if self.steps[0].conv.in_channels != self.steps[-1].conv.out_channels:
            raise UserError(f'unit: it makes {self.steps[-1].conv.out_channels} channels from '
                            f'{self.steps[0].conv.in_channels}, so a skipped pixel cannot keep its input.')

    @property
    def before(self) -> tuple[nn.Module, ...]:
        """The pointwise modules before the first convolution."""
        first = next((i for i, stage in enumerate(self.stages) if isinstance(stage, nn.Conv2d)), len(self.stages))
        return self.stages[:first]

    @property
    def steps(self) -> list[Step]:
        """The convolutions, each with what follows it."""
        steps: list[Step] = []
        for stage in self.stages:
            if isinstance(stage, nn.Conv2d):
                steps.append(Step(stage, ()))
            elif steps:
                steps[-1] = Step(steps[-1].conv, (*steps[-1].after, stage))
        return steps

    def dense(self, x: torch.Tensor) -> torch.Tensor:
        """The unit at every pixel of (B, C, H, W)."""
        return self.combine(x, pointwise(self.stages, x))


def _check(name: str, stage: nn.Module) -> None:
    if isinstance(stage, POINTWISE):
        return
    if not isinstance(stage, nn.Conv2d):
        raise UserError(f'unit: {name} is a {type(stage).__name__}, which is not known to map each pixel by itself.')
    same = tuple(d * (k - 1) // 2 for d, k in zip(stage.dilation, stage.kernel_size, strict=True))
    padding = same if stage.padding == 'same' else stage.padding
    if any(k % 2 == 0 for k in stage.kernel_size) or stage.stride != (1, 1) or padding != same:
        raise UserError(f'unit: {name}, {stage}, does not keep height and width: stride 1, an odd kernel and padding '
                        f'{same} are needed.')
    if stage.padding_mode != 'zeros':
        raise UserError(f"unit: {name} pads by '{stage.padding_mode}': only zeros are possible.")
