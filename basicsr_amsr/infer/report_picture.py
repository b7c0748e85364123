"""A report as one picture: what was computed, and the detail in which before and after differ most."""
from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from basicsr_amsr.drawing import new_figure
from basicsr_amsr.infer.pixels import Array
from basicsr_amsr.infer.report import Shown

MOST = 6  # pictures, a row each; further ones are left out
FADED = 0.75  # towards white, of what was left out
DETAIL = 0.2  # side of the detail over the picture's shorter side
LEAST = 24  # LR pixels of it


@dataclass(frozen=True)
class _Row:
    """A picture's panels, uint8, with the corner and side of the detail in LR pixels."""

    masked: Array
    before: Array
    after: Array
    corner: tuple[int, int]
    side: int
    caption: str


class Sheet:
    """Up to six pictures in a PNG or JPEG.

    Args:
        title: what stands above them. kind: 'png' or 'jpg'.
    """

    def __init__(self, title: str, kind: str) -> None:
        self.title, self.kind, self.rows = title, kind, list[_Row]()

    def add(self, shown: Shown) -> None:
        """Take a picture, unless there are six."""
        if len(self.rows) == MOST:
            return
        before, (height, width) = shown.before, shown.given.shape[:2]
        side = min(max(round(DETAIL * min(height, width)), LEAST), height, width)
        top, left = most_different(before, shown.after, (height, width), side)
        scale = shown.after.shape[0] / height
        window = tuple(slice(round(at * scale), round((at + side) * scale)) for at in (top, left))
        skipped = ~shown.mask if shown.given.ndim == 2 else ~shown.mask[..., None]
        masked = np.where(skipped, 255 - (1 - FADED) * (255.0 - shown.given), shown.given).astype(np.uint8)
        self.rows.append(_Row(masked, before[window], shown.after[window], (top, left), side, caption(shown)))

    def content(self) -> bytes:
        """What the file holds."""
        figure = new_figure(12, 0.3 + 4.45 * len(self.rows))
        figure.suptitle(self.title, fontsize='medium')
        for part, row in zip(figure.subfigures(len(self.rows), 1, squeeze=False)[:, 0], self.rows, strict=True):
            part.suptitle(row.caption, fontsize='large')
            _draw(part.subplots(1, 3), row)
        stream = io.BytesIO()
        figure.savefig(stream, format=self.kind, dpi=100)
        return stream.getvalue()


def most_different(before: Array, after: Array, size: tuple[int, int], side: int) -> tuple[int, int]:
    """Top and left of the square in which two pictures differ most on average.

    Args:
        before, after: of one size, uint8, RGB or gray.
        size: height and width of the LR image. side: of the square, in LR pixels, as are top and left.
    """
    difference = np.abs(before.astype(np.int16) - after).astype(np.float32)
    if difference.ndim == 3:
        difference = difference.mean(2)
    small = np.asarray(Image.fromarray(difference).resize(size[::-1], Image.Resampling.BOX), np.float64)
    sums = np.pad(small, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(squares.argmax(), squares.shape)
    return int(top), int(left)


def caption(shown: Shown) -> str:
    """Name, sizes and figures in two lines."""
    (height, width), (large_height, large_width) = shown.given.shape[:2], shown.after.shape[:2]
    first = f'{shown.done.source.name}, {width}x{height} to {large_width}x{large_height}: {shown.milliseconds:.0f} ms'
    if shown.whole_milliseconds is None:
        return first
    macs = '' if shown.macs is None else f', {shown.macs:.0%} of its MACs'
    return (f'{first}; the whole network {shown.whole_milliseconds:.0f} ms\n'
            f'{shown.done.keep:.0%} of the patches computed{macs}; {shown.nearness:.1f} dB to its picture')


def _draw(panels: Any, row: _Row) -> None:
    heads = ('faded: what was left out', 'before, bicubic', 'after')
    for panel, picture, head in zip(panels, (row.masked, row.before, row.after), heads, strict=True):
        panel.imshow(picture, cmap='gray', vmin=0, vmax=255)
        panel.set_title(head, fontsize='medium')
        panel.set_axis_off()
    (top, left), side = row.corner, row.side
    panels[0].plot([left, left + side, left + side, left, left], [top, top, top + side, top + side, top],
                   color='#ffcc00', linewidth=1.5)
