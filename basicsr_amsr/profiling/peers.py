"""The same network by other counters, mmengine and thop: by kind of operator, and why they differ.

They agree with ours on convolutions and linear layers. Neither is wrong elsewhere: what is no convolution has no
convention, and they follow each their own.
"""
from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.profiling.macs import Count, evaluating, plain_operators

CONVOLUTION, TRANSPOSED, LINEAR = 'convolution', 'transposed convolution', 'linear layer'
PRODUCT, ATTENTION = 'matrix product', 'attention'
NORMALISATION, ACTIVATION, SOFTMAX, POOLING = 'normalisation', 'activation', 'softmax', 'pooling'
INTERPOLATION, RECURRENT, REPEATED = 'interpolation', 'recurrent layer', 'modules used twice'

UNUSED = 'it traces, and leaves out what the output does not depend on'
SEES_MODULES = ('it sees modules of torch.nn only, no functions and no classes derived from them, and hooks one that '
                'stands in two places twice')
REASONS = {
    'mmengine': {
        CONVOLUTION: f'{UNUSED}, and traces accelerated networks as they are masked, at every pixel',
        TRANSPOSED: UNUSED,
        LINEAR: f'{UNUSED}, and names every F.linear so, ours only those inside nn.Linear',
        PRODUCT: f'{UNUSED}, names F.linear a linear layer, and has no handle for addbmm, baddbmm, mv, dot and others',
        ATTENTION: 'it has no handle for scaled_dot_product_attention',
        NORMALISATION: '4 per element, 5 with weights; batch normalisation 1 or 2; ours counts none',
        POOLING: 'adaptive average: one per input element; ours counts none',
        INTERPOLATION: 'bilinear 4 and nearest 1 per output element; ours counts none',
    },
    'thop': {
        CONVOLUTION: SEES_MODULES,
        TRANSPOSED: 'it counts at the output size',
        LINEAR: SEES_MODULES,
        PRODUCT: SEES_MODULES,
        ATTENTION: SEES_MODULES,
        NORMALISATION: '2 per element, 4 with weights; ours counts none',
        ACTIVATION: 'PReLU: one per element; ours counts none',
        SOFTMAX: '3n - 1 per row of n; ours counts none',
        POOLING: 'average: one per output element, adaptive average: one per input element and one per output element; '
                 'ours counts none',
        INTERPOLATION: 'nn.Upsample: bilinear 11, bicubic 259, nearest 1 per output element; ours counts none',
        REPEATED: 'it adds up a module that stands in two places once for each',
    },
}
MMENGINE_KINDS = {
    'linear': LINEAR, 'addmm': PRODUCT, 'bmm': PRODUCT, 'einsum': PRODUCT, 'matmul': PRODUCT, 'mm': PRODUCT,
    'batch_norm': NORMALISATION, 'group_norm': NORMALISATION, 'layer_norm': NORMALISATION,
    'instance_norm': NORMALISATION, 'upsample_nearest2d': INTERPOLATION, 'upsample_bilinear2d': INTERPOLATION,
    'adaptive_avg_pool2d': POOLING, 'grid_sampler': INTERPOLATION,
}
# By the beginning of the class's name; the first that fits.
THOP_KINDS = {
    'ConvTranspose': TRANSPOSED, 'Conv': CONVOLUTION, 'Linear': LINEAR, 'PReLU': ACTIVATION, 'Softmax': SOFTMAX,
    'BatchNorm': NORMALISATION, 'SyncBatchNorm': NORMALISATION, 'LayerNorm': NORMALISATION,
    'InstanceNorm': NORMALISATION, 'Upsampl': INTERPOLATION, 'Avg': POOLING, 'AdaptiveAvg': POOLING, 'RNN': RECURRENT,
    'GRU': RECURRENT, 'LSTM': RECURRENT,
}


def by_kind(net: nn.Module, counted: Count) -> dict[str, int]:
    """Our MACs by kind of operator; matrix products inside an nn.Linear are the linear layers."""
    kinds: Counter[str] = Counter()
    for name, tally in counted.by_op.items():
        if tally.convolutions:
            kinds[TRANSPOSED if 'transpose' in name else CONVOLUTION] += tally.macs
        else:
            kinds[ATTENTION if 'scaled_dot_product' in name else PRODUCT] += tally.macs
    linear = sum(counted.by_module[name].macs for name, module in net.named_modules()
                 if isinstance(module, nn.Linear) and name in counted.by_module)
    kinds[LINEAR] += linear
    kinds[PRODUCT] -= linear
    return {kind: macs for kind, macs in kinds.items() if macs}


def mmengine_by_kind(net: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """What mmengine's `get_model_complexity_info` adds up, by kind of operator. It traces the network."""
    from mmengine.analysis.complexity_analysis import FlopAnalyzer
    from mmengine.analysis.jit_handles import conv_flop_jit

    def convolution(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        kind = TRANSPOSED if inputs[6].toIValue() else CONVOLUTION
        return Counter({kind: sum(conv_flop_jit(inputs, outputs).values())})

    analyzer = FlopAnalyzer(net, (x,)).set_op_handle('aten::_convolution', convolution)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('all')
    kinds: Counter[str] = Counter()
    for name, macs in analyzer.by_operator().items():
        kinds[MMENGINE_KINDS.get(name, name)] += int(macs)
    return {kind: macs for kind, macs in kinds.items() if macs}


def thop_by_kind(net: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """What thop's `profile` adds up, by kind of operator. It hooks modules, and leaves buffers behind in them."""
    import thop
    from thop.profile import register_hooks

    kinds: defaultdict[str, float] = defaultdict(float)

    def recorded(kind: str, rule: Callable[..., None]) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            before = float(module.total_ops)  # type: ignore[arg-type]
            rule(module, inputs, output)
            kinds[kind] += float(module.total_ops) - before  # type: ignore[arg-type]
        return hook

    rules = {module: recorded(thop_kind(module), rule) for module, rule in register_hooks.items()}
    total, _ = thop.profile(copy.deepcopy(net), (x,), custom_ops=rules, verbose=False)
    kinds[REPEATED] = total - sum(kinds.values())
    return {kind: round(macs) for kind, macs in kinds.items() if round(macs)}


def thop_kind(module: type[nn.Module]) -> str:
    """The kind of a class that thop has a rule for."""
    return next((kind for start, kind in THOP_KINDS.items() if module.__name__.startswith(start)), module.__name__)


PEERS: dict[str, Callable[[nn.Module, torch.Tensor], dict[str, int]]] = {
    'mmengine': mmengine_by_kind, 'thop': thop_by_kind}


def parse_peers(text: str) -> list[str]:
    """'mmengine,thop' to the counters' names; a UserError for another one."""
    names = [name.strip() for name in text.split(',')]
    for name in names:
        if name not in PEERS:
            raise UserError(f"--compare '{name}' is unknown. {suggestion(name, PEERS)}")
    return list(dict.fromkeys(names))


def compare(net: nn.Module, counted: Count, x: torch.Tensor, names: Sequence[str]) -> dict[str, Any]:
    """The MACs of `net(x)` by kind of operator beside those of other counters.

    Args:
        net: the network. x: its input.
        counted: our count of that call.
        names: of `PEERS`.

    Returns:
        `totals` {counter: MACs}, and `kinds` {kind: {'macs': {counter: MACs}, 'why': {counter: why it differs from
        ours}}}, where ours is the counter 'basicsr_amsr'.
    """
    net = getattr(net, '_orig_mod', net)
    found: dict[str, Mapping[str, int]] = {'basicsr_amsr': by_kind(net, counted)}
    with torch.no_grad(), evaluating(net), plain_operators():
        found.update({name: PEERS[name](net, x) for name in names})
    kinds = {}
    for kind in dict.fromkeys(kind for kinds in found.values() for kind in kinds):
        macs = {name: other.get(kind, 0) for name, other in found.items()}
        kinds[kind] = {'macs': macs, 'why': {
            name: REASONS[name].get(kind, 'its own rule') for name in names if macs[name] != macs['basicsr_amsr']}}
    return {'totals': {name: sum(other.values()) for name, other in found.items()}, 'kinds': kinds}
