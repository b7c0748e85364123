"""Option files and option values as YAML that holds plain values only."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.representer import SafeRepresenter

from basicsr_amsr.errors import UserError

try:
    from yaml import CSafeDumper as _SafeDumper
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeDumper as _SafeDumper  # type: ignore[assignment]
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]


class OptionLoader(_SafeLoader):
    """PyYAML's safe loader, keeping the order of keys, with numbers as people write them in option files.

    `1e-4` is a float (YAML 1.1 wants 1.0e-4), and a date is the string it looks like.
    """


class OptionDumper(_SafeDumper):
    """PyYAML's safe dumper, which also writes OrderedDict as a mapping."""


OptionLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != 'tag:yaml.org,2002:timestamp']
    for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()}
for _class in (OptionLoader, OptionDumper):  # the dumper quotes a string that the loader would read as a number
    _class.add_implicit_resolver('tag:yaml.org,2002:float',
                                 re.compile(r'^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$'),
                                 list('-+.0123456789'))
OptionDumper.add_multi_representer(dict, SafeRepresenter.represent_dict)


def ordered_yaml() -> tuple[type, type]:
    """Loader and Dumper for option files, as BasicSR's function of the same name, but safe ones."""
    return OptionLoader, OptionDumper


def explain(error: yaml.YAMLError) -> tuple[str, str]:
    """Where (', line 3, column 7', or nothing) and what went wrong, in one line."""
    mark = getattr(error, 'problem_mark', None) or getattr(error, 'context_mark', None)
    where = f', line {mark.line + 1}, column {mark.column + 1}' if mark else ''
    problem = ' '.join(str(getattr(error, 'problem', None) or getattr(error, 'reason', None) or error).split())
    tag = re.search(r"constructor for the tag 'tag:yaml.org,2002:(.+?)'|constructor for the tag '(.+?)'", problem)
    if tag:
        problem = f'the tag {"!!" + tag[1] if tag[1] else tag[2]} is refused: options are plain values'
    return where, problem


def _load(text: str, lines: dict[tuple[str | int, ...], int] | None = None) -> Any:
    """The value of a text; `lines` gets the line of every key and item. A key that comes twice is an error."""
    loader = OptionLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _walk(node, (), {} if lines is None else lines, set())
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark: Any = getattr(error, 'problem_mark', None)
        if mark is not None and '\t' in ''.join(text.split('\n')[mark.line:mark.line + 1]):
            error.problem = 'a tab stands in that line: indent with spaces'  # type: ignore[attr-defined]
        raise
    except Exception as error:  # PyYAML's own conversions: '!!int x', '!!bool x', nesting without end
        raise yaml.YAMLError(f'a value does not fit its tag, or nests too deep ({error})') from error


def _walk(node: yaml.Node, place: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int],
          seen: set[int]) -> None:
    """Note the lines of what stands in a node, and refuse a key that comes twice: PyYAML would take the last."""
    if id(node) in seen:  # an alias of what stands elsewhere
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*place, index)] = item.start_mark.line + 1
            _walk(item, (*place, index), lines, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        inside = (*place, str(key.value))
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and key.value != '<<':
            if inside in lines:
                raise yaml.MarkedYAMLError(problem_mark=key.start_mark, problem=f"the key '{key.value}' stands in "
                                           f'line {lines[inside]} already; take one out')
            lines[inside] = line
        _walk(value, inside, lines, seen)


def parse_value(text: str) -> Any:
    """The value of an option given as text, such as '0.999', '[1, 2]', 'true', '~', 'x4'.

    As in BasicSR, 'none' in any case is None, and '!!float2' needs no space.

    Raises:
        yaml.YAMLError: not YAML, or more than plain values.
    """
    text = re.sub(r'^!!float\s*', '!!float ', text.strip())
    if text.lower() == 'none':
        return None
    return _load(text)


def read_lines(file: Path, label: str) -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    """The options of one file (UTF-8), and the line in which each of them begins, by the keys that lead to it.

    Raises:
        UserError: one line with the file, and where the file is at fault line and column.
    """
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        options = _load(file.read_text(encoding='utf-8-sig'), lines)
    except FileNotFoundError as error:
        raise UserError(f'Option file not found: {label}') from error
    except OSError as error:
        raise UserError(f'Cannot read option file {label}: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise UserError(f'{label}: the file is not text in UTF-8 (byte {error.start}).') from error
    except yaml.YAMLError as error:
        where, problem = explain(error)
        raise UserError(f'{label}{where}: {problem}.') from error
    if not isinstance(options, dict):
        raise UserError(f'{label}: the file holds no options: it has to be a mapping of `key: value` lines.')
    return options, lines
