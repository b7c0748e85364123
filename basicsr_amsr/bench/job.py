"""What a process is told and what it tells."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from basicsr_amsr.bench.networks import Network
from basicsr_amsr.bench.views import View


@dataclass(frozen=True)
class Job:
    """A contender to be timed, or a graph to be exported; files are .npy, pictures and images float32 (1, C, H, W).

    Args:
        network, view: what runs. backend, stock: how, see Contender.
        device, dtype, threads: where; None leaves PyTorch's threads.
        images: files of the images.
        pictures: files of what the dense network makes of them in fp32.
        expected: file of the picture that it has to make of the first image; None: it is not compared.
        graph: file of the graph, which is written where `export` is set, else run by a backend that runs graphs.
        seconds: of timed passes; at least `least` for each image.
        caches: folder for what torch.compile keeps.
    """

    network: Network
    view: View
    backend: str
    device: torch.device
    dtype: torch.dtype
    threads: int | None = None
    stock: bool = False
    images: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    expected: str | None = None
    graph: str | None = None
    export: bool = False
    seconds: float = 2.0
    least: int = 2
    caches: str | None = None


@dataclass(frozen=True)
class Result:
    """What a process found that timed a contender.

    Attributes:
        milliseconds: of the timed passes of each image.
        first_picture: seconds to the first picture, with PyTorch imported: the engine's packages imported, weights or
            graph read, prepared, one pass.
        memory: peak bytes above those of the process when the packages were imported; on a GPU, of its memory.
        faults: page faults of a timed pass that needed no disk.
        psnr: dB of the pictures to those of the dense network in fp32, mean over the images; inf where all are equal.
        difference: largest one to the expected picture as a share of its largest value; nan where nothing is expected,
            inf where the sizes differ.
        versions: of the package that ran it.
        memory and faults are None where the system does not tell.
    """

    milliseconds: list[list[float]]
    first_picture: float
    memory: int | None
    faults: float | None
    psnr: float
    difference: float
    versions: Mapping[str, str] = field(default_factory=dict)


class Failed(Exception):
    """A process did not end as it should; the message says why in a line."""
