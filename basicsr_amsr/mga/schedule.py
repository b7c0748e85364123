"""Training steps and the learning rate of MGA (sections 3.5 and 4.1), as functions of the iteration."""
from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.mga.mask import SUPERVISIONS
from basicsr_amsr.mga.network import VARIANTS


@dataclass(frozen=True)
class Step:
    """One training step: a variant, for so many iterations, in equal periods of warm-up and cosine.

    In each period the learning rate rises linearly from `warmup_lr` to `lr` in `warmup` iterations, then falls to
    `min_lr` along half a cosine.

    A step M trains the mask module: towards the normalized or the absolute error (`supervision`), or, with 'none',
    by the image that the selected patches give. `end_to_end` trains base and refine net along with it.
    """

    variant: str
    iters: int
    periods: int = 1
    warmup: int = 2000
    warmup_lr: float = 4e-5
    lr: float = 4e-4
    min_lr: float = 1e-7
    supervision: str = 'normalized'
    end_to_end: bool = False

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise UserError(f"train:steps: variant '{self.variant}' is unknown. {suggestion(self.variant, VARIANTS)}")
        if self.supervision not in SUPERVISIONS[1:]:
            raise UserError(f"train:steps: supervision '{self.supervision}' is unknown. "
                            f'{suggestion(self.supervision, SUPERVISIONS[1:])}')
        if self.variant != 'M' and (self.end_to_end or self.supervision != 'normalized'):
            raise UserError(f'train:steps: step {self.variant}: supervision and end_to_end are for variant M.')
        if self.iters < 1 or self.periods < 1 or self.iters % self.periods:
            raise UserError(f'train:steps: step {self.variant}: iters {self.iters} is no multiple of '
                            f'periods {self.periods}.')
        if not 0 <= self.warmup < self.iters // self.periods:
            raise UserError(f'train:steps: step {self.variant}: warmup {self.warmup} does not fit into a period of '
                            f'{self.iters // self.periods} iterations.')

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


def parse_steps(options: Sequence[Mapping[str, Any]] | None) -> StepPlan:
    """The plan that stands under `train: steps:`; UserError naming what is wrong."""
    if not options:
        raise UserError('train: steps is missing: list them as - {variant: D, iters: 600000}.')
    known = [f.name for f in fields(Step)]
    steps = []
    for number, option in enumerate(options, 1):
        for key in option:
            if key not in known:
                raise UserError(f"train:steps: step {number} has an unknown key '{key}'. {suggestion(key, known)}")
        missing = [key for key in ('variant', 'iters') if key not in option]
        if missing:
            raise UserError(f'train:steps: step {number} has no {" and no ".join(missing)}.')
        steps.append(Step(**{**option, **{key: float(option[key]) for key in ('warmup_lr', 'lr', 'min_lr')
                                          if key in option}}))
    return StepPlan(steps)
