"""M with a fixed K has static shapes: it can be exported."""
import importlib.util

import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.mga.network import MGA
from tests.mga.toy import registered


@pytest.mark.parametrize('variant', 'BDAM')
@pytest.mark.parametrize(('backbone', 'engine'), [('Toy', 'torch'), ('RFDN', 'torch'), ('RFDN', 'native')])
@torch.no_grad()
def test_an_exported_network_gives_what_the_eager_one_gives(backbone, engine, variant):
    options = registered() if backbone == 'Toy' else {'type': 'RFDN', 'upscale': 2, 'num_feat': 8}
    net = MGA(options, variant=variant, k=5).eval()
    net.set_engine(engine)
    x = torch.rand(2, 3, 14, 18)
    exported = torch.export.export(net, (x,)).module()
    for seed in range(2):  # which patches are chosen is no constant of the graph
        x = torch.rand(2, 3, 14, 18, generator=torch.Generator().manual_seed(seed))
        assert torch.allclose(exported(x), net(x), atol=1e-6)


def test_fixed_k_of_a_size():
    net = MGA(registered(), k=0.3)
    assert net.fixed_k(13, 18) == 6  # of 4×5 patches
    net.k = 1000
    assert net.fixed_k(13, 18) == 20
    net.k = {'budget': 1.6}
    k = net.fixed_k(40, 40)
    assert k == net.costs(40, 40).k_within(1.6, 100) > 0
    net.k = {'threshold': 0.1}
    with pytest.raises(UserError, match='depends on the image'):
        net.fixed_k(13, 18)


@pytest.mark.skipif(importlib.util.find_spec('onnx') is None or importlib.util.find_spec('onnxruntime') is None
                    or importlib.util.find_spec('onnxscript') is None,
                    reason='onnx, onnxscript and onnxruntime are not installed')
@torch.no_grad()
def test_onnx_gives_what_the_eager_network_gives(tmp_path):
    import onnxruntime

    net = MGA(registered(), k=5).eval()
    x = torch.rand(1, 3, 14, 18)
    torch.onnx.export(net, (x,), tmp_path / 'mga.onnx', input_names=['image'], dynamo=True)
    session = onnxruntime.InferenceSession(str(tmp_path / 'mga.onnx'))
    assert torch.allclose(torch.from_numpy(session.run(None, {'image': x.numpy()})[0]), net(x), atol=1e-5)
