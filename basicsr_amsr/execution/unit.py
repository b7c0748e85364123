"""A unit of a network that sparse execution can evaluate at some pixels only."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import nn

from basicsr_amsr.errors import UserError

# Modules that map each pixel by itself.
POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.Identity)

Kind = Literal['conv', 'pointwise', 'cat', 'pool']


class Node(NamedTuple):
    """One value of a unit.

    Attributes:
        kind: a convolution that keeps height and width; a function of the values at each pixel by itself; their
            concatenation along the channels; or the average of a value over each image.
        inputs: numbers of the values that it is made of. 0 is the unit's input, node i makes value i + 1.
        call: the convolution, or a function of tensors (·, C, ·, ·). What an average gives is (B, C, 1, 1), and so is
            everything made of averages alone.
    """

    kind: Kind
    inputs: tuple[int, ...]
    call: Callable[..., torch.Tensor]


def add(x: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    """The residual connection."""
    return x + body


def replace(x: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    """No residual connection: a lone convolution makes the identity per convolution, the paper's formula."""
    return body


def join(*values: torch.Tensor) -> torch.Tensor:
    """Concatenation along the channels."""
    return torch.cat(values, 1)


def average(value: torch.Tensor) -> torch.Tensor:
    """Mean over height and width, (B, C, 1, 1)."""
    return value.mean((2, 3), keepdim=True)


@dataclass(frozen=True)
class Unit:
    """A function of a feature map that a mask skips as a whole: a skipped pixel keeps the unit's input.

    Args:
        nodes: its values in an order in which they can be computed; the last is the output, and all are needed for it.
    """

    nodes: tuple[Node, ...]

    def dense(self, x: torch.Tensor) -> torch.Tensor:
        """The unit at every pixel of (B, C, H, W)."""
        values = [x]
        for node in self.nodes:
            values.append(node.call(*(values[i] for i in node.inputs)))
        return values[-1]


class ConvUnit(Unit):
    """combine(x, body(x)), for instance x + conv(relu(conv(x))).

    Args:
        stages: the body: convolutions that keep height and width (stride 1, zero padding), and pointwise activations.
        combine: joins input and body, pixel by pixel, from two tensors (·, C, ·, ·): `add`, `replace`, or a function of
            your own (a scaled sum, a ReLU after the sum).

    Raises:
        UserError: a stage that cannot be evaluated at some pixels only, named.
    """

    def __init__(self, stages: tuple[nn.Module, ...],
                 combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = add) -> None:
        for number, stage in enumerate(stages):
            problem = unfit(stage)
            if problem:
                raise UserError(f'unit: stage {number}, {problem}')
        convs = [stage for stage in stages if isinstance(stage, nn.Conv2d)]
        if not convs:
            raise UserError('unit: there is no convolution in it.')
        if convs[0].in_channels != convs[-1].out_channels:
            raise UserError(f'unit: it makes {convs[-1].out_channels} channels from {convs[0].in_channels}, so a '
                            'skipped pixel cannot keep its input.')
        nodes = [Node('conv' if isinstance(stage, nn.Conv2d) else 'pointwise', (number,), stage)
                 for number, stage in enumerate(stages)]
        super().__init__((*nodes, Node('pointwise', (0, len(nodes)), combine)))
        object.__setattr__(self, 'stages', tuple(stages))


def unfit(stage: nn.Module) -> str | None:
    """Why a module cannot be evaluated at some pixels only, or None."""
    if isinstance(stage, POINTWISE):
        return None
    if not isinstance(stage, nn.Conv2d):
        return f'a {type(stage).__name__}, is not known to map each pixel by itself.'
    same = tuple(d * (k - 1) // 2 for d, k in zip(stage.dilation, stage.kernel_size, strict=True))
    padding = same if stage.padding == 'same' else stage.padding
    if any(k % 2 == 0 for k in stage.kernel_size) or stage.stride != (1, 1) or padding != same:
        return f'{stage}, does not keep height and width: stride 1, an odd kernel and padding {same} are needed.'
    if stage.padding_mode != 'zeros':
        return f"{stage}, pads by '{stage.padding_mode}': only zeros are possible."
    return None
