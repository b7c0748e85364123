"""Checkpoints that others published, of networks of no family of ours: their own picture; skipping, or why not."""
import numpy as np
import pytest
import torch

import basicsr_amsr as sr
from basicsr_amsr.backbones.checkpoint import identified, load_checkpoint
from basicsr_amsr.errors import UserError
from basicsr_amsr.infer.picture import read
from basicsr_amsr.infer.pixels import of_array
from benchmarks.foreign import middle
from tests.infer.conftest import picture

WHY_NOT = ('first convolution', 'cannot be read', 'too many operators')


def foreign(shared):
    pytest.importorskip('spandrel')
    files = [path for path in sorted((shared / 'weights').iterdir()) if path.suffix in ('.pth', '.pt', '.safetensors')]
    found = [path for path in files if identified(load_checkpoint(path)) is None]
    assert found, 'all checkpoints there are of families of ours'
    return found


@pytest.mark.slow
def test_a_checkpoint_in_one_line(shared):
    from spandrel import ModelLoader

    given = picture(64, 64)  # a multiple of what any of them wants
    x = of_array(given).colour
    for path in foreign(shared):
        with torch.no_grad():
            plain = ModelLoader('cpu').load_from_file(path).model(x)[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
        upscale = sr.Upscaler(path, dtype='fp32', device='cpu')
        assert np.abs(upscale(given) - plain).max() <= 0.51, path.name  # half a level, rounded
        assert upscale.form.kind in ('dense', 'plain') and 'no calibration' in str(upscale.form)


@pytest.mark.slow
def test_skipping_in_one_line_or_the_reason(shared):
    from spandrel import ModelLoader

    files = sorted((shared / 'data/train/gb82').iterdir())[:9]
    images = [of_array(middle(read(file).array, 128)).colour for file in files]
    for path in foreign(shared):
        found = ModelLoader('cpu').load_from_file(path)
        with torch.no_grad():
            plain = found.model(images[-1])
        try:
            calibration = sr.calibrate(found, images[:-1])
        except UserError as error:
            assert any(why in str(error) for why in WHY_NOT), f'{path.name}: {error}'
            continue
        sr.accelerate_(found, sr.AMSRConfig(calibration=calibration))
        with torch.no_grad():
            near = found.model(images[-1])
        assert 0 < found.model.last_keep < 1, path.name
        assert float((near - plain).square().mean()) < 1e-3, path.name
