"""What the mask predictor starts from, and its end on the host."""
import pytest
import torch
import torch.nn.functional as F

from basicsr_amsr.mga.host_mask import error_mask
from basicsr_amsr.mga.mask import POOLING, MaskPrediction


@pytest.mark.parametrize('channels', [1, 2])
@torch.no_grad()
def test_the_dynamic_convolution_starts_by_handing_on_the_mask(channels):
    net = MaskPrediction(6, 4, channels=channels)
    feature = torch.rand(2, 6, 24, 16)
    logits = net.logits(feature)
    pooled = F.avg_pool2d(logits if channels == 1 else logits.softmax(1)[:, 1:], 4)
    assert torch.equal(net(feature), pooled) and pooled.std() > 0


@pytest.mark.parametrize('patch_size', [1, 3, 4, 8])
@pytest.mark.parametrize('pooling', POOLING)
@pytest.mark.parametrize('channels', [1, 2])
@torch.no_grad()
def test_on_the_host_it_is_the_same(channels, pooling, patch_size):
    torch.manual_seed(0)
    net = MaskPrediction(6, patch_size, pooling, channels)
    net.kernel.weight.normal_()
    net.kernel.bias.normal_()
    feature = torch.randn(2, 6, 5 * patch_size, 7 * patch_size)
    found, wanted = error_mask(net, net.scores(feature)), net(feature)
    assert found.shape == wanted.shape and found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
