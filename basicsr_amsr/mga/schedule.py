"""Training steps and the learning rate of MGA (sections 3.5 and 4.1), as functions of the iteration."""
from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from basicsr_amsr.mga.network import Variant
from basicsr_amsr.options.section import Iterations, IterationsOrNone, Number, PositiveNumber, Section


class Step(Section):
    """One training step: a variant, for so many iterations, in equal periods of warm-up and cosine.

    In each period the learning rate rises linearly from `warmup_lr` to `lr` in `warmup` iterations, then falls to
    `min_lr` along half a cosine.

    A step M trains the mask module: towards the normalized or the absolute error (`supervision`), or, with 'none',
    by the image that the selected patches give. `end_to_end` trains base and refine net along with it.

    `freeze_base`, for starts from a pretrained network, trains the refine net of a step D or A alone.
    """

    model_config = ConfigDict(frozen=True)

    variant: Variant = Field(description='what is trained: B, D, A or M')
    iters: Iterations = Field(description='length of the step')
    periods: Iterations = Field(1, description='equal parts of it, each with warm-up and cosine')
    warmup: IterationsOrNone = Field(2000, description='iterations of warm-up in each period')
    warmup_lr: Number = Field(4e-5, description='learning rate at the start of the warm-up')
    lr: PositiveNumber = Field(4e-4, description='learning rate after the warm-up')
    min_lr: Number = Field(1e-7, description='learning rate at the end of the period')
    supervision: Literal['normalized', 'absolute', 'none'] = Field('normalized', description='step M: the error that '
                                                                   'the mask is trained towards')
    end_to_end: bool = Field(False, description='step M: base and refine net train along with the mask')
    freeze_base: bool = Field(False, description='step D or A: the refine net alone trains, and the coarse image stays '
                                                 'that of the weights from which the training starts')

    @model_validator(mode='after')
    def _check(self) -> Self:
        if self.variant != 'M' and (self.end_to_end or self.supervision != 'normalized'):
            raise ValueError('supervision and end_to_end are for variant M.')
        if self.freeze_base and self.variant not in 'DA':
            raise ValueError(f'freeze_base is for variants D and A, which have a refine net to train: leave it out of '
                             f'{self.variant}.')
        if self.iters % self.periods:
            raise ValueError(f'iters {self.iters} is no multiple of periods {self.periods}.')
        if self.warmup >= self.iters // self.periods:
            raise ValueError(f'warmup {self.warmup} does not fit into a period of {self.iters // self.periods} '
                             'iterations.')
        return self

    @property
    def mask_alone(self) -> bool:
        """Whether the mask module is trained apart from the network, towards the error."""
        return self.variant == 'M' and not self.end_to_end and self.supervision != 'none'

    def learning_rate(self, index: int) -> float:
        """Learning rate of the step's iteration `index`, counted from 0."""
        length = self.iters // self.periods
        index %= length
        if index < self.warmup:
            return self.warmup_lr + (self.lr - self.warmup_lr) * index / self.warmup
        share = (index - self.warmup) / max(length - 1 - self.warmup, 1)
        return self.min_lr + (self.lr - self.min_lr) * (1 + math.cos(math.pi * share)) / 2


class StepPlan:
    """The steps of a training run one after the other; BasicSR's iterations count from 1."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = list(steps)
        self.ends = list(accumulate(step.iters for step in self.steps))

    @property
    def total(self) -> int:
        """Iterations of all steps."""
        return self.ends[-1]

    def index(self, iteration: int) -> int:
        """Which step an iteration belongs to; beyond the end it is the last one."""
        return min(bisect_left(self.ends, max(iteration, 1)), len(self.steps) - 1)

    def learning_rate(self, iteration: int) -> float:
        """Learning rate of an iteration."""
        index = self.index(iteration)
        return self.steps[index].learning_rate(iteration - 1 - (self.ends[index - 1] if index else 0))
