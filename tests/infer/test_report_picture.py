"""The picture of a report."""
import io
from pathlib import Path

import numpy as np
from PIL import Image

from basicsr_amsr.infer.report import Shown
from basicsr_amsr.infer.report_picture import MOST, Sheet, caption, most_different
from basicsr_amsr.infer.run_pictures import Done


def shown(**figures):
    """Half of a small picture computed."""
    mask = np.zeros((30, 40), bool)
    mask[:, :20] = True
    rows = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    done = Done(Path('a.png'), Path('b.png'), keep=0.5)
    return Shown(done, rows, rows.repeat(2, 0).repeat(2, 1), mask, 12.4, **figures)


def test_the_detail_is_where_the_pictures_differ():
    before = np.full((60, 80, 3), 100, np.uint8)
    after = before.copy()
    after[40:48, 10:18] = 130  # LR rows 20 to 23, columns 5 to 8
    for pair in ((before, after), (before[..., 0], after[..., 0])):
        top, left = most_different(*pair, (30, 40), 6)
        assert 18 <= top <= 20 and 3 <= left <= 5
    assert most_different(before, before, (30, 40), 30) == (0, 0)


def test_the_caption_has_what_there_is():
    assert caption(shown()) == 'a.png, 40x30 to 80x60: 12 ms'
    assert caption(shown(whole_milliseconds=31.6, nearness=52.04, macs=0.61)) == (
        'a.png, 40x30 to 80x60: 12 ms; the whole network 32 ms\n'
        '50% of the patches computed, 61% of its MACs; 52.0 dB to its picture')


def test_no_more_rows_than_a_picture_holds():
    sheet = Sheet('net', 'png')
    for _ in range(MOST + 2):
        sheet.add(shown())
    assert len(sheet.rows) == MOST
    left, right = (sheet.rows[0].masked[:, part].astype(int).mean() for part in (slice(20), slice(20, None)))
    assert right > 200 > left
    with Image.open(io.BytesIO(sheet.content())) as image:
        assert image.format == 'PNG' and image.width == 1200
