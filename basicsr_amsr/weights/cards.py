"""Weights and calibrations that come with the project: a file in `pretrained/` has a card (.md) beside it."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.resources import resolve, roots

FOLDER = 'pretrained'
SUFFIX = '.amsr'  # of the file of a calibration
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
    entries = _head(path)
    missing = [key for key in ENTRIES if key not in entries]
    if missing or 'type' not in entries['network']:
        raise UserError(f'{path}: the head between the two --- lacks {", ".join(missing) or "network: type"}.')
    return Card(weights, **{key: entries[key] for key in ENTRIES}, set5=entries.get('set5'))


def _head(path: Path) -> Mapping[str, Any]:
    """The YAML between the two --- at the top of a card; nothing where there is none."""
    parts = path.read_text(encoding='utf-8').split('---', 2)
    try:
        head = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError as error:
        raise UserError(f'{path}: the head between the two --- is no YAML: {str(error).splitlines()[0]}') from error
    return head if isinstance(head, Mapping) else {}


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
    if found is None:
        raise _unknown(name_or_path, [card.weights.stem for card in available()])
    return found


def find_fitted(name_or_path: str | os.PathLike[str]) -> Path:
    """As `find_weights`; of a calibration's name (CARN_M_x4) the weights that it was fitted to.

    Raises:
        UserError: there is no such thing; names the near ones.
    """
    found = locate(name_or_path)
    if found is not None:
        return found
    fitted_to = calibration_card(resolve(f'{FOLDER}/{name_or_path}{SUFFIX}')).get('weights')
    if fitted_to is None:
        raise _unknown(name_or_path, names())
    return resolve(f'{FOLDER}/{fitted_to}')


def _unknown(name: str | os.PathLike[str], known: Sequence[str]) -> UserError:
    return UserError(f"No weights '{name}', neither as a file nor among the project's own. "
                     f'{suggestion(Path(name).stem, known)}')


def calibrations_of(weights: Path) -> Iterator[Path]:
    """The calibrations whose cards name a file of weights."""
    found = {path.name: path for root in reversed(roots()) for path in (root / FOLDER).glob(f'*{SUFFIX}')}
    for _, path in sorted(found.items()):
        if calibration_card(path).get('weights') == weights.name:
            yield path


def calibration_card(path: Path) -> Mapping[str, Any]:
    """What the head of a calibration's card says; nothing where there is no card."""
    card = path.with_name(f'{path.name}.md')
    return _head(card) if card.is_file() else {}


def names() -> list[str]:
    """What `find_fitted` knows: the project's weights and calibrations."""
    cards = available()
    return sorted({card.weights.stem for card in cards} | {
        path.stem for card in cards for path in calibrations_of(card.weights)})
