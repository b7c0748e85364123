"""What was measured of one comparison, as it is printed and written."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from basicsr_amsr.bench.contenders import Contender
from basicsr_amsr.bench.figures import compare, crossovers, fastest_within
from basicsr_amsr.bench.job import Result
from basicsr_amsr.bench.rounds import Measured
from basicsr_amsr.profiling.side_by_side import MEBIBYTE


def report(measured: Measured, quality: Mapping[str, float]) -> dict[str, Any]:
    """The figures of the complete rounds of one comparison."""
    rounds = measured.rounds
    refused = [{'contender': name, 'why': why, 'absent': absent}
               for group, absent in ((measured.refused, False), (measured.absent, True))
               for name, why in group.items()]
    found: dict[str, Any] = {
        'rounds': rounds, 'interrupted': measured.interrupted, 'best_dense': None, 'versions': {}, 'contenders': [],
        'crossovers': [], 'fastest_within': [], 'not_measured': refused}
    dense = [one.name for one in measured.contenders if one.kind == 'dense']
    if not rounds or not dense:
        return found
    results = {one.name: measured.results[one.name][:rounds] for one in measured.contenders}
    best, figures = compare({name: [one.milliseconds for one in each] for name, each in results.items()},
                            measured.macs, dense)
    found['best_dense'] = best
    psnr_of_dense = max((quality[name] for name in dense if name in quality), default=None)
    for one in measured.contenders:
        psnr = psnr_of_dense if one.kind == 'dense' else quality.get(one.name)
        found['versions'].update(results[one.name][0].versions)
        found['contenders'].append({
            **described(one), **figures[one.name], 'keep': measured.keeps[one.name],
            **of_processes(results[one.name]), 'psnr': psnr,
            'psnr_loss': None if psnr is None or psnr_of_dense is None else psnr_of_dense - psnr})
    return {**found, 'crossovers': crossovers(found['contenders']),
            'fastest_within': fastest_within(found['contenders'])}


def of_processes(results: Sequence[Result]) -> dict[str, Any]:
    """Costs of a contender's processes beside the time of a pass: each one's seconds to the first picture, also alone
    those of the first one, which found nothing kept on disk; the most memory; medians of the rest."""
    memory = [one.memory for one in results if one.memory is not None]
    faults = [one.faults for one in results if one.faults is not None]
    return {'first_picture_s': results[0].first_picture, 'first_pictures_s': [one.first_picture for one in results],
            'peak_memory_mb': max(memory) / MEBIBYTE if memory else None,
            'page_faults': median(faults) if faults else None, 'psnr_to_dense': median(one.psnr for one in results)}


def described(contender: Contender) -> dict[str, Any]:
    """The entry of a contender in the report, before its figures."""
    view = contender.view
    return {'name': contender.name, 'form': contender.form, 'backend': contender.backend, 'kind': contender.kind,
            'patch_size': view.patch_size, 'asked': dict([view.amount]) if view.amount else None}
