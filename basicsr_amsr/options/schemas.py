"""The section of each thing that a `type:` names: what its class declares, else what can be derived."""
from __future__ import annotations

import functools
import inspect
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

import torch
from basicsr.models import lr_scheduler
from pydantic import create_model
from pydantic.fields import FieldInfo

from basicsr_amsr.errors import UnknownName, suggestion
from basicsr_amsr.options.argument_sections import section_of
from basicsr_amsr.options.mistakes import Place
from basicsr_amsr.options.section import Named, OpenSection, Section
from basicsr_amsr.options.sections import SECTIONS, SHARED, Dataset, Top
from basicsr_amsr.options.source import constants, reads
from basicsr_amsr.registry import REGISTRIES

# Set by the pipelines in the options, never by a file.
RUNTIME = {'auto_resume', 'is_train', 'root_path', 'dist', 'rank', 'world_size', 'manual_seed_drawn', 'resumed',
           'epochs'}
GIVEN = {'metric': ('img', 'img2'), 'optimizer': ('params',), 'scheduler': ('optimizer',)}
OPTIMIZERS = {name: cls for name, cls in vars(torch.optim).items()
              if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)}
SCHEDULERS = {'MultiStepLR': lr_scheduler.MultiStepRestartLR, 'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
              'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR}

READ_BESIDE = {'metric': ('better',)}  # by the models, for the best figure
NEEDED = {'lr': 'the learning rate'}  # beside the `type:` of an optimizer
PARTS = ('optim_g', 'optim_d', 'scheduler')


def find(kind: str, name: Any, model: Any = None) -> Any:
    """What `type: name` stands for.

    Args:
        kind: of the `Named` options.
        model: the model's class; BasicSR's models know few optimizers and schedulers.

    Raises:
        UnknownName: there is nothing of that name.
    """
    if not isinstance(name, str):
        raise UnknownName(f'the name of one {kind} is wanted, not {name!r}.')
    if kind == 'optimizer':
        return _choose(kind, name, OPTIMIZERS, model, 'get_optimizer', 'setup_optimizers')
    if kind == 'scheduler':
        return _choose(kind, name, SCHEDULERS, model, 'setup_schedulers', 'setup_schedulers')
    return REGISTRIES[kind].get(name)


def _choose(kind: str, name: Any, known: Mapping[str, Any], model: Any, by: str, caller: str) -> Any:
    """Looks a name up among `known`, or among those of them that the model's method compares with."""
    if uses(model, by, caller):
        known = {key: value for key, value in known.items() if key in constants(getattr(model, by))} or known
    if name not in known:
        raise UnknownName(f"No {kind} named '{name}'. {suggestion(str(name), known)}")
    return known[name]


def uses(model: Any, by: str, caller: str) -> bool:
    """Whether a method of the model goes by the method `by`, or is it."""
    method = getattr(model, caller, None)
    return method is not None and hasattr(model, by) and by in (caller, *inspect.unwrap(method).__code__.co_names)


def needed_beside(kind: str, model: Any) -> list[str]:
    """Arguments of an optimizer without which the model cannot build it."""
    if kind != 'optimizer' or not uses(model, 'get_optimizer', 'setup_optimizers'):
        return []
    parameters = inspect.signature(model.get_optimizer).parameters
    return [key for key in NEEDED if key in parameters and parameters[key].default is inspect.Parameter.empty]


def needed_in(section: str, model: Any) -> list[str]:
    """Keys of `train:` without which one of BasicSR's models stops: each sets up what its method names."""
    methods = [getattr(model, name, None) for name in ('init_training_settings', 'setup_optimizers',
                                                       'setup_schedulers')]
    if section != 'train' or not all(getattr(method, '__module__', '').startswith('basicsr.') for method in methods):
        return []
    return [key for key in PARTS if any(key in constants(method) for method in methods[1:])]


def of_named(kind: str, target: Any) -> type[Section]:
    """The options beside `type:`."""
    owner = getattr(target, '__self__', target)  # a backbone's `create` stands for it among the networks
    declared = getattr(owner, 'option_schema', None)
    if declared is not None:
        return declared
    return section_of(target, GIVEN.get(kind, ()))


def with_more(schema: type[Section], more: type[Section] | None) -> type[Section]:
    """A section and the keys of another one."""
    return schema if more is None else create_model(schema.__name__, __base__=(more, schema))


def of_dataset(target: Any) -> type[Section]:
    """The options of a data set."""
    declared = getattr(target, 'option_schema', None)
    return declared or extended(Dataset, target, (), 'dataset')


def of_section(key: str, model: Any, networks: tuple[str, ...] = ()) -> type[Section]:
    """The section `key:` of the file ('' for the file itself), read by the pipelines and by the model.

    Args:
        key: 'train', 'val', 'logger', 'path' or ''.
        model: the model's class, None where it is unknown.
        networks: the file's `network_…` keys, each with weights of its own under `path:`.
    """
    declared = getattr(model, 'option_schemas', {}).get(key)
    base = declared or SECTIONS.get(key, Top)
    if key == 'path':
        base = _with_networks(base, networks)
    if declared is not None or key == 'logger':
        return base
    return extended(base, model, (key,) if key else (), key)


@functools.lru_cache(maxsize=64)
def _with_networks(base: type[Section], networks: tuple[str, ...]) -> type[Section]:
    """`path:` with the keys of every network."""
    patterns = {'pretrain_network_g': 'pretrain_{}', 'strict_load_g': 'strict_load_{}', 'param_key_g': 'param_key_{}'}
    fields: dict[str, Any] = {}
    for network in networks:
        for key, pattern in patterns.items():
            field = base.model_fields[key]
            name = pattern.format(network if key.startswith('pretrain') else network.removeprefix('network_'))
            fields.setdefault(name, (field.annotation, field))
    return create_model('Path', __base__=base, **{k: v for k, v in fields.items() if k not in base.model_fields})


@functools.lru_cache(maxsize=256)
def extended(base: type[Section], cls: Any, section: tuple[str, ...], shared: str) -> type[Section]:
    """`base` with what the source of a class reads from a section; open where the source does not tell."""
    base = SHARED.get(shared, base)
    found = reads(cls) if inspect.isclass(cls) else None
    if found is None or not found.complete or section in found.dynamic:
        return create_model(base.__name__, __base__=(base, OpenSection))
    fields: dict[str, Any] = {}
    for key in sorted(found.known(section) - set(base.model_fields) - (RUNTIME if not section else set())):
        if key.isidentifier() and not key.startswith('_'):
            fields[key] = (Any, None)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a key may have the name of one of pydantic's methods
        return create_model(base.__name__, __base__=base, **fields)


def read_anywhere(cls: Any) -> set[str]:
    """Keys that a class reads from options of which its source does not tell where they stand."""
    return reads(cls).anywhere if inspect.isclass(cls) else set()


def looks_like_a_loss(key: str, value: Any, field: FieldInfo | None) -> bool:
    """Whether a key that is read from the source of a model names a loss, as BasicSR's `…_opt` do."""
    return ((field is None or field.annotation is Any) and str(key).endswith('_opt')
            and isinstance(value, Mapping) and 'type' in value)


def is_loss_name(key: str, value: Any, field: FieldInfo | None) -> bool:
    """Whether a value is just the name of a loss, where the options of a loss belong."""
    return ((field is None or field.annotation is Any) and str(key).endswith('_opt') and isinstance(value, str)
            and value in REGISTRIES['loss'])


def named_inside(annotation: Any, metadata: Sequence[Any], value: Any, place: Place) -> Iterator[tuple[Named, Place]]:
    """Options with a `type:` inside a value, by the type of the value: how they are marked, and their places."""
    mark = next((mark for mark in metadata if isinstance(mark, Named)), None)
    origin, args = get_origin(annotation), get_args(annotation)
    if mark is not None:
        if isinstance(value, Mapping):
            yield mark, place
    elif origin is Annotated:
        yield from named_inside(args[0], args[1:], value, place)
    elif origin in (Union, types.UnionType):
        for arg in args:
            yield from named_inside(arg, (), value, place)
    elif origin is dict and isinstance(value, Mapping):
        for key, inner in value.items():
            yield from named_inside(args[1], (), inner, (*place, key))
    elif origin is list and isinstance(value, list):
        for index, inner in enumerate(value):
            yield from named_inside(args[0], (), inner, (*place, index))
