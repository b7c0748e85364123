"""Checks a whole option file: every section against what reads it, and sections against one another."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from basicsr_amsr.errors import UserError
from basicsr_amsr.options import schemas
from basicsr_amsr.options.argument_sections import ignores_other_keywords
from basicsr_amsr.options.conflicts import conflicts
from basicsr_amsr.options.mistakes import Place, Problem, explain, missing_key, prefix, unknown_key, value_at
from basicsr_amsr.options.reconsider import reconsider
from basicsr_amsr.options.scale import check_scale
from basicsr_amsr.options.section import Named, Section
from basicsr_amsr.options.sections import PHASES, SECTIONS, Dataset, Top

NEEDED_IN_TRAINING = ('batch_size_per_gpu', 'num_worker_per_gpu')
LISTED = ('arch', 'loss', 'metric', 'backbone', 'selection', 'transform')


def check(options: Mapping[str, Any], is_train: bool | None) -> list[Problem]:
    """Everything that is wrong with the options, as far as it can be known before anything is built.

    Args:
        options: the merged options; plugins are loaded.
        is_train: training or testing; None where only the network is wanted (profile).
    """
    return _Check(options, is_train, strict=True).run()


def check_shared(options: Mapping[str, Any], is_train: bool) -> list[Problem]:
    """Checks what BasicSR's pipelines themselves need; keys of other programs are let through."""
    return [problem for problem in _Check(options, is_train, strict=False).run() if problem.unknown is None]


class _Check:
    def __init__(self, options: Mapping[str, Any], is_train: bool | None, strict: bool) -> None:
        self.options = {key: value for key, value in options.items() if key not in schemas.RUNTIME}
        self.is_train, self.strict = is_train, strict
        self.problems: list[Problem] = []
        self.known: dict[Place, set[str]] = {}
        self.model: Any = None
        self.networks = tuple(str(key) for key, value in self.options.items()
                              if str(key).startswith('network_') and value is not None)

    def add(self, at: Place, text: str) -> None:
        self.problems.append(Problem(at, text))

    def missing(self, at: Place, about: str | None) -> None:
        self.problems.append(missing_key(at, about))

    def run(self) -> list[Problem]:
        self.model = self.target('model', self.options.get('model_type'), ('model_type',)) if self.strict else None
        self.section(schemas.of_section('', self.model), self.options, ())
        if self.is_train is None:  # a network is enough
            self.problems = [p for p in self.problems if p.at[-1] not in ('name', 'model_type', 'datasets')
                             or self.options.get(str(p.at[-1])) is not None]
        if self.is_train and self.options.get('train') is None:
            self.missing(('train',), Top.model_fields['train'].description)
        for key in SECTIONS:
            schema, values = schemas.of_section(key, self.model, self.networks), self.options.get(key)
            if isinstance(values, Mapping):
                self.section(schema, values, (key,))
                for needed in schemas.needed_in(key, self.model) if self.is_train and self.strict else ():
                    if values.get(needed) is None:
                        self.missing((key, needed), schema.model_fields[needed].description)
            else:
                self.known[(key,)] = set(schema.model_fields)
        if isinstance(self.options.get('datasets'), Mapping):
            self.datasets(self.options['datasets'])
        if self.strict:
            self.check_networks()
        if self.strict and not self.problems:
            self.problems += conflicts(self.options, self.is_train)
        if self.is_train and not self.problems and hasattr(self.model, 'find_conflicts'):
            self.problems += self.model.find_conflicts(self.options)
        return reconsider(self.problems, self.options, self.known) if self.strict else self.problems

    def target(self, kind: str, name: Any, at: Place) -> Any:
        """What a name stands for; None, with a problem, where there is nothing of that name."""
        try:
            return None if name is None else schemas.find(kind, name, self.model)
        except UserError as error:
            self.add(at, f'{prefix(at)}{error}')
            return None

    def section(self, schema: type[Section], values: Mapping[str, Any], place: Place, owner: str = '',
                **context: Any) -> None:
        """Check the values of a section, and what it names."""
        self.known[place] = set(schema.model_fields)
        elsewhere = set() if owner else schemas.read_anywhere(self.model)
        try:
            schema.model_validate({str(key): value for key, value in values.items()}, context=context)
        except ValidationError as error:
            self.problems += [problem for problem in explain(error, schema, values, place, owner)
                              if problem.unknown not in elsewhere]
        if not self.strict:
            return
        for key, value in values.items():
            field = schema.model_fields.get(key)
            if field is not None:
                for mark, at in schemas.named_inside(field.annotation, field.metadata, value, (*place, key)):
                    self.named(mark, at)
            if place == ('train',) and schemas.is_loss_name(key, value, field):
                self.add((*place, key), f'train: {key} has to hold keys, such as {{type: {value}}}, not {value!r}.')
            if place == ('train',) and schemas.looks_like_a_loss(key, value, field):
                self.named(Named('loss'), (*place, key))

    def named(self, mark: Named, at: Place) -> None:
        """Check options with a `type:`."""
        values, kind = value_at(self.options, at), mark.kind
        rest = {key: value for key, value in values.items() if key != 'type'}
        name = values.get('type') or mark.default or None
        if name is None:
            listed = f' of `basicsr list {kind}`' if kind in LISTED else ''
            self.missing((*at, 'type'), f'the name of one {kind}{listed}')
            return
        schema, target = None, None
        if mark.section is not None:
            try:
                schema = mark.section(values, value_at(self.options, at[:-1]))
            except UserError as error:
                self.add((*at, 'type'), str(error))
        else:
            target = self.target(kind, name, (*at, 'type'))
            schema = None if target is None else schemas.with_more(schemas.of_named(kind, target), mark.more)
        if schema is None:
            return
        self.section(schema, rest, at, owner=str(name))
        for key in schemas.needed_beside(kind, self.model):
            if key not in rest:
                self.missing((*at, key), schemas.NEEDED[key])
        if ignores_other_keywords(target):
            known = {*schema.model_fields, *schemas.READ_BESIDE.get(kind, ())}
            self.problems += [unknown_key((*at, key), known, str(name)) for key in rest if key not in known]

    def datasets(self, datasets: Mapping[str, Any]) -> None:
        for key, values in datasets.items():
            at, phase = ('datasets', str(key)), str(key).split('_')[0]
            if self.is_train is not None and phase not in PHASES[self.is_train]:
                self.add(at, f'datasets: {key} is no phase of {"training" if self.is_train else "testing"}: write '
                             f'{" or ".join(PHASES[self.is_train])}, also with _1, _2 ….')
            elif not isinstance(values, Mapping):
                self.add(at, f'datasets: {key} has to hold keys, not {values!r}.')
            else:
                self.dataset(values, at, phase)
        if self.is_train and 'train' not in datasets:
            self.missing(('datasets', 'train'), 'the data set to train on')

    def dataset(self, values: Mapping[str, Any], at: Place, phase: str) -> None:
        name = values.get('type')
        if name is None:
            self.missing((*at, 'type'), 'the name of one dataset of `basicsr list dataset`')
        target = self.target('dataset', name, (*at, 'type')) if self.strict else None
        if target is None:
            return
        self.section(schemas.of_dataset(target), values, at, owner=str(name), phase=phase,
                     scale=self.options.get('scale'))
        for key in NEEDED_IN_TRAINING if phase == 'train' else ():
            if values.get(key) is None:
                self.missing((*at, key), Dataset.model_fields[key].description)

    def check_networks(self) -> None:
        """Every network, and that it is built for the scale of the file."""
        if not self.networks:
            self.missing(('network_g',), 'the network, such as {type: RFDN}')
        for network in self.networks:
            if isinstance(self.options[network], Mapping):
                self.named(Named('arch'), (network,))
            else:
                self.add((network,), f'{network} has to hold keys, such as {{type: RFDN}}, '
                                     f'not {self.options[network]!r}.')
        self.problems += check_scale(self.options)
