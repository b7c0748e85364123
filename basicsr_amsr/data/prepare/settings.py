"""What a preparation is asked to do, checked, and where its results go."""
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from basicsr_amsr.data.prepare import subimages
from basicsr_amsr.errors import UserError

STATE_FOLDER = '.prepare'
HR = 1  # the HR images stand beside the LR images as those of scale 1


def check_scales(scales: tuple[int, ...]) -> None:
    """Refuse what is no list of different scales of 2 or more."""
    if not scales:
        raise UserError('--scale is missing; give one or several, such as --scale 2,3,4.')
    for scale in scales:
        if scale < 2:
            raise UserError(f'--scale {scale}: a scale is a whole number of 2 or more.')
    if len(set(scales)) < len(scales):
        raise UserError(f'--scale {",".join(map(str, scales))} names a scale twice.')


@dataclass(frozen=True)
class Settings:
    """All that decides the result. Lengths in HR pixels; absent `lr` means MATLAB's bicubic LR images."""

    hr: tuple[Path, ...]
    out: Path
    scales: tuple[int, ...]
    lr: Path | None = None
    crop: int | None = None
    step: int | None = None
    threshold: int = 0
    mod: int | None = None
    min_size: int = 1
    lmdb: bool = False
    compression: int | None = None
    filename_tmpl: str = '{}'
    name: str = ''
    prefix: bool = False
    recursive: bool = False
    alpha: str = 'refuse'
    link: bool = False

    def __post_init__(self) -> None:
        check_scales(self.scales)
        for flag, value, least in (('crop', self.crop, 1), ('step', self.step, 1), ('threshold', self.threshold, 0),
                                   ('mod', self.mod, 1), ('min-size', self.min_size, 1)):
            if value is not None and value < least:
                raise UserError(f'--{flag} {value}: it must be {least} or more.')
        common = math.lcm(*self.scales)
        if self.mod is not None and self.mod % common:
            raise UserError(f'--mod {self.mod} is no multiple of {common}, which the scales {self._listed()} need.')
        if self.crop is None and (self.step is not None or self.threshold):
            raise UserError('--step and --threshold are for sub-images; give --crop too, such as --crop 480.')
        if self.crop is not None:
            for flag, value in (('crop', self.crop), ('step', self.stride)):
                if value % common:
                    near = max(round(value / common), 1) * common
                    raise UserError(f'--{flag} {value} is no multiple of {common}, which the scales {self._listed()} '
                                    f'need; the nearest is {near}.')
            if self.stride > self.crop:
                raise UserError(f'--step {self.stride} is larger than --crop {self.crop}: pixels between the '
                                'sub-images would be lost.')
        if self.compression is not None and not 0 <= self.compression <= 9:
            raise UserError(f'--compression {self.compression}: PNG has 0 (fast) to 9 (small).')
        self._check_names()
        self._check_folders()

    def _check_names(self) -> None:
        try:
            different = self.lr_stem('a', self.scales[0]) != self.lr_stem('b', self.scales[0])
        except (KeyError, IndexError, ValueError):
            different = False
        if not different:
            raise UserError(f"--filename-tmpl '{self.filename_tmpl}' cannot name LR images; an example is "
                            "'{}x{scale}', which makes 0001x4.")
        if self.lmdb and self.filename_tmpl != '{}':
            raise UserError('--filename-tmpl: in an LMDB, HR and LR images have the same names; leave it out.')
        if any(mark in self.name + self.filename_tmpl for mark in '/\\'):
            raise UserError('--name and --filename-tmpl are parts of file names; they cannot hold a slash.')

    def _check_folders(self) -> None:
        for folder in (self.out, *self.out.parents):
            if folder.is_file():
                raise UserError(f"--out '{self.out}': '{folder}' is a file; give a folder.")
        out = self.out.resolve()
        for folder in (*self.hr, *([self.lr] if self.lr else [])):
            source = folder.resolve()
            if source == out or source in out.parents:
                raise UserError(f"--out '{self.out}' lies in '{folder}', which is read; give a folder outside.")
            for target in self.targets.values():
                if target.resolve() in (source, *source.parents):
                    raise UserError(f"The results would go to '{target}', from which images are read; give another "
                                    '--out or --name.')

    def _listed(self) -> str:
        return ', '.join(map(str, self.scales))

    @property
    def common(self) -> int:
        """HR images are cropped to a multiple of this at bottom and right."""
        return self.mod or math.lcm(*self.scales)

    @property
    def stride(self) -> int:
        """Step of the sub-images; by default half of the crop, up to the next multiple that the scales allow."""
        common = math.lcm(*self.scales)
        return self.step or -(-(self.crop or 1) // (2 * common)) * common

    @property
    def png_level(self) -> int:
        """BasicSR writes sub-images with compression 3 (OpenCV's default in its day) and LMDB with 1."""
        return self.compression if self.compression is not None else (1 if self.lmdb else 3)

    @property
    def sides(self) -> tuple[int, ...]:
        """HR and the scales, in the order of all lists of results."""
        return (HR, *self.scales)

    @cached_property
    def key(self) -> str:
        """Name of the HR result, which tells preparations into one folder apart."""
        start = f'{self.name}_' if self.name else ''
        return f'{start}HR{self._end()}{".lmdb" if self.lmdb else ""}'

    @cached_property
    def targets(self) -> dict[int, Path]:
        """Folder or LMDB of HR (scale 1) and of each LR, laid out as BasicSR's DIV2K."""
        start = f'{self.name}_' if self.name else ''
        low = f'{start}LR' if self.lr else f'{start}LR_bicubic'
        if self.lmdb:
            lrs = {scale: self.out / f'{low}_X{scale}{self._end()}.lmdb' for scale in self.scales}
        else:
            lrs = {scale: self.out / low / f'X{scale}{self._end()}' for scale in self.scales}
        return {HR: self.out / self.key, **lrs}

    @property
    def meta_info_file(self) -> Path:
        """List of the HR images, as BasicSR's `meta_info_file` takes it; an LMDB has its own inside."""
        return self.out / f'meta_info_{self.key}.txt'

    @property
    def state_folder(self) -> Path:
        """Where journal and unfinished LMDBs are kept."""
        return self.out / STATE_FOLDER / self.key

    def _end(self) -> str:
        return '_sub' if self.crop is not None else ''

    def lr_stem(self, stem: str, scale: int) -> str:
        """File name without suffix of an LR image."""
        return self.filename_tmpl.format(stem, scale=scale)

    def stems(self, name: str, side: int, count: int) -> list[str]:
        """File names without suffix of what is made of the image `name` at HR (1) or a scale."""
        found = subimages.names(name, count)
        return found if side == HR else [self.lr_stem(stem, side) for stem in found]

    def record(self) -> dict[str, Any]:
        """What a resumed run must agree in, as JSON."""
        return {'hr': [str(folder.resolve()) for folder in self.hr],
                'lr': str(self.lr.resolve()) if self.lr else None, 'scale': list(self.scales), 'crop': self.crop,
                'step': self.stride if self.crop else None, 'threshold': self.threshold, 'mod': self.common,
                'min-size': self.min_size, 'compression': self.png_level, 'filename-tmpl': self.filename_tmpl,
                'prefix': self.prefix, 'recursive': self.recursive, 'alpha': self.alpha}

    @classmethod
    def from_record(cls, record: dict[str, Any], beside: Settings) -> Settings:
        """The settings of an earlier preparation to the same place as `beside`."""
        return cls(hr=tuple(map(Path, record['hr'])), out=beside.out, scales=tuple(record['scale']),
                   lr=Path(record['lr']) if record['lr'] else None, crop=record['crop'], step=record['step'],
                   threshold=record['threshold'], mod=record['mod'], lmdb=beside.lmdb,
                   filename_tmpl=record['filename-tmpl'], name=beside.name)
