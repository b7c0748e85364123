"""One HTML file that shows what was computed: before and after with a slider, masks, seconds, MACs beside dense."""
from __future__ import annotations

import base64
import io
import time
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from basicsr_amsr.amsr.calibration.budget import count_region
from basicsr_amsr.infer import pixels
from basicsr_amsr.infer.picture import Picture, eight_bits
from basicsr_amsr.infer.pixels import Array
from basicsr_amsr.infer.run import Done, mask_of
from basicsr_amsr.infer.upscaler import Upscaler
from basicsr_amsr.psnr import plain_psnr

SHOWN = 1280  # pixels on the longer side of what is embedded
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1320px; padding: 0 1em; color: #222; }
.pair { position: relative; line-height: 0; max-width: 100%; display: inline-block; }
.pair img { width: 100%; }
.pair img + img { position: absolute; left: 0; top: 0; clip-path: inset(0 0 0 var(--at, 50%)); }
.pair input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
.pair i { position: absolute; top: 0; bottom: 0; left: var(--at, 50%); width: 2px; background: #fff; }
.pair i { pointer-events: none; }
table { border-collapse: collapse; } td, th { padding: 2px 12px; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child { text-align: left; } .mask { max-width: 420px; border: 1px solid #ddd; }
"""


@dataclass
class Shown:
    """A picture of the report; figures of the dense network where something was skipped.

    Attributes:
        done: what became of it. before, after, mask: JPEG or PNG as data addresses.
        seconds, dense_seconds: of a warm pass, and of one of the whole network.
        nearness: PSNR to its picture in dB, all channels, 8 bits. macs: share of the whole network's.
    """

    done: Done
    before: str
    after: str
    mask: str
    seconds: float | None = None
    dense_seconds: float | None = None
    nearness: float | None = None
    macs: float | None = None


class Report:
    """Collects pictures; each is computed once more, and twice by the whole network, which takes that much longer.

    Args:
        upscale: what computes. dense: the same network, of which nothing is skipped; None where `upscale` is that.
    """

    def __init__(self, upscale: Upscaler, dense: Upscaler | None) -> None:
        self.upscale, self.dense, self.shown = upscale, dense, list[Shown]()

    def look(self, done: Done, given: Picture, large: Picture) -> None:
        """See a picture and its enlargement."""
        height, width = large.array.shape[:2]
        before = np.asarray(_image(given.array).resize((width, height), Image.Resampling.BICUBIC))
        shown = Shown(done, _address(before), _address(large.array), _address(mask_of(self.upscale, given).array))
        if self.dense is not None:
            shown.seconds, _ = timed(self.upscale, given.array)  # what `done` tells may hold a trace of the network
            self.dense.enlarge_array(given.array)
            shown.dense_seconds, whole = timed(self.dense, given.array)
            shown.nearness = plain_psnr(eight_bits(large.array), eight_bits(whole), 255)
            shown.macs = macs_share(self.upscale, given.array)
        self.shown.append(shown)

    def page(self) -> str:
        """The HTML, which needs no other file."""
        title = f'{self.upscale.network.name} x{self.upscale.scale:g}'
        parts = [f'<h1>{escape(title)}</h1><p>{escape(str(self.upscale.form))}</p>', self._table()]
        for each in self.shown:
            parts.append(f'<h2>{escape(each.done.source.name)}</h2><div class="pair">'
                         f'<img alt="before" src="{each.before}">'
                         f'<img alt="after" src="{each.after}"><i></i><input type="range" min="0" max="100" value="50" '
                         'aria-label="left: enlarged by bicubic interpolation; right: by the network" '
                         'oninput="this.parentNode.style.setProperty(\'--at\', this.value + \'%\')"></div>'
                         f'<p>Left: bicubic. Right: the network. Below, white: the patches that were computed.</p>'
                         f'<img class="mask" alt="mask" src="{each.mask}">')
        return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
                f'<style>{STYLE}</style></head><body>\n' + '\n'.join(parts) + '\n</body></html>\n')

    def _table(self) -> str:
        heads = ('picture', 'size', 'seconds', 'dense seconds', 'computed', 'MACs / dense', 'dB to dense')
        rows = [''.join(f'<th>{head}</th>' for head in heads)]
        for each in self.shown:
            size = '{1}x{0}'.format(*each.done.size) if each.done.size else ''
            seconds = each.done.seconds['compute'] if each.seconds is None else each.seconds
            cells = (each.done.source.name, size, f'{seconds:.2f}', _number(each.dense_seconds, '.2f'),
                     _number(each.done.keep, '.0%'), _number(each.macs, '.2f'), _number(each.nearness, '.1f'))
            rows.append(''.join(f'<td>{escape(cell)}</td>' for cell in cells))
        return '<table>' + ''.join(f'<tr>{row}</tr>' for row in rows) + '</table>'


def timed(upscale: Upscaler, array: Array) -> tuple[float, Array]:
    """Seconds of a pass, and its picture."""
    start = time.perf_counter()
    large = upscale.enlarge_array(array)
    return time.perf_counter() - start, large


def macs_share(upscale: Upscaler, array: Array) -> float | None:
    """MACs of a calibrated network for a picture over those of the whole network; None where nothing tells."""
    net, active = upscale.network.net, upscale.active(pixels.of_array(array))
    region, calibration = getattr(net, 'region', None), upscale.form.calibration
    if active is None or region is None or calibration is None:
        return None
    height, width = array.shape[:2]
    costs = count_region(region.program, net, region.prediction, upscale.network.channels, height, width)
    return costs.of(active[0].cpu(), calibration.selection().patch_size, height, width) / costs.dense


def _number(value: float | None, form: str) -> str:
    return '' if value is None else format(value, form)


def _image(array: Array) -> Image.Image:
    image = Image.fromarray(eight_bits(array))
    if image.mode not in ('LA', 'RGBA'):
        return image
    ground = Image.new('RGBA', image.size, 'white')
    return Image.alpha_composite(ground, image.convert('RGBA')).convert('RGB')


def _address(array: Array) -> str:
    image, content = _image(array), io.BytesIO()
    image.thumbnail((SHOWN, SHOWN))
    image.save(content, format='JPEG', quality=88)
    return f'data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}'

