"""What the mask predictor starts from."""
import pytest
import torch
import torch.nn.functional as F

from basicsr_amsr.mga.mask import MaskPrediction


@pytest.mark.parametrize('channels', [1, 2])
@torch.no_grad()
def test_the_dynamic_convolution_starts_by_handing_on_the_mask(channels):
    net = MaskPrediction(6, 4, channels=channels)
    feature = torch.rand(2, 6, 24, 16)
    logits = net.logits(feature)
    pooled = F.avg_pool2d(logits if channels == 1 else logits.softmax(1)[:, 1:], 4)
    assert torch.equal(net(feature), pooled) and pooled.std() > 0
