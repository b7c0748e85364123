"""One comparison: contenders are checked, counted, and timed in rounds that each run all of them."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from basicsr_amsr.amsr.accelerate import ConvertedNetwork
from basicsr_amsr.bench.checks import crop, wrong_amount, wrong_output
from basicsr_amsr.bench.contenders import COMPILED, Contender
from basicsr_amsr.bench.dense import compiled_form
from basicsr_amsr.profiling.masks import mask_ratio
from basicsr_amsr.profiling.profile import count_call
from basicsr_amsr.profiling.timer import PairedTimes, time_paired

LEAST_ROUNDS = 5
SEED = 0  # of the order in each round


@dataclass(frozen=True)
class Settings:
    """How long is measured.

    Args:
        seconds: for one comparison, five rounds at least. rounds: so many instead.
        compiled: the dense forms compete compiled too.
    """

    seconds: float = 30.0
    rounds: int | None = None
    compiled: bool = False


@dataclass
class Measured:
    """Of one comparison.

    Attributes:
        times: of the rounds that are complete; None where nobody was timed.
        macs, mask_ratios: by contender's name, means over the images.
        contenders: those that were timed. refused: name to why it was not timed.
        compile_seconds: of the first call of what is compiled.
        interrupted: the user stopped it.
    """

    contenders: list[Contender] = field(default_factory=list)
    macs: dict[str, float] = field(default_factory=dict)
    mask_ratios: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    compile_seconds: dict[str, float] = field(default_factory=dict)
    times: PairedTimes | None = None
    interrupted: bool = False


class Inputs:
    """The images, of which each round takes the next one, in every memory format."""

    def __init__(self, images: Sequence[torch.Tensor], contenders: Sequence[Contender]) -> None:
        layouts = {contender.layout for contender in contenders}
        self.images = [{layout: x.contiguous(memory_format=layout) for layout in layouts} for x in images]
        self.current = 0

    def turn(self, rounds: int) -> None:
        """Take the image that follows so many rounds."""
        self.current = rounds % len(self.images)

    def run(self, contender: Contender) -> None:
        """What is timed."""
        contender.net(self.images[self.current][contender.layout])


@torch.no_grad()
def measure(contenders: Sequence[Contender], images: Sequence[torch.Tensor], settings: Settings,
            progress: Callable[[str], Any] = lambda stage: None) -> Measured:
    """Check, count and time.

    Args:
        contenders: the forms of one network, dense ones among them; they may share weights.
        images: (1, C, H, W) of one size, on the device and in the dtype of the networks.
        settings: how long.
        progress: called with a line at each stage.

    Raises:
        UserError: a network does not take the images.
        KeyboardInterrupt: before a first round was complete.
    """
    found = Measured()
    dense = [contender for contender in contenders if contender.kind == 'dense']
    others = [contender for contender in contenders if contender.kind != 'dense']
    for contender in dense:
        progress(f'checking {contender.name}')
        admit(found, contender, images)
    if not found.contenders:
        return found  # there is nothing to compare with
    traced = [one for one in found.contenders if not isinstance(one.net, ConvertedNetwork)]  # tiles cannot be
    for contender in traced if settings.compiled else ():
        progress(f'compiling {contender.form}')
        admit_compiled(found, contender, images[0])
    for number, contender in enumerate(others, 1):
        progress(f'checking {contender.name} ({number} of {len(others)})')
        admit(found, contender, images)
    inputs, device = Inputs(images, found.contenders), images[0].device

    def before_round(times: PairedTimes) -> None:
        found.times = times
        inputs.turn(times.rounds)
        progress(f'timing {len(found.contenders)} contenders, round {times.rounds + 1}')

    limits = {'min_rounds': LEAST_ROUNDS} if settings.rounds is None else {
        'min_rounds': settings.rounds, 'max_rounds': settings.rounds}
    try:
        time_paired({contender.name: partial(inputs.run, contender) for contender in found.contenders}, device,
                    settings.seconds if settings.rounds is None else 0.0, warmup=1, seed=SEED,
                    before_round=before_round, **limits)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        if found.times is None or not found.times.rounds:
            raise
        found.interrupted = True
    return found


def admit(found: Measured, contender: Contender, images: Sequence[torch.Tensor]) -> None:
    """Count a contender, and let it in if it computes what it has to."""
    wrong = wrong_output(contender, crop(images[0]))
    if wrong is None:
        counted, ratios = [], []
        for x in images if contender.kind in ('sparse', 'auto') else images[:1]:
            counted.append(count_call(contender.name, contender.net, x.contiguous(memory_format=contender.layout))[0])
            ratios.append(mask_ratio(contender.net))
            wrong = wrong or wrong_amount(contender, ratios[-1], counted[-1].macs)
    if wrong is not None:
        found.refused[contender.name] = wrong
        return
    found.contenders.append(contender)
    found.macs[contender.name] = sum(one.macs for one in counted) / len(counted)
    found.mask_ratios[contender.name] = sum(ratios) / len(ratios)


def admit_compiled(found: Measured, dense: Contender, x: torch.Tensor) -> None:
    """Compile a dense form, and let it in if it computes the same."""
    name = f'{dense.form} ({COMPILED})'
    torch.compiler.reset()
    try:
        form, seconds = compiled_form(dense, x)
        wrong = wrong_output(form, x)
    except Exception as error:  # whatever a compiler raises
        wrong = f'torch.compile fails: {type(error).__name__}: {" ".join(str(error).split())[:200]}'
    if wrong is not None:
        found.refused[name] = wrong
        return
    found.contenders.append(form)
    found.compile_seconds[name] = seconds
    found.macs[name], found.mask_ratios[name] = found.macs[dense.name], found.mask_ratios[dense.name]
