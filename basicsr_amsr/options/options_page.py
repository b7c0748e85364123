"""docs/options.md, written from the sections and signatures by which option files are checked."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from basicsr.models.base_model import BaseModel
from pydantic.fields import FieldInfo

from basicsr_amsr.options import schemas, words
from basicsr_amsr.options.plain_yaml import OptionDumper
from basicsr_amsr.options.reference_text import (
    BACKBONES,
    DATASETS,
    INTRODUCTION,
    NETWORKS,
    OPTIMIZERS,
    OTHERS,
    TRANSFORMS,
)
from basicsr_amsr.options.section import Section, sections_in
from basicsr_amsr.options.sections import SECTIONS, SHARED, Dataset, Top
from basicsr_amsr.options.source import constants
from basicsr_amsr.registry import REGISTRIES


def reference() -> str:
    """The whole page, Markdown."""
    models, networks, backbones = (_shipped(kind) for kind in ('model', 'arch', 'backbone'))
    others = {name: target for name, target in networks.items() if name not in ('MGA', 'AMSR', *backbones)}
    parts = [INTRODUCTION, '## The file\n', _table(Top), *_datasets(),
             '## `network_g:`\n', NETWORKS, '### MGA\n', 'See [MGA](mga.md).\n',
             _table(schemas.of_named('arch', networks['MGA'])), '### AMSR\n', 'See [AMSR](amsr.md).\n',
             _table(schemas.of_named('arch', networks['AMSR'])), *_selections(), '### Backbones\n', BACKBONES,
             _arguments('backbone', backbones), '### Others\n', OTHERS, _arguments('network', others, 'arch')]
    for key, section in SECTIONS.items():
        parts += _section(key, section, models)
    parts += ['## Further keys at the top level\n', _further('model', {
        name: schemas.of_section('', cls) for name, cls in models.items()}, Top)]
    parts += ['## Transforms and degradations\n', TRANSFORMS]
    for name, cls in _shipped('transform').items():
        options = schemas.of_named('transform', cls)
        parts += [f'### {name}\n', f'{_first_line(cls)}\n', *([_table(options)] if options.model_fields else [])]
    names = [name for name in schemas.OPTIMIZERS if name in constants(BaseModel.get_optimizer)]
    parts += ['## Losses\n', '`…_opt: {type: NAME, …}`\n', _arguments('loss', _shipped('loss')),
              '## Metrics\n', '`val: metrics: {ANY NAME: {type: NAME, …}}`\n', _arguments('metric', _shipped('metric')),
              '## Optimizers and schedulers\n', OPTIMIZERS.replace('OPTIMIZERS', ' and '.join(names)),
              _arguments('scheduler', schemas.SCHEDULERS)]
    return '\n'.join(parts)


def _selections() -> list[str]:
    """What may stand in `selection:` of AMSR, for each class."""
    parts = []
    for name, cls in _shipped('selection').items():
        if hasattr(cls, 'patches'):  # the others choose patches for MGA
            parts += [f'In `selection: {{type: {name}}}`:\n', _table(schemas.of_named('selection', cls))]
    return parts


def _datasets() -> list[str]:
    classes, known = _shipped('dataset'), set(Dataset.model_fields)
    parts = ['## `datasets:`\n', DATASETS, _table(Dataset)]
    declared = {name: cls.option_schema for name, cls in classes.items() if hasattr(cls, 'option_schema')}
    for name, schema in sorted(declared.items(), key=lambda item: len(item[1].model_fields)):
        base = next((other for other, its in declared.items() if its is not schema and issubclass(schema, its)), '')
        others = f'of all data sets and of {base}' if base else 'of all data sets'
        parts += [f'### {name}\n', f'{_first_line(classes[name])} Beside the keys {others}:\n', _table(schema, known)]
        known |= set(schema.model_fields)
    rest = {name: schemas.of_dataset(cls) for name, cls in classes.items() if name not in declared}
    return [*parts, "### BasicSR's data sets\n", _table(SHARED['dataset'], Dataset.model_fields),
            _further('data set', rest, SHARED['dataset'])]


def _section(key: str, section: type[Section], models: Mapping[str, Any]) -> list[str]:
    """`train:`, `val:` …: for every model, for those that declare more, and for BasicSR's."""
    parts = [f'## `{key}:`\n', _table(section)]
    declared = {name: cls.option_schemas[key] for name, cls in models.items()
                if key in getattr(cls, 'option_schemas', {})}
    for name, schema in declared.items():
        parts += [f'### {name}\n', _table(schema, section.model_fields)]
    if key in SHARED:
        rest = {name: schemas.of_section(key, cls) for name, cls in models.items() if name not in declared}
        parts += ["### BasicSR's models\n", _table(SHARED[key], section.model_fields),
                  _further('model', rest, SHARED[key])]
    return parts


def _shipped(kind: str) -> dict[str, Any]:
    """What BasicSR and this package have registered, by name; nothing of plugins."""
    found = {}
    for name, target in sorted(REGISTRIES[kind], key=lambda item: item[0].lower()):
        owner = getattr(target, '__self__', target)  # a backbone's `create` stands for it among the networks
        module = getattr(owner, 'origin', target.__module__)
        if module.split('.')[0] in ('basicsr', 'basicsr_amsr'):
            found[name.removesuffix('_basicsr')] = target  # a suffix that option files leave out
    return found


def _first_line(target: Any) -> str:
    return _cell((target.__doc__ or '').strip().split('\n\n')[0])


def _table(section: type[Section], without: Iterable[str] = ()) -> str:
    """The keys of a section, and after it those of the sections inside."""
    rows, inside = ['| key | value | default | meaning |', '|---|---|---|---|'], []
    for name, field in section.model_fields.items():
        if name in without:
            continue
        key = f'**`{name}`**' if field.is_required() else f'`{name}`'
        meaning = _cell(field.description or '').rstrip('.')
        rows.append(f'| {key} | {_cell(words.of_field(field))} | {_default(field)} | {meaning} |')
        inside += [(name, inner) for inner in sections_in(field)]
    text = '\n'.join(rows) + '\n'
    for name, inner in inside:
        text += f'\nIn `{name}:`\n\n{_table(inner)}'
    return text


def _further(what: str, found: Mapping[str, type[Section]], shared: type[Section]) -> str:
    """Keys that the source of each class reads beside the shared ones."""
    rows = [f'| {what} | reads besides |', '|---|---|']
    for name, section in found.items():
        keys = [key for key in section.model_fields if key not in shared.model_fields]
        if keys:
            rows.append(f'| {name} | {", ".join(f"`{key}`" for key in keys)} |')
    return '\n'.join(rows) + '\n'


def _arguments(title: str, targets: Mapping[str, Any], kind: str = '') -> str:
    """One line for each: its arguments with their defaults."""
    rows = [f'| {title} | arguments |', '|---|---|']
    for name, target in targets.items():
        published = getattr(target, 'defaults', {})  # of a backbone
        fields = schemas.of_named(kind or title, target).model_fields
        rows.append(f'| {name} | {", ".join(_argument(key, field, published) for key, field in fields.items())} |')
    return '\n'.join(rows) + '\n'


def _argument(key: str, field: FieldInfo, published: Mapping[str, Any]) -> str:
    if key in published:
        return f'`{key}: {_yaml(published[key])}`'
    return f'**`{key}`**' if field.is_required() else f'`{key}: {_yaml(field.default)}`'


def _default(field: FieldInfo) -> str:
    return '' if field.is_required() or field.default is None else f'`{_yaml(field.default)}`'


def _yaml(value: Any) -> str:
    if value is None:
        return '~'
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.dump(plain, Dumper=OptionDumper, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix('\n').removesuffix('\n...').strip()


def _cell(text: str) -> str:
    return re.sub(r'\s+', ' ', text).replace('|', r'\|')
