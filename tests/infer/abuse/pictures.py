"""Pictures that are none: cut, garbled, under another name, too wide, larger unpacked than memory."""
from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, PngImagePlugin

from basicsr_amsr.infer.formats import FORMATS
from tests.infer.abuse.outcome import Place, Verdict, all_of, results, wrong
from tests.infer.conftest import picture

LOSSLESS_MOST = 65535
TEXTS = {'text': b'no picture\n', 'empty': b'', 'zeros': bytes(1000), 'pdf': b'%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj',
         'eps': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'svg': b'<svg xmlns="http://www.w3.org/2000/svg"/>',
         'zip': b'PK\x03\x04' + bytes(60), 'head': b'\x89PNG\r\n\x1a\n'}


def encoded(kind: str, array: np.ndarray | None = None, **more: object) -> bytes:
    """A picture in a format of Pillow's."""
    content = io.BytesIO()
    Image.fromarray(picture(31, 26) if array is None else array).save(content, kind, **more)
    return content.getvalue()


def whole() -> dict[str, bytes]:
    """A picture in each format, with Exif data; several of PNG and TIFF, which have many ways to store one."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, 'Maker'
    found = {ending: encoded(kind, **({} if kind == 'BMP' else {'exif': exif.tobytes()}))
             for ending, kind in FORMATS.items() if ending not in ('.jpeg', '.tiff')}
    deep = encoded('PNG', picture(31, 26, 1, 16))
    return {**found, 'deep.png': deep, 'palette.png': _palette(), 'lzw.tif': encoded('TIFF', compression='tiff_lzw'),
            'jpeg.tif': encoded('TIFF', compression='jpeg'), 'cmyk.jpg': _inks()}


def _palette() -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture(31, 26)).quantize(16).save(content, 'PNG')
    return content.getvalue()


def _inks() -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture(31, 26)).convert('CMYK').save(content, 'JPEG')
    return content.getvalue()


def _named(number: int, name: str) -> str:
    return f'm{number:04}{name}' if name.startswith('.') else f'm{number:04}_{name}'


def truncated(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Of each format, cut at several lengths."""
    files: dict[str, bytes] = {}
    for name, data in whole().items():
        lengths = {0, 1, 2, 8, 12, 30, len(data) - 12, len(data) - 1}
        lengths |= {part * len(data) // 10 for part in (1, 3, 5, 9)}
        lengths |= {draw.randrange(len(data)) for _ in range(40 if much else 0)}
        for length in sorted(lengths):
            files[_named(len(files), name)] = data[:length]
    yield from all_of(place, files, None)


def flipped(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """One to twenty bytes of a file are others, or are gone."""
    files: dict[str, bytes] = {}
    for name, data in whole().items():
        for _ in range(150 if much else 6):
            changed = bytearray(data)
            for _ in range(draw.choice([1, 1, 2, 4, 20])):
                at = draw.randrange(len(changed))
                if draw.random() < 0.1:
                    del changed[at]
                else:
                    changed[at] = draw.randrange(256)
            files[_named(len(files), name)] = bytes(changed)
    yield from all_of(place, files, None)


def suffixes(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Pictures under the name of another format, which are done, and what is no picture, which is named."""
    pictures = {ending: data for ending, data in whole().items() if ending in FORMATS}
    endings = list(FORMATS)
    wanted = {_named(number * len(endings) + place_, ending): data for number, data in enumerate(pictures.values())
              for place_, ending in enumerate(endings) if much or draw.random() < 0.3}
    yield from all_of(place, wanted, False)
    others = {**TEXTS, 'gif': encoded('GIF'), 'ppm': encoded('PPM'), 'ico': encoded('ICO'),
              'weights': place.weights.read_bytes()}
    yield from all_of(place, {f'm{name}{ending}': data for name, data in others.items()
                              for ending in (endings if much else ('.png', '.jpg'))}, True)


def sizes(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """65,535 pixels wide or high: into a format that has room, and into one that has none."""
    wide = np.repeat(picture(1, 255), 257, 1)
    for ending, most in (('png', LOSSLESS_MOST), ('bmp', LOSSLESS_MOST), ('tif', LOSSLESS_MOST), ('jpg', 65500),
                         ('webp', 16383)):
        for turned in (False, True):
            array = wide[:, :most].transpose(1, 0, 2) if turned else wide[:, :most]
            case = place.case({f'm.{ending}': encoded(FORMATS[f'.{ending}'], np.ascontiguousarray(array))})
            room = ending in ('png', 'bmp', 'tif')
            found = place.infer(case)
            yield Verdict(f'{array.shape[1]}x{array.shape[0]} {ending}', wrong(
                found, case / 'out', (0,) if room else (2,), [] if room else [f'm_out.{ending}'],
                results(['m.' + ending] if room else [])))
        if not much:
            break
    case = place.case({'m.png': encoded('PNG', wide)})
    for ending in ('jpg', 'webp', 'avif'):
        yield Verdict(f'65535x1 to {ending}', wrong(place.infer(case, '--ext', ending), case / 'out', (2,),
                                                    [f'm_out.{ending}']))


def bombs(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Few bytes that say they are, or unpack to, very many."""
    files = {
        'mhead.png': png_of(60000, 60000, bytes(100)), 'msides.png': png_of(2**31 - 1, 2**31 - 1, b''),
        'mthin.png': png_of(1, 2**31 - 1, bytes(100)), 'mreal.png': png_of(14000, 14000, bytes(14000 * 14001)),
        'mzero.png': png_of(0, 0, b''), 'mtext.png': _text_bomb(),
        'mprofile.png': encoded('PNG', icc_profile=bytes(2 * 10**7)),
        'mhead.bmp': _bmp(60000, 60000), 'mnegative.bmp': _bmp(-5, 2**31 - 1), 'mhead.webp': _webp(16383, 16383),
        'mhead.tif': _tiff(60000, 60000), 'mloop.tif': _loop(), 'mmany.tif': _tiff(9, 9, tags=60000),
        'mhead.jpg': _jpeg(65500, 65500)}
    fine = ('mtext.png', 'mprofile.png', 'mloop.tif', 'mmany.tif')  # whose pixels are harmless
    yield from all_of(place, {name: data for name, data in files.items() if name not in fine}, True)
    yield from all_of(place, {name: files[name] for name in fine}, None)


def chunk(name: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def png_of(width: int, height: int, pixels: bytes, depth: int = 8) -> bytes:
    """A gray PNG whose head says that size, over these bytes."""
    head = struct.pack('>IIBBBBB', width, height, depth, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(pixels)) + chunk(b'IEND', b'')


def _text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text('Comment', 'A' * 10_000_000, zip=True)
    return encoded('PNG', pnginfo=info)


def _bmp(width: int, height: int) -> bytes:
    head = struct.pack('<IiiHHIIiiII', 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b'BM' + struct.pack('<IHHI', 14 + len(head) + 100, 0, 0, 14 + len(head)) + head + bytes(100)


def _webp(width: int, height: int) -> bytes:
    data = bytearray(encoded('WEBP'))
    at = data.index(b'VP8 ') + 14
    data[at:at + 4] = struct.pack('<HH', width, height)
    return bytes(data)


def _tiff(width: int, height: int, tags: int = 0) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, 100)]
    entries += [(1000 + number, 4, 2**31 - 1, 8) for number in range(tags)]
    packed = b''.join(struct.pack('<HHII', *entry) for entry in entries)
    start = 8 + 100
    return b'II*\0' + struct.pack('<I', start) + bytes(100) + struct.pack('<H', len(entries)) + packed + bytes(4)


def _loop() -> bytes:
    data = bytearray(_tiff(9, 9))
    data[-4:] = struct.pack('<I', 8 + 100)  # the next directory is this one
    return bytes(data)


def _jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded('JPEG'))
    at = data.index(b'\xff\xc0') + 5
    data[at:at + 4] = struct.pack('>HH', height, width)
    return bytes(data)
