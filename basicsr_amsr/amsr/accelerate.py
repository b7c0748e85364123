"""`accelerate_` lets a network compute only where its image has high frequencies; `restore_` undoes it."""
from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import nn

from basicsr_amsr.amsr.budget import Costs, count_costs
from basicsr_amsr.amsr.calibration.calibrated_network import CalibratedNetwork, goes_native
from basicsr_amsr.amsr.calibration.calibrated_tokens import CalibratedTokens, TokenDense
from basicsr_amsr.amsr.calibration.trained import NAME as TRAINED
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.amsr.conversion_report import Report
from basicsr_amsr.amsr.decision import form_for, keep_of, window_sizes
from basicsr_amsr.amsr.descriptor import Descriptor, network_in
from basicsr_amsr.amsr.masked_tiles import run_tiles
from basicsr_amsr.amsr.structure import residual_blocks
from basicsr_amsr.amsr.whole import Whole
from basicsr_amsr.backbones.checkpoint import find_backbone
from basicsr_amsr.backbones.skipping import CURRENT, Selection, Skipping, marked_forward
from basicsr_amsr.backbones.skips import Skip, SkipUnit
from basicsr_amsr.backbones.tokens import token_family
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.cost.costs import Form
from basicsr_amsr.execution.cost.model import decides
from basicsr_amsr.execution.dense.form import DenseForm, NotNative
from basicsr_amsr.execution.graph.signature import OURS
from basicsr_amsr.execution.graph.trace import Unreadable
from basicsr_amsr.execution.graph.traces import Traces
from basicsr_amsr.execution.native.tables import PATCH
from basicsr_amsr.execution.openvino import openvino_version
from basicsr_amsr.execution.skipping.units_form import UnitsForm
from basicsr_amsr.execution.tiles import is_large
from basicsr_amsr.execution.torch_sparse.read_network import plain_forward
from basicsr_amsr.host import on_host
from basicsr_amsr.selection.keep import at_keep

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


class Converted(nn.Module):
    """Mixed into the class of a module. The class changes, not the object: weights, keys, hooks and children stay.

    Unlike a `forward` that is set on the object, the class follows the module into copies and DataParallel's replicas.
    """

    plain_class: type[nn.Module]
    takes: str  # the name that its forward gives the image

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        mixin = next(cls for cls in type(self).__mro__ if cls in (ConvertedNetwork, ConvertedUnit))
        return _empty, (self.plain_class, mixin), self.__dict__


class ConvertedNetwork(Converted):
    """A network that makes the masks of its image."""

    amsr: AMSRConfig
    last_keep: Any
    variant: str
    costs: dict[tuple[int, ...], Costs]
    calibrated: CalibratedNetwork | CalibratedTokens | None
    native: DenseForm | TokenDense | None
    units: UnitsForm | None
    whole: Whole
    structure: str | None

    def forward(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        if x is None:
            x = kwargs.pop(self.takes, None)
        if not isinstance(x, torch.Tensor):
            given = ', '.join(kwargs) if x is None and kwargs else type(x).__name__
            raise UserError(f'{self.plain_class.__name__} takes images as one tensor {self.takes} (B, C, H, W), not as '
                            f'{given}.')
        config, training = self.amsr, self.training or torch.is_grad_enabled()
        bare = not (training or args or kwargs)
        form: Form = 'sparse'
        if self.variant == 'D' or x.is_meta or config.mode == 'dense':  # without content there is no mask
            form = 'dense'
        if is_large(x, config.tile) and bare:
            image, self.last_keep = run_tiles(self, x, form == 'sparse')
            return image
        chooses = form == 'sparse' and config.mode == 'auto' and bare and decides(x)
        fixed = config.budget is None and getattr(config.selection, 'keep', None) is not None
        if chooses and (self.calibrated is None or fixed):  # where everything is computed no mask is made
            form, chooses = form_for(self, x, keep_of(self, x)), False
        differentiable = torch.jit.is_tracing() or (  # a trace holds for any mask
            training if config.mode == 'auto' else config.mode == 'dense_masked')
        if form == 'sparse' and torch.compiler.is_exporting():
            raise UserError(f'{self.plain_class.__name__}: where an accelerated network computes depends on the image, '
                            "which no export can follow: export the plain network, net.set_variant('D') or "
                            'restore_(net).')
        if form == 'sparse' and self.calibrated is not None:
            patches = self.calibrated.patches(self, x.detach(), config)
            keep: float | torch.Tensor
            if differentiable:
                keep = patches.float().mean()
            else:  # lists are made on the host
                values = on_host(patches)
                patches, keep = torch.from_numpy(values), np.count_nonzero(values) / max(values.size, 1)
            if chooses:
                form = form_for(self, x, float(keep))
            if not differentiable and keep == 1:
                form = 'dense'
            if form == 'sparse':
                self.last_keep = keep
                return self.calibrated.run(self, x, patches, config, differentiable)
        self.last_keep = 1.0
        skipping = None
        if form == 'sparse':
            skipping = Skipping(x, self.selection_for(x), differentiable, config.backend)
        if bare and self.variant == 'M' and not differentiable:
            picture = self._by_engines(x, skipping)
            if picture is not None:
                return picture
        token = CURRENT.set(skipping)
        try:
            result = self.plain_class.forward(self, x, *args, **kwargs)
            if skipping is not None:
                self.last_keep = skipping.keep
            return result
        finally:
            CURRENT.reset(token)

    def _by_engines(self, x: torch.Tensor, skipping: Skipping | None) -> torch.Tensor | None:
        """The image by the native kernels, or as a whole by the fastest engine; None where torch has to run."""
        config = self.amsr
        if skipping is None:
            return self.whole.image(self, x)
        if self.units is None or config.selection.patch_size % PATCH or not goes_native(config, x):
            return None
        picture = self.units.image(self, x, skipping.patches)
        if picture is not None:
            self.last_keep = skipping.keep
        return picture

    def selection_for(self, x: torch.Tensor) -> Selection:
        """The selection of the options, with the share that their budget allows for images of this size."""
        selection, budget = self.amsr.selection, self.amsr.budget
        if budget is None:
            return selection
        size = tuple(x.shape[1:])
        if size not in self.costs:
            self.costs[size] = count_costs(self, selection.patch_size, *size)
        return at_keep(selection, self.costs[size].keep_within(budget))

    def set_variant(self, variant: str) -> None:
        """'M': only where the mask is, or by the native kernels. 'D': the plain network."""
        if variant not in ('M', 'D'):
            raise UserError(f"variant '{variant}' is unknown. There is: M (masked), D (dense).")
        self.variant = variant


class ConvertedUnit(Converted):
    """A module that runs where the mask of its network's image is. Outside such a network it is what it was."""

    skip: Skip

    def forward(self, *args: Any) -> Any:
        skipping = CURRENT.get()
        return self.plain_class.forward(self, *args) if skipping is None else self.skip.forward(self, skipping, *args)


def accelerate_(net: nn.Module | Descriptor, config: AMSRConfig | None = None,
                skips: Mapping[str, Skip] | None = None) -> Report:
    """Convert a network, in place, so that it computes only at the pixels of an image that a mask selects.

    Each forward pass makes a mask for each of its images, RGB or gray (B, 3 or 1, H, W). Weights and keys stay as they
    are, so checkpoints load and save as before. The adapter of a network's family says which units skip pixels
    (docs/amsr.md); in any other network these are the residual blocks that are found in it. Converting again replaces
    the configuration.

    Args:
        net: the network, on any device; also inside DataParallel, DistributedDataParallel, torch.compile, or what
            spandrel's ModelLoader returns.
        config: options; the default computes half of the patches.
        skips: paths of modules, and how each skips, in place of what the family's adapter says.

    Returns:
        What was converted and what stays dense.

    Raises:
        UserError: nothing in the network can be skipped, or its `forward` was replaced by somebody else.

    Examples:
        >>> net = sr.load_pretrained('RFDN_x4')
        >>> calibration = sr.Calibration.load('pretrained/RFDN_x4.amsr')
        >>> report = sr.accelerate_(net, sr.AMSRConfig(calibration=calibration, mode='sparse'))
        >>> with torch.no_grad():
        ...     picture = net(torch.rand(1, 3, 20, 30))
        >>> bool(0 <= net.last_keep <= 1)  # the share of the patches that was computed
        True
    """
    config = config or AMSRConfig()
    net = unwrapped(net)
    if isinstance(net, torch.jit.ScriptModule) or 'forward' in net.__dict__:
        raise UserError(f'{type(net).__name__}: its forward is compiled or was replaced: accelerate the plain network, '
                        'before.')
    restore_(net)
    if config.mode == 'dense':
        native: DenseForm | TokenDense = TokenDense() if token_family(net) else DenseForm(Traces(plain_forward))
        weights: Iterable[str] = ()
        why = ''
        try:
            weights = native.trial(net)
        except NotNative as error:  # it can be read, so OpenVINO may run it
            if config.backend == 'native' or openvino_version() is None:
                raise
            why = str(error)
        report = dataclasses.replace(Report.of_weights(net, 'dense', weights), why=why)
        _convert(net, config, native=native if weights else None)
        return report
    if config.calibration is not None:
        tokens = token_family(net)
        calibrated = (CalibratedTokens.of(tokens, net, config.calibration) if tokens else
                      CalibratedNetwork.of(net, config.calibration))
        report = Report.of_weights(net, 'calibration', calibrated.skipped_weights)
        _convert(net, config, calibrated)
        return report
    family = find_backbone(net)
    adapter = family.skips if family else None
    by = 'options' if skips else 'adapter' if adapter else 'structure'
    skips = skips or (adapter(net) if adapter else residual_blocks(net))
    if not skips:
        raise UserError(f'{type(net).__name__} has no residual block that can be skipped: nothing was converted.')
    if config.unit == 'conv':
        skips = _convolutions(net, skips)
    chosen = dict(list(skips.items())[config.dense_first:])
    if not chosen:
        raise UserError(f'{type(net).__name__} has {len(skips)} units; with unit: {config.unit} and dense_first: '
                        f'{config.dense_first} none is left to skip.')
    modules = {path: net.get_submodule(path) for path in chosen}
    report = Report.of(net, by, chosen)
    for path, module in modules.items():
        if not isinstance(module, Converted):  # it may be shared between two paths
            module.__class__ = _class(type(module), ConvertedUnit)
            module.__dict__['skip'] = chosen[path]
    _convert(net, config, units=None if window_sizes(net) else UnitsForm(Traces(marked_forward)))
    return report


def _convert(net: nn.Module, config: AMSRConfig, calibrated: CalibratedNetwork | CalibratedTokens | None = None,
             native: DenseForm | TokenDense | None = None, units: UnitsForm | None = None) -> None:
    net.__class__ = _class(type(net), ConvertedNetwork)
    net.__dict__.update(amsr=config, last_keep=1.0, variant='M', costs={}, calibrated=calibrated,
                        native=native, units=units, whole=Whole(), structure=None)


def restore_(net: nn.Module) -> nn.Module:
    """Undo `accelerate_`, in place; a network that is not converted stays as it is.

    Returns:
        The network.

    Examples:
        >>> net = sr.load_pretrained('RFDN_x4')
        >>> report = sr.accelerate_(net)
        >>> sr.restore_(net) is net
        True
    """
    for module in unwrapped(net).modules():
        if isinstance(module, Converted):
            module.__class__ = module.plain_class  # type: ignore[assignment]
            for name in OURS:
                module.__dict__.pop(name, None)
            module._modules.pop(TRAINED, None)
    return net


def unwrapped(net: nn.Module | Descriptor) -> nn.Module:
    """The network inside wrappers for several devices and of torch.compile, and in a descriptor of spandrel."""
    net = network_in(net)
    while isinstance(net, WRAPPERS) or hasattr(net, '_orig_mod'):
        net = net.module if isinstance(net, WRAPPERS) else net._orig_mod  # type: ignore[assignment]
    return net


def _convolutions(net: nn.Module, skips: Mapping[str, Skip]) -> dict[str, Skip]:
    """Each convolution inside the units whose skipped pixels can keep its input."""
    found: dict[str, Skip] = {}
    for unit in skips:
        for path, module in net.get_submodule(unit).named_modules(prefix=unit):
            if isinstance(module, nn.Conv2d) and module.in_channels == module.out_channels:
                with suppress(Unreadable):
                    found[path] = SkipUnit.of(module)
    return found


_classes: dict[tuple[type, type], Any] = {}


def _class(plain: type[nn.Module], mixin: type[Converted]) -> Any:
    """The module's class with the mixin in front, one for each; it goes by the same name."""
    if (plain, mixin) not in _classes:
        names = {name: getattr(plain, name) for name in ('__module__', '__qualname__', '__doc__')}
        names['takes'] = next((name for name in inspect.signature(plain.forward).parameters if name != 'self'), '')
        _classes[plain, mixin] = type(plain.__name__, (mixin, plain), {'plain_class': plain, **names})
    return _classes[plain, mixin]


def _empty(plain: type[nn.Module], mixin: type[Converted]) -> nn.Module:
    """A module without state, for copy and pickle."""
    cls = _class(plain, mixin)
    return cls.__new__(cls)
