"""A user's mistake is one line that names file and key, exit code 2, and no folder is made."""
from pathlib import Path

import pytest

from basicsr_amsr.cli import COMMANDS, build_parser, main
from basicsr_amsr.cli.options import MissingOption, Options
from basicsr_amsr.errors import UserError
from tests.cli.conftest import error_line, options_to_test, options_to_train, pairs


def drop(*keys):
    def change(options):
        for key in keys[:-1]:
            options = options[key]
        del options[keys[-1]]

    return change


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(options):
        for key in keys:
            options = options[key]
        options[last] = value

    return change


def scale_4(options):
    options['scale'] = options['network_g']['upscale'] = 4


IN_TRAINING = {
    'model_type missing': (drop('model_type'), ['model_type']),
    'model_type unknown': (put('model_type', 'SRModell'), ["model_type: No model named 'SRModell'", 'SRModel']),
    'network_g missing': (drop('network_g'), ["'network_g' is missing"]),
    'network_g no mapping': (put('network_g', 'MSRResNet'), ['network_g has to hold keys']),
    'network type missing': (drop('network_g', 'type'), ["network_g: 'type' is missing"]),
    'network option misspelt': (put('network_g', 'num_feats', 8),
                                ["network_g: MSRResNet has no option 'num_feats'", 'num_feat']),
    'datasets missing': (drop('datasets'), ['datasets']),
    'dataset type unknown': (put('datasets', 'train', 'type', 'PairedImagesDataset'),
                             ["datasets: train: type: No dataset named 'PairedImagesDataset'", 'PairedImageDataset']),
    'dataset key missing': (drop('datasets', 'train', 'io_backend'), ["datasets: train: 'io_backend' is missing"]),
    'loader key missing': (drop('datasets', 'train', 'batch_size_per_gpu'),
                           ["datasets: train: 'batch_size_per_gpu' is missing"]),
    'dataset key misspelt': (lambda o: o['datasets']['train'].update(gtsize=o['datasets']['train'].pop('gt_size')),
                             ["PairedImageDataset has no option 'gtsize'. Did you mean gt_size?"]),
    'train missing': (drop('train'), ['train']),
    'total_iter missing': (drop('train', 'total_iter'), ['total_iter']),
    'scheduler missing': (drop('train', 'scheduler'), ["train: 'scheduler' is missing"]),
    'scheduler unknown': (put('train', 'scheduler', 'type', 'StepLR'), ['StepLR']),
    'optimizer option misspelt': (put('train', 'optim_g', 'betass', [0.9, 0.99]),
                                  ["train: optim_g: ", "'betass'", 'betas']),
    'loss unknown': (put('train', 'pixel_opt', 'type', 'L1Lose'),
                     ["train: pixel_opt: type: No loss named 'L1Lose'", 'L1Loss']),
    'loss option misspelt': (put('train', 'pixel_opt', 'loss_weigth', 1.0),
                             ["train: pixel_opt: L1Loss has no option 'loss_weigth'", 'loss_weight']),
    'no losses': (drop('train', 'pixel_opt'), ['Both pixel and perceptual losses are None']),
    'metric unknown': (put('val', {'val_freq': 1, 'metrics': {'psnr': {'type': 'calculate_psrn'}}}),
                       ["val: metrics: psnr: type: No metric named 'calculate_psrn'", 'calculate_psnr']),
    'weights absent': (put('path', {'pretrain_network_g': 'nowhere.pth'}),
                       ['path: pretrain_network_g: nowhere.pth does not exist']),
    'state absent': (put('path', {'resume_state': 'nowhere.state'}), ['nowhere.state does not exist']),
    'images absent': (put('datasets', 'train', 'dataroot_lq', 'nowhere'),
                      ['datasets: train: dataroot_lq: nowhere does not exist', 'datasets:train:dataroot_lq=FOLDER']),
    'validation images absent': (put('datasets', 'val', pairs(name='V', dataroot_gt='nowhere')),
                                 ['datasets: val: dataroot_gt: nowhere does not exist']),
    'images of other sizes': (scale_4, ['data/gt/', 'with scale 4 the latter has to be 64x64']),
}


@pytest.mark.parametrize('mistake', IN_TRAINING)
def test_mistakes_in_training(basicsr, mistake):
    change, parts = IN_TRAINING[mistake]
    options = options_to_train()
    change(options)
    code, _, err = basicsr('train', options)
    assert code == 2
    line = error_line(err)
    assert 'tiny.yml' in line
    assert all(part in line for part in parts), line
    assert not Path('experiments').exists() or not any(Path('experiments').iterdir())


def test_mistakes_in_a_workers_data_set(basicsr):
    options = options_to_train()
    del options['datasets']['train']['gt_size']
    options['datasets']['train']['num_worker_per_gpu'] = 1
    code, _, err = basicsr('train', options)
    assert code == 2
    assert error_line(err) == "basicsr: error: tiny.yml: datasets: train: 'gt_size' is missing."


def test_images_of_other_sizes_seen_in_a_worker(basicsr):
    options = options_to_train()
    scale_4(options)
    options['datasets']['train']['num_worker_per_gpu'] = 1
    code, _, err = basicsr('train', options)
    assert code == 2
    assert 'tiny.yml: ' in error_line(err) and 'with scale 4 the latter has to be 64x64' in error_line(err)


def test_a_test_that_asks_for_nothing(basicsr):
    options = options_to_test()
    del options['val']
    code, _, err = basicsr('test', options)
    assert code == 2
    assert 'tiny.yml' in error_line(err) and 'val: asks for nothing' in error_line(err)


def test_num_gpu_and_path_may_be_missing(basicsr):
    options = options_to_test()
    del options['num_gpu'], options['path']
    code, _, err = basicsr('test', options)
    assert code == 0, err


def test_an_absent_option_file(basicsr):
    code, _, err = basicsr('train', None, '-opt', 'nowhere.yml')
    assert code == 2
    assert 'nowhere.yml' in error_line(err)


def test_a_syntax_error_names_the_line(basicsr):
    Path('broken.yml').write_text('name: x\ntrain: [1, 2\nscale: 4\n')
    code, _, err = basicsr('train', None, '-opt', 'broken.yml')
    assert code == 2
    assert 'broken.yml' in error_line(err) and 'line 3' in error_line(err)


def test_the_traceback_is_there_in_pythons_development_mode(basicsr, monkeypatch):
    monkeypatch.setattr('basicsr_amsr.cli.development_mode', lambda: True)
    code, _, err = basicsr('train', options_to_train(network_g={'type': 'Nope'}))
    assert code == 2
    assert 'Traceback' in err and "No arch named 'Nope'" in err


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_has_a_help_text(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, '-h'])
    assert stop.value.code == 0
    assert COMMANDS[name].help[1:] in capsys.readouterr().out


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(['--help'])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out and command.help in ' '.join(out.split()) for name, command in COMMANDS.items())


@pytest.mark.parametrize(('argv', 'said'), [
    ([], 'arguments are required: COMMAND (see basicsr -h)'), (['trian'], "invalid choice: 'trian'"),
    (['train'], 'arguments are required: -opt (see basicsr train -h)'), (['train', '-opt'], 'expected one argument')])
def test_a_wrong_command_line_is_one_line(argv, said, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith('basicsr: error: ') and said in err and err.count('\n') == 1


def test_basicsrs_flags_keep_their_spelling():
    args = build_parser('train').parse_args(
        ['train', '-opt', 'x.yml', '--force_yml', 'a:b=1', 'c=[1, 2]', '--launcher', 'pytorch', '--auto_resume',
         '--debug', '--local_rank', '1'])
    assert (args.opt, args.force_yml, args.launcher) == ('x.yml', ['a:b=1', 'c=[1, 2]'], 'pytorch')
    assert args.auto_resume and args.debug and args.local_rank == 1
    assert build_parser('test').parse_args(['test', '-opt', 'x.yml', '--local-rank=2']).local_rank == 2


def test_options_name_what_is_missing_wherever_they_are_copied():
    import copy
    import pickle
    options = Options({'train': {'optim_g': {'lr': 1}, 'steps': [{'variant': 'D'}]}}, 'x.yml')
    for same in (options, copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert same == {'train': {'optim_g': {'lr': 1}, 'steps': [{'variant': 'D'}]}}
        assert same['train'].get('scheduler') is None and 'scheduler' not in same['train']
        with pytest.raises(MissingOption, match=r"^x\.yml: train: optim_g: 'type' is missing\.$"):
            same['train']['optim_g'].pop('type')
        with pytest.raises(MissingOption, match=r"^x\.yml: train: steps: 'iters' is missing\.$"):
            same['train']['steps'][0]['iters']
    assert options['train']['optim_g'].pop('type', 'Adam') == 'Adam'
    with pytest.raises(KeyError):
        options['model_type']


def test_one_line_of_a_workers_traceback():
    text = ('Caught MissingOption in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
            '  File "x.py", line 1, in f\nbasicsr_amsr.cli.options.MissingOption: x.yml: key: bad')
    assert UserError(text).lines == ['x.yml: key: bad']
    assert UserError('two\nlines').lines == ['two lines']
