"""Weights that come with the project: each file in `pretrained/` has a card (NAME.md) beside it."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from basicsr_amsr.backbones.checkpoint import load_into
from basicsr_amsr.backbones.spec import get_backbone
from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY, lookup
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
    """

    weights: Path
    network: Mapping[str, Any]
    sha256: str
    licence: str
    origin: str


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
    return Card(weights, **{key: entries[key] for key in ENTRIES})


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


def build(network: Mapping[str, Any]) -> nn.Module:
    """The network that `{type: NAME, …}` describes; NAME is a backbone's, else one of BasicSR's ARCH registry."""
    options = dict(network)
    name = options.pop('type')
    if name in BACKBONE_REGISTRY:
        return get_backbone(name).create(**options)
    return lookup(ARCH_REGISTRY, name)(**options)


def load_pretrained(name_or_path: str | os.PathLike[str], **net_options: Any) -> nn.Module:
    """The network with its weights, on the CPU, in evaluation mode.

    Args:
        name_or_path: the name of weights that come with the project ('RFDN_x4'), or a file.
        net_options: options of the network, over those in the card; a file without card needs at least `type='NAME'`.

    Raises:
        UserError: no such weights, a damaged file, or options that the weights do not fit.
    """
    weights = find_weights(name_or_path)
    card = read_card(weights)
    network = {**(card.network if card else {}), **net_options}
    if 'type' not in network:
        raise UserError(f"{weights} has no card {weights.with_suffix('.md').name} beside it: give type='NAME' and the "
                        "network's options.")
    if card and hashlib.sha256(weights.read_bytes()).hexdigest() != card.sha256:
        raise UserError(f'{weights} is not the file that its card describes (sha256 differs): copy it again.')
    return load_into(build(network), weights).eval()
