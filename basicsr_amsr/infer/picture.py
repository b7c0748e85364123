"""Picture files, and Pillow images, as arrays of 8 or 16 bits with what has to be kept beside the pixels."""
from __future__ import annotations

import dataclasses
import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from basicsr_amsr.data.image_io import ORIENTATION, PNG_SIGNATURE, decode_image
from basicsr_amsr.errors import UserError
from basicsr_amsr.infer.pixels import Array
from basicsr_amsr.reasons import reason

FORMATS = ('PNG', 'JPEG', 'WEBP', 'TIFF', 'BMP', 'AVIF')  # no other decoder of Pillow is let near a file
BITS_PER_SAMPLE = 258
SIXTEEN = ('I;16', 'I;16L', 'I;16B', 'I;16N')
PLAIN = ('L', 'LA', 'RGB', 'RGBA')
DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 33432)  # tags of a TIFF that are not about how its pixels are stored
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
logging.getLogger('PIL').addHandler(logging.NullHandler())  # what it logs it raises as well


@dataclass(frozen=True)
class Picture:
    """A picture, upright.

    Attributes:
        array: (H, W), or (H, W, 2), (H, W, 3) or (H, W, 4), RGB order, alpha last; uint8 or uint16.
        exif: Exif data without orientation. icc: colour profile. dpi: resolution across and down, dots per inch.
        notes: what of the file is not in it.
    """

    array: Array
    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def with_array(self, array: Array) -> Picture:
        """Other pixels with what is beside them."""
        return dataclasses.replace(self, array=array)

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.array.ndim == 3 and self.array.shape[2] in (2, 4)


def read(path: Path) -> Picture:
    """A file of one of `FORMATS`, whatever its name ends in.

    Raises:
        UserError: it is absent, damaged, of another format, or larger than Pillow thinks safe.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read '{path}': {(error.strerror or reason(error)).lower()}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # large pictures up to the limit, damaged metadata
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if _is_deep(image, data):
                    if image.format == 'PNG':
                        image.load()  # raises where OpenCV's library would print a line of its own, too
                    return _of_deep(image, data, path)
                image.load()
                return of_pillow(image)
    except UserError as error:
        raise UserError(f"'{path}': {error}" if str(path) not in str(error) else str(error)) from error
    except Image.DecompressionBombError as error:
        raise UserError(f"'{path}' would be larger in memory than Pillow thinks safe ({reason(error)}): crop it, or "
                        'raise PIL.Image.MAX_IMAGE_PIXELS in a program of your own.') from error
    except UnidentifiedImageError as error:
        state = 'is empty' if not data else 'is damaged or no picture'
        raise UserError(f"'{path}' {state}; known are {', '.join(FORMATS)}.") from error
    except MemoryError as error:
        raise UserError(f"'{path}' does not fit into memory.") from error
    except Exception as error:  # decoders fail in every way
        raise UserError(f"'{path}' is damaged or truncated ({reason(error)}).") from error


def size_of(path: Path) -> tuple[int, int] | None:
    """Height and width as the file's header says, without orientation; None where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with Image.open(path, formats=FORMATS) as image:
                return image.height, image.width
    except Exception:  # `read` will say what is wrong
        return None


def of_pillow(image: Image.Image) -> Picture:
    """A Pillow image of any mode: gray and RGB as they are, with alpha where anything is transparent; else RGB.

    Raises:
        UserError: a mode of 32 bits.
    """
    notes = (f'the first of {frames} frames',) if (frames := getattr(image, 'n_frames', 1)) > 1 else ()
    icc, exif, dpi = image.info.get('icc_profile') or None, _exif(image), _dpi(image)
    image = ImageOps.exif_transpose(image)
    if image.mode in SIXTEEN:
        return Picture(np.asarray(image).astype(np.uint16), exif, icc, dpi, notes)
    if image.mode in ('I', 'F'):
        raise UserError(f'pictures of mode {image.mode} have 32 bits a channel: convert it to 8 or 16 bits.')
    if image.mode == 'CMYK':
        image, icc = _of_inks(image, icc), None
    elif image.has_transparency_data:
        image = image.convert('LA' if image.mode in ('L', '1', 'LA', 'La') else 'RGBA')
    elif image.mode not in PLAIN:
        image = image.convert('L' if image.mode in ('1', 'L') else 'RGB')
    return Picture(np.array(image), exif, icc, dpi, notes)


def to_pillow(picture: Picture) -> Image.Image:
    """The picture as a Pillow image, with profile, Exif data and resolution in its `info`.

    Pillow has 16 bits for gray alone: other pictures are rounded to 8.
    """
    array = picture.array if picture.array.ndim == 2 and picture.array.dtype == np.uint16 else eight_bits(picture.array)
    image = Image.fromarray(array)
    beside = {'exif': picture.exif, 'icc_profile': picture.icc, 'dpi': picture.dpi}
    image.info.update({key: value for key, value in beside.items() if value})
    return image


def eight_bits(array: Array) -> Array:
    """Rounded from 16 bits where there are so many."""
    return array if array.dtype == np.uint8 else ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether a file has 16 bits a channel, of which Pillow would drop 8."""
    if image.format == 'PNG':
        return data.startswith(PNG_SIGNATURE) and data[24] == 16
    if image.format == 'TIFF':
        bits = image.tag_v2.get(BITS_PER_SAMPLE, 8)  # type: ignore[attr-defined]
        return 16 in (bits if isinstance(bits, tuple) else (bits,)) and image.mode != 'CMYK'
    return False


def _of_deep(image: Image.Image, data: bytes, path: Path) -> Picture:
    """A picture of 16 bits, decoded by OpenCV; upright."""
    array = decode_image(data, path, gray=None, alpha='keep')
    array = array[..., 0] if array.shape[2] == 1 else array[..., [2, 1, 0, *range(3, array.shape[2])]]
    frames = getattr(image, 'n_frames', 1)
    return Picture(np.ascontiguousarray(array), _exif(image), image.info.get('icc_profile') or None, _dpi(image),
                   (f'the first of {frames} frames',) if frames > 1 else ())


def _exif(image: Image.Image) -> bytes | None:
    """The Exif data without orientation; of a TIFF only what describes the picture."""
    try:
        found = image.getexif()
        kept = Image.Exif()
        for tag, value in found.items():
            if tag != ORIENTATION and tag not in (EXIF_IFD, GPS_IFD) and (image.format != 'TIFF' or tag in DESCRIPTIVE):
                kept[tag] = value
        for place in (EXIF_IFD, GPS_IFD):
            if found.get_ifd(place):
                kept.get_ifd(place).update(found.get_ifd(place))
        return kept.tobytes() if kept or any(found.get_ifd(place) for place in (EXIF_IFD, GPS_IFD)) else None
    except Exception:  # a damaged Exif block says nothing about the pixels
        return None


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(each) for each in image.info.get('dpi', (0, 0)))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def _of_inks(image: Image.Image, profile: bytes | None) -> Image.Image:
    """CMYK to RGB, by its profile where it has a readable one."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile('sRGB'), outputMode='RGB')
            if converted is not None:
                return converted
        except ImageCms.PyCMSError:
            pass
    return image.convert('RGB')
