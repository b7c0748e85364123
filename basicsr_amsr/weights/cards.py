"""Weights that come with the project: each file in `pretrained/` has a card (NAME.md) beside it."""
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.resources import resolve, roots

FOLDER = 'pretrained'
ENTRIES = ('network', 'sha256', 'licence', 'origin')


@dataclass(frozen=True)
class Card:
    """What the YAML head of a card says.

    Args:
        weights: the file with the weights.
        network: `{type: NAME, …}`, the network they are for.
        sha256: the file's checksum.
        licence: under which it is published (SPDX name).
        origin: where it is from.
        set5: PSNR on Set5 in dB, on Y; None where the card has none.
    """

    weights: Path
    network: Mapping[str, Any]
    sha256: str
    licence: str
    origin: str
    set5: float | None = None


def read_card(weights: Path) -> Card | None:
    """The card of a weights file, from the Markdown file of the same name beside it; None if there is none.

    Raises:
        UserError: the card's head is no YAML, or lacks an entry.
    """
    path = weights.with_suffix('.md')
    if not path.is_file():
        return None
    parts = path.read_text(encoding='utf-8').split('---', 2)
    try:
        head = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError as error:
        raise UserError(f'{path}: the head between the two --- is no YAML: {str(error).splitlines()[0]}') from error
    entries = head if isinstance(head, Mapping) else {}
    missing = [key for key in ENTRIES if key not in entries]
    if missing or 'type' not in entries['network']:
        raise UserError(f'{path}: the head between the two --- lacks {", ".join(missing) or "network: type"}.')
    return Card(weights, **{key: entries[key] for key in ENTRIES}, set5=entries.get('set5'))


def available() -> list[Card]:
    """The cards of all weights that come with the project, by name."""
    found = {path.stem: path for root in reversed(roots()) for path in (root / FOLDER).glob('*.pth')}
    cards = (read_card(found[name]) for name in sorted(found))
    return [card for card in cards if card]


def locate(name_or_path: str | os.PathLike[str]) -> Path | None:
    """The file of that path, else the project's own weights of that name; None where there is neither."""
    candidates = (resolve(Path(name_or_path)), resolve(f'{FOLDER}/{name_or_path}.pth'))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def find_weights(name_or_path: str | os.PathLike[str]) -> Path:
    """The file of that path, or the project's own weights of that name.

    Raises:
        UserError: there is neither; names the near ones.
    """
    found = locate(name_or_path)
    if found is not None:
        return found
    names = [card.weights.stem for card in available()]
    raise UserError(f"No weights '{name_or_path}', neither as a file nor among the project's own. "
                    f'{suggestion(Path(name_or_path).stem, names)}')
