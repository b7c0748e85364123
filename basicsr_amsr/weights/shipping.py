"""Turns the last checkpoint of a training into weights that come with the project.

    python -m basicsr_amsr.weights.shipping experiments/NAME/models/net_g_latest.pth pretrained/NAME.pth

The card pretrained/NAME.md has to be there, whatever stands at its `sha256`: it says for which network the weights are,
and gets their checksum.
"""
from __future__ import annotations

import argparse
import hashlib
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from basicsr_amsr.backbones.checkpoint import load_checkpoint, load_into
from basicsr_amsr.backbones.construct import build
from basicsr_amsr.errors import UserError
from basicsr_amsr.weights.cards import read_card

SHA256 = re.compile(r'^sha256:.*$', re.MULTILINE)


def ship(checkpoint: Path, weights: Path) -> str:
    """Write the network's weights alone, in float32, to `weights`, and their checksum into the card beside it.

    Nothing is written where they do not fit the network of the card.

    Args:
        checkpoint: what a training left; moving averages come before plain weights.
        weights: where they go, beside their card.

    Returns:
        The sha256.

    Raises:
        UserError: there is no card, or the checkpoint cannot be read or does not fit its network.
    """
    card = read_card(weights)
    if card is None:
        raise UserError(f"{weights} has no card: write {weights.with_suffix('.md')} first (see CONTRIBUTING.md).")
    state = {name: (value.float() if value.is_floating_point() else value).contiguous()
             for name, value in load_checkpoint(checkpoint).items()}
    load_into(build(card.network), {'params': state})
    content = io.BytesIO()
    torch.save({'params': state}, content)
    checksum = hashlib.sha256(content.getvalue()).hexdigest()
    path = weights.with_suffix('.md')
    text = path.read_text(encoding='utf-8')
    weights.write_bytes(content.getvalue())
    path.write_text(SHA256.sub(f'sha256: {checksum}', text, count=1), encoding='utf-8')
    return checksum


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0, or 2 after a line that says what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('checkpoint', type=Path, help='what a training left')
    parser.add_argument('weights', type=Path, help='pretrained/NAME.pth, whose card is there')
    args = parser.parse_args(argv)
    try:
        print(f'{args.weights}: sha256 {ship(args.checkpoint, args.weights)}')
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
