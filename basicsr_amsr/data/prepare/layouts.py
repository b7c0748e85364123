"""Finds HR and LR images in the layouts that people have: DIV2K, Flickr2K, benchmark sets, plain folders, LMDB."""
from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from basicsr_amsr.data.image_io import EXTENSIONS
from basicsr_amsr.errors import UserError

TEMPLATES = ('{}', '{}x{scale}', '{}_x{scale}', '{}X{scale}', '{}_LRBI_x{scale}')
HR_FOLDER = re.compile(r'(?P<name>.*?)_?(?P<kind>HR|GT)(?P<mod>mod\d+)?(?P<sub>_sub)?(?P<lmdb>\.lmdb)?', re.IGNORECASE)


def is_lmdb(folder: Path) -> bool:
    """Whether this is an LMDB of BasicSR's."""
    return folder.suffix == '.lmdb' and (folder / 'meta_info.txt').is_file()


def holds_images(folder: Path) -> bool:
    """Whether images lie directly in the folder (or it is an LMDB)."""
    return folder.is_dir() and (is_lmdb(folder) or any(
        path.suffix.lower() in EXTENSIONS and not path.name.startswith('.') for path in folder.iterdir()))


def find_hr(folder: Path) -> Path:
    """The HR folder: `folder` itself where it holds images or has no known layout, else its HR or GT subfolder.

    Raises:
        UserError: there are several to choose from.
    """
    if not folder.is_dir() or holds_images(folder):
        return folder
    found = sorted(path for path in folder.iterdir() if HR_FOLDER.fullmatch(path.name) and holds_images(path))
    training = [path for path in found if 'train' in path.name.lower()]
    found = training if len(training) == 1 else found
    if len(found) > 1:
        raise UserError(f"'{folder}' holds several HR folders ({', '.join(path.name for path in found)}); name one.")
    return found[0] if found else folder


def find_lr(hr: Path, lr: Path | None, scale: int) -> Path | None:
    """The LR folder of a scale, inside `lr` where given, else beside `hr`; None where there is none.

    Known are X4, x4, LR_x4, LRbicx4 and the like, DIV2K's NAME_LR_bicubic/X4 beside NAME_HR, BasicSR's `_sub` folders,
    its LMDBs, and a plain LR.
    """
    match = HR_FOLDER.fullmatch(hr.name)
    name = f'{match["name"]}_' if match and match['name'] else ''
    ends = dict.fromkeys([(match['sub'] or '') if match else '', ''])
    steps = [f'{x}{scale}{end}' for end in ends for x in ('X', 'x', 'LR_x', 'LR_X', 'LRbicx', 'LR_bicubic_x', 'LRx')]
    if lr is not None:
        candidates = [lr / step for step in steps] + [lr]
    else:
        root = hr.parent
        if hr.suffix == '.lmdb':
            candidates = [root / f'{name}{low}_X{scale}{end}.lmdb' for low in ('LR_bicubic', 'LR') for end in ends]
        else:
            candidates = [root / f'{name}{low}' / step for low in ('LR_bicubic', 'LR', 'LR_unknown') for step in steps]
            candidates += [root / step for step in steps] + [root / f'{name}LR{end}' for end in ends]
    return next((folder for folder in candidates if holds_images(folder)), None)


def find_scales(hr: Path, lr: Path | None) -> tuple[int, ...]:
    """The scales of 2 to 8 for which there is an LR folder that says so in its name."""
    return tuple(scale for scale in range(2, 9)
                 if (found := find_lr(hr, lr, scale)) and re.search(rf'(?i)x{scale}(?!\d)', found.name))


def find_template(hr: Iterable[str], lr: Iterable[str], scale: int) -> str:
    """The template, of those in use, under which most names without suffix agree; `{scale}` is filled in."""
    high, low = list(hr), set(lr)
    found = [template.replace('{scale}', str(scale)) for template in TEMPLATES]
    return max(found, key=lambda template: sum(template.format(stem) in low for stem in high))
