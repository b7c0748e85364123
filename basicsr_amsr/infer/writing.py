"""Writes pictures in the format that a file's name says, as a whole or not at all, with what is beside the pixels."""
from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, features

from basicsr_amsr.errors import UserError
from basicsr_amsr.files import write_whole
from basicsr_amsr.infer.formats import ALPHA, FORMATS
from basicsr_amsr.infer.picture import EXIF_IFD, Picture, eight_bits, to_pillow
from basicsr_amsr.reasons import reason

MOST = {'JPEG': 65500, 'WEBP': 16383, 'AVIF': 65535}  # pixels on a side; libjpeg's limit is under the format's
SIXTEEN = ('PNG', 'TIFF')
SETTINGS: dict[str, dict[str, object]] = {
    'PNG': {'compress_level': 3}, 'JPEG': {'quality': 95, 'subsampling': 0}, 'WEBP': {'quality': 95},
    'TIFF': {'compression': 'tiff_adobe_deflate'}, 'BMP': {}, 'AVIF': {'quality': 90}}
WIDTH, HEIGHT = 0xA002, 0xA003  # Exif: PixelXDimension, PixelYDimension


def check_format(path: Path, height: int, width: int) -> None:
    """Raise a UserError where a picture of that size cannot be written to a file of that name."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"'{path}': pictures are written as {', '.join(FORMATS)}.")
    if kind == 'AVIF' and not features.check('avif'):
        raise UserError(f"'{path}': this Pillow has no AVIF: take another format, --ext png.")
    if max(height, width) > MOST.get(kind, max(height, width)):
        raise UserError(f"'{path}' would be {width}x{height}, and {kind} ends at {MOST[kind]} pixels: --ext png.")


def write(path: Path, picture: Picture) -> tuple[str, ...]:
    """Write a picture; what was at `path` stays until it is complete.

    Returns:
        What the format could not keep, in words.

    Raises:
        UserError: the format has no such size.
        OSError: it cannot be written.
    """
    kind, array = FORMATS[path.suffix.lower()], picture.array
    check_format(path, *array.shape[:2])
    lost = []
    if picture.has_alpha and kind not in ALPHA:
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3]
        lost.append(f'{kind} has no transparency')
    if array.dtype == np.uint16 and kind not in SIXTEEN:
        array = eight_bits(array)
        lost.append(f'{kind} has 8 bits')
    deep = array.dtype == np.uint16 and array.ndim == 3
    if deep and array.shape[2] == 2:  # few programs read gray with alpha of 16 bits
        array = array[..., [0, 0, 0, 1]]
    picture = picture.with_array(np.ascontiguousarray(array))
    if not deep:
        write_whole(path, _by_pillow(picture, kind, path))
    else:
        write_whole(path, _deep_png(picture) if kind == 'PNG' else _deep_tiff(picture))
    return tuple(lost)


def _by_pillow(picture: Picture, kind: str, path: Path) -> bytes:
    image, content, exif = to_pillow(picture), io.BytesIO(), exif_of(picture)
    beside: dict[str, object] = {} if kind == 'BMP' else {'exif': exif, 'icc_profile': picture.icc}
    beside['dpi'] = picture.dpi
    settings = SETTINGS[kind] if kind != 'TIFF' or exif is None else {}  # Pillow cannot compress it with Exif data
    try:
        image.save(content, format=kind, **settings, **{key: value for key, value in beside.items() if value})
    except (OSError, ValueError, MemoryError) as error:  # encoders have limits of their own
        raise UserError(f"'{path}' cannot be encoded: {reason(error)}.") from error
    return content.getvalue()


def exif_of(picture: Picture) -> bytes | None:
    """The Exif data, with the picture's size where it tells one."""
    if picture.exif is None:
        return None
    exif = Image.Exif()
    exif.load(picture.exif)
    inner = exif.get_ifd(EXIF_IFD)
    for tag, size in ((WIDTH, picture.array.shape[1]), (HEIGHT, picture.array.shape[0])):
        if tag in inner:
            inner[tag] = size
    return exif.tobytes()


def _deep_png(picture: Picture) -> bytes:
    """PNG of 16 bits and several channels, which Pillow does not write: OpenCV's, with chunks put in after its head."""
    order = [2, 1, 0, *range(3, picture.array.shape[2])]
    done, encoded = cv2.imencode('.png', np.ascontiguousarray(picture.array[..., order]))
    if not done:
        raise UserError('OpenCV cannot encode a PNG of 16 bits of this size.')
    data, chunks = encoded.tobytes(), b''
    if picture.icc:
        chunks += _chunk(b'iCCP', b'ICC\0\0' + zlib.compress(picture.icc))
    if picture.dpi:
        chunks += _chunk(b'pHYs', struct.pack('>IIB', *(round(each / 0.0254) for each in picture.dpi), 1))
    exif = exif_of(picture)
    if exif:
        chunks += _chunk(b'eXIf', exif.removeprefix(b'Exif\0\0'))
    head = 8 + 25  # signature and IHDR
    return data[:head] + chunks + data[head:]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def _deep_tiff(picture: Picture) -> bytes:
    """TIFF of 16 bits and several channels, which Pillow does not write."""
    import tifffile

    content = io.BytesIO()
    tifffile.imwrite(content, picture.array, photometric='rgb', compression='zlib', metadata=None,
                     iccprofile=picture.icc, resolution=picture.dpi, resolutionunit='INCH' if picture.dpi else None,
                     extrasamples=['unassalpha'] if picture.has_alpha else None)
    return content.getvalue()
