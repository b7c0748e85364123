"""The steps that may follow an operator's sums before they are stored, in any order and number."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from basicsr_amsr.execution.native.maps import Channels, Slice, channels_of
from basicsr_amsr.execution.native.tables import StepKind

Values = torch.Tensor | Callable[[], torch.Tensor]  # a function is asked again whenever weights are packed


@dataclass(frozen=True)
class Step:
    """One step. `values` has one element for each output channel of the operator, or one for all."""
    kind: StepKind
    source: Slice | None = None
    a: float = 0.
    b: float = 0.
    values: Values | None = None


def add_vector(values: Values) -> Step:
    """x + values[c]."""
    return Step(StepKind.ADD_VECTOR, values=values)


def multiply_vector(values: Values) -> Step:
    """x * values[c]."""
    return Step(StepKind.MUL_VECTOR, values=values)


def relu() -> Step:
    """max(x, 0)."""
    return leaky_relu(0.)


def leaky_relu(slope: float) -> Step:
    """x where it is positive, else slope * x."""
    return Step(StepKind.SLOPE, values=torch.tensor([slope]))


def prelu(slopes: Values) -> Step:
    """x where it is positive, else slopes[c] * x."""
    return Step(StepKind.SLOPE, values=slopes)


def gelu(approximate: str = 'none') -> Step:
    """torch.nn.functional.gelu; approximate: 'none' or 'tanh'."""
    return Step({'none': StepKind.GELU, 'tanh': StepKind.GELU_TANH}[approximate])


def silu() -> Step:
    """x * sigmoid(x)."""
    return Step(StepKind.SILU)


def sigmoid() -> Step:
    """1 / (1 + exp(-x))."""
    return Step(StepKind.SIGMOID)


def tanh() -> Step:
    """tanh(x)."""
    return Step(StepKind.TANH)


def mish() -> Step:
    """x * tanh(log(1 + exp(x)))."""
    return Step(StepKind.MISH)


def affine(factor: float, summand: float = 0.) -> Step:
    """factor * x + summand."""
    return Step(StepKind.AFFINE, a=factor, b=summand)


def clamp(low: float, high: float) -> Step:
    """min(max(x, low), high)."""
    return Step(StepKind.CLAMP, a=low, b=high)


def add(source: Channels, factor: float = 1.) -> Step:
    """x + factor * source, pixel by pixel, at the operator's resolution (a residual connection)."""
    return Step(StepKind.ADD_MAP, channels_of(source), a=factor)


def multiply(source: Channels, summand: float = 0.) -> Step:
    """x * (source + summand), pixel by pixel."""
    return Step(StepKind.MUL_MAP, channels_of(source), a=summand)


def multiply_image(source: Channels) -> Step:
    """x * the pixel of a 1x1 map: one factor for each channel of the whole image (channel attention)."""
    return Step(StepKind.MUL_PIXEL, channels_of(source))


def add_nearest(source: Channels, factor: float = 1.) -> Step:
    """A step of an operator with pixel shuffle into an image: x + factor * source, enlarged by nearest neighbours."""
    return Step(StepKind.ADD_NEAREST, channels_of(source), a=factor)
