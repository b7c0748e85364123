"""Whether losses and weights are numbers still: a training of which they are not stops, and saves nothing of it."""
from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from basicsr_amsr.errors import UserError

MOST = 10  # iterations in a row
SHOWN = 3


def not_finite(state_dict: Mapping[str, torch.Tensor]) -> str | None:
    """'2 of 24 tensors hold values that are not finite (a.weight, …)', or None."""
    bad = [key for key, value in state_dict.items() if value.is_floating_point() and not value.isfinite().all()]
    return f'{len(bad)} of {len(state_dict)} tensors hold values that are not finite ({listed(bad)})' if bad else None


def listed(keys: Collection[str]) -> str:
    """The first keys."""
    return f'{", ".join(list(keys)[:SHOWN])}{" …" if len(keys) > SHOWN else ""}'


class LossWatch:
    """Counts the iterations in a row with a loss that is not finite.

    The count is kept where the losses are, and read in every iteration on the CPU, else in every tenth, since the
    program waits for the GPU then.
    """

    def __init__(self) -> None:
        self.row: torch.Tensor | None = None
        self.most: torch.Tensor | None = None
        self.calls = 0
        self.scales: dict[int, float] = {}

    def see(self, model: Any, names: Collection[str], losses: torch.Tensor) -> None:
        """The losses (n,) of an iteration, by name.

        Raises:
            UserError: `MOST` times in a row one was not finite. Steps that a GradScaler skipped do not count.
        """
        if self._skipped(model):
            return
        bad = (~losses.isfinite().all()).int()
        if self.row is None or self.most is None:
            self.row = self.most = torch.zeros_like(bad)
        self.row = (self.row + 1) * bad
        self.most = torch.maximum(self.most, self.row)
        self.calls += 1
        if (losses.device.type == 'cpu' or self.calls % MOST == 0) and int(self.most) >= MOST:
            found = [name for name, fine in zip(names, losses.isfinite().tolist(), strict=True) if not fine] or names
            rates = ', '.join(f'{group["lr"]:g}' for opt in model.optimizers[:1] for group in opt.param_groups[:1])
            raise UserError(f'train: {listed(found)} was not finite {MOST} times in a row, at learning rate {rates}. '
                            'What was saved before is as it was: lower train: optim_g: lr and go on from it with '
                            '--auto_resume, or start anew.')

    def _skipped(self, model: Any) -> bool:
        """Whether a GradScaler of the model has lowered its scale, and so skipped the step."""
        skipped = False
        for value in vars(model).values():
            if isinstance(value, torch.amp.GradScaler) and value.is_enabled():
                scale = value.get_scale()
                skipped |= scale < self.scales.get(id(value), scale)
                self.scales[id(value)] = scale
        return skipped
