"""`basicsr train`: runs BasicSR's pipeline here, a demo of it, and leaves earlier experiments alone when it fails."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import basicsr_amsr.errors
from basicsr_amsr.backbones import get_backbone
from tests.cli.conftest import error_line, options_to_test, options_to_train, pairs

MODELS = Path('experiments/tiny/models')


def weights(path):
    return torch.load(path, weights_only=True)['params']


def test_training_writes_where_one_stands_and_resumes(basicsr):
    code, _, _ = basicsr('train', options_to_train())
    assert code == 0
    first = weights(MODELS / 'net_g_2.pth')
    longer = options_to_train()
    longer['train']['total_iter'] = 4
    code, _, _ = basicsr('train', longer, '--auto_resume')
    assert code == 0
    assert sorted(path.name for path in MODELS.iterdir()) == ['net_g_2.pth', 'net_g_4.pth', 'net_g_latest.pth']
    last = weights(MODELS / 'net_g_4.pth')
    assert any(not torch.equal(first[key], last[key]) for key in first)
    assert [path.name for path in Path('experiments').iterdir()] == ['tiny']


def test_training_starts_from_a_file_of_the_plain_network(basicsr):
    options = options_to_train(model_type='MGAModel', path={'pretrain_network_backbone': 'plain.pth'})
    options['datasets']['train'] |= {'type': 'BicubicPairedImageDataset'}
    del options['datasets']['train']['dataroot_lq']
    options['network_g'] = {'type': 'MGA', 'backbone': {'type': 'FSRCNN', 'num_feat': 8, 'num_shrink': 4}, 'k': 0.5}
    options['train'] = {'total_iter': 1, 'steps': [{'variant': 'M', 'iters': 1, 'warmup': 0}],
                        'optim_g': {'type': 'Adam'}, 'pixel_opt': {'type': 'L1Loss'},
                        'coarse_opt': {'type': 'L1Loss'}, 'mask_opt': {'type': 'L1Loss'}}
    plain = get_backbone('FSRCNN').create(upscale=2, num_feat=8, num_shrink=4)
    torch.save(plain.state_dict(), 'plain.pth')
    code, _, err = basicsr('train', options)
    assert code == 0, err
    trained = weights(MODELS / 'net_g_latest.pth')
    assert any(torch.equal(value, plain.state_dict()['feature.0.weight']) for value in trained.values())


def test_validation_while_training(basicsr):
    options = options_to_train(val={'val_freq': 1, 'save_img': False, 'metrics': options_to_test()['val']['metrics']})
    options['datasets']['val'] = pairs(name='Three')
    code, _, _ = basicsr('train', options)
    assert code == 0
    log = next(Path('experiments/tiny').glob('train_*.log')).read_text()
    assert log.count('Validation Three') == 2


def test_the_copied_option_file_says_the_command(basicsr):
    basicsr('train', options_to_train(), '--force_yml', 'train:total_iter=1')
    copy = Path('experiments/tiny/tiny.yml').read_text()
    assert '# basicsr train -opt tiny.yml --force_yml train:total_iter=1' in copy
    expected = options_to_train()
    expected['train']['total_iter'] = 1
    assert yaml.safe_load(copy) == expected


def test_demo_is_put_over_the_options_and_taken_out_otherwise(basicsr):
    options = options_to_train(demo={'train': {'total_iter': 1}, 'datasets': {'train': {'gt_size': 8}}})
    code, _, _ = basicsr('train', options, '--demo', '--force_yml', 'network_g:num_feat=4')
    assert code == 0
    assert (Path('experiments/tiny_demo/models') / 'net_g_latest.pth').is_file()
    log = next(Path('experiments/tiny_demo').glob('train_*.log')).read_text()
    assert 'iters: 1.' in log and 'gt_size: 8' in log and 'num_feat: 4' in log and 'demo:[' not in log
    code, _, _ = basicsr('train', options)
    assert code == 0
    log = next(Path('experiments/tiny').glob('train_*.log')).read_text()
    assert 'iters: 2.' in log and 'demo:[' not in log


def test_the_command_line_comes_after_the_demo(basicsr):
    options = options_to_train(demo={'train': {'total_iter': 1}})
    code, _, _ = basicsr('train', options, '--demo', '--force_yml', 'train:total_iter=3')
    assert code == 0
    assert 'iters: 3.' in next(Path('experiments/tiny_demo').glob('train_*.log')).read_text()


def test_demo_without_a_block_is_one_line(basicsr):
    code, _, err = basicsr('train', options_to_train(), '--demo')
    assert code == 2
    assert 'tiny.yml' in error_line(err) and '`demo:`' in error_line(err)


def test_an_absent_training_set_names_the_folder_and_the_way_to_start_without(basicsr):
    options = options_to_train(demo={'datasets': {'train': pairs()}})
    options['datasets']['train']['dataroot_gt'] = 'datasets/DIV2K'
    code, _, err = basicsr('train', options)
    assert code == 2
    line = error_line(err)
    assert 'datasets/DIV2K' in line and 'datasets:train:dataroot_gt=' in line and '--demo' in line


BREAKS = {
    'unknown network': lambda o: o['network_g'].update(type='MSRResNett'),
    'unknown option of the network': lambda o: o['network_g'].update(num_feats=8),
    'absent images': lambda o: o['datasets']['train'].update(dataroot_gt='nowhere'),
    'unequal numbers of images': lambda o: Path('data/lq/c.png').unlink(),
    'no optimizer': lambda o: o['train'].pop('optim_g'),
    'unknown loss': lambda o: o['train']['pixel_opt'].update(type='L3Loss'),
}


@pytest.mark.parametrize('mistake', BREAKS)
def test_a_failing_start_leaves_the_earlier_experiment_in_place(basicsr, mistake):
    good = Path('experiments/tiny/models/net_g_latest.pth')
    good.parent.mkdir(parents=True)
    good.write_text('days of work')
    board = Path('tb_logger/tiny/events')
    board.parent.mkdir(parents=True)
    board.write_text('curves')
    options = options_to_train()
    options['logger']['use_tb_logger'] = True
    BREAKS[mistake](options)
    code, _, err = basicsr('train', options)
    assert code == 2
    assert error_line(err)
    assert good.read_text() == 'days of work' and board.read_text() == 'curves'
    assert [path.name for path in Path('experiments').iterdir()] == ['tiny']
    assert [path.name for path in Path('tb_logger').iterdir()] == ['tiny']


def test_a_good_start_archives_the_earlier_experiment_as_basicsr_does(basicsr):
    basicsr('train', options_to_train())
    basicsr('train', options_to_train())
    basicsr('train', options_to_train())
    names = sorted(path.name for path in Path('experiments').iterdir())
    assert len(names) == 3 and names[0] == 'tiny' and all(n.startswith('tiny_archived_') for n in names[1:])


def test_a_mistake_after_the_start_keeps_what_was_trained(basicsr):
    options = options_to_train()
    options['train']['total_iter'] = 3
    options['val'] = {'val_freq': 2, 'save_img': False, 'metrics': {
        'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'input_order': 'WHC'}}}
    options['datasets']['val'] = pairs(name='Three')
    code, _, err = basicsr('train', options)
    assert code == 2
    assert 'tiny.yml' in error_line(err) and 'Wrong input_order WHC' in err
    assert (MODELS / 'net_g_2.pth').is_file()


def test_interruption_is_one_line_and_code_130(basicsr, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('basicsr.models.sr_model.SRModel.optimize_parameters', interrupt)
    code, _, err = basicsr('train', options_to_train())
    assert code == 130
    assert 'basicsr: stopped.' in err and 'Traceback' not in err


def test_a_fault_of_this_package_keeps_its_traceback_and_asks_to_be_reported(basicsr, monkeypatch):
    code = compile('def fault(*_): raise RuntimeError("a fault")', basicsr_amsr.errors.__file__, 'exec')
    exec(code, names := {})
    monkeypatch.setattr('basicsr.models.sr_model.SRModel.optimize_parameters', names['fault'])
    code, _, err = basicsr('train', options_to_train())
    assert code == 1
    assert 'Traceback' in err and 'RuntimeError: a fault' in err
    assert err.splitlines()[-1].startswith('basicsr: this is a fault of basicsr_amsr') and 'please report' in err


def test_a_fault_of_another_module_is_a_line_with_its_place(basicsr, monkeypatch):
    def fault(*_):
        raise AttributeError('no such thing')

    monkeypatch.setattr('basicsr.models.sr_model.SRModel.optimize_parameters', fault)
    code, _, err = basicsr('train', options_to_train())
    assert code == 2
    assert re.search(r'tiny\.yml: AttributeError: no such thing \(test_train\.py, line \d+\)\.$', error_line(err))


def test_sys_argv_is_restored(basicsr):
    before = list(sys.argv)
    basicsr('train', options_to_train())
    assert sys.argv == before


@pytest.mark.slow
def test_two_processes_train_under_torchrun(project):
    options = options_to_train()
    Path('tiny.yml').write_text(yaml.safe_dump(options))
    words = ['-m', 'torch.distributed.run', '--nproc_per_node', '2', '--master_port', '29611', '-m', 'basicsr_amsr',
             'train', '-opt', 'tiny.yml', '--launcher', 'pytorch']
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300,
                         env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert run.returncode == 0, run.stderr
    assert weights(MODELS / 'net_g_2.pth')
    assert 'world_size: 2' in next(Path('experiments/tiny').glob('train_*.log')).read_text()
