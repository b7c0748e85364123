"""What `import basicsr_amsr` gives is typed, without `Any`, and its examples run."""
import doctest
import inspect
import shutil
from typing import Any, get_args, get_type_hints

import pytest
import torch

import basicsr_amsr as sr
from basicsr_amsr.amsr.calibration.file import Fit
from basicsr_amsr.amsr.conversion_report import Report
from basicsr_amsr.backbones.spec import Backbone, Spec
from basicsr_amsr.infer.chosen_form import Form
from basicsr_amsr.infer.find_network import Network
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY
from basicsr_amsr.resources import resolve

NAMES = [name for name in dir(sr) if not name.startswith('__')]
GIVEN = (Fit, Report, Spec, Backbone, Form, Network)  # what the public objects take, hold and return


def untyped(place, hints, parameters=()):
    """Where `Any` stands among the hints, and which parameters have none."""
    def is_any(hint):
        return hint is Any or any(map(is_any, hint if isinstance(hint, list) else get_args(hint)))

    yield from (f'{place}: {name}' for name, hint in hints.items() if is_any(hint))
    yield from (f'{place}: {name} has no type' for name in parameters if name not in hints)


def untyped_in(public):
    """`untyped`, of a function, or of a class with its attributes and methods."""
    if inspect.isfunction(public):
        yield from untyped(public.__qualname__, get_type_hints(public), [*inspect.signature(public).parameters,
                                                                         'return'])
        return
    yield from untyped(public.__name__, get_type_hints(public))
    for name, member in vars(public).items():
        function = getattr(member, '__func__', getattr(member, 'fget', None) or member)
        if inspect.isfunction(function) and (not name.startswith('_') or name in ('__init__', '__call__')):
            parameters = list(inspect.signature(function).parameters)[not isinstance(member, staticmethod):]
            yield from untyped(f'{public.__name__}.{name}', get_type_hints(function), [*parameters, 'return'])


@pytest.mark.parametrize('public', [*(getattr(sr, name) for name in NAMES), *GIVEN], ids=lambda one: one.__name__)
def test_it_is_typed(public):
    assert list(untyped_in(public)) == []


def test_what_has_no_type_is_found():
    class Loose:
        held: dict[str, Any]

        def method(self, given, typed: int) -> list[Any]: ...

    found = ['Loose: held', 'Loose.method: return', 'Loose.method: given has no type']
    assert [line.rpartition('.<locals>.')[2] for line in untyped_in(Loose)] == found


def test_a_call_of_register_backbone_takes_the_fields_of_a_backbone():
    fields = {name: hint for name, hint in get_type_hints(Backbone).items() if name not in ('name', 'build')}
    assert get_type_hints(Spec) == fields


@pytest.mark.parametrize('name', NAMES)
def test_its_examples_run(name, tmp_path, monkeypatch):
    shutil.copy(resolve('demo/test/baby.jpg'), tmp_path / 'photo.jpg')
    monkeypatch.chdir(tmp_path)
    for registry in (ARCH_REGISTRY, BACKBONE_REGISTRY):
        monkeypatch.setattr(registry, '_obj_map', dict(registry._obj_map))
    sources = doctest.DocTestFinder(recurse=False).find(getattr(sr, name), name, globs={'sr': sr, 'torch': torch})
    assert sources and sources[0].examples
    told = []
    assert doctest.DocTestRunner().run(sources[0], out=told.append).failed == 0, ''.join(told)
