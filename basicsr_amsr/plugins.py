"""Networks, data sets, metrics … from outside packages: named under `plugins:` in an option file, or by entry point."""
from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from basicsr_amsr.errors import UserError

GROUP = 'basicsr_amsr.plugins'


@dataclass(frozen=True)
class Plugin:
    """A plugin that was asked for: its module, who asked, and the one line that says what went wrong (else '')."""

    module: str
    source: str
    problem: str = ''


_installed: dict[str, Plugin] = {}
_named: dict[str, Plugin] = {}


def loaded() -> list[Plugin]:
    """Every plugin met so far, also those that failed, in the order in which they came."""
    return [*_installed.values(), *_named.values()]


def load_installed() -> list[str]:
    """Load the installed packages that declare the entry-point group `basicsr_amsr.plugins`, each once.

    An entry point names a module, which registers what it holds when imported, or a function `module:function`, which
    is called without arguments. A package that fails must not take the command with it.

    Returns:
        One line for each plugin that failed in this call; a plugin that failed is not tried again.
    """
    problems = []
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        if entry.value in _installed:
            continue
        package = entry.dist.name if entry.dist else entry.module
        problem = _load_entry(entry, package)
        _installed[entry.value] = Plugin(entry.module, f'package {package}', problem)
        if problem:
            problems.append(problem)
    return problems


def _load_entry(entry: EntryPoint, package: str) -> str:
    try:
        target = entry.load()
        if inspect.isfunction(target):
            target()
    except Exception as error:  # whatever a foreign package raises
        return f'the plugin of package {package} ({entry.value}) does not load: {_cause(error)}'
    return ''


def load_plugins(opt: Mapping[str, Any], opt_path: str) -> None:
    """Load installed plugins, then the modules named under `plugins:` of an option file.

    A name is looked for beside the option file, then in the current folder, then among installed packages; a path to a
    .py file is relative to the option file or to the current folder. Loading one twice changes nothing.

    Args:
        opt: the options of the file.
        opt_path: where the file is.

    Raises:
        UserError: `plugins:` is no list of names, or a module is missing or does not load.
    """
    for problem in load_installed():
        print(f'basicsr: warning: {problem}', file=sys.stderr)
    names = opt.get('plugins') or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f'{opt_path}: plugins: must be a list of module names, such as [my_package.networks].')
    folders = list(dict.fromkeys([Path(opt_path).resolve().parent, Path.cwd()]))
    for name in names:
        module = _load_named(name, folders, opt_path)
        _named.setdefault(module.__name__, Plugin(module.__name__, f'plugins: in {opt_path}'))


def _load_named(name: str, folders: list[Path], opt_path: str) -> ModuleType:
    where = f'{opt_path}: plugins: {name}'
    if name.endswith('.py'):
        file = next((path for path in (folder / name for folder in folders) if path.is_file()), None)
        if file is None:
            raise UserError(f'{where}: there is no such file beside the option file or in the current folder.')
        name, folders = file.stem, [file.resolve().parent]
    if not all(part.isidentifier() for part in name.split('.')):
        raise UserError(f"{where}: '{name}' cannot be a module's name: letters, digits and underscores only.")
    folder = next((folder for folder in folders if _holds(folder, name)), None)
    if folder is not None:
        return _import_from(folder, name, where)
    try:
        found = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise UserError(f'{where}: there is no module of that name beside the option file, in the current folder or '
                        'among the installed packages.')
    return _import(name, where)


def _holds(folder: Path, name: str) -> bool:
    """Whether the folder has the module itself, as a file or as a package."""
    base = folder.joinpath(*name.split('.'))
    return base.with_suffix('.py').is_file() or (base / '__init__.py').is_file()


def _import_from(folder: Path, name: str, where: str) -> ModuleType:
    """Import `name` from `folder`; the folder stays on the path, where worker processes of a data loader look."""
    top = name.split('.')[0]
    known = sys.modules.get(top)
    if known is not None:
        # a package without __init__.py has folders only, a built-in module has neither
        places = [*getattr(known, '__path__', []), *filter(None, [getattr(known, '__file__', None)])]
        if not any(folder in Path(place).resolve().parents for place in places):
            place = places[-1] if places else 'part of Python'
            raise UserError(f"{where}: another module named '{top}' is in use ({place}): rename yours.")
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        return _import(name, where)
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _import(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UserError(f'{where} does not load: {_cause(error)}') from error


def _cause(error: Exception) -> str:
    """The error in one line, with the file and line of the plugin that raised it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if not frame.filename.startswith('<frozen') and frame.filename != __file__
              and 'importlib' not in frame.filename]
    if isinstance(error, SyntaxError):
        place = f' ({error.filename}, line {error.lineno})'
    else:
        place = f' ({frames[-1].filename}, line {frames[-1].lineno})' if frames else ''
    text = error.msg if isinstance(error, SyntaxError) else ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}{place}'
