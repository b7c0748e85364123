"""Reading images and listing folders of them, with one clear line for whatever cannot be used.

Images are (H, W, C) arrays in BGR order, as everywhere in BasicSR, and keep the 8 or 16 bits of their file.
"""
from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from basicsr_amsr.errors import UserError

EXTENSIONS = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff')
ORIENTATION = 0x0112  # the Exif tag
SILENT = 0  # OpenCV's log level
PNG_SIGNATURE = b'\x89PNG'
TIFF_SIGNATURES = (b'II*\0', b'MM\0*')


def list_images(folder: str | Path, recursive: bool = False, extensions: Iterable[str] = EXTENSIONS) -> list[Path]:
    """Image files of a folder, sorted by their path in it; hidden files and folders are left out.

    Args:
        folder: where to look.
        recursive: look into subfolders too.
        extensions: with the dot; upper and lower case are the same.

    Raises:
        UserError: `folder` is absent, is no folder, holds no such file, or a link to one that is not there.
    """
    root, wanted = Path(folder), {extension.lower() for extension in extensions}
    if not root.exists():
        raise UserError(f"Folder '{folder}' is not there.")
    if not root.is_dir():
        raise UserError(f"'{folder}' is not a folder; give a folder of images.")
    found = [path for path in root.glob('**/*' if recursive else '*')
             if path.suffix.lower() in wanted and (path.is_file() or path.is_symlink())
             and not any(part.startswith('.') for part in path.relative_to(root).parts)]
    dangling = next((path for path in found if not path.exists()), None)
    if dangling is not None:
        raise UserError(f"'{dangling}' is a link to a file that is not there; mend or remove it.")
    if not found:
        deeper = '' if recursive else ' (its subfolders are not searched)'
        raise UserError(f"Folder '{folder}' holds no image{deeper}; known are {', '.join(sorted(wanted))}.")
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def centre_crop(image: np.ndarray, side: int, multiple: int = 1) -> np.ndarray:
    """The centre of an image (H, W, C): at most `side` pixels high and wide, both multiples of `multiple`."""
    height, width = (min(size, side) // multiple * multiple for size in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top:top + height, left:left + width]


def read_image(path: str | Path, gray: bool | None = False, alpha: str = 'refuse') -> np.ndarray:
    """Read a PNG, JPEG, WebP, BMP or TIFF file of 8 or 16 bits per channel (palettes are resolved).

    The Exif orientation is applied, so height and width are those seen in a viewer. Of a TIFF with pages, the first.

    Args:
        path: the file.
        gray: one channel: a gray file as it is, a colour file by OpenCV's 0.299 R + 0.587 G + 0.114 B. When False,
            gray files are repeated into three equal channels; None leaves the file's one or three.
        alpha: what to do with an alpha channel that is not opaque everywhere: 'refuse' or 'drop'. An opaque one is
            dropped silently. 'keep': every one stays, as the fourth channel.

    Returns:
        (H, W, 3) in BGR order, or (H, W, 1) with `gray`; contiguous, uint8 or uint16 as in the file.

    Raises:
        UserError: the file is absent, empty, broken, of another depth, or transparent; the line names it.
        ValueError: `alpha` is something else.
    """
    return decode_image(_bytes(path), path, gray, alpha)


def decode_image(data: bytes, path: str | Path, gray: bool | None = False, alpha: str = 'refuse') -> np.ndarray:
    """Decodes a file's content as `read_image` does; `path` is for the messages."""
    if alpha not in ('refuse', 'drop', 'keep'):
        raise ValueError(f"alpha is '{alpha}'; it can be 'refuse', 'drop' or 'keep'")
    img = _decode(data)
    if img is None:
        state = 'is empty' if not data else 'is broken, truncated or not an image'
        raise UserError(f"Image '{path}' {state}; replace or remove it.")
    if img.dtype not in (np.uint8, np.uint16):
        raise UserError(f"Image '{path}' holds {img.dtype} values; convert it to 8 or 16 bits per channel.")
    mode, orientation = _header(data)
    img = img.reshape(*img.shape[:2], -1)
    if img.shape[2] not in (1, 3, 4) or (mode == 'CMYK' and img.shape[2] == 4):
        raise UserError(f"Image '{path}' has {img.shape[2]} channels ({mode or 'unknown'}); convert it to RGB or gray.")
    if img.shape[2] == 4 and alpha != 'keep':
        if alpha == 'refuse' and (img[..., 3] != np.iinfo(img.dtype).max).any():
            raise UserError(f"Image '{path}' has transparent pixels; flatten it, or set alpha: drop to ignore them.")
        img = img[..., :3]
    if gray and img.shape[2] == 3:
        img = cv2.cvtColor(np.ascontiguousarray(img), cv2.COLOR_BGR2GRAY)[..., None]
    elif gray is False and img.shape[2] == 1:
        img = np.repeat(img, 3, axis=2)
    return np.ascontiguousarray(_upright(img, orientation))


def image_size(path: str | Path) -> tuple[int, int] | None:
    """Height and width as `read_image` gives them, from the file's header alone; None where Pillow cannot tell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # a large image is no attack here
            with Image.open(path) as header:
                width, height = header.size
                return (width, height) if header.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8) else (height, width)
    except Exception:  # Pillow has no common base
        return None


def to_float(img: np.ndarray) -> np.ndarray:
    """uint8 or uint16 pixels as float32 in 0–1, any shape."""
    return img.astype(np.float32) / np.iinfo(img.dtype).max


def _bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read '{path}': {error.strerror}.") from error


def _decode(data: bytes) -> np.ndarray | None:
    """The pixels of an image file with alpha and depth as stored, or None; keeps OpenCV from writing to stderr."""
    if not data or (data.startswith(PNG_SIGNATURE) and b'IEND' not in data):  # libpng would write to stderr
        return None
    logging: Any = cv2 if hasattr(cv2, 'setLogLevel') else cv2.utils.logging  # OpenCV 4, OpenCV 5
    level = logging.getLogLevel()
    logging.setLogLevel(SILENT)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        logging.setLogLevel(level)


def _header(data: bytes) -> tuple[str, int]:
    """What OpenCV does not tell: Pillow's mode (of a TIFF only) and the Exif orientation (1 where none applies)."""
    tiff = data[:4] in TIFF_SIGNATURES
    if not tiff and not any(mark in data for mark in (b'Exif\0', b'eXIf', b'EXIF')):
        return '', 1
    try:
        with Image.open(io.BytesIO(data)) as header:
            # Of all formats OpenCV turns TIFF alone upright by itself, even with IMREAD_UNCHANGED.
            return (header.mode, 1) if tiff else ('', header.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow has no common base; a damaged Exif block says nothing about the pixels
        return '', 1


def _upright(img: np.ndarray, orientation: int) -> np.ndarray:
    """Apply the Exif orientation (Exif 2.32, 4.6.4 A): 5 to 8 are stored with rows and columns swapped."""
    if orientation in (5, 6, 7, 8):
        img = img.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        img = img[::-1]
    if orientation in (2, 3, 6, 7):
        img = img[:, ::-1]
    return img
