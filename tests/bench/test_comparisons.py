"""The whole matrix: what is tried beforehand, what a report holds, and what stays in memory."""
import dataclasses
import gc
import math
import weakref

import cv2
import numpy as np
import pytest
import torch

from basicsr_amsr.bench import networks, processes
from basicsr_amsr.bench.comparison_picture import curves, draw
from basicsr_amsr.bench.comparison_report import report
from basicsr_amsr.bench.comparisons import Plan, check, comparisons
from basicsr_amsr.bench.contenders import Contender
from basicsr_amsr.bench.grid import Amount, Grid
from basicsr_amsr.bench.job import Result
from basicsr_amsr.bench.networks import by_name, known_names, scale_of
from basicsr_amsr.bench.rounds import Measured, Settings
from basicsr_amsr.bench.table import lines, report_table, title
from basicsr_amsr.bench.views import View
from basicsr_amsr.errors import UserError
from tests.bench.tiny import EDSR, FSRCNN, GRID, HALF, QUARTER, SWINIR, launched, network
from tests.kernels import needs_kernels

pytestmark = pytest.mark.usefixtures('in_process')
CPU, FP32 = torch.device('cpu'), torch.float32


def plan(*options, **changes):
    nets = [network(each, f'net{number}') for number, each in enumerate(options)]
    return Plan(**{'networks': nets, 'grid': GRID, 'sizes': [(12, 16)], 'devices': [CPU], 'dtypes': [FP32],
                   'settings': Settings(rounds=1, seconds=0.0), 'num_threads': 1, **changes})


@pytest.fixture
def trained(tmp_path):
    """A network whose weights are of a file."""
    torch.save({'params': networks.Network('a', {'network_g': EDSR}).build().net.state_dict()}, tmp_path / 'net.pth')
    return network(EDSR, 'trained', path={'pretrain_network_g': str(tmp_path / 'net.pth')})


@pytest.mark.slow
def test_networks_sizes_and_types_are_all_combined():
    whole = plan(EDSR, FSRCNN, SWINIR, sizes=[(12, 16), (9, 9)], dtypes=[FP32, torch.bfloat16])
    reports = list(comparisons(whole, check(whole)))
    assert [(one['network'], one['dtype'], one['size']) for one in reports] == [
        (f'net{number}', dtype, size) for number in range(3) for dtype in ('float32', 'bfloat16')
        for size in ([12, 16], [9, 9])]
    assert all(one['rounds'] == 1 and not one['not_measured'] and one['threads'] == 1 for one in reports)
    forms = [[entry['form'] for entry in one['contenders']] for one in reports[::4]]
    dense = ['dense NCHW', 'dense channels-last']
    assert forms == [[*dense, 'patches 4', 'patches 4'],
                     [*dense, 'unmodified network', 'patches 4', 'patches 4'],
                     [*dense, 'windows 4', 'windows 4']]
    assert [entry['keep'] for entry in reports[0]['contenders']] == [1, 1, 3 / 12, 6 / 12]


@pytest.mark.slow
def test_one_network_is_in_memory_at_a_time(monkeypatch):
    alive, most = [], []
    build = networks.Network.build

    def counted(self):
        gc.collect()
        most.append(sum(net() is not None for net in alive))
        found = build(self)
        alive.append(weakref.ref(found.net))
        return found

    monkeypatch.setattr(networks.Network, 'build', counted)
    whole = plan(EDSR, FSRCNN, SWINIR)
    for _ in comparisons(whole, check(whole)):
        pass
    assert len(most) > 6 and max(most) <= 1  # of a process in a process's place


def test_mode_auto_stands_in_table_and_report_but_is_no_rival():
    whole = plan(EDSR, grid=dataclasses.replace(GRID, auto=True))
    found, = comparisons(whole, check(whole))
    assert [entry['kind'] for entry in found['contenders']] == ['dense'] * 2 + ['sparse', 'auto'] * 2
    assert len(found['crossovers']) == 1 and found['best_dense'].startswith('dense')
    assert report_table(found).row_count == 6 and draw([found])[:4] == b'\x89PNG'


def contender(form, kind, amount=None, backend='torch'):
    return Contender(form, backend, kind, View('amsr', amount=amount, patch_size=8))


def by_hand(psnr=True, interrupted=False):
    every = [contender('dense NCHW', 'dense'), contender('dense channels-last', 'dense'),
             contender('dense channels-last', 'dense', backend='torch.compile'),
             *(contender('patches 8', 'sparse', amount) for amount in (QUARTER, HALF, Amount('budget', 0.8)))]
    keeps = dict(zip([one.name for one in every], [1, 1, 1, 0.25, 0.5, 0.75], strict=True))
    results = {name: [Result([[value]], first, 3 << 20, 1500.0, db, 0.0, {'torch': '2'})
                      for value, first in ((value, 61.5), (3 * value, 2.0))]
               for name, value, db in zip(keeps, [20, 16, 12, 6, 10, 15], [90, math.inf, 80, 30, 40, 45], strict=True)}
    macs = dict(zip(keeps, [90, 90, 90, 30, 45, 72], strict=True))
    measured = Measured(every, macs, keeps, results, {'patches 4 (torch)': 'it computed 1.0 of the image'},
                        {'dense (openvino)': 'not installed: pip install openvino'}, interrupted)
    quality = {name: value for name, value in zip(keeps, [None, 30, None, 29, 29.96, 29.99], strict=True) if value}
    found = report(measured, quality if psnr else {})
    return {'network': 'net', 'size': [12, 16], 'device': 'cpu', 'device_name': 'a CPU', 'dtype': 'float32',
            'threads': 1, 'torch': '2', 'source': 'folder', 'images': ['a.png'], 'weights': 'net.pth', **found}


def test_a_report_by_hand():
    found = by_hand()
    assert found['best_dense'] == 'dense channels-last (torch.compile)' and found['rounds'] == 2
    dense, quarter, half, budget = found['contenders'][1], *found['contenders'][3:]
    assert [one['speed_up']['median'] for one in (dense, quarter, half, budget)] == [0.75, 2.0, 1.2, 0.8]
    assert [one['ideal'] for one in (quarter, half, budget)] == [3.0, 2.0, 1.25]
    assert [one['efficiency'] for one in (quarter, half, budget)] == pytest.approx([2 / 3, 0.6, 0.64])
    assert [one['asked'] for one in (dense, quarter, budget)] == [None, {'keep': 0.25}, {'budget': 0.8}]
    assert (half['patch_size'], half['keep'], half['macs_share']) == (8, 0.5, 0.5)
    # Dense is as good in every form.
    assert [one['psnr'] for one in found['contenders']] == [30, 30, 30, 29, 29.96, 29.99]
    assert half['psnr_loss'] == pytest.approx(0.04) and half['psnr_to_dense'] == 40 and half['peak_memory_mb'] == 3
    assert (half['first_picture_s'], half['first_pictures_s'], half['page_faults']) == (61.5, [61.5, 2.0], 1500.0)
    # Time against dense: 10/12 at 50 %, 15/12 at 75 %.
    assert found['crossovers'] == [{'form': 'patches 8', 'backend': 'torch', 'keep': pytest.approx(0.6),
                                    'says': 'dense is faster above 60 % active'}]
    assert [one['form'] for one in found['fastest_within']] == [
        'dense channels-last', 'patches 8', 'patches 8']
    assert found['not_measured'] == [
        {'contender': 'patches 4 (torch)', 'why': 'it computed 1.0 of the image', 'absent': False},
        {'contender': 'dense (openvino)', 'why': 'not installed: pip install openvino', 'absent': True}]


def test_a_report_without_a_complete_round_has_no_figures():
    found = report(Measured(refused={'dense NCHW (torch)': 'why'}), {})
    assert found['contenders'] == [] and found['best_dense'] is None and found['rounds'] == 0
    assert found['not_measured'] == [{'contender': 'dense NCHW (torch)', 'why': 'why', 'absent': False}]


def test_table_and_lines_say_it_in_words():
    found = by_hand()
    table = report_table(found)
    assert [column.header for column in table.columns][-3:] == ['page faults', 'PSNR (dB)', 'loss']
    rows = list(zip(*(column._cells for column in table.columns), strict=True))
    assert rows[2] == ('dense channels-last*', 'torch.compile', '', '24.00', '18.0 to 30.0', *['1.000'] * 4, '80.0',
                       '61.50', '3', '2 k', '30.000', '0.000')
    assert rows[5] == ('patches 8', 'torch', 'budget 80 %', '30.00', '22.5 to 37.5', '0.800', '0.640', '0.750',
                       '0.800', '45.0', '61.50', '3', '2 k', '29.990', '0.010')
    assert rows[1][9] == 'equal'
    assert len(report_table(by_hand(psnr=False)).columns) == 13
    text = '\n'.join(lines(found))
    for part in ('best dense form, dense channels-last (torch.compile)',
                 'not measured: dense (openvino): not installed: pip', 'masks: folder (a.png); weights: net.pth',
                 'patches 8 (torch): dense is faster above 60 % active',
                 'fastest at most 0.1 dB below dense: patches 8 50 % (torch), 20.00 ms, speed-up 1.200',
                 'fastest at most 0.02 dB below dense: dense channels-last (torch.compile), 24.00 ms',
                 'not measured: patches 4 (torch): it computed 1.0 of the image'):
        assert part in text
    assert title(found) == 'net, LR 12x16, cpu (a CPU), float32, 1 threads'
    assert 'give --images DIR' in '\n'.join(lines({**found, 'source': 'noise', 'images': ['noise']}))


@pytest.mark.parametrize('psnr, panels', [(False, 1), (True, 2)])
def test_picture_has_a_panel_for_times_and_one_for_quality(psnr, panels):
    picture = cv2.imdecode(np.frombuffer(draw([by_hand(psnr)]), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (440 * panels, 572, 3) and picture.std() > 10
    assert draw([by_hand(psnr)] * 4 + [{**by_hand(), 'contenders': []}])[:4] == b'\x89PNG'
    assert [entry['keep'] for entry in curves(by_hand())['patches 8 (torch)']] == [0.25, 0.5, 0.75]


def test_psnr_of_networks_with_weights(trained, tmp_path):
    files = [tmp_path / 'a.png', tmp_path / 'b.png']
    for seed, file in enumerate(files):
        cv2.imwrite(str(file), np.random.default_rng(seed).integers(0, 256, (20, 26, 3), dtype=np.uint8))
    whole = plan(EDSR, quality=files, grid=Grid((HALF, Amount('keep', 1.0))), sizes=[(8, 8), (12, 8)])
    whole = Plan(**{**vars(whole), 'networks': [*whole.networks, trained]})
    random, _, first, second = comparisons(whole, check(whole))
    assert all(entry['psnr'] is None for entry in random['contenders']) and random['fastest_within'] == []
    dense, half, full = (first['contenders'][number] for number in (1, 2, 3))
    assert dense['psnr'] == full['psnr'] != half['psnr'] and full['psnr_loss'] == 0
    assert [entry['psnr'] for entry in second['contenders']] == [entry['psnr'] for entry in first['contenders']]
    assert len(first['fastest_within']) == 3


def test_psnr_without_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match='--hr: PSNR needs a network with weights'):
        check(plan(EDSR, quality=[tmp_path / 'a.png']))


def test_a_backend_that_does_not_run_here_is_refused(monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    with pytest.raises(UserError, match=r'^--backend: triton '):
        check(plan(EDSR, grid=Grid((HALF,), backends=('torch', 'triton'))))


def test_an_interruption_yields_what_is_complete_and_ends(monkeypatch):
    calls = []

    def interrupted(job, timeout):
        calls.append(job)
        if len(calls) == 4 + 2:
            raise KeyboardInterrupt
        return launched(job, timeout)

    monkeypatch.setattr(processes, 'launch', interrupted)
    whole, reports, partial = plan(EDSR, FSRCNN, settings=Settings(rounds=3, seconds=0.0)), [], []
    with pytest.raises(KeyboardInterrupt):
        for one in comparisons(whole, check(whole), partial=partial.append):
            reports.append(one)
    assert len(reports) == 1 and reports[0]['interrupted'] and reports[0]['rounds'] == 1
    assert [(one['network'], one['rounds'], one['interrupted']) for one in partial] == [('net0', 1, False)]


@pytest.mark.parametrize('name, message', [
    ('RFDNN', r"--network 'RFDNN' is no network that can be accelerated\. Did you mean .*RFDN"),
    ('MGA-CARN', r"--network 'MGA-CARN' is no network"),
    ('DnCNN', r"--network 'DnCNN' is no network"),
])
def test_names_that_do_not_exist(name, message):
    with pytest.raises(UserError, match=message):
        by_name(name, 4)


def test_names_are_backbones_and_those_that_mga_can_split():
    assert {'RFDN', 'CARN_M', 'EDSR_baseline', 'SwinIR_light', 'RCAN', 'MGA-RFDN', 'MGA-SRResNet'} <= set(known_names())
    assert by_name('MGA-RFDN', 2).opt == {'network_g': {'type': 'MGA', 'backbone': {'type': 'RFDN', 'upscale': 2}}}
    found = by_name('FSRCNN', 3).build()
    assert scale_of(found.net, 3) == 3 and found.net.amsr.selection.keep == 0.5
    assert (found.weights, found.trained) == ('random', False)


def test_a_plain_network_of_an_option_file_is_accelerated():
    net = network({'type': 'MSRResNet', 'num_feat': 8, 'num_block': 1}).build().net
    assert net.amsr.selection.keep == 0.5 and not net.training


@needs_kernels
def test_one_without_anything_to_skip_runs_as_a_whole():
    net = network({'type': 'DnCNN'}).build().net
    assert net.amsr.mode == 'dense' and net.native is not None
