"""The MAC counter against hand arithmetic, thop and torch's FLOP counter."""
from collections import Counter
from importlib.util import find_spec

import pytest
import thop
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.counter import MacCounter
from basicsr_amsr.execution.free_operators import FREE
from basicsr_amsr.execution.operator_costs import HANDLES, Cost, register_handle
from basicsr_amsr.profiling.macs import count, parameter_count


class Call(nn.Module):
    """A function as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def counted(function, *inputs):
    """(macs, macs_paper) of a function, which must leave nothing uncounted."""
    result = count(Call(function), *inputs)
    assert not result.uncounted
    return result.macs, result.macs_paper


def both(macs):
    return macs, macs


X = torch.rand(2, 4, 9, 10)
Q = torch.rand(2, 3, 5, 8)

# What each operator costs, by hand.
BY_HAND = {
    'conv 3x3': (lambda: nn.Conv2d(4, 6, 3, padding=1)(X), both(2 * 9 * 10 * 6 * 4 * 9)),
    'conv unpadded': (lambda: nn.Conv2d(4, 6, 3)(X), both(2 * 7 * 8 * 6 * 4 * 9)),
    'conv strided': (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1)(X), both(2 * 5 * 5 * 6 * 4 * 9)),
    'conv dilated': (lambda: nn.Conv2d(4, 6, 3, dilation=2)(X), both(2 * 5 * 6 * 6 * 4 * 9)),
    'conv grouped': (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2)(X), both(2 * 9 * 10 * 6 * 2 * 9)),
    'conv depthwise': (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4)(X), both(2 * 9 * 10 * 4 * 9)),
    'conv 1x5': (lambda: nn.Conv2d(4, 6, (1, 5), padding='same')(X), both(2 * 9 * 10 * 6 * 4 * 5)),
    'conv unbatched': (lambda: nn.Conv2d(4, 6, 3, padding=1)(X[0]), both(9 * 10 * 6 * 4 * 9)),
    'conv 1-D': (lambda: nn.Conv1d(4, 6, 3)(X[:, :, 0]), both(2 * 8 * 6 * 4 * 3)),
    'conv 3-D': (lambda: nn.Conv3d(2, 3, 3, padding=1)(X[None, :, :, :8, :8].reshape(1, 2, 4, 8, 8)),
                 both(4 * 8 * 8 * 3 * 2 * 27)),
    'transposed': (lambda: nn.ConvTranspose2d(4, 6, 9, 4, 4, 3)(X),
                   (2 * 9 * 10 * 4 * 6 * 81, 2 * 36 * 40 * 4 * 6 * 81)),
    'transposed grouped': (lambda: nn.ConvTranspose2d(4, 6, 3, 2, groups=2)(X),
                           (2 * 9 * 10 * 4 * 3 * 9, 2 * 19 * 21 * 4 * 3 * 9)),
    'linear': (lambda: nn.Linear(10, 7)(X), both(2 * 4 * 9 * 10 * 7)),
    'linear without bias': (lambda: nn.Linear(10, 7, bias=False)(X[0, 0]), both(9 * 10 * 7)),
    'mm': (lambda: Q[0, 0] @ Q[0, 0].t(), both(5 * 8 * 5)),
    'matmul broadcast': (lambda: Q @ torch.rand(8, 7), both(2 * 3 * 5 * 8 * 7)),
    'mv': (lambda: Q[0, 0] @ torch.rand(8), both(5 * 8)),
    'dot': (lambda: torch.rand(8) @ torch.rand(8), both(8)),
    'addmv': (lambda: torch.addmv(torch.rand(5), Q[0, 0], torch.rand(8)), both(5 * 8)),
    'bmm': (lambda: torch.bmm(Q[0], Q[1].mT), both(3 * 5 * 8 * 5)),
    'addmm': (lambda: torch.addmm(torch.rand(5), Q[0, 0], Q[1, 0].t()), both(5 * 8 * 5)),
    'baddbmm': (lambda: torch.baddbmm(torch.rand(3, 5, 5), Q[0], Q[1].mT), both(3 * 5 * 8 * 5)),
    'addbmm': (lambda: torch.addbmm(torch.rand(5, 5), Q[0], Q[1].mT), both(3 * 5 * 8 * 5)),
    'einsum': (lambda: torch.einsum('bhqd,bhkd->bhqk', Q, Q), both(2 * 3 * 5 * 5 * 8)),
    'tensordot': (lambda: torch.tensordot(Q, torch.rand(8, 7), 1), both(2 * 3 * 5 * 8 * 7)),
    'attention': (lambda: F.scaled_dot_product_attention(Q, Q, Q), both(2 * 3 * 5 * 5 * 16)),
    'attention, longer keys': (lambda: F.scaled_dot_product_attention(Q, torch.rand(2, 3, 11, 8),
                                                                      torch.rand(2, 3, 11, 6)),
                               both(2 * 3 * 5 * 11 * 14)),
    'attention with a mask': (lambda: F.scaled_dot_product_attention(Q, Q, Q, torch.zeros(5, 5)),
                              both(2 * 3 * 5 * 5 * 16)),
    'multi-head attention': (lambda: nn.MultiheadAttention(8, 2, batch_first=True).eval()(Q[0], Q[0], Q[0]),
                             both(4 * 3 * 5 * 8 * 8 + 3 * 2 * 5 * 5 * 8)),
    'relu': (lambda: F.relu(X), (0, X.numel())),
    'relu in place': (lambda: nn.ReLU(inplace=True)(X.clone()), (0, X.numel())),
    'leaky relu': (lambda: F.leaky_relu(X, 0.1), (0, X.numel())),
    'leaky relu in place': (lambda: nn.LeakyReLU(0.1, True)(X.clone()), (0, X.numel())),
    'prelu': (lambda: nn.PReLU(4)(X), (0, X.numel())),
    'gelu, sigmoid': (lambda: F.gelu(X).sigmoid(), (0, 0)),
    'unfold and 1x1': (lambda: torch.rand(6, 36) @ F.unfold(X, 3, padding=1), both(2 * 9 * 10 * 6 * 36)),
    'element-wise': (lambda: (X * 2 + X.tanh()) / X.softmax(1), (0, 0)),
    'pooling': (lambda: F.avg_pool2d(F.max_pool2d(X, 2), 2) + X.mean((2, 3), True), (0, 0)),
    'normalisation': (lambda: nn.LayerNorm(10)(nn.GroupNorm(2, 4)(nn.BatchNorm2d(4).eval()(X))), (0, 0)),
    'shuffling': (lambda: F.pad(F.pixel_unshuffle(F.pixel_shuffle(X, 2), 2), (1, 1, 1, 1), 'reflect').roll(1, 2),
                  (0, 0)),
    'gathering': (lambda: torch.cat([X[:, torch.tensor([0, 2])], X[X > 0.5].sum().expand(2, 2, 9, 10)], 1), (0, 0)),
    'nearest': (lambda: F.interpolate(X, scale_factor=2), (0, 0)),
}


@pytest.mark.parametrize('name', BY_HAND)
@pytest.mark.parametrize('mode', [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_operator_costs_what_hand_arithmetic_says(name, mode):
    run, expected = BY_HAND[name]
    with mode():
        assert counted(run) == expected


@pytest.mark.parametrize('module, macs', [
    (nn.Conv2d(4, 6, 3, padding=1), 2 * 90 * 6 * 4 * 9),
    (nn.ConvTranspose2d(4, 6, 9, 4, 4, 3), 2 * 90 * 4 * 6 * 81),
    (nn.Linear(10, 7), 2 * 36 * 70),
    (nn.Sequential(nn.Conv2d(4, 6, 3), nn.PReLU()), 2 * 56 * 6 * 4 * 9),
])
def test_count_is_the_same_however_it_runs(module, macs):
    plain = count(module, X)
    assert plain.macs == macs
    counts = [
        count(module.to(memory_format=torch.channels_last), X.to(memory_format=torch.channels_last)),
        count(module.to('meta'), X.to('meta')),
    ]
    module = module.to_empty(device='cpu')
    with torch.autocast('cpu', torch.bfloat16):
        counts.append(count(module, X))
    counts.append(count(module.to(torch.bfloat16), X.bfloat16()))
    for other in counts:
        assert (other.macs, other.macs_paper, other.params) == (plain.macs, plain.macs_paper, plain.params)
        assert not other.uncounted


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_convolution_equals_torch_flop_counter_and_thop(data):
    groups = data.draw(st.integers(1, 3))
    kernel = data.draw(st.sampled_from([1, 3, 5]))
    module = nn.Conv2d(groups * data.draw(st.integers(1, 3)), groups * data.draw(st.integers(1, 3)), kernel,
                       stride=data.draw(st.integers(1, 3)), padding=data.draw(st.integers(0, 3)),
                       dilation=data.draw(st.integers(1, 2)), groups=groups, bias=data.draw(st.booleans()))
    x = torch.rand(data.draw(st.integers(1, 3)), module.in_channels, 12, 11)
    macs = count(module, x).macs
    with FlopCounterMode(display=False) as reference, torch.no_grad():
        module(x)
    assert macs == reference.get_total_flops() / 2
    assert macs == thop.profile(module, (x,), verbose=False)[0]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_transposed_convolution_true_at_input_and_paper_at_output(data):
    groups = data.draw(st.integers(1, 2))
    stride = data.draw(st.integers(1, 4))
    module = nn.ConvTranspose2d(groups * data.draw(st.integers(1, 3)), groups * data.draw(st.integers(1, 3)), 5,
                                stride=stride, padding=data.draw(st.integers(0, 2)),
                                output_padding=data.draw(st.integers(0, stride - 1)), groups=groups)
    x = torch.rand(data.draw(st.integers(1, 3)), module.in_channels, 7, 6)
    result = count(module, x)
    with FlopCounterMode(display=False) as at_input, torch.no_grad():
        module(x)
    assert result.macs == at_input.get_total_flops() / 2
    assert result.macs_paper == thop.profile(module, (x,), verbose=False)[0]


def plain_cnn():
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2, groups=4),
                         nn.LeakyReLU(), nn.Sequential(nn.Conv2d(16, 48, 1), nn.PixelShuffle(4)))


def test_plain_cnn_equals_both_references():
    net, x = plain_cnn(), torch.rand(2, 3, 24, 20)
    result = count(net, x)
    with FlopCounterMode(display=False) as reference, torch.no_grad():
        net(x)
    macs, params = thop.profile(net, (x,), verbose=False)
    assert result.macs == reference.get_total_flops() / 2 == macs
    assert result.params == params == parameter_count(net)


def test_break_down_adds_up():
    net, x = plain_cnn(), torch.rand(1, 3, 24, 20)
    result = count(net, x)
    conv = [24 * 20 * 16 * 27, 11 * 9 * 16 * 4 * 9, 11 * 9 * 48 * 16]
    assert result.by_module[''].macs == result.macs == sum(conv)
    assert [result.by_module[name].macs for name in ('0', '2', '4', '4.0')] == [conv[0], conv[1], conv[2], conv[2]]
    assert result.by_module['1'].macs_paper == 24 * 20 * 16
    assert result.by_op['aten::convolution'].calls == 3
    assert sum(tally.macs_paper for tally in result.by_op.values()) == result.macs_paper


def test_excluded_modules_leave_the_paper_count_alone():
    net, x = plain_cnn(), torch.rand(1, 3, 24, 20)
    whole, part = count(net, x), count(net, x, exclude=['1', '4'])
    assert part.macs == whole.macs
    assert part.macs_paper == whole.macs_paper - 24 * 20 * 16 - 11 * 9 * 48 * 16
    with pytest.raises(UserError, match="'nowhere' is no module of Sequential"):
        count(net, x, exclude=['nowhere'])


def test_masked_computation_counts_what_the_mask_leaves():
    conv = nn.Conv2d(4, 6, 1)

    def masked(x):
        chosen = x.permute(0, 2, 3, 1)[x.mean(1) > 0.5]
        return conv(chosen[:, :, None, None])

    few = int((X.mean(1) > 0.5).sum())
    assert 0 < few < X.numel() // 4
    assert counted(masked, X) == both(few * 24)


@pytest.mark.parametrize('run, name, elements', [
    (lambda: torch.fft.rfft2(X), 'aten::_fft_r2c', 2 * 4 * 9 * 6),
    (lambda: F.interpolate(X, scale_factor=2, mode='bilinear'), 'aten::upsample_bilinear2d', X.numel() * 4),
    (lambda: F.grid_sample(X, torch.zeros(2, 3, 3, 2), align_corners=False), 'aten::grid_sampler_2d', 2 * 4 * 9),
    (lambda: F.interpolate(X, scale_factor=2, mode='bicubic', antialias=True), 'aten::_upsample_bicubic2d_aa',
     X.numel() * 4),
    (lambda: torch.cdist(Q, Q), 'aten::_cdist_forward', 2 * 3 * 5 * 5),
    (lambda: nn.Bilinear(8, 8, 3, bias=False)(Q, Q), 'aten::_trilinear', 2 * 3 * 5 * 3),
])
@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_unknown_operators_are_reported_with_what_they_wrote(run, name, elements, mode):
    with mode():
        result = count(Call(run))
    assert result.macs == 0
    assert {key: (tally.calls, tally.elements) for key, tally in result.uncounted.items()} == {name: (1, elements)}


def test_every_operator_that_ran_is_counted_free_or_reported():
    """Against a mode that sees the same calls; PyTorch's profiler would not do, as it sees what operators call."""
    seen = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func._schema.name)
            return func(*args, **(kwargs or {}))

    def call(x):
        x = F.conv_transpose2d(F.relu(x), torch.rand(4, 4, 3, 3)) + F.interpolate(x, (11, 12), mode='bilinear')
        x = F.scaled_dot_product_attention(x, x, x).softmax(1) @ torch.fft.fft2(x).real.mT
        return F.layer_norm(x, x.shape[-1:]).view(-1)[torch.arange(3)]

    with torch.no_grad(), Recorder():
        call(X)
    result = count(Call(call), X)
    tallies = {**result.by_op, **result.free, **result.uncounted}
    assert {name.removesuffix(' (transposed)'): tally.calls for name, tally in tallies.items()} == Counter(seen)
    assert all(tally.why for tally in (*result.free.values(), *result.uncounted.values()))
    assert result.uncounted['aten::_fft_c2c'].why == 'Fourier transform: not a matrix product'
    assert result.free['aten::native_layer_norm'].why == 'normalisation'


def test_activations_are_what_convolutions_wrote():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.ConvTranspose2d(8, 2, 4, 2), nn.Linear(20, 5))
    result = count(net, torch.rand(2, 3, 19, 19))
    assert (result.convolutions, result.activations) == (2, 2 * 8 * 9 * 9 + 2 * 2 * 20 * 20)
    assert result.by_module['2'].activations == 1600 and result.by_module['3'].activations == 0


def test_custom_operator_is_reported_until_it_has_a_handle():
    @torch.library.custom_op('amsr_test::double', mutates_args=())
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    assert count(Call(double), X).uncounted['amsr_test::double'].elements == X.numel()
    try:
        register_handle('amsr_test::double')(lambda arguments, out: Cost(out.numel(), arguments['x'].shape[0]))
        assert counted(double, X) == (X.numel(), 2)
        with pytest.raises(ValueError, match='has a handle already'):
            register_handle('amsr_test::double')(lambda arguments, out: Cost(0, 0))
    finally:
        del HANDLES['amsr_test::double']


def test_counting_leaves_no_trace():
    net = plain_cnn()
    net[1].train()
    net[2].eval()
    modes = [module.training for module in net.modules()]
    before = net.state_dict()
    count(net, torch.rand(1, 3, 8, 8))
    with pytest.raises(RuntimeError):
        count(net, torch.rand(1, 5, 8, 8))
    assert [module.training for module in net.modules()] == modes
    assert net.state_dict().keys() == before.keys()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    counter = MacCounter()
    with torch.no_grad(), counter:
        net(torch.rand(1, 3, 8, 8))
    assert counter.total.macs == count(net, torch.rand(1, 3, 8, 8)).macs


def test_compiled_modules_are_counted_eagerly():
    net, x = plain_cnn(), torch.rand(1, 3, 24, 20)
    expected = count(net, x)
    inner = plain_cnn()
    inner[4] = torch.compile(inner[4])
    in_place = plain_cnn()
    in_place.compile()
    for compiled in (torch.compile(plain_cnn()), inner, in_place):
        result = count(compiled, x)
        assert (result.macs, result.params) == (expected.macs, expected.params)
        assert set(result.by_module) == set(expected.by_module)


@pytest.mark.filterwarnings('ignore:.*torch.jit')
def test_torchscript_is_refused():
    with pytest.raises(UserError, match='TorchScript'):
        count(torch.jit.trace(plain_cnn(), torch.rand(1, 3, 8, 8)), X)


def test_tables_name_operators_that_exist_and_do_not_overlap():
    assert not FREE & HANDLES.keys()
    names = FREE | HANDLES.keys()
    if find_spec('triton'):
        import basicsr_amsr.execution.triton.operator  # noqa: F401  # registers its own
    else:
        names -= {'basicsr_amsr::convolve_rows'}
    for name in names:
        namespace, operator = name.split('::')
        assert hasattr(getattr(torch.ops, namespace), operator), name
