"""The `datasets: train:` options that train on prepared or checked images."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from basicsr_amsr.data.prepare.settings import HR, Settings

LR_CROP = 48  # side of a training crop in LR pixels, that of EDSR, RCAN and SwinIR


def paired(name: str, gt: Path, lq: Path, scale: int, smallest: int, template: str = '{}',
           meta_info_file: Path | None = None) -> dict[str, Any]:
    """Options of BasicSR's PairedImageDataset. `smallest` is the shortest HR side, which limits the crop."""
    lmdb = gt.suffix == '.lmdb'
    return {'name': name, 'type': 'PairedImageDataset', 'dataroot_gt': str(gt), 'dataroot_lq': str(lq),
            **({'meta_info_file': str(meta_info_file)} if meta_info_file else {}),
            **({'filename_tmpl': template} if template != '{}' else {}),
            'io_backend': {'type': 'lmdb' if lmdb else 'disk'}, **_common(scale, smallest)}


def on_the_fly(name: str, gt: Path, scale: int, smallest: int) -> dict[str, Any]:
    """Options of BicubicPairedImageDataset, which makes the LR images itself."""
    return {'name': name, 'type': 'BicubicPairedImageDataset', 'dataroot_gt': str(gt), **_common(scale, smallest)}


def of_prepared(settings: Settings, scale: int, smallest: int) -> dict[str, Any]:
    """Options that read what was prepared."""
    return paired(settings.name or settings.out.resolve().name, settings.targets[HR], settings.targets[scale], scale,
                  smallest, settings.filename_tmpl.replace('{scale}', str(scale)),
                  None if settings.lmdb else settings.meta_info_file)


def _common(scale: int, smallest: int) -> dict[str, Any]:
    return {'gt_size': min(LR_CROP, max(smallest // scale, 1)) * scale, 'use_hflip': True, 'use_rot': True,
            'batch_size_per_gpu': 16, 'num_worker_per_gpu': 4}


def as_yaml(scale: int, train: dict[str, Any]) -> str:
    """The options as a piece of an option file."""
    return yaml.safe_dump({'scale': scale, 'datasets': {'train': train}}, sort_keys=False, default_flow_style=None,
                          allow_unicode=True, width=1000)
