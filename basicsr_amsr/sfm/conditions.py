"""The degradations under which a network is looked at: one kernel or noise level each."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from basicsr_amsr.data.degradations.blur import Blur
from basicsr_amsr.data.degradations.downscale import Downscale
from basicsr_amsr.errors import UserError
from basicsr_amsr.transforms.base import Transform, seeded_generator
from basicsr_amsr.transforms.build_transforms import build_transforms

# Flag of the command: the transform, and its option that the flag's values are for.
KINDS = {'blur': ('GaussianBlur', 'sigma'), 'disk': ('DiskBlur', 'radius'), 'kernel': ('KernelBlur', 'path'),
         'noise': ('GaussianNoise', 'sigma'), 'jpeg': ('JPEG', 'quality')}
LABELS = {'blur': 'Gaussian blur, sigma', 'disk': 'disk, radius', 'kernel': 'kernel', 'noise': 'noise, sigma',
          'jpeg': 'JPEG, quality'}


@dataclass(frozen=True)
class Condition:
    """A degradation of clean images.

    Attributes:
        kind: one of KINDS, 'none', or 'own' for a list from the command line.
        level: sigma, radius, quality; None where there is no number.
        name: for tables.
        before: steps at the HR image's size, up to the downscaling.
        after: the downscaling and what follows it.
    """

    kind: str
    level: float | None
    name: str
    before: Sequence[Transform] = field(default_factory=list)
    after: Sequence[Transform] = field(default_factory=list)

    def degrade(self, image: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The image at its own size just before the downscaling (degraded, where there is none), and the input.

        Args:
            image: (C, H, W), 0–1.
            seed: of the draws (noise).
        """
        generator = seeded_generator(seed)
        for step in self.before:
            image = step(image, generator)
        result = image
        for step in self.after:
            result = step(result, generator)
        return (result if result.shape == image.shape else image), result


def of_values(kind: str, values: Sequence[Any], scale: int, method: str) -> list[Condition]:
    """A condition for each value of a flag.

    Raises:
        UserError: a value is not possible, or a file is not there.
    """
    transform, option = KINDS[kind]
    found = []
    for value in values:
        level = None if kind == 'kernel' else float(value)
        shown = Path(value).name if kind == 'kernel' else f'{level:g}'
        step = {'type': transform, option: int(value) if kind == 'jpeg' and float(value).is_integer() else value}
        found.append(condition(kind, level, f'{LABELS[kind]} {shown}', [step], scale, method))
    return found


def condition(kind: str, level: float | None, name: str, steps: Sequence[Mapping[str, Any]], scale: int,
              method: str) -> Condition:
    """A condition of these transforms; a Downscale that is missing stands after the last blur.

    Raises:
        UserError: a transform cannot be built, or the steps shrink by something else than `scale`.
    """
    chain = build_transforms(list(steps), name)
    at = next((index for index, step in enumerate(chain) if step.scale > 1), None)
    if at is None:
        at = max((index + 1 for index, step in enumerate(chain) if isinstance(step, Blur)), default=0)
        if scale > 1:
            chain.insert(at, Downscale(scale, method))
    shrunk = [step.scale for step in chain if step.scale > 1]
    if shrunk != [scale] * (scale > 1):
        raise UserError(f'{name}: it shrinks by {" and ".join(map(str, shrunk)) or 1}, but the network enlarges by '
                        f'{scale}.')
    return Condition(kind, level, name, chain[:at], chain[at:])
