"""A network for pictures, from whatever names or holds it: a name, a file of weights, a module, a descriptor."""
from __future__ import annotations

import copy
import dataclasses
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from basicsr_amsr.amsr.accelerate import restore_, unwrapped
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.descriptor import Descriptor
from basicsr_amsr.backbones.checkpoint import Misfit, canonicalize, identified, load_into
from basicsr_amsr.backbones.spec import get_backbone
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.graph.from_export import image_channels
from basicsr_amsr.infer import foreign
from basicsr_amsr.reasons import reason
from basicsr_amsr.safe_load import read_weights_only
from basicsr_amsr.weights.cards import Card, available, calibrations_of, find_fitted, locate, read_card
from basicsr_amsr.weights.pretrained import load_pretrained

TRIED = 16  # side of the picture that tells a network's scale
NAMED_SCALE = re.compile(r'x(\d)(?!\d)|(?<!\d)(\d)x', re.IGNORECASE)


@dataclass(frozen=True)
class Network:
    """A network and what has to be known to give it pictures.

    Attributes:
        net: plain, on the CPU, in evaluation mode.
        name: for messages.
        scale: output pixels for an input pixel, on a side.
        channels: of its pictures, 1 or 3.
        calibrations: files that may have been fitted to its weights.
        calibration: the one that it was accelerated with.
        least, multiple: pixels of height and width that it wants at least, and as a multiple of.
    """

    net: nn.Module
    name: str
    scale: int
    channels: int
    calibrations: tuple[Path, ...] = ()
    calibration: Calibration | None = None
    least: int = 1
    multiple: int = 1


def find_network(source: str | os.PathLike[str] | nn.Module | Descriptor | Network,
                 scale: float | None = None) -> Network:
    """The network that `source` names or holds; a module is copied.

    Args:
        source: a name of weights in `pretrained/` or of a calibration there (CARN_M_x4), a file of weights, a module,
            what spandrel's ModelLoader returns, or what was found before.
        scale: the scale that is wanted, where weights serve several.

    Raises:
        UserError: there is no such thing, it cannot be read, or nothing tells which network it is of.
    """
    if isinstance(source, (str, os.PathLike)):
        return _of_name(source, scale)
    if isinstance(source, Network):
        return dataclasses.replace(source, net=restore_(copy.deepcopy(source.net)).cpu())
    net = unwrapped(source)
    calibration = getattr(getattr(net, 'amsr', None), 'calibration', None)
    net = restore_(copy.deepcopy(net)).eval().cpu().float()
    sizes = foreign.size_of(source)
    return _network(net, type(net).__name__, calibration=calibration, least=sizes[0], multiple=sizes[1])


def weights_key(net: nn.Module) -> str:
    """A hash of a network's class and weights, whatever file they came from."""
    found = hashlib.sha256(type(net).__name__.encode())
    for name, value in sorted(net.state_dict().items()):
        found.update(f'{name}{tuple(value.shape)}'.encode())
        found.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return found.hexdigest()[:32]


def _of_name(source: str | os.PathLike[str], scale: float | None) -> Network:
    file, name, options = find_fitted(source), Path(source).stem, {}
    named = NAMED_SCALE.search(name) if locate(source) is None else None  # one of the weights' scales was fitted
    scale = scale if named is None else int(named[1] or named[2])
    card = read_card(file) or _card_of_copy(file)
    if card is None:
        try:
            return _of_file(file, scale)
        except UserError as error:
            raise error if file.name in str(error) else UserError(f'{file.name}: {error}') from error
        except Exception as error:  # shapes that no network has fail anywhere
            raise UserError(f'{file.name}: no network can be made of its weights ({reason(error)}).') from error
    file = card.weights
    calibrations = tuple(calibrations_of(file))
    if scale is not None and 'upscale' in card.network and card.network['upscale'] != scale and scale == int(scale):
        family = get_backbone(card.network['type'])
        options = {'upscale': int(scale)} if scale in family.scales else {}
    try:
        net = load_pretrained(file, **options)
    except Misfit:
        net = load_pretrained(file)
    return _network(net, name, calibrations)


def _card_of_copy(file: Path) -> Card | None:
    """The card of the project's own weights of which a file is a copy."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    return next((card for card in available() if card.sha256 == found), None)


def _of_file(file: Path, scale: float | None) -> Network:
    """The network of a checkpoint without card: of a family of ours, BasicSR's or spandrel's."""
    content = read_weights_only(file)
    state_dict = canonicalize(content, source=file)
    if any(value.is_complex() for value in state_dict.values()):
        raise UserError(f'{file.name} holds complex numbers, which no network here has.')
    family = identified(state_dict)
    if family is None:
        found = foreign.load(content, file)
        least, multiple = foreign.size_of(found)
        return _network(found.model.eval(), file.stem, least=least, multiple=multiple)
    backbone = get_backbone(family)
    options = dict((backbone.identify or (lambda state_dict: {}))(state_dict))
    for key, value in options.items():
        if isinstance(value, tuple):
            options[key] = _of_several(key, value, file, scale, backbone.defaults.get(key))
    return _network(load_into(backbone.create(**options), content, source=file.name).eval(), file.stem)


def _of_several(key: str, values: tuple[object, ...], file: Path, scale: float | None, default: object) -> object:
    """What a checkpoint's shapes leave open: for the scale what is asked for, else what the file's name says."""
    named = NAMED_SCALE.search(file.stem)
    wanted = (scale, int(named[1] or named[2])) if key == 'upscale' and named else (scale,) if key == 'upscale' else ()
    for value in (*wanted, default):
        if value in values:
            return value
    if key == 'upscale':
        raise UserError(f'{file.name} fits scale {" and ".join(map(str, values))} alike: say which, -s SCALE.')
    return values[0]


def _network(net: nn.Module, name: str, calibrations: tuple[Path, ...] = (), calibration: Calibration | None = None,
             least: int = 1, multiple: int = 1) -> Network:
    """The network with its scale and channels, as a small picture tells them."""
    channels = image_channels(net)
    side = -(-max(TRIED, least) // multiple) * multiple
    try:
        with torch.no_grad():
            image = net(torch.zeros(1, channels, side, side))
    except Exception as error:
        raise UserError(f'{name}: a network that takes no picture (1, {channels}, {side}, {side}): '
                        f'{reason(error)}.') from error
    if not isinstance(image, torch.Tensor) or image.ndim != 4 or image.shape[-2] % side or image.shape[-1] % side or (
            image.shape[1] != channels):
        held = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise UserError(f'{name} makes {held} of a picture (1, {channels}, {side}, {side}), no larger picture.')
    return Network(net, name, image.shape[-1] // side, channels, calibrations, calibration, least, multiple)
