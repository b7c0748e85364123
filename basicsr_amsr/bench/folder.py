"""What the processes of one comparison share: images, pictures, graphs, as files of a temporary folder."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from basicsr_amsr.bench import processes
from basicsr_amsr.bench.contenders import COMPILED, EXPORTED, Contender
from basicsr_amsr.bench.job import Job
from basicsr_amsr.bench.networks import Network


class Folder:
    """Files of one network at one size on a device in a dtype.

    Args:
        path: of the folder, which is there.
        network, device, dtype, threads: of every job.
        images: (1, C, H, W) float32. pictures: what the dense network makes of them in float32.
    """

    def __init__(self, path: str | Path, network: Network, device: torch.device, dtype: torch.dtype,
                 threads: int | None, images: Sequence[torch.Tensor], pictures: Sequence[torch.Tensor]) -> None:
        self.path, self.network, self.device, self.dtype, self.threads = Path(path), network, device, dtype, threads
        self.images = tuple(self._save(f'image{number}', x) for number, x in enumerate(images))
        self.pictures = tuple(self._save(f'picture{number}', x) for number, x in enumerate(pictures))
        self.expected: dict[str, str] = {}
        self.graphs: dict[str, str] = {}

    def expect(self, contender: Contender, picture: torch.Tensor) -> None:
        """Every process of the contender, and of those like it, has to make this picture of the first image."""
        self.expected[contender.name] = self._save(f'expected{len(self.expected)}', picture)

    def export(self, rival: Contender, timeout: float) -> None:
        """Write the graph that a rival runs.

        Raises:
            Failed: it cannot be exported.
        """
        file = str(self.path / f'graph{len(self.graphs)}{EXPORTED[rival.backend]}')
        processes.launch(self._job(rival, graph=file, export=True), timeout)
        self.graphs[rival.name] = file

    def job(self, contender: Contender, seconds: float) -> Job:
        """What a process of a contender is told."""
        return self._job(contender, seconds=seconds, stock=contender.stock,
                         expected=self.expected.get(contender.like or contender.name),
                         graph=self.graphs.get(contender.name),
                         caches=str(self.path / 'caches') if contender.backend == COMPILED else None)

    def _job(self, contender: Contender, **more: object) -> Job:
        return Job(self.network, contender.view, contender.backend, self.device, self.dtype, self.threads,
                   images=self.images, pictures=self.pictures, **more)  # type: ignore[arg-type]

    def _save(self, name: str, x: torch.Tensor) -> str:
        file = self.path / f'{name}.npy'
        np.save(file, x.detach().float().cpu().contiguous().numpy())
        return str(file)
