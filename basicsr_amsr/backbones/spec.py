"""What the methods need to know of a network family, and how a backbone is registered."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict, TypeVar, overload

from torch import nn
from typing_extensions import Unpack

from basicsr_amsr.backbones.chain import cut_chain
from basicsr_amsr.backbones.division import Divide
from basicsr_amsr.backbones.keys import StateDict
from basicsr_amsr.backbones.skips import Skips
from basicsr_amsr.backbones.split import MGASplit
from basicsr_amsr.compat.importing import load
from basicsr_amsr.compat.patching import PACKAGE
from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.options.argument_sections import section_of
from basicsr_amsr.options.section import Section
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY, lookup

Network = TypeVar('Network', bound=type[nn.Module])


@dataclass(frozen=True)
class Backbone:
    """A network family with the defaults of its publication.

    Args:
        name: what stands in `backbone: {type: NAME}`.
        build: `build(**options)` returns the network; inputs and outputs are RGB in 0–1 (gray where `channels` is 1).
        defaults: the published options, overridden by those in the YAML.
        scales: the upscaling factors it exists for (1 for denoising).
        source: the publication.
        channels: image channels.
        size_multiple: height and width that the body wants as multiples of this (window size); the network pads.
        convert: `convert(state_dict, net)` maps a public checkpoint's keys to those of `net`, after wrappers and
            prefixes are taken off; keys that are the network's own already must pass unchanged.
        identify: `identify(state_dict)` reads options off a state dict's shapes, of the public or of the network's own
            names: {option: value}, with a tuple of values where the shapes leave several. Options it cannot tell are
            left out; {} says that the file is of another family.
        derived: endings of buffers that follow from the options (attention masks), never taken from a file.
        classes: the network classes whose checkpoints `convert` and `identify` know; default is `build`, if a class.
        split: `split(base_blocks=…, refine_blocks=…, **options)` returns an MGASplit; None if MGA cannot treat it.
        split_blocks: the paper's (base_blocks, refine_blocks).
        body, tail: for a network without `split`: attribute paths of its list of body blocks and of the first module
            that is given the last LR feature; MGA then cuts it by name (chain.py).
        blocks: the option that counts the body blocks.
        skips: `skips(net)` names the modules that AMSR runs sparsely, and how (skips.py); None: the residual blocks
            that are found in the network.
        divide: `divide(state_dict, its blocks, base_blocks)` returns what the weights of the plain network are in base
            and refine net, see division.py; follows from `body` where that is given.
        origin: the module that registered it.
    """

    name: str
    build: Callable[..., nn.Module]
    defaults: Mapping[str, object] = field(default_factory=dict)
    scales: tuple[int, ...] = (2, 3, 4)
    source: str = ''
    channels: int = 3
    size_multiple: int = 1
    convert: Callable[[StateDict, nn.Module], StateDict] | None = None
    identify: Callable[[StateDict], Mapping[str, object]] | None = None
    derived: tuple[str, ...] = ()
    classes: tuple[type[nn.Module], ...] = ()
    split: Callable[..., MGASplit] | None = None
    split_blocks: tuple[int, int] | None = None
    body: str = ''
    tail: str = ''
    blocks: str = 'num_block'
    skips: Skips | None = None
    divide: Divide | None = None
    origin: str = ''

    def __post_init__(self) -> None:
        if not self.classes and isinstance(self.build, type):
            object.__setattr__(self, 'classes', (self.build,))
        if bool(self.body) != bool(self.tail):
            raise UserError(f'backbone {self.name}: give both body and tail, or neither.')

    @property
    def methods(self) -> tuple[str, ...]:
        """The acceleration methods that know how to treat this family."""
        mga = ('mga',) if self.split or self.body else ()
        return (*mga, 'amsr') if self.skips else mga

    @property
    def option_schema(self) -> type[Section]:
        """The options beside `type:`, with what `build` says of them."""
        return section_of(self.build, required=False)

    def options(self, options: Mapping[str, object]) -> dict[str, object]:
        """Published defaults overridden by `options`; a UserError for a scale that the family does not have."""
        merged = {**self.defaults, **options}
        if 'upscale' in merged and merged['upscale'] not in self.scales:
            known = ', '.join(map(str, self.scales))
            raise UserError(f'{self.name}: upscale {merged["upscale"]} is not among {known}.')
        return merged

    def create(self, **options: object) -> nn.Module:
        """The network with the published defaults overridden by `options`.

        Raises:
            UserError: an option that the network does not have, with the near names, or one that is missing.
        """
        merged = self.options(options)
        self.check_keywords(self.build, merged)
        return self.build(**merged)

    def cut(self, split_blocks: Sequence[int] | None = None, **options: object) -> MGASplit:
        """Base and refine net for MGA, with (base, refine) body blocks, by default those of the paper.

        Raises:
            UserError: the family has no split, or an option is wrong or missing as in `create`.
        """
        if self.split is None and self.body:
            if not (split_blocks or self.split_blocks):
                raise UserError(f'backbone {self.name}: give split_blocks, the numbers of body blocks in base and '
                                'refine net.')
            return cut_chain(self.create(**options), self.body, self.tail, split_blocks or self.split_blocks or (),
                             self.channels)
        if self.split is None:
            raise UserError(f'the backbone {self.name} has no split for MGA (see `basicsr list backbone`).')
        merged = self.options(options)
        if split_blocks:
            merged.update(zip(('base_blocks', 'refine_blocks'), split_blocks, strict=True))
        self.check_keywords(self.split, merged)
        return self.split(**merged)

    def check_keywords(self, called: Callable[..., object], options: Mapping[str, object]) -> None:
        """UserError where `called` does not take `options`, or needs more."""
        signature = inspect.signature(called)
        if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            for key in options:
                if key not in signature.parameters:
                    raise UserError(f"backbone {self.name} has no option '{key}'. "
                                    f'{suggestion(key, signature.parameters)}')
        try:
            signature.bind(**options)
        except TypeError as error:
            raise UserError(f'backbone {self.name}: {error}.') from error


class Spec(TypedDict, total=False):
    """The fields of a `Backbone` but for its name and what builds it, for those who write a call of
    `register_backbone`."""

    defaults: Mapping[str, object]
    scales: tuple[int, ...]
    source: str
    channels: int
    size_multiple: int
    convert: Callable[[StateDict, nn.Module], StateDict] | None
    identify: Callable[[StateDict], Mapping[str, object]] | None
    derived: tuple[str, ...]
    classes: tuple[type[nn.Module], ...]
    split: Callable[..., MGASplit] | None
    split_blocks: tuple[int, int] | None
    body: str
    tail: str
    blocks: str
    skips: Skips | None
    divide: Divide | None
    origin: str


@overload
def register_backbone(name: str | None = None, build: None = None,
                      **spec: Unpack[Spec]) -> Callable[[Network], Network]: ...


@overload
def register_backbone(name: str, build: Callable[..., nn.Module], **spec: Unpack[Spec]) -> Backbone: ...


def register_backbone(name: str | None = None, build: Callable[..., nn.Module] | None = None,
                      **spec: Unpack[Spec]) -> Callable[[Network], Network] | Backbone:
    """Register a backbone, as a class decorator or by a call.

    A name that is still free in BasicSR's ARCH registry is registered there too, so that `network_g: {type: NAME}`
    works.

    Args:
        name: by default that of the class.
        build: what builds the network, where no class is decorated.
        spec: the other fields of `Backbone`, all of them optional.

    Raises:
        UserError: the name is taken.

    Examples:
        >>> @sr.register_backbone(scales=(2, 4), source='nobody, 2026')
        ... class TwoConvolutions(torch.nn.Module):
        ...     def __init__(self, upscale=4, num_feat=8):
        ...         super().__init__()
        ...         self.first = torch.nn.Conv2d(3, num_feat, 3, padding=1)
        ...         self.last = torch.nn.Conv2d(num_feat, 3 * upscale**2, 3, padding=1)
        ...         self.shuffle = torch.nn.PixelShuffle(upscale)
        ...
        ...     def forward(self, x):
        ...         return self.shuffle(self.last(self.first(x).relu()))
        >>> sr.Upscaler(TwoConvolutions()).scale
        4
    """
    if build is None:
        def decorate(cls: Network) -> Network:
            register_backbone(name or cls.__name__, build=cls, **spec)
            return cls

        return decorate
    assert name is not None
    if name in BACKBONE_REGISTRY:
        raise UserError(f"The backbone name '{name}' is taken by {BACKBONE_REGISTRY.get(name).origin}.")
    spec.setdefault('origin', getattr(build, '__module__', ''))
    backbone = Backbone(name=name, build=build, **spec)
    if not backbone.origin.startswith(f'{PACKAGE}.'):
        load()  # a network of BasicSR of that name keeps its place
    BACKBONE_REGISTRY._do_register(name, backbone)
    if name not in ARCH_REGISTRY:
        ARCH_REGISTRY._do_register(name, build if has_defaults(build, backbone.defaults) else backbone.create)
    return backbone


def has_defaults(build: Callable[..., nn.Module], defaults: Mapping[str, object]) -> bool:
    """Whether `build` is a class whose own defaults are those of the backbone."""
    if not isinstance(build, type):
        return False
    parameters = inspect.signature(build).parameters
    return all(key in parameters and parameters[key].default == value for key, value in defaults.items())


def get_backbone(name: str) -> Backbone:
    """The registered backbone, or a UserError that lists the near names."""
    return lookup(BACKBONE_REGISTRY, name)
