"""A plain pretrained network as the start of a mask-guided one: only the joints between its parts are new."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from basicsr_amsr.backbones.chain import divide_chain
from basicsr_amsr.backbones.checkpoint import describe_misfit, prepare_state_dict, strip_prefixes, unwrap
from basicsr_amsr.backbones.keys import StateDict
from basicsr_amsr.backbones.layers import HaloConvs
from basicsr_amsr.backbones.spec import Backbone
from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.mga.parts import find_family
from basicsr_amsr.safe_load import read_weights_only

PROBE = 48  # side of the images of noise, in LR pixels
MARGIN = 1.5


def start_from_backbone(net: MGA, weights: str | os.PathLike[str]) -> list[str]:
    """Give base and refine net the weights of the plain backbone, from a checkpoint in any form that it loads from.

    A network with as many body blocks as both parts together is divided: RCAN's 10 groups become 7 and 3. One with as
    many as the base net becomes the base net whole, and the refine net gets its upsampler: RFDN's and FSRCNN's refine
    nets start by changing nothing, where their parts have `start_as_identity`. Where two new convolutions join refine
    body and upsampler, they start as the identity: biases lift what images of noise show them over the kink of the
    LeakyReLU between them, and take it back.

    Returns:
        The names of what the plain network has nothing for, and is as it was, beside the mask.

    Raises:
        UserError: the file cannot be read, or holds another network, another variant or another number of blocks.
    """
    family, options = find_family(net.backbone, net.cut)
    content, source = read_weights_only(weights), Path(weights).name
    plain, total = plain_weights(family, options, net.split_blocks, content, source)
    base_blocks = net.split_blocks[0]
    if family.body:
        base, refine = divide_chain(family.body, plain, base_blocks)
    elif family.divide:
        base, refine = family.divide(plain, total, base_blocks)
    else:
        raise UserError(f'backbone {family.name} does not say how the weights of the plain network are divided: give '
                        '`divide` in register_backbone.')
    new = fill(net.base, base, 'base') + fill(net.refine, refine, 'refine')
    for name, module in net.refine.named_children():
        if any(key.startswith(f'{name}.') for key in refine):
            continue
        if isinstance(module, HaloConvs):
            module.start_as_identity(MARGIN * least_values(net, module))
        elif (start := getattr(module, 'start_as_identity', None)) is not None:
            start()
    return new


@torch.no_grad()
def least_values(net: MGA, joints: HaloConvs) -> torch.Tensor:
    """(C,), the least values that joints get to see in the image of noise of three grains."""
    generator = torch.Generator().manual_seed(0)
    grains = [torch.rand(1, 3, PROBE // grain, PROBE // grain, generator=generator) for grain in (1, 4, 16)]
    weight = joints.conv1.weight
    x = torch.cat([F.interpolate(one, (PROBE, PROBE)) for one in grains]).to(weight)
    seen: list[torch.Tensor] = []
    hook = joints.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].amin((0, 2, 3))))
    variant, training = net.variant, net.training
    try:
        net.eval().set_variant('D')
        net(x)
    finally:
        hook.remove()
        net.train(training).set_variant(variant)
    return seen[0]


def plain_weights(family: Backbone, options: dict[str, Any], split_blocks: tuple[int, int], content: Any,
                  source: str) -> tuple[StateDict, int]:
    """The plain network's state dict under our names, and its number of body blocks.

    Raises:
        UserError: it is another network, or has another number of blocks than the split can use.
    """
    fitting = {sum(split_blocks), *([] if family.body else [split_blocks[0]])}
    held = family.identify(strip_prefixes(unwrap(content) or {})) if family.identify else {}
    total = held.get(family.blocks, sum(split_blocks))
    if total not in fitting:
        names = ' or '.join(str(number) for number in sorted(fitting))
        raise UserError(f'{source} holds {family.name} with {family.blocks} {total}, but split_blocks '
                        f'{list(split_blocks)} is made from {names}: give split_blocks that fit.')
    if not family.body:
        options = {**options, family.blocks: total}
    with torch.device('meta'):
        plain = family.create(**options)
    state_dict = prepare_state_dict(plain, content, backbone=family, source=source)
    problem = describe_misfit(plain, content, source, backbone=family, prepared=state_dict)
    if problem:
        raise UserError(problem)
    return state_dict, total


def fill(part: nn.Module, weights: StateDict, name: str) -> list[str]:
    """Load what fits into a part; the names of what it has beside that."""
    own = part.state_dict()
    fitting = {key: value for key, value in weights.items() if key in own and value.shape == own[key].shape}
    part.load_state_dict(fitting, strict=False)
    return [f'{name}.{key}' for key in own if key not in fitting]
