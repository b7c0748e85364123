"""Flags are declared apart from the work, so that help needs no library; what they offer is what there is."""
import argparse
import gc
import subprocess
import sys
from importlib import import_module

import pytest

from basicsr_amsr.bench.rivals import RIVALS
from basicsr_amsr.bench.rounds import Settings
from basicsr_amsr.cli import COMMANDS, build_parser
from basicsr_amsr.cli.garbage import uncollected
from basicsr_amsr.cli.listing import WEIGHTS
from basicsr_amsr.execution.backends.choice import BACKENDS
from basicsr_amsr.execution.precision import DTYPES
from basicsr_amsr.infer.jobs import KEEP
from basicsr_amsr.profiling.breakdown import DEPTH
from basicsr_amsr.registry import REGISTRIES


def flag(command, name):
    """A flag of a command, by where its value goes."""
    parser = argparse.ArgumentParser()
    import_module(f'basicsr_amsr.cli.flags.{command}_flags').add_arguments(parser)
    return next(action for action in parser._actions if action.dest == name)


@pytest.mark.parametrize(('command', 'name', 'offered'), [
    ('bench', 'dtype', DTYPES), ('profile', 'dtype', DTYPES), ('bench', 'backend', BACKENDS[1:]),
    ('list', 'kind', [*REGISTRIES, WEIGHTS])])
def test_what_is_offered_is_what_there_is(command, name, offered):
    assert set(flag(command, name).choices) == set(offered)


@pytest.mark.parametrize(('command', 'name', 'default'), [
    ('bench', 'rounds', Settings().rounds), ('bench', 'seconds', Settings().seconds),
    ('bench', 'timeout', Settings().timeout), ('profile', 'depth', DEPTH), ('infer', 'ext', KEEP)])
def test_defaults(command, name, default):
    assert flag(command, name).default == default


def test_every_rival_is_named():
    assert ' '.join(RIVALS) in flag('bench', 'rivals').help


def test_flags_import_no_library():
    code = 'import sys; from basicsr_amsr.cli import COMMANDS, build_parser\nfor name in COMMANDS: build_parser(name)\n'
    loaded = subprocess.run([sys.executable, '-c', f'{code}print(*sys.modules)'], capture_output=True, text=True,
                            check=True).stdout.split()
    assert not {'torch', 'torchvision', 'basicsr', 'numpy', 'cv2', 'scipy', 'pydantic', 'yaml', 'rich'} & set(loaded)
    assert all(build_parser(name) and f'basicsr_amsr.cli.flags.{name}_flags' in loaded for name in COMMANDS)


def test_no_garbage_is_looked_for_inside():
    with pytest.raises(ModuleNotFoundError), uncollected():
        assert not gc.isenabled()
        import_module('basicsr_amsr.cli.nothing')
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
