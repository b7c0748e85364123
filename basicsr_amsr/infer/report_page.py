"""A report as one HTML file: before and after with a slider, masks, milliseconds, MACs beside the whole network."""
from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from basicsr_amsr.infer.pixels import Array
from basicsr_amsr.infer.report import Shown

SHOWN = 1280  # pixels on the longer side of what is embedded
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1320px; padding: 0 1em; color: #222; }
.pair { position: relative; line-height: 0; max-width: 100%; display: inline-block; }
.pair img { width: 100%; }
.pair img + img { position: absolute; left: 0; top: 0; clip-path: inset(0 0 0 var(--at, 50%)); }
.pair input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
.pair i { position: absolute; top: 0; bottom: 0; left: var(--at, 50%); width: 2px; background: #fff; }
.pair i { pointer-events: none; } .wide { overflow-x: auto; }
table { border-collapse: collapse; } td, th { padding: 2px 12px; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child { text-align: left; } .mask { width: 100%; max-width: 420px; border: 1px solid #ddd; }
"""
HEADS = ('picture', 'size', 'ms', 'whole network, ms', 'computed', 'MACs / dense', 'dB to dense')


class Page:
    """A page of any number of pictures, which are kept as they will stand in it."""

    def __init__(self, title: str, note: str) -> None:
        self.title, self.note = title, note
        self.rows, self.pairs = list[tuple[str, ...]](), list[str]()

    def add(self, shown: Shown) -> None:
        """Take a picture."""
        name, (height, width) = shown.done.source.name, shown.after.shape[:2]
        self.rows.append((name, f'{width}x{height}', f'{shown.milliseconds:.1f}',
                          _cell(shown.whole_milliseconds, '.1f'), _cell(shown.done.keep, '.0%'),
                          _cell(shown.macs, '.2f'), _cell(shown.nearness, '.1f')))
        mask = shown.mask.astype(np.uint8) * 255
        self.pairs.append(
            f'<h2>{escape(name)}</h2><div class="pair"><img alt="before" src="{_address(shown.before)}">'
            f'<img alt="after" src="{_address(shown.after)}"><i></i><input type="range" min="0" max="100" value="50" '
            'aria-label="left: enlarged by bicubic interpolation; right: by the network" '
            'oninput="this.parentNode.style.setProperty(\'--at\', this.value + \'%\')"></div>'
            '<p>Left: bicubic. Right: the network. Below, white: the patches that were computed.</p>'
            f'<img class="mask" alt="mask" src="{_address(mask)}">')

    def content(self) -> bytes:
        """The HTML, which needs no other file."""
        title = escape(self.title)
        parts = [f'<h1>{title}</h1><p>{escape(self.note)}</p>', self._table(), *self.pairs]
        text = ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
                f'content="width=device-width"><title>{title}</title><style>{STYLE}</style></head><body>\n'
                + '\n'.join(parts) + '\n</body></html>\n')
        return text.encode(errors='backslashreplace')

    def _table(self) -> str:
        rows = [''.join(f'<th>{head}</th>' for head in HEADS),
                *(''.join(f'<td>{escape(cell)}</td>' for cell in row) for row in self.rows)]
        return '<div class="wide"><table>' + ''.join(f'<tr>{row}</tr>' for row in rows) + '</table></div>'


def _cell(value: float | None, form: str) -> str:
    return '' if value is None else format(value, form)


def _address(array: Array) -> str:
    image, content = Image.fromarray(array), io.BytesIO()
    image.thumbnail((SHOWN, SHOWN))
    image.save(content, format='JPEG', quality=88)
    return f'data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}'
