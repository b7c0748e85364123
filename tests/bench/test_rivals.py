"""The rivals: which there are for a network, and that they make the same pictures."""
import importlib.util

import numpy as np
import pytest
import torch

from basicsr_amsr.bench import engines, worker
from basicsr_amsr.bench.dense import dense_forms, unmodified_form
from basicsr_amsr.bench.folder import Folder
from basicsr_amsr.bench.rivals import RIVALS, absent, chosen, rivals_of
from basicsr_amsr.bench.sparse_forms import sparse_forms
from basicsr_amsr.bench.views import View
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.precision import computing_in
from tests.bench.tiny import EDSR, FSRCNN, GRID, built, image, network

CPU, FP32, BF16 = torch.device('cpu'), torch.float32, torch.bfloat16
OWN = 'dense channels-last'


def ours(options):
    net = built(options)
    dense = dense_forms(net)
    if options is FSRCNN:
        dense.append(unmodified_form(net))
    return [*dense, *sparse_forms(net, dense[1].net, GRID, (3, 16, 20))]


def names(options, wanted=RIVALS, device=CPU, dtype=FP32):
    return [one.name for one in rivals_of(ours(options), wanted, device, dtype)]


def test_rivals_of_a_network_that_skips_patches():
    assert names(EDSR) == [f'{OWN} (torch.compile)', f'{OWN}, stock allocator (torch)', 'dense (openvino)',
                           'dense (onnxruntime)']
    assert names(EDSR, dtype=BF16) == names(EDSR)[:-1]
    assert names(EDSR, device=torch.device('cuda')) == [f'{OWN} (torch.compile)']
    assert names(EDSR, ('openvino',)) == ['dense (openvino)'] and names(EDSR, ()) == []


def test_patches_of_a_fixed_number_are_exported_too():
    assert names(FSRCNN, ('openvino',)) == ['dense (openvino)', 'unmodified network (openvino)',
                                            'patches 4, 25 % (openvino)', 'patches 4, 50 % (openvino)']
    kinds = [one.kind for one in rivals_of(ours(FSRCNN), ('openvino', 'stock'), CPU, FP32)]
    assert kinds == ['reference', 'dense', 'reference', 'sparse', 'sparse']


def test_names_of_rivals():
    assert chosen([]) == RIVALS and chosen(['stock', 'openvino', 'stock']) == ('stock', 'openvino')
    with pytest.raises(UserError, match=r"--rivals 'openvin' is unknown\. Did you mean .*openvino"):
        chosen(['openvin'])


def test_what_a_backend_needs(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert absent('openvino') == ['openvino'] and absent('onnxruntime') == ['onnx', 'onnxscript', 'onnxruntime']
    assert absent('torch') == []


@pytest.mark.parametrize('options, dtype', [(EDSR, FP32), (EDSR, BF16), (FSRCNN, FP32)])
@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime', 'stock'])
@torch.no_grad()
def test_rivals_make_the_same_pictures(tmp_path, in_process, options, dtype, engine):
    every, images = ours(options), [image(16, 20), image(16, 20, seed=1)]
    pictures = [View('dense').of(built(options))(x) for x in images]
    folder = Folder(tmp_path, network(options), CPU, dtype, 1, images, pictures)
    for one in every:
        with computing_in(dtype, CPU):
            folder.expect(one, one.run(images[0]))
    for rival in rivals_of(every, (engine,), CPU, dtype):
        if absent(rival.backend):
            pytest.skip(f'not installed: {" ".join(absent(rival.backend))}')
        if rival.backend in ('openvino', 'onnxruntime'):
            folder.export(rival, 60)
        found = worker.work(folder.job(rival, 0.0))
        assert found.difference < (1e-4 if dtype == FP32 else 0.1)
        assert found.psnr > (25 if dtype == BF16 else 100) or rival.kind != 'dense'
    assert sorted(folder.graphs.values()) == sorted(str(file) for file in tmp_path.glob('graph*')
                                                    if file.suffix in ('.onnx', '.xml'))


def test_a_compiled_network_gets_weights_as_constants(tmp_path, monkeypatch):
    asked = {}

    def compiled(net, **options):
        asked.update(options)
        return net

    monkeypatch.setattr(torch, 'compile', compiled)
    monkeypatch.delenv('TORCHINDUCTOR_CACHE_DIR', raising=False)
    rival = next(rivals_of(ours(EDSR), ('compile',), CPU, FP32))
    folder = Folder(tmp_path, network(EDSR), CPU, FP32, 1, [image(16, 20)], [])
    picture = engines.load(folder.job(rival, 0.0))(image(16, 20))
    assert asked == {'dynamic': False, 'options': {'freezing': True}} and picture.dtype == FP32
    np.testing.assert_allclose(picture, ours(EDSR)[0].net(image(16, 20)).detach(), atol=1e-6)
