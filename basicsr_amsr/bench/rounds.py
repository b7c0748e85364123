"""One comparison: contenders are checked and counted, then each is started in every round, one alive at a time."""
from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from basicsr_amsr.bench import processes
from basicsr_amsr.bench.contenders import EXPORTED, Contender
from basicsr_amsr.bench.folder import Folder
from basicsr_amsr.bench.job import Failed, Job, Result
from basicsr_amsr.bench.right_output import crop, wrong_amount, wrong_output, wrong_picture
from basicsr_amsr.bench.rivals import absent
from basicsr_amsr.profiling.active_share import last_keep
from basicsr_amsr.profiling.side_by_side import count_call

SEED = 0  # of the order in each round
Progress = Callable[[str], Any]


@dataclass(frozen=True)
class Settings:
    """How long is measured.

    Args:
        rounds: so often each contender is started. seconds: of timed passes in each process, two of each image at
            least. timeout: seconds after which a process is ended.
        rivals: which of RIVALS (rivals.py) compete.
    """

    rounds: int = 5
    seconds: float = 2.0
    timeout: float = 900.0
    rivals: tuple[str, ...] = ()


@dataclass
class Measured:
    """What was measured of one comparison so far.

    Attributes:
        contenders: those that were let in and did not fail. macs, keeps: by name, means over the images.
        results: by name, of each round.
        refused: name to why it is not measured. absent: name to what has to be installed.
        interrupted: the user stopped it.
    """

    contenders: list[Contender] = field(default_factory=list)
    macs: dict[str, float] = field(default_factory=dict)
    keeps: dict[str, float] = field(default_factory=dict)
    results: dict[str, list[Result]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def rounds(self) -> int:
        """How many rounds are complete."""
        return min((len(self.results.get(one.name, ())) for one in self.contenders), default=0)

    def refuse(self, contender: Contender, why: str) -> None:
        """Take a contender out."""
        self.refused[contender.name] = why
        self.results.pop(contender.name, None)
        if contender in self.contenders:
            self.contenders.remove(contender)


@torch.no_grad()
def admit(found: Measured, contender: Contender, images: Sequence[torch.Tensor]) -> None:
    """Count one of our own contenders, and let it in if it computes what it has to.

    Args:
        images: (1, C, H, W) of one size, on the device of the networks.

    Raises:
        UserError: the network does not take the images.
    """
    wrong = wrong_output(contender, crop(images[0]))
    if wrong is None:
        counted, keeps = [], []
        for x in images if contender.kind in ('sparse', 'auto') else images[:1]:
            counted.append(count_call(contender.name, contender.net, x.contiguous(memory_format=contender.layout))[0])
            keeps.append(last_keep(contender.net))
            wrong = wrong or wrong_amount(contender, keeps[-1], counted[-1].macs)
    if wrong is not None:
        found.refuse(contender, wrong)
        return
    found.contenders.append(contender)
    found.macs[contender.name] = sum(one.macs for one in counted) / len(counted)
    found.keeps[contender.name] = sum(keeps) / len(keeps)


def admit_rival(found: Measured, rival: Contender, folder: Folder, settings: Settings) -> None:
    """Let in what runs another contender's form in another way, if that is here and its graph can be exported."""
    if rival.like not in found.macs:
        return  # the form itself was refused
    missing = absent(rival.backend)
    if missing:
        found.absent[rival.name] = f'not installed: pip install {" ".join(missing)}'
        return
    try:
        if rival.backend in EXPORTED:
            folder.export(rival, settings.timeout)
    except Failed as error:
        found.refuse(rival, f'its graph cannot be exported: {error}')
        return
    found.contenders.append(rival)
    found.macs[rival.name], found.keeps[rival.name] = found.macs[rival.like], found.keeps[rival.like]


def time_rounds(found: Measured, folder: Folder, settings: Settings, progress: Progress = lambda stage: None,
                after_round: Callable[[], Any] = lambda: None) -> None:
    """Start every contender once in each round, in an order drawn anew; who fails is taken out.

    Args:
        found: whose contenders are measured; takes the results.
        folder: has the jobs.
        progress: called with a line at each stage. after_round: called after each.

    Raises:
        KeyboardInterrupt: before a first round was complete.
    """
    draw = random.Random(SEED)
    try:
        for number in range(settings.rounds):
            order = list(found.contenders)
            draw.shuffle(order)
            for place, contender in enumerate(order, 1):
                progress(f'round {number + 1} of {settings.rounds}, {place} of {len(order)}: {contender.name}')
                try:
                    result = run(folder.job(contender, settings.seconds), settings.timeout)
                except Failed as error:
                    found.refuse(contender, str(error))
                    continue
                wrong = wrong_picture(contender, result.difference, folder.device, folder.dtype)
                if wrong is not None:
                    found.refuse(contender, wrong)
                    continue
                found.results.setdefault(contender.name, []).append(result)
            after_round()
    except KeyboardInterrupt:
        found.interrupted = True
        if not found.rounds:
            raise


def run(job: Job, timeout: float) -> Result:
    """The result of a job that times."""
    result = processes.launch(job, timeout)
    if result is None:
        raise Failed('its process told nothing')
    return result
