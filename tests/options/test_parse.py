"""Option files, --force_yml and parse_options. Each test runs what BasicSR itself calls."""
from __future__ import annotations

import os
import random
import sys
from collections import OrderedDict

import basicsr.test
import basicsr.train
import basicsr.utils.options
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from basicsr_amsr.errors import UserError
from basicsr_amsr.options.option_file import OptionFile, force_options
from basicsr_amsr.options.parse import OPTION_HOOKS
from basicsr_amsr.options.plain_yaml import OptionDumper, OptionLoader, parse_value

TRAIN = """
name: run
model_type: SRModel
scale: 4
datasets:
  train: {type: PairedImageDataset, dataroot_gt: ~/gt, dataroot_lq: /lq, prefetch_mode: cuda, pin_memory: true}
  val_1: {type: PairedImageDataset, name: Set5}
path: {pretrain_network_g: ~/net.pth, strict_load_g: true}
train: {total_iter: !!float 5e5, optim_g: {lr: 2e-4}}
val: {metrics: {psnr: {type: calculate_psnr}}}
"""
TEST = """
name: run
model_type: SRModel
datasets: {test_1: {type: PairedImageDataset, name: Set5}, test_2: {type: PairedImageDataset}}
"""


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Options from the text of a file and command-line words, through the name that BasicSR's pipeline calls."""
    def run(text, *words, is_train=True):
        file = tmp_path / 'options.yml'
        file.write_text(text, encoding='utf-8')
        monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(file), *words])
        pipeline = basicsr.train if is_train else basicsr.test
        return pipeline.parse_options(str(tmp_path), is_train=is_train)[0]
    return run


def one_line(error):
    assert '\n' not in str(error.value)
    return str(error.value)


def test_training_options_as_basicsr_completes_them(parse, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    opt = parse(TRAIN, '--auto_resume')
    top = tmp_path / 'experiments' / 'run'
    assert opt['path'] == {
        'pretrain_network_g': '/home/me/net.pth', 'strict_load_g': True, 'experiments_root': str(top),
        'models': str(top / 'models'), 'training_states': str(top / 'training_states'), 'log': str(top),
        'visualization': str(top / 'visualization')}
    train, val = opt['datasets']['train'], opt['datasets']['val_1']
    assert (train['phase'], val['phase'], train['scale'], val['scale']) == ('train', 'val', 4, 4)
    assert (train['dataroot_gt'], train['dataroot_lq']) == ('/home/me/gt', '/lq')
    assert (train['name'], val['name']) == ('train', 'Set5')
    assert opt['train'] == {'total_iter': 5e5, 'optim_g': {'lr': 2e-4}}
    assert opt['auto_resume'] is True and opt['is_train'] is True and opt['dist'] is False
    assert (opt['rank'], opt['world_size']) == (0, 1) and isinstance(opt['manual_seed'], int)
    assert opt['logger'] == {'print_freq': 100, 'save_checkpoint_freq': 5000, 'use_tb_logger': False}
    assert opt['val']['val_freq'] == 5000 and opt['val']['save_img'] is False


def test_test_options_without_path_and_val(parse, tmp_path):
    opt = parse(TEST, is_train=False)
    top = tmp_path / 'results' / 'run'
    assert opt['path'] == {'results_root': str(top), 'log': str(top), 'visualization': str(top / 'visualization')}
    assert opt['val'] == {'save_img': False, 'suffix': None}
    assert opt['datasets']['test_2'] == {'type': 'PairedImageDataset', 'name': 'test_2', 'phase': 'test'}


def test_debug(parse):
    opt = parse(TRAIN, '--debug')
    assert opt['name'] == 'debug_run' and opt['path']['log'].endswith('debug_run')
    assert opt['val']['val_freq'] == 8
    assert (opt['logger']['print_freq'], opt['logger']['save_checkpoint_freq']) == (1, 8)


@pytest.mark.parametrize('spelling', ['--local_rank=3', '--local-rank=3'])
def test_local_rank_in_both_spellings(parse, monkeypatch, spelling):
    monkeypatch.setenv('LOCAL_RANK', '1')
    parse(TRAIN, spelling)
    assert os.environ['LOCAL_RANK'] == '1'  # what torchrun sets wins
    monkeypatch.delenv('LOCAL_RANK')
    parse(TRAIN, spelling)
    assert os.environ['LOCAL_RANK'] == '3'


@pytest.mark.parametrize(('entry', 'keys', 'value'), [
    ('name=other', ['name'], 'other'),
    ('train:ema_decay=0.999', ['train', 'ema_decay'], 0.999),
    ('train:optim_g:lr=1e-4', ['train', 'optim_g', 'lr'], 1e-4),
    ('train:optim_g:betas=[0.9, 0.99]', ['train', 'optim_g', 'betas'], [0.9, 0.99]),
    ('train:new:deep:key=3', ['train', 'new', 'deep', 'key'], 3),
    ('path:pretrain_network_g=a=b=c.pth', ['path', 'pretrain_network_g'], 'a=b=c.pth'),
    ('path:pretrain_network_g=~', ['path', 'pretrain_network_g'], None),
    ('path:resume_state=None', ['path', 'resume_state'], None),
    ('val:pbar=True', ['val', 'pbar'], True),
    ('network_g={type: RFDN, upscale: 4}', ['network_g'], {'type': 'RFDN', 'upscale': 4}),
    ('train:total_iter=!!float 3e5', ['train', 'total_iter'], 3e5),
    ('train:total_iter=!!float3e5', ['train', 'total_iter'], 3e5),
])
def test_force_yml(parse, entry, keys, value):
    opt = parse(TRAIN, '--force_yml', entry)
    for key in keys:
        opt = opt[key]
    assert opt == value and type(opt) is type(value)


def test_force_yml_sets_items_of_lists():
    opt = {'train': {'steps': [{'iters': 1}, {'iters': 2}], 'betas': [0.9, 0.99]}}
    places = force_options(opt, ['train:steps:1:iters=5', 'train:betas:0=0.5', 'train:steps:0:lr=1e-4'])
    assert opt == {'train': {'steps': [{'iters': 1, 'lr': 1e-4}, {'iters': 5}], 'betas': [0.5, 0.99]}}
    assert places == [('train', 'steps', 1, 'iters'), ('train', 'betas', 0), ('train', 'steps', 0, 'lr')]
    for entry in ('train:steps:2:iters=5', 'train:steps:first:iters=5', 'train:betas:-1=0'):
        with pytest.raises(UserError, match='is a list of 2: name one of its items by its number, from 0'):
            force_options(opt, [entry])


def test_force_yml_takes_several(parse):
    opt = parse(TRAIN, '--force_yml', 'scale=2', 'datasets:val_1:name=Set14', 'manual_seed=7')
    assert opt['datasets']['val_1']['scale'] == 2 and opt['datasets']['val_1']['name'] == 'Set14'
    assert opt['manual_seed'] == 7


@pytest.mark.parametrize('entry', [
    'name=[__import__("os").mkdir("{folder}")]',  # BasicSR: eval of what begins with [
    'name"]=__import__("os").mkdir("{folder}");opt["name=x',  # BasicSR: exec of the key
    'a"]=1;__import__("os").mkdir("{folder}")#=1',
    'name=!!python/object/apply:os.mkdir ["{folder}"]',
])
def test_force_yml_runs_no_code(parse, tmp_path, entry):
    folder = tmp_path / 'made'
    try:
        parse(TRAIN, '--force_yml', entry.replace('{folder}', str(folder)))
    except UserError as error:
        assert '\n' not in str(error)
    assert not folder.exists()


def test_old_value_function_runs_no_code(tmp_path):
    old = basicsr.utils.options._postprocess_yml_value
    assert old('[1, 2]') == [1, 2]
    old(f'[__import__("os").mkdir("{tmp_path}/made")]')
    assert not (tmp_path / 'made').exists()


@pytest.mark.parametrize('entry', ['name', '=3', 'train:=3', ':name=3', 'train::lr=3', 'a=[1, 2', 'a={b: c: d}',
                                   'scale:x=1', 'name:a:b=1', 'a=!!bool x', 'a=!!int x', 'a=!foo x', 'a=='])
def test_malformed_force_yml_is_one_line(parse, entry):
    with pytest.raises(UserError) as error:
        parse(TRAIN, '--force_yml', entry)
    assert repr(entry) in one_line(error)


@pytest.mark.parametrize(('text', 'value'), [
    ('1e-4', 1e-4), ('-1E5', -1e5), ('+.5e3', 500.), ('1.e2', 100.), ('2e-4', 2e-4), ('1.5', 1.5), ('3', 3),
    ('0.1.2', '0.1.2'), ('e5', 'e5'), ('1e', '1e'), ('x4', 'x4'), ('2024-01-31', '2024-01-31'), ('nOnE', None),
    ('yes', True), ('"1e-4"', '1e-4'), ('', None),
])
def test_values(text, value):
    assert parse_value(text) == value and type(parse_value(text)) is type(value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(plain)
@example('0E0')
@example({'1e-4': '.5e3'})
def test_plain_values_survive_dump_and_parse(value):
    text = yaml.dump({'v': value}, Dumper=OptionDumper, default_flow_style=True, allow_unicode=True)
    assert yaml.load(text, Loader=OptionLoader) == {'v': value}


def only_plain(value):
    if isinstance(value, dict):
        return all(only_plain(k) and only_plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple, set)):
        return all(only_plain(v) for v in value)
    return value is None or isinstance(value, (str, int, float, bool, bytes))


@given(st.text() | st.from_regex(r'!!?[a-z/:.]{0,20} .{0,10}', fullmatch=True))
@example('!!bool x')
@example('!!int ""')
@example('!!binary é')
@example('!!set x')
@example('[' * 3000)
@example('!!python/name:os.system')
def test_any_text_is_a_plain_value_or_refused(text):
    try:
        value = parse_value(text)
    except yaml.YAMLError:
        return
    assert only_plain(value)


@given(st.text())
def test_any_entry_is_set_or_one_line(entry):
    opt = {'name': 'x', 'train': {'a': 1}}
    try:
        force_options(opt, [entry])
    except UserError as error:
        assert '\n' not in str(error)
        assert opt.get('name') == 'x'


@pytest.mark.parametrize('tag', ['!!python/object/apply:os.mkdir ["{folder}"]', '!!python/name:os.system ""',
                                 '!!python/tuple [1, 2]'])
def test_option_file_runs_no_code(parse, tmp_path, tag):
    folder = tmp_path / 'made'
    with pytest.raises(UserError) as error:
        parse(f'{TRAIN}\nextra: {tag.replace("{folder}", str(folder))}\n')
    message = one_line(error)
    assert 'options.yml' in message and 'line 12' in message and '!!python/' in message
    assert not folder.exists()
    with pytest.raises(yaml.YAMLError):  # the loader that others get from BasicSR
        yaml.load(f'a: {tag}', Loader=basicsr.utils.options.ordered_yaml()[0])


def test_loader_keeps_order_and_merges():
    loader, dumper = basicsr.utils.options.ordered_yaml()
    keys = ['z', 'a', 'm', 'b']
    assert list(yaml.load('\n'.join(f'{k}: 1' for k in keys), Loader=loader)) == keys
    assert yaml.load('d: &d {x: 1}\ne: {<<: *d, y: 2}', Loader=loader)['e'] == {'x': 1, 'y': 2}
    assert yaml.dump(OrderedDict(z=1, a=OrderedDict(y=2)), Dumper=dumper, sort_keys=False) == 'z: 1\na:\n  y: 2\n'


def test_the_loader_of_everybody_else_is_left_alone():
    assert yaml.safe_load('1e-4') == '1e-4'
    assert type(yaml.load('a: 1', Loader=yaml.FullLoader)) is dict


@pytest.mark.parametrize(('content', 'expected'), [
    (b'name: [a, b\nscale: 4\n', 'line 2'),
    (b'name: a\n\tscale: 4\n', 'line 2, column 1'),
    (b'', 'no options'),
    (b'just text', 'no options'),
    (b'name: \xff\xfe', 'UTF-8'),
    (b'a: !!bool x', 'tag'),
])
def test_bad_option_file_is_one_line(tmp_path, content, expected):
    file = tmp_path / 'bad.yml'
    file.write_bytes(content)
    with pytest.raises(UserError) as error:
        OptionFile.read(file)
    assert str(file) in one_line(error) and expected in str(error.value)


def test_missing_option_file(tmp_path):
    for path in (tmp_path / 'none.yml', tmp_path):
        with pytest.raises(UserError) as error:
            OptionFile.read(path)
        assert str(path) in one_line(error)


@pytest.mark.parametrize(('change', 'key'), [
    ('name=~', "'name' is missing"), ('name=[a]', 'name is '), ('name=a/b', "name is 'a/b'"),
    ('name=..', "name is '..'"),
    ('model_type=~', "'model_type' is missing"), ('datasets=~', "'datasets' is missing"),
    ('datasets=3', 'datasets is 3'), ('datasets:train=~', "datasets: 'train' is missing"), ('path=x', "path is 'x'"),
    ('datasets:train:type=~', "train: 'type' is missing"), ('datasets:tarin={type: X}', 'datasets: tarin'),
    ('datasets:test_1={type: X}', 'datasets: test_1'), ('train=~', "'train' is missing"),
    ('train:total_iter=~', "train: 'total_iter' is missing"),
    ('datasets={val: {type: X}}', "datasets: 'train' is missing"),
    ('num_gpu=two', 'num_gpu'), ('num_gpu=-1', 'num_gpu'), ('logger=3', 'logger is 3'), ('val=3', 'val is 3'),
])
def test_missing_sections_are_one_line(parse, change, key):
    with pytest.raises(UserError) as error:
        parse(TRAIN, '--force_yml', change)
    assert key in one_line(error)


def test_a_number_as_name(parse):
    assert parse(TRAIN, '--force_yml', 'name=2024')['name'] == '2024'


def test_seed_of_force_yml_seeds(parse):
    drawn = []
    for _ in range(2):
        parse(TRAIN, '--force_yml', 'manual_seed=11')
        drawn.append(random.random())
    assert drawn[0] == drawn[1]


def test_hooks_run_before_checks_and_paths(parse):
    def hook(opt, args):
        assert args.force_yml == ['scale=2'] and opt['scale'] == 2
        assert opt['is_train'] and opt['rank'] == 0 and 'phase' not in opt['datasets']['train']
        opt['datasets']['val_2'] = {'type': 'PairedImageDataset'}
        opt['name'] = 'hooked'
    OPTION_HOOKS.append(hook)
    try:
        opt = parse(TRAIN, '--force_yml', 'scale=2')
    finally:
        OPTION_HOOKS.remove(hook)
    assert opt['datasets']['val_2'] == {'type': 'PairedImageDataset', 'name': 'val_2', 'phase': 'val', 'scale': 2}
    assert opt['path']['log'].endswith('hooked')


def test_plugins_are_loaded_before_the_checks(parse, monkeypatch):
    seen = {}
    monkeypatch.setattr('basicsr_amsr.plugins.load_plugins', lambda opt, path: seen.update(opt=dict(opt), path=path))
    with pytest.raises(UserError):
        parse(TRAIN, '--force_yml', 'train=3')
    assert seen['path'].endswith('options.yml') and seen['opt']['train'] == 3
