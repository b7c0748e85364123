"""A backbone from outside joins in three ways, each with a package that pip has installed."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from basicsr_amsr import plugins
from basicsr_amsr.cli import main
from basicsr_amsr.errors import UserError
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY
from tests.cli.conftest import NETWORK, options_to_train, write_images

NETWORK_MODULE = '''
from torch import nn

from basicsr_amsr import register_backbone


@register_backbone(scales=(2,), source='nobody, 2024')
class {name}(nn.Module):
    """One convolution and a pixel shuffle."""

    def __init__(self, upscale=2, width=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, 12, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, x):
        return self.layers(x)
'''


def install_package(folder: Path, package: str, backbone: str, entry_point: str = '') -> Path:
    """Build a package with setuptools and install it into `folder`/site with pip; returns that folder."""
    source = folder / f'{package}_source'
    (source / package).mkdir(parents=True)
    (source / package / '__init__.py').write_text('')
    (source / package / 'networks.py').write_text(NETWORK_MODULE.format(name=backbone))
    declared = f'\n[project.entry-points."basicsr_amsr.plugins"]\n{package} = "{entry_point}"\n' if entry_point else ''
    (source / 'pyproject.toml').write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "{package}"\nversion = "1.0"\n{declared}')
    site = folder / 'site'
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-build-isolation', '--no-deps',
                    '--no-index', '--disable-pip-version-check', '--target', str(site), str(source)], check=True)
    return site


def command(folder: Path, site: Path, *words: str) -> subprocess.CompletedProcess:
    """The `basicsr` command in a process of its own that sees the installed package."""
    return subprocess.run([sys.executable, '-m', 'basicsr_amsr', *words], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'})


def assert_listed(run: subprocess.CompletedProcess, backbone: str, package: str) -> None:
    assert run.returncode == 0, run.stderr
    entry, = (e for e in json.loads(run.stdout) if e['name'] == backbone)
    assert entry == {'kind': 'backbone', 'name': backbone, 'module': f'{package}.networks',
                     'from': f'plugin {package}', 'methods': [], 'scales': [2]}


def assert_trained(folder: Path, run: subprocess.CompletedProcess, backbone: str) -> None:
    assert run.returncode == 0, run.stderr
    assert f'Network [{backbone}] is created.' in run.stderr
    assert (folder / 'experiments' / 'tiny' / 'models' / 'net_g_2.pth').is_file()


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / 'data' / 'gt', ['a', 'b'], 32)
    write_images(tmp_path / 'data' / 'lq', ['a', 'b'], 16)
    return tmp_path


def write_options(folder: Path, backbone: str, **more) -> None:
    options = options_to_train(network_g={'type': backbone, 'upscale': 2}, **more)
    options['datasets']['train']['num_worker_per_gpu'] = 1
    (folder / 'tiny.yml').write_text(yaml.safe_dump(options))


def test_entry_point_of_an_installed_package(folder):
    site = install_package(folder, 'outside_entry', 'OutsideEntry', 'outside_entry.networks')
    assert_listed(command(folder, site, 'list', '--json', 'backbone'), 'OutsideEntry', 'outside_entry')
    write_options(folder, 'OutsideEntry')
    assert_trained(folder, command(folder, site, 'train', '-opt', 'tiny.yml'), 'OutsideEntry')


def test_plugins_in_the_option_file(folder):
    site = install_package(folder, 'outside_yaml', 'OutsideYaml')
    write_options(folder, 'OutsideYaml', plugins=['outside_yaml.networks'])
    assert_trained(folder, command(folder, site, 'train', '-opt', 'tiny.yml'), 'OutsideYaml')


def test_decorator_in_a_users_own_program(folder):
    site = install_package(folder, 'outside_deco', 'OutsideDeco')
    write_options(folder, 'OutsideDeco')
    program = folder / 'program.py'
    program.write_text('import sys\nimport outside_deco.networks\nfrom basicsr_amsr.cli import main\n'
                       "assert main(['train', '-opt', 'tiny.yml']) == 0\n"
                       "sys.exit(main(['list', '--json', 'backbone']))\n")
    run = subprocess.run([sys.executable, str(program)], cwd=folder, capture_output=True, text=True,
                         env={**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'})
    assert_trained(folder, run, 'OutsideDeco')
    listing = subprocess.CompletedProcess(run.args, 0, run.stdout[run.stdout.index('[\n'):], run.stderr)
    assert_listed(listing, 'OutsideDeco', 'outside_deco')


@pytest.fixture
def clean(monkeypatch):
    """What a test registers and loads is forgotten afterwards."""
    monkeypatch.setattr(plugins, '_installed', {})
    monkeypatch.setattr(plugins, '_named', {})
    monkeypatch.setattr(sys, 'path', list(sys.path))
    for registry in (ARCH_REGISTRY, BACKBONE_REGISTRY):
        monkeypatch.setattr(registry, '_obj_map', dict(registry._obj_map))
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def options_folder(tmp_path, monkeypatch, clean):
    """A folder with an option file and a plugin beside it; the current folder is another one."""
    (tmp_path / 'opts').mkdir()
    (tmp_path / 'work').mkdir()
    monkeypatch.chdir(tmp_path / 'work')
    (tmp_path / 'opts' / 'beside_net.py').write_text(NETWORK_MODULE.format(name='Beside'))
    return tmp_path / 'opts'


def load(folder, *names):
    plugins.load_plugins({'plugins': list(names)}, str(folder / 'x.yml'))


def test_modules_beside_the_option_file_in_the_current_folder_and_by_path(options_folder):
    Path('here_net.py').write_text(NETWORK_MODULE.format(name='Here'))
    (options_folder / 'nets').mkdir()
    (options_folder / 'nets' / 'deep.py').write_text(NETWORK_MODULE.format(name='Deep'))
    (options_folder / 'nets' / 'by_path.py').write_text(NETWORK_MODULE.format(name='ByPath'))
    load(options_folder, 'beside_net', 'here_net', 'nets.deep', 'nets/by_path.py')
    assert all(name in BACKBONE_REGISTRY and name in ARCH_REGISTRY for name in ('Beside', 'Here', 'Deep', 'ByPath'))
    assert [plugin.module for plugin in plugins.loaded()] == ['beside_net', 'here_net', 'nets.deep', 'by_path']


def test_loading_twice_under_any_spelling_is_harmless(options_folder):
    load(options_folder, 'beside_net', 'beside_net')
    load(options_folder, 'beside_net', 'beside_net.py', './beside_net.py')
    assert len(plugins.loaded()) == 1


def test_two_plugins_beside_each_other(options_folder):
    (options_folder / 'second_net.py').write_text(NETWORK_MODULE.format(name='Second'))
    load(options_folder, 'beside_net', 'second_net')
    assert 'Beside' in BACKBONE_REGISTRY and 'Second' in BACKBONE_REGISTRY


def test_no_plugins_is_fine(options_folder):
    plugins.load_plugins({}, 'x.yml')
    plugins.load_plugins({'plugins': None}, 'x.yml')
    assert plugins.loaded() == []


@pytest.mark.parametrize(('files', 'names', 'parts'), [
    ({}, ['no_such_module'], ['no_such_module', 'no module of that name']),
    ({}, ['no_such/file.py'], ['no_such/file.py', 'no such file']),
    ({}, ['nets/my-net'], ['letters, digits and underscores']),
    ({'bad.py': 'x = 1\nundefined_name\n'}, ['bad'], ['NameError', 'bad.py, line 2']),
    ({'bad.py': 'def (:\n'}, ['bad'], ['SyntaxError', 'bad.py, line 1']),
    ({'bad.py': 'import not_there_at_all\n'}, ['bad'], ['not_there_at_all', 'bad.py, line 1']),
    ({'taken.py': NETWORK_MODULE.format(name='Beside')}, ['beside_net', 'taken'], ['taken', "'Beside'", 'beside_net']),
    ({'json.py': ''}, ['json'], ["another module named 'json'", 'rename']),
])
def test_what_does_not_load_is_one_line(options_folder, files, names, parts):
    for name, text in files.items():
        (options_folder / name).write_text(text)
    with pytest.raises(UserError) as mistake:
        load(options_folder, *names)
    message = str(mistake.value)
    assert '\n' not in message and 'x.yml: plugins: ' in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize('value', ['beside_net', [1], {'a': 'b'}])
def test_plugins_has_to_be_a_list_of_names(options_folder, value):
    with pytest.raises(UserError, match=r'x\.yml: plugins: must be a list'):
        plugins.load_plugins({'plugins': value}, 'x.yml')


def test_a_failing_installed_package_is_one_line_and_the_rest_goes_on(tmp_path, monkeypatch, capsys, clean):
    site = install_package(tmp_path, 'outside_broken', 'OutsideBroken', 'outside_broken.networks')
    (site / 'outside_broken' / 'networks.py').write_text('raise RuntimeError("half-installed")\n')
    monkeypatch.syspath_prepend(str(site))
    for _ in range(2):  # the second time it is known and not tried again
        assert main(['list', '--json', 'metric']) == 0
    out, err = capsys.readouterr()
    assert out.count('calculate_psnr"') == 2
    assert err.splitlines() == [
        'basicsr: warning: the plugin of package outside_broken (outside_broken.networks) does not load: '
        f'RuntimeError: half-installed ({site / "outside_broken" / "networks.py"}, line 1)']


def test_an_entry_point_may_name_a_function(tmp_path, monkeypatch, clean):
    site = install_package(tmp_path, 'outside_call', 'OutsideCall', 'outside_call.networks:register')
    file = site / 'outside_call' / 'networks.py'
    file.write_text('calls = []\n\ndef register():\n    calls.append(1)\n')
    monkeypatch.syspath_prepend(str(site))
    assert plugins.load_installed() == [] and plugins.load_installed() == []
    assert sys.modules['outside_call.networks'].calls == [1]


def test_the_example_of_the_documentation(options_folder, repository):
    example = (repository / 'docs' / 'plugins.md').read_text(encoding='utf-8').split('```python\n')[1].split('```')[0]
    (options_folder / 'example.py').write_text(example, encoding='utf-8')
    load(options_folder, 'example')
    network = ARCH_REGISTRY.get('TinyNet')(upscale=2)
    assert network(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 10, 14)


def test_a_missing_name_lists_the_near_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / 'data' / 'gt', ['a'], 32)
    write_images(tmp_path / 'data' / 'lq', ['a'], 16)
    (tmp_path / 'tiny.yml').write_text(yaml.safe_dump(options_to_train(network_g={**NETWORK, 'type': 'MSRResNe'})))
    assert main(['train', '-opt', 'tiny.yml']) == 2
    assert "tiny.yml:26: network_g: type: No arch named 'MSRResNe'. Did you mean MSRResNet" in capsys.readouterr().err
