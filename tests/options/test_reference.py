"""docs/options.md: what the generator prints, and nothing without a meaning."""
from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from basicsr_amsr.amsr.amsr_network import AMSROptions
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.mga.schedule import Step
from basicsr_amsr.models.mga_model import MGAModel
from basicsr_amsr.options.json_schema import file_schema
from basicsr_amsr.options.options_page import reference
from basicsr_amsr.options.section import Section
from basicsr_amsr.options.sections import SECTIONS, SHARED, Compile, Dataset, Top
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY, DATASET_REGISTRY, TRANSFORM_REGISTRY
from basicsr_amsr.selection.build_selection import section

PAGE = Path(__file__).parents[2] / 'docs' / 'options.md'
OURS = [DATASET_REGISTRY.get(name).option_schema for name in ('BicubicPairedImageDataset', 'DegradedPairDataset')]
DECLARED = [AMSROptions, section({}), Top, Dataset, Step, Compile, *SECTIONS.values(), *SHARED.values(), *OURS,
            *MGAModel.option_schemas.values()]


def rows(page):
    """(key, value, default, meaning) of every option of the page."""
    lines = [line.replace('\\|', '/') for line in page.splitlines() if line.startswith(('| `', '| **`'))]
    return [tuple(cell.strip() for cell in line.strip('|').split('|')) for line in lines]


def test_the_page_is_what_the_generator_prints():
    assert PAGE.read_text(encoding='utf-8') == reference(), 'write it anew: basicsr options > docs/options.md'


@pytest.mark.parametrize('section', DECLARED, ids=lambda section: section.__name__)
def test_every_declared_option_is_on_the_page_with_its_meaning(section: type[Section]):
    found = {(row[0].strip('*`'), row[3]) for row in rows(reference())}
    for name, field in section.model_fields.items():
        assert field.description
        assert (name, field.description.rstrip('.').replace('|', '/')) in found


def test_every_option_has_a_value_and_a_meaning():
    for row in rows(reference()):
        assert len(row) == 4 and row[1] and row[1] != 'anything' and row[3], row


def test_arguments_of_the_networks_and_transforms():
    page = reference()
    keys = [row[0].strip('*`') for row in rows(page)]
    for target in (MGA, *(TRANSFORM_REGISTRY.get(name) for name in ('SFM', 'GaussianNoise', 'JPEG', 'Downscale'))):
        assert set(inspect.signature(target).parameters) <= set(keys)
    for name in ('FSRCNN', 'PAN', 'RFDN', 'SRResNet', 'RCAN'):
        line = next(line for line in page.splitlines() if line.startswith(f'| {name} |'))
        assert all(f'`{key}' in line for key in inspect.signature(BACKBONE_REGISTRY.get(name).build).parameters)


def test_a_schema_for_editors():
    schema = file_schema()
    assert {'name', 'scale', 'datasets', 'network_g', 'train', 'val', 'path', 'logger'} <= schema['properties'].keys()
    total_iter = schema['properties']['train']['properties']['total_iter']
    assert total_iter['type'] == 'integer' and total_iter['minimum'] == 1 and total_iter['description']
    network = schema['properties']['network_g']
    assert network['properties']['type']['enum'] == sorted(name for name, _ in ARCH_REGISTRY)
    beside = {rule['if']['properties']['type']['const']: rule['then'] for rule in network['allOf']}
    arguments = inspect.signature(BACKBONE_REGISTRY.get('RFDN').build).parameters
    assert beside['RFDN']['properties'].keys() == {'type', *arguments}
    assert beside['RFDN']['additionalProperties'] is False
    assert beside['AMSR']['properties']['mode']['enum'] == ['auto', 'sparse', 'dense_masked', 'dense']
    json.dumps(schema)


def test_required_options_are_bold_and_defaults_stand_there():
    table = {row[0]: row for row in rows(reference())}
    assert '**`total_iter`**' in table and '**`steps`**' in table and '**`dataroot_gt`**' in table
    assert table['`warmup`'][1:3] == ('a whole number, 0 or more', '`2000`')
    assert table['`amp`'][1:3] == ('bf16', '')
    assert table['`memory`'][1] == 'host or device'
