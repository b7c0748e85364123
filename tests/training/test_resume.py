"""Which state a run resumes from, and how it says what it could not use or what has changed."""
import json
import logging
from pathlib import Path

import pytest
import torch

from basicsr_amsr.training.resume import newest_usable
from tests.cli.conftest import METRICS, error_line, options_to_train, pairs

STATES = Path('experiments/tiny/training_states')
MODELS = Path('experiments/tiny/models')


def options(total=4, save=1, **train):
    opt = options_to_train()
    opt['train']['total_iter'] = total
    opt['logger']['save_checkpoint_freq'] = save
    opt['datasets']['train'].update(train)
    return opt


def log():
    return max(Path('experiments/tiny').glob('train_*.log'), key=lambda p: p.stat().st_mtime_ns).read_text()


def truncate(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


@pytest.mark.parametrize('damage', [
    lambda: truncate(STATES / '4.state'), lambda: truncate(MODELS / 'net_g_4.pth'),
    lambda: (MODELS / 'net_g_4.pth').unlink(), lambda: (STATES / '4.state').write_bytes(b''),
    lambda: torch.save({'iter': 4}, STATES / '4.state')])
def test_a_damaged_state_is_named_and_the_one_before_is_taken(basicsr, caplog, damage):
    assert basicsr('train', options())[0] == 0
    damage()
    caplog.clear()
    with caplog.at_level(logging.WARNING, 'basicsr_amsr'):
        assert basicsr('train', options(), '--auto_resume')[0] == 0
    warnings = [record.getMessage() for record in caplog.records if record.name == 'basicsr_amsr']
    assert len(warnings) == 1 and '4.state' in warnings[0] and '\n' not in warnings[0]
    assert 'Resuming training from epoch: 0, iter: 3.' in log()
    torch.load(STATES / '4.state')
    assert [path.name for path in Path('experiments').iterdir()] == ['tiny']


def test_no_usable_state_is_an_error_that_touches_nothing(basicsr):
    basicsr('train', options())
    for state in STATES.iterdir():
        truncate(state)
    before = {path: path.read_bytes() for path in Path('experiments').rglob('*') if path.is_file()}
    code, _, err = basicsr('train', options(), '--auto_resume')
    assert code == 2
    assert 'none of the 4 states' in error_line(err)
    assert {path: path.read_bytes() for path in Path('experiments').rglob('*') if path.is_file()} == before


def test_without_any_state_auto_resume_starts(basicsr):
    assert basicsr('train', options(), '--auto_resume')[0] == 0
    assert 'Start training from epoch: 0, iter: 0' in log()


def test_leftovers_of_a_killed_run_are_removed(basicsr):
    basicsr('train', options())
    for part in (STATES / '.5.state.part', MODELS / '.net_g_5.pth.part'):
        part.write_bytes(b'half')
    assert basicsr('train', options(), '--auto_resume')[0] == 0
    assert not list(Path('experiments').rglob('*.part'))


def test_newest_is_by_number_and_other_names_are_passed_over(tmp_path):
    for name in ('9.state', '10.state', 'best.state', '11.state.bak'):
        torch.save({'epoch': 0, 'iter': 0, 'optimizers': [], 'schedulers': []}, tmp_path / name)
    opt = {'path': {'models': str(tmp_path), 'ignore_resume_networks': ['network_d']}, 'network_d': {}}
    assert newest_usable(tmp_path, opt) == str(tmp_path / '10.state')
    assert newest_usable(tmp_path / 'nowhere', opt) is None


def test_a_networks_file_that_is_not_asked_for_may_be_missing(tmp_path):
    torch.save({'epoch': 0, 'iter': 0, 'optimizers': [], 'schedulers': []}, tmp_path / '9.state')
    torch.save({}, tmp_path / 'net_g_9.pth')
    opt = {'path': {'models': str(tmp_path), 'ignore_resume_networks': ['network_identity']}, 'network_g': {},
           'network_identity': {}}
    assert newest_usable(tmp_path, opt) == str(tmp_path / '9.state')


def test_a_state_of_basicsr_alone_resumes_with_a_note(basicsr):
    basicsr('train', options())
    (STATES / '4.state').unlink()
    state = torch.load(STATES / '3.state')
    del state['basicsr_amsr']
    torch.save(state, STATES / '3.state')
    assert basicsr('train', options(total=6), '--auto_resume')[0] == 0
    assert log().count('saved without the place in the epoch') == 1 and log().count('by BasicSR alone') == 1
    assert 'iter:       6' in log() and 'iter:       7' not in log()


@pytest.mark.parametrize(('change', 'words', 'how'), [
    ({'batch_size_per_gpu': 2}, 'joint batch was 1 and is 2', 'goes on with its other samples'),
    ({'dataset_enlarge_ratio': 3}, 'samples in an epoch was 3 and is 9', 'starts anew')])
def test_changed_data_is_one_line_and_training_goes_on(basicsr, change, words, how):
    basicsr('train', options(total=2))
    assert basicsr('train', options(total=7, **change), '--auto_resume')[0] == 0
    lines = [line for line in log().splitlines() if 'Resumed with other data' in line]
    assert len(lines) == 1 and words in lines[0] and how in lines[0]
    assert (STATES / '7.state').is_file()
    assert 'Resumed with other data' not in log().split('Start training')[1]


def test_without_manual_seed_a_resumed_run_keeps_that_of_the_first(basicsr, monkeypatch):
    drawn = iter([11, 22])
    monkeypatch.setattr('random.randint', lambda low, high: next(drawn) if high == 10000 else 0)
    opt = options()
    del opt['manual_seed']
    basicsr('train', opt)
    assert torch.load(STATES / '4.state')['basicsr_amsr']['seed'] == 11
    opt['train']['total_iter'] = 5
    assert basicsr('train', opt, '--auto_resume')[0] == 0
    assert torch.load(STATES / '5.state')['basicsr_amsr']['seed'] == 11
    assert 'Resumed with other data' not in log()
    opt.update(manual_seed=3)
    opt['train']['total_iter'] = 6
    assert basicsr('train', opt, '--auto_resume')[0] == 0
    assert 'manual_seed was 11 and is 3' in log()


def test_a_data_set_smaller_than_a_batch_is_one_line(basicsr):
    code, _, err = basicsr('train', options(batch_size_per_gpu=4))
    assert code == 2
    line = error_line(err)
    assert 'Three has 3 images' in line and 'dataset_enlarge_ratio' in line and 'batch_size_per_gpu' in line
    assert not Path('experiments/tiny').exists()


def test_a_run_ends_with_its_last_iteration_also_with_a_small_last_batch(basicsr):
    opt = options(total=5, batch_size_per_gpu=2, prefetch_mode='cpu')  # one batch of two in each epoch of three
    opt['val'] = {'val_freq': 100, 'metrics': METRICS}
    opt['datasets']['val'] = pairs(name='Three')
    assert basicsr('train', opt)[0] == 0
    assert 'iter:       5' in log() and 'epochs: 5, iters: 5.' in log()
    entries = [json.loads(line) for line in Path('experiments/tiny/validation.jsonl').read_text().splitlines()]
    assert [(entry['iter'], entry['metric']) for entry in entries] == [(5, 'psnr'), (5, 'ssim')]  # stock: 6


def test_best_figures_are_known_after_a_resume_and_later_ones_come_again(basicsr):
    opt = options(total=2)
    opt['val'] = {'val_freq': 1, 'metrics': METRICS}
    opt['datasets']['val'] = pairs(name='Three')
    basicsr('train', opt)
    history = Path('experiments/tiny/validation.jsonl')
    lines = history.read_text().splitlines()
    assert len(lines) == 4  # two figures after each iteration
    better = {'iter': 1, 'dataset': 'Three', 'metric': 'psnr', 'value': 99.0}
    later = {'iter': 3, 'dataset': 'Three', 'metric': 'ssim', 'value': 99.0}
    unknown = {'iter': 1, 'dataset': 'Three', 'metric': 'niqe', 'value': 99.0}
    history.write_text('\n'.join([*lines, *map(json.dumps, (better, later, unknown)), '{"iter": 1, "da']))
    opt['train']['total_iter'] = 3
    assert basicsr('train', opt, '--auto_resume')[0] == 0
    assert '# psnr: ' in log() and 'Best: 99.0000 @ 1 iter' in log().split('# ssim')[0]
    assert 'Best: 99.0000' not in log().split('# ssim')[-1]
    assert '99.0, "iter": 3' not in history.read_text() and history.read_text().count('"iter": 3') == 2
