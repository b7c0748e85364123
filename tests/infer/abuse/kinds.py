"""The kinds of abuse, by name."""
from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tests.infer.abuse import checkpoints, disks, folders, kills, pictures
from tests.infer.abuse.outcome import Place, Verdict

Kind = Callable[[Place, random.Random, bool], Iterator[Verdict]]

KINDS: dict[str, Kind] = {
    'truncated pictures': pictures.truncated,
    'pictures with other bytes': pictures.flipped,
    'wrong suffixes': pictures.suffixes,
    '65,535 wide': pictures.sizes,
    'bombs': pictures.bombs,
    'truncated checkpoints': checkpoints.truncated,
    'checkpoints with other bytes': checkpoints.flipped,
    'checkpoints under wrong suffixes': checkpoints.wrong_suffixes,
    'numbers that are none': checkpoints.numbers,
    'shapes of no network': checkpoints.shapes,
    'checkpoints that run code': checkpoints.code,
    'checkpoints that are bombs': checkpoints.bombs,
    'damaged calibrations': checkpoints.calibrations,
    'full disks': disks.full,
    'read-only results': disks.read_only,
    'killed': kills.killed,
    'odd names': folders.names,
    'a thousand files': folders.thousand,
    'folders that change': folders.changing,
}


def verdicts(kind: str, place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """The cases of a kind; many more where `much`."""
    return KINDS[kind](place, draw, much)
