"""One HR image: cropped, its LR images, all cut into sub-images and encoded. Runs in the workers."""
from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import read_image
from basicsr_amsr.data.prepare.copies import link_whole, plain_png
from basicsr_amsr.data.prepare.journal import Entry
from basicsr_amsr.data.prepare.settings import HR, Settings
from basicsr_amsr.data.prepare.sources import Source, cut
from basicsr_amsr.errors import UserError
from basicsr_amsr.files import write_whole


@dataclass
class Result:
    """What became of a source: its journal entry with the PNGs of HR and each scale, or the problem."""

    name: str
    entry: Entry | None = None
    pngs: list[list[bytes]] = field(default_factory=list)
    unchanged: bool = False  # the HR image is the source's file
    problem: str = ''


def prepare(source: Source, settings: Settings) -> Result:
    """Make everything from one source; for folders, also write it.

    Returns:
        The result; an image that cannot be used is its `problem`.

    Raises:
        UserError: the result cannot be written.
    """
    result = prepare_pngs(source, settings)
    if result.entry is None or settings.lmdb:
        return result
    for side, pngs in zip(settings.sides, result.pngs, strict=True):
        for name, png in zip(settings.stems(source.name, side, result.entry['count']), pngs, strict=True):
            path = settings.targets[side] / f'{name}.png'
            original = source.path if settings.link and side == HR and result.unchanged else None
            try:
                if original is None or not link_whole(original, path):
                    write_whole(path, png)
            except OSError as error:
                raise UserError(f"Cannot write '{path}': {error.strerror}. What is done is kept; mend that and run "
                                'the same command again.') from error
    result.pngs.clear()
    return result


def prepare_pngs(source: Source, settings: Settings) -> Result:
    """The result of one source with its PNGs, nothing written."""
    try:
        signature = source.signature()  # before the pixels: a change in between is seen in the next run
        images = _images(source, settings)
        unchanged = _same_file(source, images[HR], settings)
        original = source.path.read_bytes() if unchanged else b''
    except UserError as error:
        return Result(source.name, problem=str(error))
    except OSError as error:
        return Result(source.name, problem=f"Cannot read '{source.path}': {error.strerror}.")
    height, width = images[HR].shape[:2]
    tiles = cut(settings, height, width)
    pngs = [[original] if side == HR and unchanged else
            [_encode(images[side][tile.at(side)], settings.png_level) for tile in tiles] for side in settings.sides]
    entry: Entry = {'name': source.name, 'count': 0 if settings.crop is None else len(tiles), 'sources': signature,
                    'shape': [height, width], 'channels': [images[side].shape[2] for side in settings.sides],
                    'bytes': [[len(png) for png in row] for row in pngs]}
    return Result(source.name, entry, pngs, unchanged)


def _images(source: Source, settings: Settings) -> dict[int, np.ndarray]:
    """The HR image (at 1), cropped, and its LR images, all (H, W, C) in the bits of the file."""
    whole = read_image(source.path, gray=None, alpha=settings.alpha)
    height, width = (size // settings.common * settings.common for size in whole.shape[:2])
    if min(height, width) == 0:
        raise UserError(f"Image '{source.path}' is {whole.shape[0]}x{whole.shape[1]}, too small to be cropped to a "
                        f'multiple of {settings.common}; remove it, or give --min-size {settings.common}.')
    hr = whole[:height, :width]
    images = {HR: hr}
    for scale in settings.scales:
        if scale not in source.lrs:
            images[scale] = downscale(hr, scale)
            continue
        lr = read_image(source.lrs[scale], gray=None, alpha=settings.alpha)
        if lr.shape[:2] != (whole.shape[0] // scale, whole.shape[1] // scale):
            raise UserError(f"LR image '{source.lrs[scale]}' is {lr.shape[0]}x{lr.shape[1]}, but its HR image "
                            f"'{source.path}' of {whole.shape[0]}x{whole.shape[1]} needs "
                            f'{whole.shape[0] // scale}x{whole.shape[1] // scale} at scale {scale}.')
        images[scale] = lr[:height // scale, :width // scale]
    return images


def _same_file(source: Source, hr: np.ndarray, settings: Settings) -> bool:
    """Whether the only window is the file as it is, which then need not be encoded again."""
    whole = settings.crop is None and not settings.lmdb
    return whole and source.size == hr.shape[:2] and plain_png(source.path)


def _encode(img: np.ndarray, level: int) -> bytes:
    done, png = cv2.imencode('.png', np.ascontiguousarray(img), [cv2.IMWRITE_PNG_COMPRESSION, level])
    if not done:
        raise UserError(f'OpenCV cannot encode an image of {img.shape} as PNG.')
    return png.tobytes()
