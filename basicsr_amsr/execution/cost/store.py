"""The file of measured costs: a cache that may be deleted, broken or read-only without harm."""
from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from basicsr_amsr.caches import cache_folder
from basicsr_amsr.execution.cost.costs import Costs
from basicsr_amsr.execution.cost.whole_costs import WholeCosts
from basicsr_amsr.files import write_whole

FORMAT = 4
VARIABLE = 'BASICSR_AMSR_COSTS'  # names another file; 'off': nothing is measured
Kind = TypeVar('Kind', bound=Costs | WholeCosts)
log = logging.getLogger('basicsr')


def is_off() -> bool:
    """Whether the user forbids to measure."""
    return os.environ.get(VARIABLE) == 'off'


def place() -> Path:
    """Where the costs are kept."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    return cache_folder() / 'costs.json'


class Store:
    """Costs by key, in a JSON file.

    Several processes may write: each reads the file again before it adds what it measured, and replaces it as a whole.
    Should one still undo another's addition, that is measured once more. A file that cannot be read or written is said
    once in the log, and costs are known to this process alone.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.complained = False

    def read(self, key: str, kind: type[Kind]) -> list[Kind]:
        """What is known of a key, whose costs are of that kind."""
        entry = self._entries().get(key)
        try:
            return [kind(**each) for each in entry['measured']] if entry else []
        except (TypeError, ValueError, KeyError) as error:
            self._complain(f'is damaged ({error}): its costs are measured again')
            return []

    def add(self, key: str, about: str, measured: Sequence[Costs] | Sequence[WholeCosts]) -> None:
        """Keep the costs of a key, in place of older ones; `about` tells a reader of the file what they are of."""
        entries = self._entries()
        entries[key] = {'about': about, 'measured': [asdict(costs) for costs in measured]}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, json.dumps({'format': FORMAT, 'costs': entries}, indent=1).encode())
        except OSError as error:
            self._complain(f'cannot be written ({error.strerror or error}): what is measured is lost when the program '
                           'ends')

    def _entries(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding='utf-8'))
            if content['format'] != FORMAT:
                return {}  # of another version
            entries = content['costs']
            if not all(isinstance(entry, dict) for entry in entries.values()):
                raise TypeError('an entry is no object')
            return entries
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self._complain(f'cannot be read ({error}): costs are measured again')
            return {}

    def _complain(self, problem: str) -> None:
        if not self.complained:
            log.warning('Measured costs: %s %s; %s names another file.', self.path, problem, VARIABLE)
        self.complained = True
