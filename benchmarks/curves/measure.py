"""Measures points image by image, the dense network beside them."""
from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from basicsr_amsr.bench.quality import pair, psnr
from basicsr_amsr.execution.counter import MacCounter, meta_twin
from benchmarks.curves.points import Point

COUNTED = 10  # images of a set whose MACs are counted, where they depend on the size alone

Line = dict[str, Any]


def read(file: Path) -> list[Line]:
    """What a file has; none where there is no file."""
    return [json.loads(line) for line in file.read_text(encoding='utf-8').splitlines()] if file.is_file() else []


@torch.no_grad()
def run(net: nn.Module, low: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Result and CPU seconds."""
    start = time.process_time()
    result = net(low)
    return result, time.process_time() - start


@torch.no_grad()
def macs(net: nn.Module, low: torch.Tensor) -> int:
    """MACs of one pass."""
    with MacCounter() as counter:
        net(low)
    return counter.macs


def measure(dense: nn.Module, networks: Mapping[Point, nn.Module], sets: Mapping[str, Sequence[Path]], scale: int,
            known: set[tuple[str, str, Point]]) -> Iterator[Line]:
    """A line for each image and point that is not known yet.

    Args:
        dense: the plain network.
        networks: it in the form of each point.
        sets: HR files by the set's name.
        scale: of the network.
        known: set, image and point of what was measured before.
    """
    twin = meta_twin(dense)
    for name, files in sets.items():
        for number, file in enumerate(files):
            missing = [point for point in networks if (name, file.name, point) not in known]
            if not missing:
                continue
            low, high = pair(file, scale)
            low = low.contiguous(memory_format=torch.channels_last)
            image, dense_seconds = run(dense, low)
            best = psnr(image, high, scale)
            dense_macs = macs(twin, low.to('meta'))
            for point in missing:
                image, seconds = run(networks[point], low)
                counted = number < COUNTED or point.form == 'one level'
                yield {'set': name, 'image': file.name, 'point': point, 'psnr': psnr(image, high, scale),
                       'dense_psnr': best, 'seconds': seconds, 'dense_seconds': dense_seconds,
                       'macs': macs(networks[point], low) / dense_macs if counted else None}
