"""Maps with room for whole patches."""
import pytest
import torch

from basicsr_amsr.mga.canvas import empty_canvas
from basicsr_amsr.mga.halo_patches import pad_to_grid


@pytest.mark.parametrize('size', [(1, 1), (8, 12), (9, 14), (270, 480)])
def test_the_feature_is_as_padded(size):
    feature = torch.rand(2, 5, *size)
    for dirty in (1., torch.nan):  # memory that was used before
        canvas = empty_canvas(2, 5, *size, patch_size=4, scale=3)
        assert canvas.feature.shape == feature.shape and canvas.picture.shape == (2, 3, 3 * size[0], 3 * size[1])
        canvas.feature.copy_(feature)
        wanted = pad_to_grid(feature, 4)
        assert torch.equal(canvas.padded, wanted) and torch.equal(canvas.whole, wanted[..., 1:-1, 1:-1])
        assert [side % 12 for side in canvas.image.shape[2:]] == [0, 0]
        canvas.padded.fill_(dirty)
        canvas.image.fill_(dirty)
        del canvas
