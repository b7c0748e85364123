"""The forms of a network: what they are called, what they compute, and that each equals its reference."""
import dataclasses
import math
import re

import pytest
import torch
from torch import nn

from basicsr_amsr.amsr import restore_
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.bench.contenders import Contender, Equality
from basicsr_amsr.bench.dense import dense_forms, native_form, unmodified_form
from basicsr_amsr.bench.grid import Amount, Grid
from basicsr_amsr.bench.right_output import wrong_amount, wrong_output
from basicsr_amsr.bench.rounds import Measured, admit
from basicsr_amsr.bench.sparse_forms import sparse_forms
from basicsr_amsr.bench.views import View
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.cost import model
from basicsr_amsr.execution.cost.costs import Costs
from basicsr_amsr.execution.cost.store import VARIABLE
from basicsr_amsr.profiling.macs import count
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from tests.bench.tiny import EDSR, FSRCNN, GRID, HALF, QUARTER, RFDN, SWINIR, USUAL, built, image
from tests.kernels import needs_kernels

ALL = Grid((QUARTER, HALF), patch_sizes=(1, 4))


def forms(options, grid, height=18, width=26):
    net = built(options)
    dense = dense_forms(net)
    return dense, sparse_forms(net, dense[-1].net, grid, (3, height, width))


@needs_kernels
def test_the_native_form_is_the_dense_network():
    one, = native_form(built(EDSR))
    assert one.name == 'dense (native)' and one.kind == 'dense' and one.view.rule == 'native'
    assert wrong_output(one, image(18, 26)) is None and one.net.native._schedules


def test_patches_and_amounts_are_all_combined():
    dense, sparse = forms(EDSR, ALL)
    assert [one.name for one in dense] == ['dense NCHW (torch)', 'dense channels-last (torch)']
    assert [one.name for one in sparse] == [
        f'{form}, {amount} (torch)' for form in ('pixels', 'patches 4') for amount in ('25 %', '50 %')]
    assert sparse[-1].view == View('amsr', 'channels-last', HALF, 4, 'torch')


def test_what_is_not_asked_for_is_that_of_the_options():
    _, sparse = forms(EDSR, GRID)
    assert [one.name for one in sparse] == [f'patches 4, 25 % ({USUAL})', f'patches 4, 50 % ({USUAL})']
    assert sparse[0].net.amsr.selection.smooth == 3


def test_windows_and_patches_are_the_networks_own():
    assert [one.name for one in forms(SWINIR, ALL)[1]] == ['windows 4, 25 % (torch)', 'windows 4, 50 % (torch)']
    assert [one.name for one in forms(FSRCNN, ALL)[1]] == [f'patches 4, 25 % ({USUAL})', f'patches 4, 50 % ({USUAL})']
    by_torch = dataclasses.replace(ALL, backends=('torch',))
    assert [one.name for one in forms(FSRCNN, by_torch)[1]] == ['patches 4, 25 % (torch)', 'patches 4, 50 % (torch)']
    assert forms({**FSRCNN, 'patch_size': 5}, GRID)[1][0].name == f'patches 5, 25 % ({USUAL})'


@torch.no_grad()
@pytest.mark.parametrize('options', [EDSR, SWINIR, FSRCNN])
def test_every_form_equals_its_reference_and_computes_what_was_asked(options):
    x = image(17, 30)
    grid = Grid((QUARTER, HALF, Amount('keep', 1.0)), (1, 4))
    dense, sparse = forms(options, grid, 17, 30)
    costs = []
    for one in [*dense, *sparse]:
        assert len(one.equalities) == (1 if one.kind == 'dense' else 2)
        assert wrong_output(one, x) is None
        counted = count(one.net, x)
        if one.kind == 'sparse':
            assert wrong_amount(one, float(one.net.last_keep), counted.macs) is None
            assert wrong_amount(one, float(one.net.last_keep) - 0.1, counted.macs).startswith('it computed 0.')
            costs.append(counted.macs)
    for form, quarter, half, whole in zip(sparse[::3], costs[::3], costs[1::3], costs[2::3], strict=True):
        assert quarter < half < whole or form.form == 'patches 4'  # M of all patches makes no coarse image


@torch.no_grad()
@pytest.mark.parametrize('options', [EDSR, SWINIR])
@pytest.mark.parametrize('form', ['sparse', 'dense'])
def test_mode_auto_competes_with_what_it_chose(options, form, monkeypatch):
    _, sparse = forms(options, dataclasses.replace(GRID, amounts=(HALF,), auto=True))
    own, auto = sparse
    assert auto.name == f'auto, {own.name}' and auto.kind == 'auto' and auto.net.amsr.mode == 'auto'
    costs = {'sparse': Costs(1, 1, 0, 1, True), 'dense': Costs(1, 1, 4, 1, True)}
    monkeypatch.setenv(VARIABLE, 'costs.json')
    monkeypatch.setattr(model.MODEL, 'costs', lambda *_: costs[form])  # nothing is measured or written
    found, x = Measured(), image(18, 26)
    admit(found, auto, [x])
    assert found.contenders == [auto] and (found.keeps[auto.name] < 0.6) == (form == 'sparse')
    chosen = own.net if form == 'sparse' else built(options)
    if form != 'sparse':
        chosen.set_variant('D')
        chosen.load_state_dict(own.net.state_dict())
    torch.testing.assert_close(auto.run(x), chosen(x), rtol=1e-5, atol=1e-5)


def test_patches_are_never_chosen_by_time():
    assert [one.kind for one in forms(FSRCNN, dataclasses.replace(GRID, auto=True))[1]] == ['sparse', 'sparse']


@torch.no_grad()
def test_backends_are_combined_with_the_rest(interpreter):
    _, sparse = forms(EDSR, Grid((QUARTER,), (4,), ('torch', 'triton')))
    assert [one.name for one in sparse] == [f'patches 4, 25 % ({backend})' for backend in ('torch', 'triton')]
    x, by_torch, by_triton = image(17, 22), *sparse
    assert wrong_output(by_triton, x) is None
    counts = [count(one.net, x) for one in (by_torch, by_triton)]
    assert counts[0].macs == counts[1].macs and not counts[1].uncounted
    assert 'basicsr_amsr::convolve_rows' in counts[1].by_op and 'basicsr_amsr::convolve_rows' not in counts[0].by_op
    assert [one.backend for one in forms({**EDSR, 'backend': 'triton'}, Grid((QUARTER,)))[1]] == ['triton']
    assert [one.backend for one in forms(SWINIR, Grid((QUARTER,), backends=('triton',)))[1]] == ['torch']


@torch.no_grad()
def test_layouts_are_what_they_say():
    for one, contiguous in zip(dense_forms(built(EDSR)), (True, False), strict=True):
        weights = [module.weight for module in one.net.modules() if isinstance(module, nn.Conv2d)]
        assert all(weight.is_contiguous() == contiguous for weight in weights)
        assert type(one.net).__name__ == 'EDSR' and not hasattr(one.net, 'amsr')


@torch.no_grad()
def test_the_network_that_mga_was_made_of_stands_beside():
    net, x = built(FSRCNN), image(16, 20)
    dense, unmodified = dense_forms(net)[0], unmodified_form(net)
    assert count(dense.net, x).macs == net.costs(16, 20).dense
    assert unmodified.kind == 'reference' and unmodified.net(x).shape == (1, 3, 32, 40)
    assert not hasattr(unmodified.net, 'mask') and count(unmodified.net, x).params < count(net, x).params


@torch.no_grad()
@pytest.mark.parametrize('options, budget', [(EDSR, 0.7), (RFDN, 0.9)])
def test_a_budget_is_a_share_that_is_kept(options, budget):
    x = image(18, 26)
    one = forms(options, Grid((Amount('budget', budget),)))[1][0]
    assert one.name.endswith(f', budget {100 * budget:g} % ({USUAL})')
    assert wrong_output(one, x) is None
    macs = count(one.net, x).macs
    assert 0 < one.keep < 1 and one.net.last_keep == pytest.approx(one.keep)
    assert 0.8 * one.most_macs < macs <= one.most_macs
    assert 'over its budget' in wrong_amount(one, one.keep, one.most_macs + 1)


@pytest.fixture
def calibrated(tmp_path):
    net = restore_(built(EDSR))
    images = [image(32, 32, seed) ** (seed + 1) for seed in range(3)]
    calibrate(net, images, HighFrequencyMask(keep=0.5, patch_size=4, smooth=3),
              one_level=False).save(tmp_path / 'it.amsr')
    return {**EDSR, 'calibration': str(tmp_path / 'it.amsr')}


@torch.no_grad()
def test_calibrated_networks(calibrated):
    x, amounts = image(18, 26), (QUARTER, HALF, Amount('budget', 0.7))
    dense, sparse = forms(calibrated, Grid(amounts, (2, 4)))
    assert [one.name for one in sparse] == [f'patches {patch_size}, calibrated, {amount} ({USUAL})'
                                            for patch_size in (2, 4)
                                            for amount in amounts]
    plain = count(dense[0].net, x).macs
    for one in sparse:
        assert wrong_output(one, x) is None
        macs = count(one.net, x).macs
        assert macs < 0.8 * plain and wrong_amount(one, float(one.net.last_keep), macs) is None
        assert 'over its budget' in wrong_amount(one, 0.5, plain) if one.keep is None else one.most_macs == math.inf
    assert wrong_amount(sparse[0], 0.5, 1) == 'it computed 0.5000 of the image instead of 0.2500'


@torch.no_grad()
def test_keep_is_a_level(calibrated):
    _, sparse = forms(calibrated, Grid((Amount('keep_by_level', 0.3), Amount('keep_by_level', 0.8)), auto=True))
    assert [one.name for one in sparse] == [f'{auto}patches 4, calibrated, keep by level {keep} % ({USUAL})'
                                            for keep in (30, 80) for auto in ('', 'auto, ')]
    low, high = sparse[::2]
    for one, keep in ((low, 0.3), (high, 0.8)):
        expected = Calibration.load(calibrated['calibration']).selection(keep)
        assert one.net.amsr.selection == expected and expected.level is not None and one.keep is None
    flat, detailed = 0.5 + 0.02 * image(18, 26), image(18, 26)
    found = {(one.name, x is flat): float((one.net(x), one.net.last_keep)[1])
             for one in (low, high) for x in (flat, detailed)}
    assert found[low.name, True] < found[low.name, False] and found[low.name, False] <= found[high.name, False]
    assert wrong_output(low, detailed) is None


def test_keep_by_level_needs_a_calibration_and_its_patches(calibrated):
    keep = Grid((Amount('keep_by_level', 0.3),))
    for options in (EDSR, FSRCNN):
        with pytest.raises(UserError, match=r'--keep-by-level is of the patches to which a network was calibrated'):
            forms(options, keep)
    with pytest.raises(UserError, match=r'patches of the calibration, of 4: leave --patch-size 2 out'):
        forms(calibrated, dataclasses.replace(keep, patch_sizes=(2,)))


def test_a_budget_that_is_too_small_is_refused(calibrated):
    with pytest.raises(UserError, match=r'budget 0\.01 of the dense MACs is less than'):
        forms(calibrated, Grid((Amount('budget', 0.01),)))
    with pytest.raises(UserError, match=r'budget 0\.01 of the dense MACs is less than'):
        forms(EDSR, Grid((Amount('budget', 0.01),)))
    with pytest.raises(UserError, match=r'budget 0\.01 of the dense MACs is less than'):
        forms(FSRCNN, Grid((Amount('budget', 0.01),)))


@pytest.mark.parametrize('values, message', [
    ({'amounts': (Amount('keep', 0.0),)}, r'--keep 0: give a share'),
    ({'amounts': (HALF, Amount('keep', 1.5))}, r'--keep 1\.5: give a share'),
    ({'amounts': (Amount('budget', -1.0),)}, r'--budget -1: give a share'),
    ({'amounts': (Amount('keep_by_level', 0.0),)}, r'--keep-by-level 0: give a share'),
    ({'amounts': (HALF,), 'patch_sizes': (8, 0)}, r'--patch-size 0: give the side'),
])
def test_impossible_values_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        Grid(**values)


def equal(own, reference=torch.abs):
    equalities = (Equality('the truth', own, reference),)
    return Contender('form', 'torch', 'sparse', View('amsr'), nn.Identity(), equalities=equalities)


@pytest.mark.parametrize('own, message', [
    (lambda x: x * 1.001, 'differs from that of the truth by 0.001 of the largest value'),
    (lambda x: x[..., :-1], r'its output is \(1, 3, 9, 8\), that of the truth \(1, 3, 9, 9\)'),
    (lambda x: x / 0 * 0, 'differs from that of the truth by nan'),
])
def test_another_output_is_noticed(own, message):
    assert re.search(message, wrong_output(equal(own), image(9, 9)))
    assert wrong_output(equal(lambda x: x * 1.00001), image(9, 9)) is None


@torch.no_grad()
def test_a_skipped_unit_that_is_wrong_is_noticed():
    net = built(EDSR)
    dense = dense_forms(net)
    one = sparse_forms(net, dense[-1].net, GRID, (3, 16, 16))[0]
    with torch.no_grad():
        next(module for module in net.modules() if isinstance(module, nn.Conv2d)).weight.mul_(1.5)
    assert 'the dense network where all is active' in wrong_output(one, image(16, 16))
