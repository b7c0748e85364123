"""What `basicsr profile` profiles: network, weights, variants, image."""
import cv2
import numpy as np
import pytest
import torch

from basicsr_amsr.amsr.accelerate import accelerate_
from basicsr_amsr.errors import UserError
from basicsr_amsr.profiling import subject
from basicsr_amsr.profiling.figures_table import figures_table, uncounted_line
from basicsr_amsr.profiling.side_by_side import profile_networks

MGA = {'type': 'MGA', 'backbone': {'type': 'FSRCNN', 'upscale': 4}, 'k': 6}


@pytest.fixture
def net():
    return subject.build({'network_g': MGA})


def test_weights_are_loaded_and_named(net, tmp_path):
    assert subject.load_weights(net, {}) == 'random (the option file names none)'
    opt = {'path': {'pretrain_network_g': str(tmp_path / 'net.pth')}}
    assert subject.load_weights(net, opt) == f'random ({tmp_path / "net.pth"} is absent)'
    torch.save({'params': {key: torch.full_like(value, 0.25) for key, value in net.state_dict().items()}},
               tmp_path / 'net.pth')
    assert subject.load_weights(net, opt) == str(tmp_path / 'net.pth')
    assert all((parameter == 0.25).all() for parameter in net.parameters())


def test_weights_of_another_network_are_refused(net, tmp_path):
    torch.save({'params': {'conv.weight': torch.zeros(3)}}, tmp_path / 'net.pth')
    with pytest.raises(UserError, match=r'net\.pth'):
        subject.load_weights(net, {'path': {'pretrain_network_g': str(tmp_path / 'net.pth')}})


@pytest.mark.parametrize('wanted, names', [
    (None, ['M', 'D']), ('M', ['M', 'D']), ('D', ['D']), ('A', ['A', 'D']), ('B,D,A,M', ['B', 'D', 'A', 'M']),
    ('D, M', ['D', 'M']),
])
def test_variants_have_the_dense_one_beside_them(net, wanted, names):
    nets, dense = subject.choose_variants(net, wanted)
    assert list(nets) == names and dense == 'D'
    assert [view.variant for view in nets.values()] == names
    assert net.variant == 'M'
    assert all(view.base is net.base for view in nets.values())
    assert subject.variant_parameters(nets) == {name: net.variant_parameters(name) for name in names}


def test_the_unmodified_network_may_stand_beside(net):
    nets, dense = subject.choose_variants(net, 'M,plain')
    assert (list(nets), dense) == (['M', 'plain', 'D'], 'D')
    plain = subject.build({'network_g': {'type': 'FSRCNN', 'upscale': 4}})
    assert {name: value.shape for name, value in nets['plain'].state_dict().items()} == {
        name: value.shape for name, value in plain.state_dict().items()}
    assert 'plain' not in subject.variant_parameters(nets)


def test_an_accelerated_network_has_its_dense_one_beside_it():
    net = subject.build({'network_g': {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 3}})
    accelerate_(net)
    nets, dense = subject.choose_variants(net, None)
    x = torch.rand(1, 3, 32, 32)
    figures = profile_networks(nets, x, dense, timing=False, memory=False)
    units = 3 * 2 * 8 * 8 * 9 * 32 * 32
    assert figures['M']['keep'] == 0.5 and figures['M']['ratios']['ideal'] > 1
    assert figures['D']['macs'] - figures['M']['macs'] == units // 2
    with pytest.raises(UserError, match="variant 'plain' is unknown"):
        subject.choose_variants(net, 'plain')


def test_a_network_without_variants_stands_alone():
    net = subject.build({'network_g': {'type': 'FSRCNN', 'upscale': 4}})
    nets, dense = subject.choose_variants(net, None)
    assert (list(nets), dense, subject.variant_parameters(nets)) == (['FSRCNN'], None, {})
    with pytest.raises(UserError, match='FSRCNN has no variants'):
        subject.choose_variants(net, 'M')
    with pytest.raises(UserError, match='FSRCNN selects no patches'):
        subject.set_k(net, '3')


@pytest.mark.parametrize('wanted', ['X', 'B,X', '', 'BD'])
def test_an_unknown_variant_is_named(net, wanted):
    if not wanted:
        assert list(subject.choose_variants(net, wanted)[0]) == ['M', 'D']
        return
    with pytest.raises(UserError, match=f"--variant '{wanted[-1] if ',' in wanted else wanted}' is unknown"):
        subject.choose_variants(net, wanted)


@pytest.mark.parametrize('text, k', [('0', 0), ('240', 240), ('0.25', 0.25), ('.5', 0.5), ('1.0', 1.0)])
def test_k_is_a_number_or_a_share(net, text, k):
    subject.set_k(net, text)
    assert net.k == k and type(net.k) is type(k)


@pytest.mark.parametrize('text', ['-1', 'many', '1e3', '1.5', '0.2.5', ''])
def test_k_that_makes_no_sense_is_refused(net, text):
    with pytest.raises(UserError, match='give a number'):
        subject.set_k(net, text)


def test_size_is_height_by_width():
    assert subject.parse_size('180x320') == (180, 320)
    assert subject.parse_size(' 24X16 ') == (24, 16)
    for wrong in ('180', '180x', '0x320', '-4x8', '4x8x3', '12.5x3', 'axb', ''):
        with pytest.raises(UserError, match='such as 180x320'):
            subject.parse_size(wrong)


@pytest.mark.parametrize('network, channels', [
    ({'type': 'MGA', 'backbone': {'type': 'FSRCNN', 'upscale': 4}}, 3),
    ({'type': 'FSRCNN', 'upscale': 4}, 3),
    ({'type': 'MSRResNet', 'num_in_ch': 1, 'num_out_ch': 1}, 1),
    ({'type': 'MSRResNet'}, 3),
])
def test_channels_of_the_input(network, channels):
    assert subject.input_channels(network) == channels


def test_bundled_photograph_by_default():
    x, what = subject.input_image(None, None, 3)
    assert x.shape == (1, 3, 180, 320) and x.dtype == torch.float32
    assert 0 <= x.min() < 0.2 and 0.8 < x.max() <= 1
    assert what == 'bundled photograph house.jpg'
    assert subject.input_image(None, (40, 24), 1)[0].shape == (1, 1, 40, 24)


def test_own_image_is_taken_as_it_is(tmp_path):
    image = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    x, what = subject.input_image(str(tmp_path / 'a.png'), None, 3)
    np.testing.assert_allclose(x[0].numpy(), image[..., ::-1].transpose(2, 0, 1) / 65535, rtol=1e-6)
    assert what == str(tmp_path / 'a.png')
    with pytest.raises(UserError, match=r'absent\.png'):
        subject.input_image(str(tmp_path / 'absent.png'), None, 3)


def test_fit_crops_at_the_centre_and_keeps_proportions():
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, 4:12] = 200
    assert (subject.fit(image, (4, 4)) == 200).all()
    assert (subject.fit(image, (16, 16)) > 150).all()
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    np.testing.assert_array_equal(subject.fit(ramp, (8, 8)), ramp)
    halved = ramp.reshape(4, 2, 4, 2).mean((1, 3))
    np.testing.assert_allclose(subject.fit(ramp, (4, 4))[..., 0], halved, atol=0.5)


def test_table_has_a_column_per_network_and_ratios_only_beside_a_dense_one():
    transform = {'calls': 3, 'elements': 7, 'why': 'Fourier transform'}
    figures = {'params': 42000, 'macs': 5e9, 'macs_paper': 6e9, 'activations': 7e6, 'convolutions': 8,
               'keep': 0.5, 'latency_ms': None, 'peak_memory_mb': 1.0,
               'uncounted': {'aten::_fft_r2c': transform}}
    assert len(figures_table('title', {'a': figures}, None).columns) == 2
    beside = {'macs': 0.5, 'time_share': None, 'ideal': 2.0, 'speed_up': None, 'efficiency': None}
    both = figures_table('title', {'a': {**figures, 'ratios': beside}, 'b': {**figures, 'ratios': beside}}, 'b')
    assert [column.header for column in both.columns] == ['', 'a', 'b (dense)']
    cells = dict(zip(both.columns[0]._cells, both.columns[1]._cells, strict=True))
    assert cells['parameters'] == '42,000' and cells['MACs (G)'] == '5.000' and cells['latency (ms)'] == '-'
    assert cells['dense MACs / MACs'] == '2.00' and cells['speed-up'] == '-'
    less = {'a': {**figures, 'uncounted': {'aten::_fft_r2c': {**transform, 'calls': 1, 'elements': 2}}}, 'b': figures}
    assert uncounted_line(less) == 'Not counted in MACs: _fft_r2c (3 calls, 7 elements; Fourier transform)'
    assert uncounted_line({'a': {**figures, 'uncounted': {}}}) is None
