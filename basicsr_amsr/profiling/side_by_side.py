"""Profiles networks side by side on one input: parameters, MACs, keep, latency, memory, and their ratios."""
from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from basicsr_amsr.errors import UserError, suggestion
from basicsr_amsr.execution.precision import compute_dtype
from basicsr_amsr.execution.timer import PairedTimes, threads, time_paired
from basicsr_amsr.execution.timing import device_name
from basicsr_amsr.profiling.active_share import last_keep
from basicsr_amsr.profiling.breakdown import DEPTH, by_module, by_operator, check_depth, uncounted
from basicsr_amsr.profiling.macs import Count, count, evaluating
from basicsr_amsr.profiling.peak_memory import peak_memory
from basicsr_amsr.profiling.peers import compare

MEBIBYTE = 1 << 20


def profile_networks(nets: Mapping[str, nn.Module], x: torch.Tensor, dense: str | None = None, timing: bool = True,
                     memory: bool = True, budget: float = 10.0, num_threads: int | None = None,
                     params: Mapping[str, int] | None = None, depth: int = DEPTH,
                     peers: Sequence[str] = (),
                     progress: Callable[[str], Any] = lambda stage: None) -> dict[str, dict[str, Any]]:
    """Run each network on `x` without gradient, in eval mode, and report what it costs.

    Nothing is moved or converted: `x` and the networks come on the device and in the memory format that are to be
    measured, and whoever wants another number format calls it within autocast. Networks may share weights.

    Args:
        nets: name to network.
        x: input image (N, C, H, W) in 0–1; masks depend on its content.
        dense: the network that the others are compared with; None compares nothing.
        timing, memory: whether latency and peak memory are measured.
        budget: seconds for the timing of all networks together.
        num_threads: PyTorch's CPU threads; None leaves them.
        params: parameters of a network that uses only a part of its weights; counted where absent.
        depth: levels of modules below the network in `by_module`.
        peers: other counters to compare with, of peers.py; a network's figures then hold `compare`.
        progress: called with a line before each stage.

    Returns:
        For each network a dict of

        - `params`, `macs`, `macs_paper`, `activations`, `convolutions` (macs.py);
        - `uncounted` {operator: {calls, elements, why}}, `by_operator`, `by_module` (breakdown.py);
        - `keep`: share of the patches or pixels that the network computed (active_share.py), 1.0 where it selects none;
        - `latency_ms`: {median, q1, q3, samples}, None without timing;
        - `peak_memory_mb`: MiB on top of weights and input (peak_memory.py), None without measurement;
        - `output_size`: [height, width];
        - `ratios` to the dense network, where there is one: `params`, `macs`, `macs_paper`, `peak_memory` and
          `time_share` (the median of per-round ratios) are shares of it, `ideal` = dense MACs / MACs, `speed_up` =
          1 / `time_share`, `efficiency` = `speed_up` / `ideal`.

    Raises:
        UserError: `dense` is none of the networks, or a network does not take the input.
    """
    if dense is not None and dense not in nets:
        raise UserError(f"The dense network '{dense}' is not among those profiled. {suggestion(dense, nets)}")
    check_depth(depth)
    results: dict[str, dict[str, Any]] = {}
    counts: dict[str, Count] = {}
    times: PairedTimes | None = None
    with torch.no_grad(), threads(num_threads), ExitStack() as stack:
        for name, net in nets.items():
            stack.enter_context(evaluating(net))
            progress(f'counting {name}')
            counts[name], size = count_call(name, net, x)
            results[name] = figures(net, counts[name], size, (params or {}).get(name), depth)
        for name, net in nets.items() if memory else ():
            progress(f'peak memory of {name}')
            results[name]['peak_memory_mb'] = peak_memory(partial(net, x), x.device) / MEBIBYTE
        if timing:
            progress(f'timing {", ".join(nets)}')
            times = time_paired({name: partial(net, x) for name, net in nets.items()}, x.device, budget)
            for name in nets:
                results[name]['latency_ms'] = asdict(times.latency(name))
        for name, net in nets.items() if peers else ():
            progress(f'comparing counters on {name}')
            results[name]['compare'] = compare(net, counts[name], x, peers)
    if dense is not None:
        for name in nets:
            time = times.ratio(name, dense).median if times else None
            results[name]['ratios'] = share_of_dense(results[name], results[dense], time)
    return results


def profile_network(net: nn.Module, x: torch.Tensor, dense: nn.Module | None = None, **options: Any) -> dict[str, Any]:
    """Figures of one network (see `profile_networks`), under `dense` those of the dense network, and the run's."""
    nets = {'network': net} if dense is None else {'network': net, 'dense': dense}
    results = profile_networks(nets, x, dense=None if dense is None else 'dense', **options)
    report = {**results['network'], **environment(x, options.get('num_threads'))}
    if dense is not None:
        report['dense'] = results['dense']
    return report


def environment(x: torch.Tensor, num_threads: int | None = None) -> dict[str, Any]:
    """What the figures depend on beside the network: device, dtype, input size, threads, versions."""
    return {
        'device': x.device.type,
        'device_name': device_name(x.device),
        'dtype': str(compute_dtype(x)).removeprefix('torch.'),
        'size': list(x.shape[-2:]),
        'batch': x.shape[0],
        'channels_last': x.is_contiguous(memory_format=torch.channels_last),
        'threads': num_threads or torch.get_num_threads(),
        'torch': torch.__version__,
    }


def figures(net: nn.Module, counted: Count, size: list[int], params: int | None, depth: int) -> dict[str, Any]:
    """What the call just counted costs, and its keep; the places for time and memory are empty."""
    if params is not None:
        counted = replace(counted, params=params)
    return {
        'params': counted.params,
        'macs': counted.macs,
        'macs_paper': counted.macs_paper,
        'activations': counted.activations,
        'convolutions': counted.convolutions,
        'keep': last_keep(net),
        'latency_ms': None,
        'peak_memory_mb': None,
        'output_size': size,
        'uncounted': uncounted(counted),
        'by_operator': by_operator(counted),
        'by_module': by_module(net, counted, depth),
    }


def count_call(name: str, net: nn.Module, x: torch.Tensor) -> tuple[Count, list[int]]:
    """The count of `net(x)`, and height and width of what it returned; a UserError where it does not take `x`."""
    sizes: list[int] = []
    plain = getattr(net, '_orig_mod', net)
    hook = plain.register_forward_hook(lambda module, args, output: sizes.extend(output.shape[-2:]))
    try:
        return count(net, x), sizes
    except UserError:
        raise
    except (RuntimeError, ValueError, NotImplementedError, AssertionError) as error:
        size = f'{x.shape[-2]}x{x.shape[-1]}'
        reason = ' '.join(str(error).split())
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in reason:
            raise UserError(f'{name} runs out of memory on an input of {size}; give a smaller size.') from error
        kind = f'{x.shape[1]} channels, {str(compute_dtype(x)).removeprefix("torch.")}'
        raise UserError(f'{name} does not take an input of {size} ({kind}): {reason[:200]}') from error
    finally:
        hook.remove()


def share_of_dense(own: Mapping[str, Any], dense: Mapping[str, Any], time: float | None) -> dict[str, float | None]:
    """Compares a network with the dense one; `time` is its share of the dense one's time. See `profile_networks`."""
    ideal = dense['macs'] / own['macs'] if own['macs'] else None
    share = {key: own[key] / dense[key] if dense[key] else None for key in ('params', 'macs', 'macs_paper')}
    peak = own['peak_memory_mb'] / dense['peak_memory_mb'] if dense['peak_memory_mb'] else None
    speed_up = 1 / time if time else None
    return {**share, 'peak_memory': peak, 'time_share': time, 'ideal': ideal, 'speed_up': speed_up,
            'efficiency': speed_up / ideal if speed_up and ideal else None}


def variant_of(net: nn.Module, variant: str) -> nn.Module:
    """The same network in another variant, sharing all weights: `set_variant` on a shallow copy."""
    view = copy.copy(net)
    view.set_variant(variant)  # type: ignore[operator]
    return view
