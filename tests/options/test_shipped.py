"""Every option file that is shipped: what it merges from, the check, its network, the paper's recipe and test sets."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network

from basicsr_amsr import resources
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.mga.schedule import Step, StepPlan
from basicsr_amsr.options.check import check
from basicsr_amsr.options.option_file import OptionFile
from basicsr_amsr.options.read import read as section
from basicsr_amsr.options.scale import give_scale
from basicsr_amsr.weights.cards import find_weights, locate, read_card

FOLDER = Path(__file__).parents[2] / 'options'
TRAINING, TESTING = sorted(FOLDER.glob('*.yml')), sorted((FOLDER / 'test').glob('*.yml'))
BASES = sorted((FOLDER / 'base').glob('*.yml'))
NETWORKS = ('fsrcnn', 'pan', 'rfdn', 'srresnet', 'rcan')
MGA = [f'mga_{network}_x{scale}' for network in NETWORKS for scale in (2, 3, 4)]
SHIPPED = {'mga_fsrcnn_x3': 'MGA_FSRCNN_x3', 'mga_fsrcnn_x4': 'MGA_FSRCNN_x4',
           'mga_rfdn_x4': 'MGA_RFDN_x4'}  # tests with weights in pretrained/
SFM = ['sfm_rcan_x4', 'sfm_rrdb_x4', 'sfm_rfdn_x4', 'sfm_dncnn_gray', 'sfm_dncnn_color']
AMSR = [f'amsr_{network}_x{scale}' for network in ('carn', 'carn_m', 'edsr', 'srresnet', 'rcan', 'pan', 'swinir_light')
        for scale in (2, 3, 4)]
CALIBRATED = ['amsr_carn_m_x4_calibrated']
SETS = ['Set5', 'Set14', 'BSD100', 'Manga109', 'Urban100', 'Test2K', 'Test4K']  # the paper's seven


def read(path, demo=False):
    source = OptionFile.read(path)
    if demo:
        source.use_demo()
    source.options.pop('demo', None)
    return source.options


@pytest.mark.parametrize('path', TRAINING + TESTING, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_a_file_passes_the_check_and_builds_its_network(path):
    options = read(path)
    assert options['name'] == path.stem
    assert check(options, path in TRAINING) == []
    assert f'-opt options/{path.relative_to(FOLDER).as_posix()}' in path.read_text(encoding='utf-8')
    give_scale(options)
    meta = not {'swinir', 'dat'} & set(path.stem.split('_'))  # which build on no meta device
    device = torch.device('meta' if meta else 'cpu')
    with device:
        net = build_network(options['network_g'])
    channels = next(parameter for parameter in net.parameters() if parameter.dim() == 4).shape[1]
    size = (1, channels, 16, 12)
    with device, torch.no_grad():
        assert net.eval()(torch.zeros(size)).shape[-2:] == (16 * options['scale'], 12 * options['scale'])


def test_there_is_a_file_for_every_network_and_scale_of_the_paper():
    assert {path.stem for path in TRAINING} == {*MGA, *SFM, *AMSR, *CALIBRATED}
    assert set(MGA) <= {path.stem for path in TESTING}


@pytest.mark.parametrize('name', MGA)
def test_the_recipe_of_the_paper(name):
    options = read(FOLDER / f'{name}.yml')
    scale, train, images = options['scale'], options['train'], options['datasets']['train']
    assert name == f'mga_{options["network_g"]["backbone"]["type"].lower()}_x{scale}'
    assert options['network_g']['patch_size'] == 4
    assert (images['gt_size'], images['batch_size_per_gpu']) == (64 * scale, 32)
    assert images['use_hflip'] and images['use_rot']
    assert [Path(folder).parts[1] for folder in images['dataroot_gt']] == ['DIV2K', 'Flickr2K']
    assert all(metric['crop_border'] == scale for metric in options['val']['metrics'].values())
    assert [train[key] for key in ('pixel_opt', 'coarse_opt', 'mask_opt')] == [
        {'type': 'L1Loss', 'loss_weight': weight} for weight in (10, 1, 10)]
    assert train['optim_g'] == {'type': 'Adam'} and 'ema_decay' not in train


def test_the_learning_rates_of_the_paper():
    plan = StepPlan([section(Step, step, 'train') for step in read(FOLDER / 'mga_rcan_x4.yml')['train']['steps']])
    assert [step.variant for step in plan.steps] == ['D', 'A', 'M']
    assert plan.ends == [600_000, 1_200_000, 1_300_000]
    assert not any(step.end_to_end for step in plan.steps) and plan.steps[2].supervision == 'normalized'
    starts = [*range(0, 1_200_000, 200_000), 1_200_000]
    for start, end in zip(starts, [*starts[1:], 1_300_000], strict=True):
        rates = [plan.learning_rate(start + index) for index in (1, 1001, 2001)]
        assert rates == pytest.approx([4e-5, 2.2e-4, 4e-4])
        middle = (start + 2001 + end) / 2  # half a cosine is half-way down
        assert plan.learning_rate(int(middle)) == pytest.approx((4e-4 + 1e-7) / 2, rel=1e-4)
        assert plan.learning_rate(end) == pytest.approx(1e-7)


@pytest.mark.parametrize('name', SFM)
def test_masking_and_its_twin(name):
    source = OptionFile.read(FOLDER / f'{name}.yml')
    switch = next(word for line in (FOLDER / f'{name}.yml').read_text(encoding='utf-8').splitlines()
                  if '--force_yml' in line for word in line.split() if 'train:' in word)
    if 'dncnn' in name:
        masking, noise = source.options['datasets']['train']['degradations']
        assert masking == {'type': 'SFM', 'mode': 'targeted', 'rate': 0.5, 'centre': 0.85, 'sigma': 0.15}
        assert noise == {'type': 'GaussianNoise', 'sigma': [0, 55], 'clip': False}
    else:
        (masking,) = source.options['train']['transforms']
        assert masking == {'type': 'SFM', 'target': 'lq', 'mode': 'central', 'rate': 0.5}
    before = yaml.safe_load(yaml.safe_dump(source.options))
    source.force([switch])
    if 'dncnn' in name:
        before['datasets']['train']['degradations'][0]['rate'] = 0
    else:
        before['train']['transforms'] = None
    assert source.options == before and check({k: v for k, v in before.items() if k != 'demo'}, True) == []


@pytest.mark.parametrize('name', AMSR)
def test_the_fine_tuning_of_an_accelerated_network(name):
    options, demo = (read(FOLDER / f'{name}.yml', demo) for demo in (False, True))
    scale, train, images = options['scale'], options['train'], options['datasets']['train']
    network, weights = options['network_g'], options['path']['pretrain_network_g']
    plain = network['backbone']['type']
    assert name == f'amsr_{plain.lower()}_x{scale}'
    assert network['selection'] == {'keep': 0.5, 'patch_size': 8, 'smooth': 5}
    assert images['gt_size'] == 8 * 8 * scale  # 64 patches
    assert all(metric['crop_border'] == scale for metric in options['val']['metrics'].values())
    assert train['scheduler']['periods'] == [train['total_iter']]
    if plain == 'CARN_M':  # the demo starts from the weights too
        assert locate(weights) and weights == demo['path']['pretrain_network_g']
        assert demo['train']['teacher_opt'] == train['teacher_opt']
    else:
        assert weights == f'{plain}_x{scale}' and f'pretrained/{weights}.pth' in (FOLDER / f'{name}.yml').read_text()
        assert demo['path']['pretrain_network_g'] is None and 'teacher_opt' not in demo['train']


@pytest.mark.parametrize('name', CALIBRATED)
def test_the_fine_tuning_of_a_calibrated_network(name):
    network, train = (read(FOLDER / f'{name}.yml')[key] for key in ('network_g', 'train'))
    calibration = Calibration.load(FOLDER.parent / network['calibration'])
    most, least = (calibration.selection(keep).level for keep in train['keep_range'])
    assert train['prediction_lr'] and least < calibration.selection().level < most
    assert network.get('selection') is None and train['teacher_opt']


@pytest.mark.parametrize('name', [*MGA, *SFM, *AMSR, *CALIBRATED])
def test_the_demo(name):
    options = read(FOLDER / f'{name}.yml', demo=True)
    assert check(options, True) == []
    assert options['train']['total_iter'] <= 24
    assert name in SFM + AMSR + CALIBRATED or [step['variant'] for step in options['train']['steps']] == ['D', 'A', 'M']
    assert all(resources.resolve(data['dataroot_gt']).is_dir() for data in options['datasets'].values())


@pytest.mark.parametrize('path', [path for path in TESTING if path.stem[-3:] in ('_x2', '_x3', '_x4')],
                         ids=lambda path: path.stem)
def test_the_test_sets_of_the_paper(path):
    options = read(path)
    assert all(metric['crop_border'] == options['scale'] and metric['test_y_channel']
               for metric in options['val']['metrics'].values())
    if path.stem != 'demo_x4':
        assert [data['name'] for data in options['datasets'].values()] == SETS
        assert all(data['type'] == 'BicubicPairedImageDataset' for data in options['datasets'].values())


def test_a_training_leaves_what_the_test_of_that_name_takes():
    for name in set(MGA) - set(SHIPPED):
        weights = read(FOLDER / 'test' / f'{name}.yml')['path']['pretrain_network_g']
        assert weights == f'experiments/{name}/models/net_g_latest.pth'


@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_weights_are_tested_as_their_card_has_them(name):
    options = read(FOLDER / 'test' / f'{name}.yml')
    assert options['path']['pretrain_network_g'] == f'pretrained/{SHIPPED[name]}.pth'
    card = read_card(find_weights(SHIPPED[name]))
    give_scale(options)
    assert options['network_g'] == {'patch_size': 4, **card.network}  # the paper's where the card names none
    text = (FOLDER / 'test' / f'{name}.yml').read_text(encoding='utf-8')
    assert f'experiments/{name}/models/net_g_latest.pth' in text


def test_what_files_share_is_written_once():
    used = {Path(layer.label).resolve() for path in TRAINING + TESTING for layer in OptionFile.read(path).layers}
    assert set(BASES) <= used
    for path in TRAINING + TESTING:
        assert len(path.read_text(encoding='utf-8').splitlines()) <= 20, path
    texts = [path.read_text(encoding='utf-8') for path in BASES]
    for line in ('warmup', 'datasets/Set14', 'batch_size_per_gpu: 32', 'coarse_opt'):
        assert sum(line in text for text in texts) == 1


def test_a_copy_elsewhere_finds_its_base_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('mga_rcan_x4.yml', 'test/rfdn_x4.yml'):
        shutil.copy(FOLDER / name, 'mine.yml')
        assert read('mine.yml') == read(FOLDER / name)


def test_installed_files_find_those_that_are_installed_beside_them(tmp_path, monkeypatch):
    share = tmp_path / 'share' / 'basicsr_amsr'
    shutil.copytree(FOLDER, share / 'options')
    monkeypatch.setattr(resources, 'roots', lambda: [tmp_path / 'site-packages', share])
    (tmp_path / 'work').mkdir()
    monkeypatch.chdir(tmp_path / 'work')
    source = OptionFile.read(resources.resolve('options/test/mga_pan_x3.yml'))
    assert source.options['scale'] == 3 and source.options['network_g']['k'] == 1000
    assert all(str(share) in layer.label for layer in source.layers)
    shutil.copy(share / 'options' / 'mga_pan_x3.yml', 'mine.yml')
    assert str(share / 'options' / 'base') in OptionFile.read('mine.yml').layers[0].label


def test_a_base_file_of_ones_own_comes_first(tmp_path):
    (tmp_path / 'options' / 'base').mkdir(parents=True)
    (tmp_path / 'options' / 'base' / 'mga_train_x4.yml').write_text('scale: 4\nown: true\n')
    shutil.copy(FOLDER / 'mga_rcan_x4.yml', tmp_path / 'options')
    assert read(tmp_path / 'options' / 'mga_rcan_x4.yml')['own'] is True
