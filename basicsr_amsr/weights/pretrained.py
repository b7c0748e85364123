"""Networks with the weights that come with the project."""
from __future__ import annotations

import hashlib
import os

from torch import nn

from basicsr_amsr import archs  # noqa: F401  # a card may name one of these networks
from basicsr_amsr.backbones.checkpoint import load_into
from basicsr_amsr.backbones.construct import build
from basicsr_amsr.errors import UserError
from basicsr_amsr.weights.cards import find_weights, read_card


def load_pretrained(name_or_path: str | os.PathLike[str], **net_options: object) -> nn.Module:
    """The network with its weights, on the CPU, in evaluation mode.

    Args:
        name_or_path: the name of weights that come with the project ('RFDN_x4'), or a file.
        net_options: options of the network, over those in the card; a file without card needs at least `type='NAME'`.

    Raises:
        UserError: no such weights, a damaged file, or options that the weights do not fit.

    Examples:
        >>> net = sr.load_pretrained('RFDN_x4')
        >>> with torch.no_grad():
        ...     net(torch.rand(1, 3, 20, 30)).shape
        torch.Size([1, 3, 80, 120])
        >>> net = sr.load_pretrained('CARN_M_x234', upscale=2)  # weights for several scales
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
