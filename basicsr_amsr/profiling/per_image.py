"""Figures averaged over images, each profiled at its own size with its own mask."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.profiling.breakdown import shares
from basicsr_amsr.profiling.side_by_side import profile_networks, share_of_dense

Figures = dict[str, Any]
OWN = ('macs', 'keep', 'latency_ms', 'output_size', 'ratios')


def profile_images(nets: Mapping[str, nn.Module], images: Iterable[tuple[str, torch.Tensor]], number: int,
                   dense: str | None = None, budget: float = 10.0,
                   progress: Callable[[str], Any] = lambda stage: None, **options: Any) -> dict[str, Figures]:
    """`profile_networks` on each image, and the mean of what it reports.

    Args:
        nets, dense, progress: as there.
        images: (name, LR image (1, C, H, W)), of any sizes; taken one by one. number: how many there are.
        budget: seconds for the timing of all networks on all images (five rounds per image at least).
        options: of `profile_networks`, without `peers`.

    Returns:
        For each network the figures of `profile_networks`. Counts, keep and each figure of `latency_ms` are
        means over the images, peak memory is the largest, shares are those of the means. `ratios` stand for all images
        together: dense MACs of all / MACs of all; `time` weighs each image's paired ratio by its dense milliseconds.
        `output_size` is None where sizes differ. `images` holds for each image `name`, `size`, `macs`, `keep`,
        `latency_ms`, `output_size` and, beside a dense network, `ratios`.

    Raises:
        UserError: a network does not take an image, which is named; there is no image.
    """
    found: dict[str, list[Figures]] = {name: [] for name in nets}
    names: list[dict[str, Any]] = []

    def report(stage: str) -> None:
        progress(f'image {len(names) + 1} of {number}: {stage}')

    for name, x in images:
        try:
            figures = profile_networks(nets, x, dense, budget=budget / number, progress=report, **options)
        except UserError as error:
            raise UserError(f'{name}: {error}') from error
        for net in nets:
            found[net].append(figures[net])
        names.append({'name': name, 'size': list(x.shape[-2:])})
    if not names:
        raise UserError('There is no image to profile on.')
    result = {net: averaged(each) for net, each in found.items()}
    for net, each in found.items():
        if dense is not None:
            result[net]['ratios'] = share_of_dense(result[net], result[dense], pooled_time(each, found[dense]))
        result[net]['images'] = [{**name, **{key: one[key] for key in OWN if key in one}}
                                 for name, one in zip(names, each, strict=True)]
    return result


def averaged(each: Sequence[Figures]) -> Figures:
    """The mean of one network's figures over images; `ratios` are left out."""
    result = mean([{key: value for key, value in one.items() if key != 'ratios'} for one in each])
    peaks = [one['peak_memory_mb'] for one in each]
    result['peak_memory_mb'] = None if None in peaks else max(peaks)
    for rows, whole in ((result['by_module'], result), (result['by_operator'], result)):
        for row in rows.values():
            row['share'] = shares(row, whole)
    return result


def mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, or of the numbers in dicts of one shape, where an absent key stands for 0.

    Of anything else the first value where all are equal, else None.
    """
    given = [value for value in values if value is not None]
    if given and all(isinstance(value, Mapping) for value in given):
        keys = dict.fromkeys(key for value in given for key in value)
        return {key: mean([value.get(key, absent(given, key)) for value in given]) for key in keys}
    if given and all(isinstance(value, (int, float)) for value in given):
        total = sum(given) / len(values)
        return int(total) if total == int(total) and all(isinstance(value, int) for value in given) else total
    return values[0] if all(value == values[0] for value in values) else None


def absent(given: Sequence[Mapping[str, Any]], key: str) -> Any:
    """Zeros in place of a key that an image lacks: nothing ran there."""
    example = next(value[key] for value in given if key in value)
    return zeroed(example)


def zeroed(value: Any) -> Any:
    """`value` with 0 for each number."""
    if isinstance(value, Mapping):
        return {key: zeroed(item) for key, item in value.items()}
    return 0 if isinstance(value, (int, float)) else value


def pooled_time(own: Sequence[Figures], dense: Sequence[Figures]) -> float | None:
    """Time of all images / dense time of all, from the paired ratio of each; None where nothing was timed."""
    if any(one['latency_ms'] is None for one in dense):
        return None
    weights = [one['latency_ms']['median'] for one in dense]
    return sum(w * one['ratios']['time_share'] for w, one in zip(weights, own, strict=True)) / sum(weights)


def sizes_line(images: Sequence[Mapping[str, Any]]) -> str:
    """'60 of 80x120, 40 of 120x80', the most frequent sizes first, six at most."""
    counts = Counter(tuple(image['size']) for image in images).most_common()
    listed = ', '.join(f'{times} of {height}x{width}' for (height, width), times in counts[:6])
    more = sum(times for _, times in counts[6:])
    return listed + (f', {more} of other sizes' if more else '')
