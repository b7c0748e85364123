"""Cuts a residual network for MGA by name: where its list of body blocks is, and where its upsampler begins."""
from __future__ import annotations

import copy
import re
from collections.abc import Sequence

import torch
from torch import fx, nn
from torch.func import functional_call

from basicsr_amsr.backbones.chain_graph import read_graphs
from basicsr_amsr.backbones.keys import StateDict
from basicsr_amsr.backbones.layers import HaloConvs
from basicsr_amsr.backbones.split import MGASplit
from basicsr_amsr.errors import UserError

SIDE = 8  # LR pixels of the image on which the parts are tried


class ChainBase(nn.Module):
    """Base net: the plain network with the first blocks of its body.

    `stem` takes the image to the body's input, `middle` the body's input and output to the coarse feature (a
    convolution and the long skip, as a rule), `tail` the feature and the image to the coarse image.
    """

    def __init__(self, stem: nn.Module, body: nn.Sequential, middle: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.stem, self.body, self.middle, self.tail = stem, body, middle, tail

    def extract(self, x: torch.Tensor) -> torch.Tensor:
        """Image (N, C, H, W) in 0–1 to the coarse feature (N, num_feat, H, W)."""
        start = self.stem(x)
        return self.middle(start, self.body(start))

    def reconstruct(self, feature: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Coarse feature, and the image it came from, to the coarse image (N, C, s·H, s·W) in 0–1."""
        return self.tail(feature, x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reconstruct(self.extract(x), x)


class ChainRefine(nn.Module):
    """Refine net: the other blocks of the body, a middle and a tail of its own, and two convolutions between them.

    Its tail sees a black image: a skip from the LR image, as the base net may have it, is left out.
    """

    def __init__(self, body: nn.Sequential, middle: nn.Module, tail: nn.Module, num_feat: int, channels: int) -> None:
        super().__init__()
        self.body, self.middle, self.tail = body, middle, tail
        self.conv = HaloConvs(num_feat)
        self.channels = channels

    def forward(self, x: torch.Tensor, halo: bool = True) -> torch.Tensor:
        """(N, C, h + 2, w + 2), or (N, C, h, w) without halo, to (N, channels, s·h, s·w) in 0–1."""
        x = self.conv(self.middle(x, self.body(x)), halo)
        return self.tail(x, x.new_zeros(x.shape[0], self.channels, *x.shape[2:]))


class Trial(nn.Module):
    """Runs the parts once, for the shapes that they give."""

    def __init__(self, base: ChainBase, refine: ChainRefine | None = None) -> None:
        super().__init__()
        self.base, self.refine = base, refine

    def forward(self, x: torch.Tensor) -> list[torch.Size]:
        """Shapes of the coarse feature and the coarse image, and of the image patch where there is a refine net."""
        feature = self.base.extract(x)
        images = [feature, self.base.reconstruct(feature, x)]
        if self.refine is not None:
            images.append(self.refine(feature))
        return [image.shape for image in images]


def cut_chain(net: nn.Module, body: str, tail: str, split_blocks: Sequence[int], channels: int = 3) -> MGASplit:
    """Base and refine net of a network whose body is a plain list of blocks.

    The network's `forward` is read once, symbolically (torch.fx), and cut at the two places named; it may be any code
    whose course does not depend on the image. Both parts start with the network's own weights.

    Args:
        net: the plain network. Its modules become those of the base net.
        body: attribute path of the nn.ModuleList or nn.Sequential of its body blocks, each of which takes what the one
            before it gives, in LR.
        tail: attribute path of the first module that is given the last LR feature, as a rule the upsampler.
        split_blocks: numbers of blocks in base and refine net, together all that there are.
        channels: of the image.

    Raises:
        UserError: a path leads nowhere, the blocks are no plain chain, or what is cut does not fit together.
    """
    name = type(net).__name__
    graphs = read_graphs(net, body, tail)
    blocks = list(net.get_submodule(body).children())
    if len(split_blocks) != 2 or min(split_blocks) < 1 or sum(split_blocks) != len(blocks):
        raise UserError(f'{name}: {body} has {len(blocks)} blocks, but split_blocks is '
                        f'{list(split_blocks)}: give two numbers from 1 that add up to {len(blocks)}.')
    first = split_blocks[0]
    stem, middle, end = (part(net, graph) for graph in graphs)
    base = ChainBase(stem, nn.Sequential(*blocks[:first]), middle, end)
    feature, image = shapes(name, Trial(base), channels)
    scale = image[-1] // SIDE
    if feature[2:] != (SIDE, SIDE) or image[2:] != (scale * SIDE, scale * SIDE):
        raise UserError(f"{name}: for an image of {SIDE}x{SIDE}, tail '{tail}' is given {feature[-2]}x{feature[-1]}: "
                        'name the first module behind the last feature of the size of the image.')
    refine = ChainRefine(nn.Sequential(*blocks[first:]), copy.deepcopy(middle), copy.deepcopy(end), feature[1],
                         channels)
    if shapes(name, Trial(base, refine), channels)[-1] != (*image[:2], scale * (SIDE - 2), scale * (SIDE - 2)):
        raise UserError(f'{name}: its blocks or its upsampler do not keep the size of a patch.')
    return MGASplit(base, refine, feature[1], scale)


def shapes(name: str, trial: Trial, channels: int) -> list[torch.Size]:
    """What the parts give for an image of SIDE×SIDE, on meta tensors."""
    state = {key: value.to('meta') for key, value in [*trial.named_parameters(), *trial.named_buffers()]}
    try:
        with torch.no_grad():
            return functional_call(trial, state, (torch.empty(1, channels, SIDE, SIDE, device='meta'),))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise UserError(f'{name} does not run when it is cut: {reason}') from error


def part(net: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """A part of the network with its modules under their own names; buffers stay persistent or not."""
    module = fx.GraphModule(net, graph)
    for path, _ in list(module.named_buffers()):
        owner, _, name = path.rpartition('.')
        if name in net.get_submodule(owner)._non_persistent_buffers_set:
            module.get_submodule(owner)._non_persistent_buffers_set.add(name)
    return module


def divide_chain(body: str, plain: StateDict, base_blocks: int) -> tuple[StateDict, StateDict]:
    """The weights of a plain network as those of its `cut_chain`; each is offered to every part that may hold it."""
    base: StateDict = {}
    refine: StateDict = {}
    for key, value in plain.items():
        match = re.match(rf'{re.escape(body)}\.(\d+)\.', key)
        if match:
            index, rest = int(match[1]), key[match.end():]
            target, number = (base, index) if index < base_blocks else (refine, index - base_blocks)
            target[f'body.{number}.{rest}'] = value
        else:
            base |= {f'{name}.{key}': value for name in ('stem', 'middle', 'tail')}
            refine |= {f'{name}.{key}': value for name in ('middle', 'tail')}
    return base, refine

