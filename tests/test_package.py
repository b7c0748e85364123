"""Importing the package: light, complete, and once."""
import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import basicsr_amsr.register
from basicsr_amsr import resources
from basicsr_amsr.compat.importing import FOR_IMPORT
from basicsr_amsr.registry import REGISTRIES

PACKAGE = Path(basicsr_amsr.__file__).parent
HEAVY = {'torch', 'torchvision', 'basicsr', 'numpy', 'cv2', 'scipy', 'sklearn', 'mmengine', 'thop', 'pydantic', 'yaml',
         'rich', 'matplotlib', 'triton'}
PROBE = """
import sys
import torchvision  # brings Triton along by itself in some versions
before = 'triton' in sys.modules
import basicsr_amsr.register, torch
print(torch.cuda.is_initialized(), ('triton' in sys.modules) != before, 'sklearn' in sys.modules)
"""


def python(code):
    """What a fresh Python prints."""
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout


def loaded_by(code, *words):
    """The modules that a fresh Python has loaded after the code."""
    return set(subprocess.run([sys.executable, '-c', code, *map(str, words)], capture_output=True, text=True,
                              check=True).stdout.splitlines()[-1].split())


def test_registering_initialises_no_cuda_and_no_triton():
    assert python(PROBE).split() == ['False', 'False', 'False']


@pytest.mark.parametrize('code', ['import basicsr_amsr; dir(basicsr_amsr)', 'import basicsr_amsr as sr; sr.UserError',
                                  "from basicsr_amsr.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"])
def test_what_loads_no_library(code):
    loaded = loaded_by(f'{code}\nimport sys; print(*sys.modules)')
    assert not HEAVY & loaded
    assert sum(name.startswith('basicsr_amsr') for name in loaded) < 12


# what neither PyTorch's import nor a command's own work needs, and what takes a tenth of a second to seconds
NOT_NEEDED = {'torchvision', 'scipy', 'sklearn', 'sympy', 'mpmath', 'networkx', 'matplotlib', 'pandas', 'tensorboard',
              'mmengine', 'thop', 'triton', 'openvino', 'spandrel', 'torch._dynamo', 'torch._inductor', 'tqdm.contrib'}
COMMAND = """
import sys, torch
from basicsr_amsr.cli import main
main(sys.argv[1:])
print()
print(*sys.modules)
"""


@pytest.mark.parametrize('words', ['list pretrained', 'test -opt no.yml', 'infer -n no_network -i {here}/a.png',
                                   'infer -n RFDN_x4 -i {here}/b.png', 'infer -n RFDN_x4 -i {here} -o {here}/a.png'])
def test_what_needs_no_network_loads_no_pytorch(words, tmp_path):
    (tmp_path / 'a.png').touch()
    loaded = loaded_by(COMMAND.replace(', torch', ''), *words.format(here=tmp_path).split())
    assert not {'torch', 'torchvision', 'basicsr', 'numpy', 'cv2', 'scipy', 'pydantic'} & loaded


@pytest.mark.parametrize('words', ['list backbone', 'doctor'])
def test_commands_load_nothing_that_takes_seconds_beside_pytorch(words):
    by_pytorch = loaded_by('import sys, torch; print(*sys.modules)')
    assert not NOT_NEEDED & (loaded_by(COMMAND, *words.split()) - by_pytorch)


def test_preparing_images_loads_neither_pytorch_nor_basicsr():
    loaded = loaded_by('import basicsr_amsr.cli.prepare, sys; print(*sys.modules)')
    assert not {'torch', 'torchvision', 'basicsr'} & loaded


def test_the_public_names():
    assert dir(basicsr_amsr) == ['AMSRConfig', 'Calibration', 'Upscaler', 'UserError', '__version__', 'accelerate_',
                                 'calibrate', 'load_pretrained', 'register_backbone', 'restore_']
    for name in dir(basicsr_amsr):
        assert getattr(basicsr_amsr, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'acelerate_'"):
        basicsr_amsr.acelerate_  # noqa: B018


def test_type_checkers_see_the_names_where_they_are_loaded_from():
    tree = ast.parse((PACKAGE / '__init__.py').read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module.removeprefix('basicsr_amsr.') for node in block.body for alias in node.names}
    assert seen == basicsr_amsr._PLACES


INFERENCE = """
import basicsr_amsr as sr, basicsr, inspect, torch
import basicsr.train, basicsr.test
from basicsr.data.prefetch_dataloader import CUDAPrefetcher
from basicsr.models import base_model, sr_model
from basicsr.archs.swinir_arch import SwinIR
from basicsr.utils import logger, options, registry
net = sr.load_pretrained('RFDN_x4')
sr.accelerate_(net)
with torch.no_grad():
    assert net(torch.rand(1, 3, 16, 16)).shape == (1, 3, 64, 64)
for owner in (basicsr.train, basicsr.test, base_model.BaseModel, sr_model.SRModel, SwinIR, CUDAPrefetcher, logger,
              options, registry.Registry, basicsr.archs, basicsr.data, basicsr.losses, basicsr.metrics):
    for name, value in vars(owner).items():
        if name != '__getattr__' and (inspect.isfunction(value) or inspect.isclass(value)):  # puts BasicSR's import off
            home = getattr(value, '__globals__', {}).get('__name__', value.__module__)
            assert not home.startswith('basicsr_amsr'), (owner, name)
from basicsr_amsr.compat.patching import OUTCOMES
print(*OUTCOMES, sep='\\n')
"""


def test_inference_alone_changes_nothing_that_basicsr_does():
    assert set(python(INFERENCE).splitlines()) == {patch.name for patch in FOR_IMPORT}


def test_importing_twice_registers_nothing_twice():
    before = {kind: list(registry.keys()) for kind, registry in REGISTRIES.items()}
    importlib.reload(basicsr_amsr)
    importlib.reload(basicsr_amsr.register)
    assert {kind: list(registry.keys()) for kind, registry in REGISTRIES.items()} == before
    assert 'MGA' in before['arch'] and 'MGAModel' in before['model'] and 'topk' in before['selection']


def test_files_of_the_project_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resources.resolve('options/mga_rcan_x4.yml').is_file()
    assert resources.resolve('demo/train').is_dir()
    assert str(resources.resolve('no/such/file')) == 'no/such/file'


def test_the_users_own_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'options').mkdir()
    (tmp_path / 'options' / 'mga_rcan_x4.yml').write_text('name: mine')
    assert resources.resolve('options/mga_rcan_x4.yml').read_text() == 'name: mine'
