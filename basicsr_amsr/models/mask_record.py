"""Pictures and figures of the error masks of a validation."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from basicsr_amsr.mga.mask_report import MaskReport

PICTURES = 4  # of a validation, in TensorBoard


class MaskRecord:
    """Keeps the mask reports of one test set: `<image>_mask.png`, `masks.json`, and TensorBoard.

    Args:
        folder: where the files go.
        dataset: the test set's name.
        tb_logger: BasicSR's TensorBoard writer, or None.
        iteration: of the training, 0 in a test.
    """

    def __init__(self, folder: Path, dataset: str, tb_logger: Any = None, iteration: int = 0) -> None:
        self.folder, self.dataset, self.tb_logger, self.iteration = folder, dataset, tb_logger, iteration
        self.figures: dict[str, dict[str, Any]] = {}

    def add(self, name: str, report: MaskReport, image: np.ndarray, size: int) -> None:
        """One image, (H, W, 3) BGR uint8, with patches of size×size."""
        picture = report.picture(image, size)
        file = self.folder / f'{name}_mask.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), picture)
        if self.tb_logger is not None and len(self.figures) < PICTURES:
            self.tb_logger.add_image(f'masks/{self.dataset}/{name}', picture[..., ::-1].copy(), self.iteration,
                                     dataformats='HWC')
        self.figures[name] = report.figures()

    def close(self) -> None:
        """Write the figures of all images, and their means."""
        if not self.figures:
            return
        mean = {key: np.mean([figures[key] for figures in self.figures.values()], axis=0).tolist()
                for key in next(iter(self.figures.values()))}
        if self.tb_logger is not None:
            self.tb_logger.add_scalar(f'masks/{self.dataset}/l1', mean['l1'], self.iteration)
        text = json.dumps({'mean': mean, 'images': self.figures}, indent=2)
        (self.folder / 'masks.json').write_text(text + '\n', encoding='utf-8')
