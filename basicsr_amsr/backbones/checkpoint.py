"""Weights from files: whatever their wrapping and prefixes, for one network family, with a wrong variant named."""
from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from basicsr_amsr.backbones.keys import StateDict
from basicsr_amsr.backbones.spec import Backbone
from basicsr_amsr.errors import UserError
from basicsr_amsr.finite import listed, not_finite
from basicsr_amsr.registry import BACKBONE_REGISTRY
from basicsr_amsr.safe_load import read_weights_only

# What training programs put around a state dict, the better one first.
WRAPPERS = ('params_ema', 'params', 'state_dict_ema', 'model_ema', 'ema', 'state_dict', 'model_state_dict', 'model',
            'net_g', 'net', 'network', 'generator', 'weights')
PREFIXES = ('module.', 'net_g.', 'netG.', 'generator.', 'model.', 'net.', '_orig_mod.')
DEEPEST = 4  # wrappers around a state dict; more are no training program's
PARTS = ('generator_ema.', 'net_g_ema.', 'netG_ema.', 'model_ema.', 'ema_model.', 'ema.', *PREFIXES)


def is_state_dict(content: Any) -> bool:
    """Whether it is a non-empty mapping from names to tensors."""
    return isinstance(content, Mapping) and bool(content) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items())


def unwrap(content: Any, param_key: str | None = None) -> StateDict | None:
    """The state dict inside `content`, under `param_key` where that is there, else under the first of WRAPPERS."""
    found = _find(content, param_key)
    return found[0] if found else None


def _find(content: Any, param_key: str | None, depth: int = 0) -> tuple[StateDict, list[str]] | None:
    """The state dict, and the keys that lead to it."""
    if is_state_dict(content):
        return dict(content), []
    for key in (param_key, *WRAPPERS) if isinstance(content, Mapping) and depth < DEEPEST else ():
        found = _find(content[key], param_key, depth + 1) if key is not None and key in content else None
        if key is not None and found:
            return found[0], [key, *found[1]]
    return None


def strip_prefixes(state_dict: StateDict, own: Collection[str] = ()) -> StateDict:
    """Take off what wrappers (DataParallel, torch.compile, Lightning …) put before every key, in any combination.

    It stops as soon as there is a key in `own`, the names that the network itself has.
    """
    return _part(state_dict, own)[0]


def _part(state_dict: StateDict, own: Collection[str]) -> tuple[StateDict, str]:
    """The keys of the network without the prefixes of wrappers; of several networks in one state dict the generator's,
    its moving average first, and the prefix that told them."""
    while state_dict and not any(key in own for key in state_dict):
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in state_dict)), None)
        if prefix is None:
            break
        state_dict = _without(state_dict, prefix)
    if not any(key in own for key in state_dict):
        for prefix in PARTS:
            part = strip_prefixes(_without(state_dict, prefix), own) if _without(state_dict, prefix) else {}
            if any(key in own for key in part) or (part and identified(part)):
                return part, prefix
    return state_dict, ''


def _without(state_dict: StateDict, prefix: str) -> StateDict:
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}


def source_of_weights(content: Any, param_key: str | None, own: Collection[str]) -> str:
    """Which weights of a file `canonicalize` takes, such as 'params_ema' or 'state_dict: generator_ema.…'."""
    state_dict, keys = _find(content, param_key) or ({}, [])
    prefix = _part(state_dict, own)[1]
    return ': '.join([*keys, *([f'{prefix}…'] if prefix else [])]) or 'the whole file'


def canonicalize(content: Any, param_key: str | None = None, source: str | os.PathLike[str] = 'the file',
                 own: Collection[str] = ()) -> StateDict:
    """The bare state dict of a checkpoint, moving averages before plain weights.

    Args:
        content: what the file holds: a state dict, or dicts around one.
        param_key: the wrapper to prefer, for instance BasicSR's 'params'.
        source: the file, for messages.
        own: the names that the network itself has, which may begin like a prefix.

    Raises:
        UserError: there is none in it.
    """
    state_dict = unwrap(content, param_key)
    if state_dict is None:
        held = ', '.join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise UserError(f'{source} holds no network weights, but: {held or "nothing"}.')
    return strip_prefixes(state_dict, own)


def load_checkpoint(path: str | os.PathLike[str]) -> StateDict:
    """The bare state dict of a file, read as data only, on the CPU.

    Raises:
        UserError: the file is missing, damaged, would run code, or holds no weights.
    """
    return canonicalize(read_weights_only(path), source=path)


def find_backbone(net: nn.Module) -> Backbone | None:
    """The registered family that a network belongs to, by its class, or None."""
    families = [backbone for _, backbone in BACKBONE_REGISTRY]
    plain = getattr(net, 'plain_class', type(net))  # where `accelerate_` has changed it
    exact = (b for b in families if plain in b.classes)
    derived = (b for b in families if b.classes and isinstance(net, b.classes))
    return next(exact, None) or next(derived, None)


def prepare_state_dict(net: nn.Module, content: Any, param_key: str | None = None, backbone: Backbone | None = None,
                       source: str | os.PathLike[str] = 'the file') -> StateDict:
    """What `net.load_state_dict` takes, from whatever a checkpoint file holds.

    Unwraps, strips prefixes, maps the family's public names to the network's own, and takes buffers that follow from
    the options from the network. For networks of no registered family it only unwraps and strips.

    Args:
        net: the network to load into, not wrapped for several devices.
        content: what the file holds.
        param_key: the wrapper to prefer.
        backbone: the family; found by the network's class if None.
        source: the file, for messages.

    Raises:
        UserError: there are no weights in it.
    """
    own = net.state_dict()
    state_dict = canonicalize(content, param_key, source, own)
    backbone = backbone or find_backbone(net)
    if backbone is None:
        return state_dict
    warn_of_scale(net, backbone, state_dict, source)
    if backbone.convert:
        state_dict = backbone.convert(state_dict, net)
    if backbone.derived:
        state_dict = {key: value for key, value in state_dict.items() if not key.endswith(backbone.derived)}
        state_dict |= {key: value for key, value in own.items() if key.endswith(backbone.derived)}
    return state_dict


def warn_of_scale(net: nn.Module, backbone: Backbone, state_dict: StateDict, source: str | os.PathLike[str]) -> None:
    """Warn where only the file's name tells that it is for another scale (PAN's ×2 and ×3 have the same shapes)."""
    held = backbone.identify(state_dict).get('upscale') if backbone.identify else None
    named = re.search(r'x([2348])(?!\d)', Path(source).name, re.IGNORECASE)
    scale = getattr(net, 'upscale', None)
    if named and isinstance(held, tuple) and scale in held and int(named[1]) in held and int(named[1]) != scale:
        logging.getLogger('basicsr').warning(
            f'{Path(source).name} is named x{named[1]}, but the network has upscale {scale}; the shapes fit both.')


def agrees(held: Any, wanted: Any) -> bool:
    """Whether an option read off a file, a tuple where the shapes leave several, allows the network's value."""
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    return bool(set(map(repr, held if isinstance(held, tuple) else (held,))) & set(map(repr, wanted)))


def network_options(net: nn.Module, backbone: Backbone) -> dict[str, Any]:
    """The options of a network: what its shapes leave open is asked of the network itself."""
    options = backbone.identify(dict(net.state_dict())) if backbone.identify else {}
    return {key: getattr(net, key, value) if isinstance(value, tuple) else value for key, value in options.items()}


def in_words(options: Mapping[str, Any]) -> str:
    """'upscale 2 or 3, num_block 16'."""
    return ', '.join(f'{key} {" or ".join(map(str, value)) if isinstance(value, tuple) else value}'
                     for key, value in options.items())


def describe_variant(net: nn.Module, content: Any, backbone: Backbone | None = None) -> str | None:
    """'PAN with upscale 4, but the network is RFDN', '…with num_block 20, but the network has num_block 16', or None.

    None where the weights are of the network's family and variant as far as their shapes tell, or of no known family.
    """
    backbone = backbone or find_backbone(net)
    state_dict = unwrap(content)
    if state_dict is None:
        return None
    state_dict = strip_prefixes(state_dict)
    describe_plain: Any = getattr(net, 'describe_plain', None)
    if backbone is None and describe_plain is not None:
        return describe_plain(identified(state_dict))
    if backbone is None or backbone.identify is None:
        return None
    held, wanted = backbone.identify(state_dict), network_options(net, backbone)
    differing = [key for key in wanted if key in held and not agrees(held[key], wanted[key])]
    if differing:
        return (f'{backbone.name} with {in_words({k: held[k] for k in differing})}, but the network has '
                f'{in_words({k: wanted[k] for k in differing})}')
    if held:
        return None
    other = identified(state_dict)
    return f'{other}, but the network is {backbone.name}' if other else None


def identified(state_dict: StateDict) -> str | None:
    """The name of the first network family that knows a state dict as its own."""
    return next((family.name for _, family in BACKBONE_REGISTRY if family.identify and family.identify(state_dict)),
                None)


def describe_keys(net: nn.Module, state_dict: StateDict) -> str | None:
    """The first missing, unexpected and mis-shaped keys of what `prepare_state_dict` gave, or None if all fits."""
    own = net.state_dict()
    shapes = {key: f'{key} {tuple(value.shape)} instead of {tuple(own[key].shape)}'
              for key, value in state_dict.items() if key in own and value.shape != own[key].shape}
    kinds = {'missing': sorted(own.keys() - state_dict.keys()), 'unexpected': sorted(state_dict.keys() - own.keys()),
             'of another shape': list(shapes.values())}
    return '; '.join(f'{len(keys)} {kind} ({listed(keys)})' for kind, keys in kinds.items() if keys) or None


def describe_misfit(net: nn.Module, content: Any, source: str | os.PathLike[str], param_key: str | None = None,
                    backbone: Backbone | None = None, prepared: StateDict | None = None) -> str | None:
    """One line saying why the weights of a checkpoint do not fit `net` exactly, with a wrong variant named; else None.

    A difference that no option explains is described by the first keys that are missing, unexpected or mis-shaped.
    `prepared` is what `prepare_state_dict` gave for them, where the caller has it already.
    """
    state_dict = prepare_state_dict(net, content, param_key, backbone, source) if prepared is None else prepared
    problem = describe_keys(net, state_dict)
    if problem is None:
        return None
    variant = describe_variant(net, content, backbone)
    return f'{source} holds {variant}.' if variant else f'{source} does not fit {type(net).__name__}: {problem}.'


class Misfit(UserError):
    """Weights that do not fit a network; `some` of them do or none."""

    def __init__(self, message: str, some: bool = False) -> None:
        super().__init__(message)
        self.some = some


def load_into(net: nn.Module, weights: Any, backbone: Backbone | None = None, strict: bool = True,
              param_key: str | None = None,
              source: str | os.PathLike[str] = 'the state dict') -> nn.Module:
    """Load a checkpoint into a network, and return the network.

    Args:
        net: the network.
        weights: a file, or what `read_weights_only` gave.
        backbone: the network's family; found by its class if None.
        strict: every key and shape has to fit; else what fits is loaded, and a warning says how much that is.
        param_key: the wrapper to prefer.
        source: of weights that are no file, for messages.

    Raises:
        Misfit: (strict) the weights are of another variant or family, which is named; none fits.
        UserError: the file cannot be read, or holds values that are not finite.
    """
    if isinstance(weights, (str, os.PathLike)):
        content, source = read_weights_only(weights), Path(weights).name
    else:
        content = weights
    state_dict = prepare_state_dict(net, content, param_key, backbone, source)
    own, derived = net.state_dict(), (backbone or find_backbone(net) or Backbone('', nn.Module)).derived
    fitting = {key: value for key, value in state_dict.items() if key in own and value.shape == own[key].shape}
    told = [key for key in fitting if not key.endswith(derived)]
    problem = describe_misfit(net, content, source, param_key, backbone, prepared=state_dict)
    if problem and (strict or not told):
        raise Misfit(problem, bool(told))
    broken = not_finite(fitting)
    if broken:
        raise UserError(f'{source}: {broken}: they come from a training that went wrong; take an earlier file.')
    if problem:
        logging.getLogger('basicsr').warning(f'{len(told)} of {len(own)} tensors of {type(net).__name__} are loaded, '
                                             f'the others stay as they are: {problem}')
    net.load_state_dict(fitting, strict=strict)
    return net
