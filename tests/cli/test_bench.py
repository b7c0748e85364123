"""`basicsr bench` from the command line to its tables, JSON and picture."""
import json
import re
import signal
from pathlib import Path

import cv2
import pytest
import torch

from basicsr_amsr.bench import comparisons, processes, rivals, rounds
from basicsr_amsr.bench.processes import launch
from basicsr_amsr.cli import main
from basicsr_amsr.cli.option_network import named
from basicsr_amsr.errors import UserError
from tests.bench.conftest import in_process  # noqa: F401
from tests.bench.tiny import USUAL, launched
from tests.cli.conftest import basicsr, error_line, options_to_test, project  # noqa: F401

FAST = ('--size', '8x12', '--rounds', '1', '--seconds', '0', '--threads', '1', '--device', 'cpu')
pytestmark = pytest.mark.usefixtures('in_process')


def test_option_file_with_weights_to_json_and_picture(basicsr):  # noqa: F811
    torch.save({'params': plain_weights()}, 'net.pth')
    options = options_to_test(path={'pretrain_network_g': 'net.pth'})
    code, out, err = basicsr('bench', options, *FAST, '--images', 'data/lq', '--hr', 'data/gt', '--max-hr', '2',
                             '--keep', '0.25', '0.5', '0.5', '--patch-size', '1', '4',
                             '--json', 'bench.json', '--plot', 'bench.png')
    assert code == 0 and told(err)
    whole = json.loads(Path('bench.json').read_text())
    assert whole['interrupted'] is False and whole['flags']['patch_size'] == [1, 4]
    assert whole['flags']['opt'] == ['tiny.yml']
    one, = whole['comparisons']
    assert (one['network'], one['weights'], one['scale'], one['size']) == ('tiny', 'net.pth', 2, [8, 12])
    assert (one['source'], one['images'], one['rounds'], one['batch']) == ('data/lq', ['a.png', 'b.png', 'c.png'], 1, 1)
    assert [entry['name'] for entry in one['contenders']] == [
        'dense NCHW (torch)', 'dense channels-last (torch)',
        *(f'{form}, {keep} % (torch)' for form in ('pixels', 'patches 4') for keep in (25, 50))]
    for entry in one['contenders']:
        assert entry['efficiency'] == pytest.approx(entry['speed_up']['median'] / entry['ideal'])
        assert entry['latency_ms']['q1'] <= entry['latency_ms']['median'] <= entry['latency_ms']['q3']
        assert entry['psnr'] > 5
    assert one['best_dense'] in ('dense NCHW (torch)', 'dense channels-last (torch)')
    assert {each['loss_db'] for each in one['fastest_within']} == {0.02, 0.05, 0.1}
    assert cv2.imread('bench.png') is not None
    assert 'tiny, LR 8x12, cpu' in out and '* the best dense form' in out and 'masks: data/lq' in out


def told(err):
    """Whether stderr tells how far it is and nothing else."""
    return all(re.match(r'basicsr: \d\d:\d\d:\d\d ', line) for line in err.splitlines())


def plain_weights():
    from basicsr.archs import build_network
    torch.manual_seed(1)
    return build_network(dict(options_to_test()['network_g'])).state_dict()


def test_networks_by_name_on_noise(basicsr):  # noqa: F811
    code, out, err = basicsr('bench', None, '--network', 'FSRCNN', 'MGA-FSRCNN', 'FSRCNN', '--upscale', '2', *FAST,
                             '--budget', '0.97', '--json', 'bench.json')
    assert code == 0 and told(err)
    reports = json.loads(Path('bench.json').read_text())['comparisons']
    assert [(one['network'], one['scale'], one['source']) for one in reports] == [
        ('FSRCNN', 2, 'noise'), ('MGA-FSRCNN', 2, 'noise')]
    assert [entry['asked'] for entry in reports[0]['contenders']] == [None, None, {'budget': 0.97}]
    assert 'masks: noise; give --images DIR' in out and 'unmodified network' in out


def test_refused_forms_are_named_and_the_exit_code_is_1(basicsr, monkeypatch):  # noqa: F811
    monkeypatch.setattr(rounds, 'wrong_amount', lambda contender,
                        *args: 'it is wrong' if contender.view.patch_size else None)
    code, out, _ = basicsr('bench', options_to_test(), *FAST, '--keep', '0.5', '--json', 'bench.json')
    assert code == 1 and f'not measured: patches 8, 50 % ({USUAL}): it is wrong' in out
    one, = json.loads(Path('bench.json').read_text())['comparisons']
    assert len(one['contenders']) == 2 and one['crossovers'] == []


@pytest.mark.parametrize('error, code, line', [
    (KeyboardInterrupt(), 130, 'basicsr: stopped: bench.json and bench.png hold what was measured until then.\n'),
    (UserError('tiny runs out of memory'), 2, 'basicsr: error: tiny runs out of memory\n'),
])
def test_what_was_measured_is_written_when_it_stops(basicsr, monkeypatch, project, error, code, line):  # noqa: F811
    measure, calls = comparisons.time_rounds, []

    def second_fails(*args):
        calls.append(args)
        if len(calls) == 2:
            raise error
        return measure(*args)

    monkeypatch.setattr(comparisons, 'time_rounds', second_fails)
    found, out, err = basicsr('bench', options_to_test(), *FAST[2:], '--size', '8x8', '9x9', '10x10', '--json',
                              'bench.json', '--plot', 'bench.png')
    assert found == code and err.endswith(line)
    whole = json.loads((project / 'bench.json').read_text())
    assert whole['interrupted'] is True and [one['size'] for one in whole['comparisons']] == [[8, 8]]
    assert (project / 'bench.png').exists() and not list(project.glob('*.part'))
    assert len(calls) == 2 and 'LR 8x8' in out and 'LR 9x9' not in out


def test_figures_are_written_after_each_round(basicsr, monkeypatch, project):  # noqa: F811
    seen = []

    def looking(job, timeout):
        file = project / 'bench.json'
        seen.append(json.loads(file.read_text())['comparisons'][-1]['rounds'] if file.exists() else 0)
        return launched(job, timeout)

    monkeypatch.setattr(processes, 'launch', looking)
    flags = [*FAST[:2], '--rounds', '3', *FAST[4:], '--keep', '0.5', '--json', 'bench.json']
    assert basicsr('bench', options_to_test(), *flags)[0] == 0
    assert seen == [0] * 3 + [1] * 3 + [2] * 3
    assert json.loads((project / 'bench.json').read_text())['interrupted'] is False


def test_rivals_that_are_not_installed_are_no_failure(basicsr, monkeypatch):  # noqa: F811
    monkeypatch.setattr(rivals.importlib.util, 'find_spec', lambda name: None)
    code, out, _ = basicsr('bench', options_to_test(), *FAST, '--keep', '0.5', '--rivals', 'openvino', 'stock')
    assert code == 0 and 'not measured: dense (openvino): not installed: pip install openvino' in out
    assert 'dense channels-last, stock allocator' in out


def test_processes_of_their_own_from_the_command_line(basicsr, monkeypatch):  # noqa: F811
    monkeypatch.setattr(processes, 'launch', launch)
    torch.save({'params': plain_weights()}, 'net.pth')
    options = options_to_test(path={'pretrain_network_g': 'net.pth'})
    code, _, _ = basicsr('bench', options, *FAST, '--images', 'data/lq', '--keep', '0.5', '--json', 'b.json')
    one, = json.loads(Path('b.json').read_text())['comparisons']
    assert code == 0 and [entry['kind'] for entry in one['contenders']] == ['dense', 'dense', 'sparse']
    assert one['contenders'][1]['psnr_to_dense'] in ('Infinity', pytest.approx(150, abs=30))
    assert all(0 < entry['first_picture_s'] < 60 for entry in one['contenders'])


def test_stopped_before_anything_was_measured_writes_nothing(basicsr, monkeypatch, project):  # noqa: F811
    def fails(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparisons, 'time_rounds', fails)
    code, _, err = basicsr('bench', options_to_test(), *FAST, '--json', 'bench.json')
    assert code == 130 and err.endswith('basicsr: stopped.\n') and not (project / 'bench.json').exists()


@pytest.mark.parametrize('flags, message', [
    ((), 'name option files, -opt FILE'),
    (('--network', 'RFDNN'), "--network 'RFDNN' is no network that can be accelerated. Did you mean"),
    (('--network', 'FSRCNN', '--upscale', '7'), 'upscale 7 is not among 2, 3, 4'),
    (('--network', 'FSRCNN', '--keep', '1.5'), '--keep 1.5: give a share over 0 and up to 1'),
    (('--network', 'FSRCNN', '--budget', '0'), '--budget 0: give a share'),
    (('--network', 'FSRCNN', '--keep-by-level', '0.5'),
     '--keep-by-level is of the patches to which a network was calibrated'),
    (('--network', 'MGA-FSRCNN', '--budget', '0.05'), 'budget 0.05 of the dense MACs is less than'),
    (('--network', 'FSRCNN', '--patch-size', '0'), '--patch-size 0: give the side'),
    (('--network', 'FSRCNN', '--size', '128'), "--size '128': write the LR image's HEIGHTxWIDTH"),
    (('--network', 'FSRCNN', '--images', 'absent'), "'absent' is not there"),
    (('--network', 'FSRCNN', '--images', 'data'), "Folder 'data' holds no image"),
    (('--network', 'FSRCNN', '--images', 'data/lq', '--size', '8x8', '17x8'),
     '--size 17x8: no image of data/lq is 17x8 or larger (a.png is 16x16)'),
    (('--network', 'FSRCNN', '--hr', 'data/gt'), '--hr: PSNR needs a network with weights'),
    (('--network', 'FSRCNN', '--hr', 'data/gt', '--size', '9x9'), 'no image of data/gt is 36x36 HR or larger'),
    (('--network', 'FSRCNN', '--max-hr', '3'), '--max-hr 3 belongs to --hr DIR'),
    (('--network', 'FSRCNN', '--max-images', '0'), '--max-images 0: give 1 or more'),
    (('--network', 'FSRCNN', '--rounds', '0'), '--rounds 0: give 1 or more'),
    (('--network', 'FSRCNN', '--threads', '0'), '--threads 0: give 1 or more'),
    (('--network', 'FSRCNN', '--seconds', '-1'), '--seconds -1: give 0 or more'),
    (('--network', 'FSRCNN', '--timeout', '0'), '--timeout 0: give more than 0'),
    (('--network', 'FSRCNN', '--rivals', 'openvin'), "--rivals 'openvin' is unknown. Did you mean"),
    (('--network', 'FSRCNN', '--json', 'nowhere/b.json'), '--json nowhere/b.json: there is no folder nowhere'),
    (('--network', 'FSRCNN', '--plot', 'b.pdf'), '--plot b.pdf: name a file that ends in .png'),
    (('--network', 'FSRCNN', '--force_yml', 'a=b'), '--force_yml changes option files: name one'),
    (('-opt', 'absent.yml'), 'absent.yml'),
])
def test_mistakes_are_one_line(basicsr, flags, message):  # noqa: F811
    rest = () if '--size' in flags else ('--size', '4x4')
    code, out, err = basicsr('bench', None, *flags, *rest, '--device', 'cpu')
    assert (code, out) == (2, '') and message in error_line(err)
    assert err.splitlines()[:-1] == [line for line in err.splitlines() if ' checking ' in line]


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_gpu_that_is_not_there(basicsr):  # noqa: F811
    code, _, err = basicsr('bench', options_to_test(), '--device', 'cpu', 'cuda')
    assert code == 2 and '--device cuda: PyTorch sees no GPU here' in error_line(err)


def test_a_type_that_a_device_does_not_compute_in(basicsr, monkeypatch):  # noqa: F811
    def fails(*args):
        raise RuntimeError('"slow_conv2d_cpu" not implemented for \'Half\'')

    monkeypatch.setattr(torch.nn.functional, 'conv2d', fails)
    code, _, err = basicsr('bench', options_to_test(), '--device', 'cpu', '--dtype', 'fp16')
    assert code == 2 and '--dtype: PyTorch does not compute in float16 on this cpu' in error_line(err)


def test_option_files_are_named_by_their_stems():
    assert named(['a/x.yml', 'b/x.yml', 'c/y.yml']) == {'a/x': 'a/x.yml', 'b/x': 'b/x.yml', 'y': 'c/y.yml'}
    with pytest.raises(UserError, match=r'a/x\.yml is named twice'):
        named(['a/x.yml', 'b/y.yml', 'a/x.yml'])


def test_a_file_and_a_network_of_one_name(project, capsys):  # noqa: F811
    (project / 'FSRCNN.yml').write_text('{name: a, network_g: {type: FSRCNN, upscale: 2}}')
    assert main(['bench', '-opt', 'FSRCNN.yml', '--network', 'FSRCNN']) == 2
    assert "'FSRCNN' is both an option file of -opt and a --network" in error_line(capsys.readouterr().err)


def test_told_to_end_it_writes_what_was_measured(basicsr, monkeypatch, project):  # noqa: F811
    calls = []

    def ended(job, timeout):
        calls.append(job)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGTERM)
        return launched(job, timeout)

    monkeypatch.setattr(processes, 'launch', ended)
    flags = [*FAST[:2], '--rounds', '3', *FAST[4:], '--keep', '0.5', '--json', 'bench.json']
    before = signal.getsignal(signal.SIGTERM)
    code, out, _ = basicsr('bench', options_to_test(), *flags)
    assert code == 130 and 'LR 8x12' in out and signal.getsignal(signal.SIGTERM) == before
    assert json.loads((project / 'bench.json').read_text())['comparisons'][0]['rounds'] == 1
