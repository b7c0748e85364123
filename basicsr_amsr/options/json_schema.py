"""A JSON schema of option files, for editors: what they complete and underline is what `basicsr` checks."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from basicsr_amsr.options import schemas
from basicsr_amsr.options.section import Section
from basicsr_amsr.options.sections import SECTIONS, Top
from basicsr_amsr.registry import REGISTRIES

Schema = dict[str, Any]


class _Generate(GenerateJsonSchema):
    ignored_warning_kinds: set[Any] = {'non-serializable-default'}  # noqa: RUF012  # of an argument that is a class


def file_schema() -> Schema:
    """The whole file. Options beside a `type:` are those of what it names; a model's own keys are not known here."""
    whole = _of(Top)
    whole['properties'].update({key: _open(_of(section)) for key, section in SECTIONS.items()})
    network = _named('arch', {name: schemas.of_named('arch', cls) for name, cls in REGISTRIES['arch']})
    dataset = _named('dataset', {name: schemas.of_dataset(cls) for name, cls in REGISTRIES['dataset']})
    whole['properties'].update(network_g=network, datasets={'type': 'object', 'additionalProperties': dataset})
    return {'$schema': 'https://json-schema.org/draft/2020-12/schema', 'title': 'option file of basicsr',
            **_open(whole)}


def _of(section: type[Section]) -> Schema:
    schema = section.model_json_schema(schema_generator=_Generate)
    schema.pop('title', None)
    return schema


def _open(schema: Schema) -> Schema:
    """Allows other keys (a model reads its own) and requires none (a `base:` file may have it)."""
    return {**schema, 'additionalProperties': True, 'required': []}


def _named(kind: str, sections: Mapping[str, type[Section]]) -> Schema:
    """Keys with a `type:`, and what each type has beside it."""
    names = sorted(sections)
    rules = []
    for name in names:
        beside = _of(sections[name])
        beside['properties'] = {'type': True, **beside.get('properties', {})}
        rules.append({'if': {'properties': {'type': {'const': name}}, 'required': ['type']}, 'then': beside})
    return {'type': 'object', 'properties': {'type': {'enum': names, 'description': f'the name of one {kind}'}},
            'allOf': rules}
