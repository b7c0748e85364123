"""The Triton kernel, under its interpreter on the CPU, against dense convolutions in double precision."""
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.backends.choice import TORCH, TRITON, backend_for
from basicsr_amsr.execution.backends.interface import Place, Read
from basicsr_amsr.execution.backends.triton_backend import supported
from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.execution.fusion import PLAIN, Activation, Epilogue
from basicsr_amsr.execution.gather import Gather, pixel_rows
from basicsr_amsr.execution.torch_sparse.layout import Layout

HEIGHT, WIDTH = 11, 13


def case(conv, size, density=0.4, batch=3, dtype=torch.float32, device='cpu'):
    """A map, what a convolution reads of it around random patches, and the patches."""
    generator = torch.Generator().manual_seed(size)
    x = torch.randn(batch, conv.in_channels, HEIGHT, WIDTH, generator=generator).to(device, dtype)
    patches = torch.rand(batch, -(-HEIGHT // size), -(-WIDTH // size), generator=generator).to(device) < density
    layout = Layout(patches, size, HEIGHT, WIDTH, 0, whole=True)
    reach = [d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    offsets = [range(-r, size + r, d if size == 1 else 1) for r, d in zip(reach, conv.dilation, strict=True)]
    return x.to(memory_format=torch.channels_last), layout, gathered(layout, *offsets)


def gathered(layout, *offsets):
    """What all patches read at these offsets."""
    group = layout.groups[-1]
    return layout.gather(False, 1, offsets, group, slice(0, group.count))


def own_of(layout):
    return layout.own(layout.groups[-1], slice(0, layout.active))


def dense(conv, x, layout):
    """The convolution at the active pixels, as rows, in double precision."""
    double = F.conv2d(x.double(), conv.weight.double(), None if conv.bias is None else conv.bias.double(),
                      padding=conv.padding, dilation=conv.dilation)
    own = own_of(layout)
    return own, pixel_rows(double)[own.rows.long()]


def inside(own, rows):
    """Without the rows outside the image."""
    return rows[own.index >= 0]


def tolerance(dtype, on='cuda'):
    """Sums are of single precision; what is written is rounded to the nearest number of its type.

    Triton's interpreter cuts the digits of bfloat16 off.
    """
    steps = 1 if on == 'interpreter' and dtype == torch.bfloat16 else 0.5
    return {'rtol': steps * torch.finfo(dtype).eps + 1e-5, 'atol': 1e-5}


CONVOLUTIONS = {  # channels in and out, kernel, options
    '3 to 12': (3, 12, 3, {}), '12 to 50': (12, 50, 3, {}), '50 to 3, no bias': (50, 3, 3, {'bias': False}),
    '1x1': (20, 17, 1, {}), '5x5': (5, 8, 5, {}), 'dilated': (8, 8, 3, {'dilation': 2}), 'oblong': (8, 6, (1, 5), {}),
    'two blocks of channels in and out': (40, 130, 1, {})}


@pytest.mark.parametrize('size', [1, 4, 8])
@pytest.mark.parametrize('name', CONVOLUTIONS)
def test_equals_the_dense_convolution(interpreter, name, size):
    channels, out, kernel, options = CONVOLUTIONS[name]
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, out, kernel, padding='same', **options)
    x, layout, gather = case(conv, size)
    own, expected = dense(conv, x, layout)
    rows = TRITON.convolve(conv, [Read(pixel_rows(x), gather)], size)
    torch.testing.assert_close(inside(own, rows).double(), inside(own, expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('size', [1, 4])
def test_half_precision_is_rounded_once(interpreter, dtype, size):
    torch.manual_seed(0)
    conv = nn.Conv2d(20, 9, 3, padding=1).to(dtype)
    x, layout, gather = case(conv, size, dtype=dtype)
    own, expected = dense(conv, x, layout)
    rows = TRITON.convolve(conv, [Read(pixel_rows(x), gather)], size)
    assert rows.dtype == dtype
    torch.testing.assert_close(inside(own, rows).double(), inside(own, expected),
                               **tolerance(dtype, 'interpreter'))


@pytest.mark.parametrize('density', [0.0, 0.01, 1.0])
def test_no_patch_one_and_all(interpreter, density):
    conv = nn.Conv2d(4, 5, 3, padding=1)
    x, layout, gather = case(conv, 8, density, batch=1)
    if density == 0.01:
        layout = Layout(torch.tensor([[[False, False], [False, True]]]), 8, HEIGHT, WIDTH, 0, whole=True)
        gather = gathered(layout, range(-1, 9), range(-1, 9))
    own, expected = dense(conv, x, layout)
    rows = TRITON.convolve(conv, [Read(pixel_rows(x), gather)], 8)
    assert len(rows) == 64 * layout.active
    torch.testing.assert_close(inside(own, rows).double(), inside(own, expected), rtol=1e-5, atol=1e-5)


EPILOGUES = {
    'ReLU': Epilogue(before=Activation(0.0)),
    'LeakyReLU, scaled': Epilogue(Activation(0.1), 0.5),
    'PReLU of each channel': Epilogue(Activation(torch.linspace(-0.5, 1.5, 6))),
    'one PReLU for all, sum': Epilogue(Activation(torch.tensor([0.3])), added=True),
    'scaled, sum, LeakyReLU': Epilogue(None, 0.2, True, Activation(0.2)),
    'ReLU, sum, PReLU of each channel': Epilogue(Activation(0.0), 1.0, True, Activation(torch.linspace(-0.5, 1.5, 6))),
    'sum, one PReLU': Epilogue(None, 1.0, True, Activation(torch.tensor([0.3]))),
    'sum, ReLU': Epilogue(None, 1.0, True, Activation(0.0))}


@pytest.mark.parametrize('listed', [False, True])
@pytest.mark.parametrize('name', EPILOGUES)
def test_what_follows_equals_torch_operators(interpreter, name, listed):
    """In place at listed rows, the others left alone; what is added read by a list or in turn."""
    torch.manual_seed(0)
    conv, epilogue = nn.Conv2d(6, 6, 3, padding=1), EPILOGUES[name]
    x, layout, gather = case(conv, 4)
    own = own_of(layout)
    if epilogue.added:
        table = torch.randn(3 * HEIGHT * WIDTH, 6)
        epilogue = epilogue._replace(added=Read(table, own) if listed else Read(table[own.rows]))
    results = {}
    for backend in (TORCH, TRITON):
        target = torch.full((3 * HEIGHT * WIDTH, 6), torch.nan)
        place = Place(lambda dtype, target=target: target, own) if listed else None
        with torch.no_grad():
            results[backend.name] = backend.convolve(conv, [Read(pixel_rows(x), gather)], 4, epilogue, place)
        if not listed:
            results[backend.name] = inside(own, results[backend.name])
    torch.testing.assert_close(results['triton'], results['torch'], rtol=1e-5, atol=1e-5, equal_nan=True)
    assert not results['triton'].isnan().all()


@pytest.mark.parametrize('kernel', [1, 3])
def test_parts_are_read_side_by_side(interpreter, kernel):
    torch.manual_seed(0)
    conv = nn.Conv2d(3 + 20 + 5, 7, kernel, padding='same')
    x, layout, gather = case(conv, 4)
    own, expected = dense(conv, x, layout)
    parts = [Read(pixel_rows(part), gather) for part in x.split([3, 20, 5], 1)]
    after = Epilogue(Activation(0.1), 0.5, Read(torch.ones(len(own.rows), 7)))
    with MacCounter() as counter:
        rows = TRITON.convolve(conv, parts, 4, after)
    expected = F.leaky_relu(expected, 0.1) * 0.5 + 1
    torch.testing.assert_close(inside(own, rows).double(), inside(own, expected), rtol=1e-5, atol=1e-5)
    macs = len(own.rows) * conv.weight.numel()
    assert (counter.total.macs, counter.total.macs_paper) == (macs, macs + len(own.rows) * 7)
    assert (counter.total.activations, counter.total.convolutions) == (len(own.rows) * 7, 1)
    assert not counter.uncounted


def test_nothing_but_the_listed_rows_is_read(interpreter):
    conv = nn.Conv2d(4, 4, 3, padding=1)
    x, _, gather = case(conv, 4, batch=1)
    rows = pixel_rows(x).clone()
    listed = torch.zeros(len(rows), dtype=torch.bool)
    listed[gather.index[gather.index >= 0].long()] = True
    assert not listed.all()
    rows[~listed] = torch.nan
    assert TRITON.convolve(conv, [Read(rows, gather)], 4).isfinite().all()


def test_weights_of_any_memory_format_and_wide_rows(interpreter):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 4, 3, padding=1)
    x, _, gather = case(conv, 4)
    wide = torch.cat([pixel_rows(x), torch.full((3 * HEIGHT * WIDTH, 2), torch.nan)], 1)
    planar = TRITON.convolve(conv, [Read(wide[:, :6], gather)], 4)
    last = TRITON.convolve(conv.to(memory_format=torch.channels_last), [Read(pixel_rows(x), gather)], 4)
    assert torch.equal(planar, last) and planar.isfinite().all()


def test_what_the_kernel_does_not_compute_goes_to_torch_operators(interpreter):
    grouped, double = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, 3, padding=1).double()
    for conv in (grouped, double):
        x, _, gather = case(conv, 4, dtype=conv.weight.dtype)
        read = [Read(pixel_rows(x), gather)]
        assert not supported(conv, read, PLAIN)
        assert torch.equal(TRITON.convolve(conv, read, 4), TORCH.convolve(conv, read, 4))
    plain = nn.Conv2d(4, 4, 3, padding=1)
    x, _, gather = case(plain, 4)
    read = [Read(pixel_rows(x), gather)]
    assert supported(plain, read, PLAIN)
    assert not supported(plain, [Read(pixel_rows(x))], PLAIN)
    assert not supported(plain, read, Epilogue(added=Read(torch.ones(1, 1))))
    with torch.autocast('cpu', torch.bfloat16):
        assert not supported(plain, read, PLAIN)  # float32 rows are cast by torch operators
        assert supported(plain, [Read(pixel_rows(x.bfloat16()), gather)], PLAIN)


def test_names_of_backends(monkeypatch):
    choice = 'basicsr_amsr.execution.backends.choice.'
    cpu, cuda = torch.device('cpu'), torch.device('cuda')
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setattr(choice + '_importable', lambda: True)
    monkeypatch.setattr(choice + '_capability', lambda device: (8, 0))
    assert backend_for('torch', cuda) is TORCH and backend_for('auto', cpu) is TORCH
    assert backend_for('auto', cuda) is TRITON and backend_for('triton', cuda) is TRITON
    with pytest.raises(UserError, match='backend: triton needs an NVIDIA GPU'):
        backend_for('triton', cpu)
    with pytest.raises(UserError, match=r"backend is 'tritn'.*triton"):
        backend_for('tritn', cpu)
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    assert backend_for('auto', cpu) is TORCH and backend_for('triton', cpu) is TRITON


@pytest.mark.parametrize('name, value, message', [
    ('_importable', lambda: False, r'the package triton, 3\.4 or newer: take auto or torch'),
    ('_capability', lambda device: (7, 5), r'compute capability 8\.0'),
    ('torch.version.hip', '6.0', 'an NVIDIA GPU')])
def test_where_triton_does_not_run(monkeypatch, name, value, message):
    choice, cuda = 'basicsr_amsr.execution.backends.choice.', torch.device('cuda')
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setattr(choice + '_importable', lambda: True)
    monkeypatch.setattr(choice + '_capability', lambda device: (9, 0))
    monkeypatch.setattr(choice + name, value)
    assert backend_for('auto', cuda) is TORCH
    with pytest.raises(UserError, match=message):
        backend_for('triton', cuda)


def test_single_precision_is_that_of_cudnn(interpreter):
    from basicsr_amsr.execution.triton.operator import precision

    for allowed, expected in ((True, 'tf32'), (False, 'ieee')):
        with torch.backends.cudnn.flags(allow_tf32=allowed):
            assert precision() == expected
    if hasattr(torch.backends.cudnn, 'conv'):
        before = torch.backends.cudnn.conv.fp32_precision
        try:
            torch.backends.cudnn.conv.fp32_precision = 'ieee'
            assert precision() == 'ieee'
        finally:
            torch.backends.cudnn.conv.fp32_precision = before


def test_lists_of_kernels_mark_what_is_outside():
    gather = Gather(torch.tensor([4, -1, 7, -1]), 2)
    assert gather.rows.tolist() == [4, 0, 7, 0] and gather.outside.tolist() == [1, 3]
    assert gather.index.tolist() == [4, -1, 7, -1] and gather.index.dtype == torch.int32
    assert Gather(torch.tensor([4, 0])).index.tolist() == [4, 0] and Gather(torch.tensor([4, 0])).outside is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        gather.places = None


@pytest.mark.cuda
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('size', [1, 4, 8])
@pytest.mark.parametrize('name', CONVOLUTIONS)
def test_on_cuda(name, size, dtype):
    """As above, compiled."""
    pytest.importorskip('triton')
    channels, out, kernel, options = CONVOLUTIONS[name]
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, out, kernel, padding='same', **options).to('cuda', dtype)
    x, layout, gather = case(conv, size, dtype=dtype, device='cuda')
    own, expected = dense(conv, x, layout)
    with torch.backends.cudnn.flags(allow_tf32=False):
        rows = TRITON.convolve(conv, [Read(pixel_rows(x), gather)], size)
    torch.testing.assert_close(inside(own, rows).double(), inside(own, expected), **tolerance(dtype))


@pytest.mark.cuda
@pytest.mark.parametrize('name', EPILOGUES)
def test_what_follows_on_cuda(name):
    pytest.importorskip('triton')
    conv, epilogue = nn.Conv2d(6, 6, 3, padding=1).cuda(), EPILOGUES[name]
    x, layout, gather = case(conv, 4, device='cuda')
    own = own_of(layout)
    moved = [None if each is None else Activation(each.slope.cuda() if torch.is_tensor(each.slope) else each.slope)
             for each in (epilogue.before, epilogue.after)]
    added = Read(torch.randn(3 * HEIGHT * WIDTH, 6, device='cuda'), own) if epilogue.added else None
    epilogue = Epilogue(moved[0], epilogue.scale, added, moved[1])
    results = []
    for backend in (TORCH, TRITON):
        target = torch.zeros(3 * HEIGHT * WIDTH, 6, device='cuda')
        with torch.backends.cudnn.flags(allow_tf32=False):
            results.append(backend.convolve(conv, [Read(pixel_rows(x), gather)], 4, epilogue,
                                            Place(lambda dtype, target=target: target, own)))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
