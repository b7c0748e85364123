"""Option files as layers: what they share (`base:`), the file itself, `demo:`, `--force_yml`, one over the other."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from basicsr_amsr import resources
from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.files import save_whole
from basicsr_amsr.options.mistakes import Place, value_at
from basicsr_amsr.options.plain_yaml import OptionDumper, explain, parse_value, read_lines


@dataclass(frozen=True)
class Layer:
    """Where options come from: a file with the line of each key, or words of the command line without lines."""

    label: str
    lines: Mapping[Place, int]


@dataclass
class OptionFile:
    """The options of a file with those of its `base:` files, merged mapping by mapping, later over earlier.

    `~` over a mapping takes it out; anything else is replaced as a whole.

    Attributes:
        path: the file, as it was given.
        options: the merged options, without `base`.
        layers: where they come from, the last one counts.
    """

    path: str
    options: dict[str, Any] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> OptionFile:
        """Read an option file and its `base:` files.

        Raises:
            UserError: one line with the file and, where it is no YAML, line and column.
        """
        whole = cls(str(path))
        for layer, options in _read(Path(path).expanduser(), str(path), ()):
            merge(whole.options, options)
            whole.layers.append(layer)
        return whole

    def where(self, place: Place) -> str:
        """The file and line in which the options at `place` stand, or else those of what holds them."""
        for length in range(len(place), 0, -1):
            for layer in reversed(self.layers):
                line = layer.lines.get(place[:length])
                if line is not None:
                    return f'{layer.label}:{line}' if line else layer.label
        return self.path

    def use_demo(self) -> None:
        """Put the `demo:` options over the others, and `_demo` behind the name.

        Raises:
            UserError: the file has none.
        """
        demo = self.options.get('demo')
        if not isinstance(demo, dict):
            raise UserError(f'{self.path}: --demo: the file has no `demo:` options.')
        merge(self.options, demo)
        self.options['name'] = f'{self.options.get("name")}_demo'
        self.layers += [Layer(layer.label, {place[1:]: line for place, line in layer.lines.items()
                                            if place[0] == 'demo' and len(place) > 1}) for layer in self.layers]

    def force(self, entries: Sequence[str]) -> None:
        """Set what `--force_yml` asks for: entries 'key:key=value'.

        Raises:
            UserError: one line with the entry, where it is malformed or leads below a plain value.
        """
        for keys, entry in zip(force_options(self.options, entries), entries, strict=True):
            places = dict.fromkeys((keys, *_places(value_at(self.options, keys), keys)), 0)
            self.layers.append(Layer(f'{self.path}: --force_yml {entry}', places))

    def write(self, path: str | os.PathLike[str], command: str) -> None:
        """Write the merged options as a file that needs no other, with a header of where they come from."""
        files = list(dict.fromkeys(layer.label for layer in self.layers if any(layer.lines.values())))
        header = f'# {command}\n# merged from {", ".join(files)}\n'
        text = yaml.dump(self.options, Dumper=OptionDumper, sort_keys=False, default_flow_style=None, width=120,
                         allow_unicode=True)
        save_whole(path, (header + text).encode())


def _read(file: Path, label: str, readers: tuple[Path, ...]) -> Iterator[tuple[Layer, dict[str, Any]]]:
    """The base files of a file, each after its own, and then the file."""
    if file.resolve() in readers:
        circle = ' → '.join(_short(reader) for reader in (*readers[readers.index(file.resolve()):], file))
        raise UserError(f'{label}: base: the files name one another in a circle, {circle}: take one `base:` out.')
    options, lines = read_lines(file, label)
    bases = options.pop('base', None)
    names = bases if isinstance(bases, list) else [bases] if bases is not None else []
    for name in names:
        where = f'{label}:{lines[("base",)]}'
        if not isinstance(name, str):
            raise UserError(f'{where}: base is {bases!r}: it has to be a file, or a list of files.')
        base = _find(name, file.parent)
        if base is None:
            raise UserError(f'{where}: base: {name} does not exist beside {label}. {_others(name, file)}')
        yield from _read(base, _short(base), (*readers, file.resolve()))
    yield Layer(label, lines), options


def _find(name: str, folder: Path) -> Path | None:
    """A base file beside the file that names it or in a folder above, else among the project's own files."""
    beside = [place / Path(name).expanduser() for place in (folder, *folder.resolve().parents)]
    return next((path for path in (*beside, resources.resolve(name)) if path.is_file()), None)


def _others(name: str, file: Path) -> str:
    """The option files in the folder in which `name` was looked for."""
    folder = (file.parent / name).parent
    files = sorted(path for path in folder.glob('*.y*ml') if path != file)
    names = [os.path.relpath(path, file.parent) for path in files]
    return suggestion(name, names) if names else f'Name it relative to {file.name}.'


def _short(path: Path) -> str:
    """The path from the current folder where it lies below it, else as a whole."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Put `over` over `base` in place: mappings key by key, ~ takes a mapping out, anything else as a whole."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge(base[key], value)
        elif value is None and isinstance(base.get(key), dict):
            del base[key]
        else:
            base[key] = value


def force_options(opt: dict[str, Any], entries: Sequence[str]) -> list[Place]:
    """Set options in place from entries 'key:key=value'; keys that are not there are made, values are YAML.

    An item of a list is named by its number, from 0: 'train:steps:0:iters=1000'.

    Returns:
        The place that each entry has set.

    Raises:
        UserError: one line with the entry, where it is malformed or leads below a plain value.
    """
    places: list[Place] = []
    for entry in entries:
        left, sign, text = entry.partition('=')
        keys = [key.strip() for key in left.split(':')]
        if not sign or not all(keys):
            raise UserError(f'--force_yml {entry!r}: write key:key=value, such as train:ema_decay=0.999.')
        try:
            value = parse_value(text)
        except yaml.YAMLError as error:
            raise UserError(f'--force_yml {entry!r}: the value is not plain YAML: {explain(error)[1]}.') from error
        places.append(_set(opt, keys, value, entry))
    return places


def _set(options: Any, keys: Sequence[str], value: Any, entry: str) -> Place:
    """Set the value below these keys, and return its place, in which items of lists are numbers."""
    place: Place = ()
    for depth, name in enumerate(keys):
        key: Any = name
        above = f'--force_yml {entry!r}: {":".join(keys[:depth])}'
        if isinstance(options, list):
            if not name.isdecimal() or int(name) >= len(options):
                raise UserError(f'{above} is a list of {len(options)}: name one of its items by its number, from 0.')
            key = int(name)
        elif not isinstance(options, dict):
            raise UserError(f'{above} is {options!r}; there are no keys below it.')
        place = (*place, key)
        if depth == len(keys) - 1:
            if value is None and isinstance(options, dict) and isinstance(options.get(key), dict):
                del options[key]  # as in a file, ~ takes a mapping out
            else:
                options[key] = value
        else:
            if isinstance(options, dict) and options.get(key) is None:
                options[key] = {}
            options = options[key]
    return place


def _places(value: Any, place: Place) -> Iterator[Place]:
    """Every place inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from _places(inner, (*place, key))
