"""The table of patches, and importing in every order and company."""
from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
import textwrap

import basicsr.test
import basicsr.train
import basicsr.utils.options
from basicsr.models.base_model import BaseModel

from basicsr_amsr import patch_table
from basicsr_amsr.compat.patching import OUTCOMES

BLOCK = """
    import importlib.abc, sys

    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name in ABSENT or name.startswith(tuple(f'{a}.' for a in ABSENT)):
                raise ModuleNotFoundError(f'No module named {name!r}', name=name)

    sys.meta_path.insert(0, Absent())
"""


def python(*code, flags=(), check=True):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    run = subprocess.run([sys.executable, *flags, '-c', '\n'.join(textwrap.dedent(part) for part in code)],
                         capture_output=True, text=True, env=environment)
    assert not check or run.returncode == 0, run.stderr[-3000:]
    return run


def test_patches_are_described_and_in_place():
    names = [patch.name for patch in patch_table.PATCHES]
    assert len(set(names)) == len(names) == len(OUTCOMES)
    for patch in patch_table.PATCHES:
        assert patch.reason and patch.does
        assert OUTCOMES[patch.name] in ('applied', 'not needed here', 'applied when it is imported')
        assert all(re.fullmatch(r'https://github\.com/XPixelGroup/BasicSR/(issues|pull)/\d+', u)
                   for u in patch.upstream)


def test_what_stands_in_the_place_of_basicsrs_is_ours():
    for patch in (patch for patch in patch_table.PATCHES if patch.replaces):
        assert pkgutil.resolve_name(patch.replaces) is pkgutil.resolve_name(f'basicsr_amsr.{patch.by}'), patch.name


def test_the_page_lists_every_patch(repository):
    page = (repository / 'docs' / 'compat.md').read_text(encoding='utf-8').replace('\\_', '_')
    for patch in patch_table.PATCHES:
        row = next((line for line in page.splitlines() if line.startswith(f'| {patch.name} |')), '')
        assert row, f'docs/compat.md has no row for {patch.name!r}'
        assert {f'#{u.rsplit("/", 1)[1]}' for u in patch.upstream} == set(re.findall(r'#\d+', row))


def test_applying_again_changes_nothing():
    def state():
        return (basicsr.train.parse_options, basicsr.test.parse_options, basicsr.utils.options.ordered_yaml,
                basicsr.train.load_resume_state, basicsr.train.build_model, BaseModel.validation,
                sys.modules.get('torchvision.transforms.functional_tensor'))
    before, outcomes = state(), dict(OUTCOMES)
    patch_table.apply()
    assert state() == before and outcomes == OUTCOMES


def test_both_pipelines_call_ours():
    for module in (basicsr.train, basicsr.test, basicsr.utils.options, basicsr):
        assert module.parse_options.__module__ == 'basicsr_amsr.options.parse'


def test_import_without_the_modules_that_went_away_and_no_warnings():
    run = python("""
        ABSENT = ('distutils', '_distutils_hack', 'setuptools', 'torchvision.transforms.functional_tensor')
    """, BLOCK, """
        import basicsr_amsr.register, packaging.version, torch, numpy as np
        assert not {'torchvision', 'scipy', 'sympy', 'torch._dynamo'} & sys.modules.keys()
        import scipy.ndimage
        vars(scipy.ndimage).pop('filters', None)
        sys.modules.pop('scipy.ndimage.filters', None)
        ABSENT += ('scipy.ndimage.filters',)
        import basicsr.archs.arch_util, basicsr.metrics.niqe, torchvision
        from basicsr.data.data_util import duf_downsample
        from basicsr.data.degradations import rgb_to_grayscale
        assert basicsr.archs.arch_util.LooseVersion('0.29.2+cu132') > packaging.version.Version('0.9.0')
        assert 'distutils' not in sys.modules and 'distutils.version' not in sys.modules
        assert basicsr.metrics.niqe.convolve(np.eye(3), np.ones((3, 3)))[1, 1] == 3
        assert duf_downsample(torch.rand(1, 1, 3, 16, 16), 13, 4).shape == (1, 1, 3, 4, 4)
        assert rgb_to_grayscale(torch.ones(3, 2, 2)).shape == (1, 2, 2)
        assert basicsr_amsr.compat.patching.OUTCOMES['distutils LooseVersion'] == 'applied'
        assert not torch.cuda.is_initialized()
        from basicsr.archs.arch_util import flow_warp
        from basicsr.archs.swinir_arch import SwinIR
        flow_warp(torch.rand(1, 1, 4, 4), torch.zeros(1, 4, 4, 2))  # torch.meshgrid without indexing
        SwinIR(img_size=8, window_size=8, depths=(1,), embed_dim=4, num_heads=(1,))
    """)
    assert run.stderr == ''


def test_import_raises_no_deprecation_warning_of_ours():
    python('import basicsr_amsr.register', flags=('-W', 'error::DeprecationWarning'))


def test_basicsr_imported_first_and_by_another_name():
    run = python("""
        import sys, types, torchvision.transforms.functional as functional
        theirs = types.ModuleType('torchvision.transforms.functional_tensor')
        theirs.rgb_to_grayscale = functional.rgb_to_grayscale
        sys.modules[theirs.__name__] = theirs
        import basicsr
        from basicsr.utils.options import parse_options as my_own_name
        import basicsr_amsr.register, basicsr.train
        assert my_own_name is basicsr.train.parse_options is sys.modules['basicsr_amsr.options.parse'].parse_options
        assert sys.modules[theirs.__name__] is theirs
        assert basicsr_amsr.compat.patching.OUTCOMES['torchvision functional_tensor'] == 'not needed here'
        from basicsr_amsr import patch_table
        patch_table.apply()
    """)
    assert run.stderr == ''


def test_what_another_plugin_replaced_is_left_to_it():
    run = python("""
        import functools, sys, types
        import torchvision.transforms.functional as functional
        alias = types.ModuleType('torchvision.transforms.functional_tensor')
        alias.rgb_to_grayscale = functional.rgb_to_grayscale
        sys.modules[alias.__name__] = alias
        import basicsr.utils.options, basicsr.utils.registry
        plugin = types.ModuleType('other_plugin')
        source = '''
        import functools
        def wrap(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return function(*args, **kwargs)
            return wrapper
        '''
        import textwrap
        exec(textwrap.dedent(source), plugin.__dict__)
        options, registry = basicsr.utils.options, basicsr.utils.registry.Registry
        options.parse_options = theirs = plugin.wrap(options.parse_options)
        registry.get = get = plugin.wrap(registry.get)
        import basicsr_amsr.register
        from basicsr_amsr.registry import ARCH_REGISTRY, lookup
        assert options.parse_options is theirs and registry.get is get
        outcomes = basicsr_amsr.compat.patching.OUTCOMES
        assert outcomes['option values as YAML'] == outcomes['Registry.get'] == 'left to other_plugin'
        assert outcomes['build_model'] == 'applied'
        assert lookup(ARCH_REGISTRY, 'RRDBNet') is ARCH_REGISTRY.get('RRDBNet')
        try:
            lookup(ARCH_REGISTRY, 'RRDBnet')
        except basicsr_amsr.UserError as error:
            assert 'Did you mean RRDBNet' in str(error)
        # and one that comes after us
        basicsr.utils.options.ordered_yaml = late = plugin.wrap(basicsr.utils.options.ordered_yaml)
        basicsr_amsr.patch_table.apply()
        assert basicsr.utils.options.ordered_yaml is late
    """)
    assert run.stderr == ''


def test_without_basicsr_the_import_says_so():
    run = python("ABSENT = ('basicsr',)", BLOCK, 'import basicsr_amsr.register', check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        'ModuleNotFoundError: basicsr_amsr needs basicsr 1.4.2, which is not installed: see docs/install.md.')


def test_without_basicsr_a_command_says_so_in_one_line():
    run = python("ABSENT = ('basicsr',)", BLOCK, "from basicsr_amsr.cli import main\nsys.exit(main(['list']))",
                 check=False)
    assert run.returncode == 2
    assert run.stderr == ('basicsr: error: basicsr_amsr needs basicsr 1.4.2, which is not installed: see '
                          'docs/install.md.\n')


def test_what_is_imported_later_is_what_it_stands_for():
    run = python("""
        import basicsr_amsr.register, sys
        from basicsr.archs import basicvsrpp_arch, vgg_arch
        from basicsr.data import degradations
        assert 'torchvision' not in sys.modules
        assert vgg_arch.vgg.vgg11.__name__ == 'vgg11' and basicvsrpp_arch.torchvision.ops.deform_conv2d
        import basicsr.archs.inception, basicsr.metrics.fid, scipy.special, torchvision
        assert issubclass(basicsr.archs.inception.FIDInceptionA, torchvision.models.inception.InceptionA)
        assert degradations.special.j1(0.5) == scipy.special.j1(0.5)
        assert degradations.multivariate_normal([0, 0]).pdf([0, 0]) > 0.1
        from basicsr_amsr.compat import numerics, patching
        assert basicsr.metrics.fid.calculate_fid is numerics.calculate_fid
        assert patching.OUTCOMES['calculate_fid'] == 'applied'
    """)
    assert run.stderr == ''
