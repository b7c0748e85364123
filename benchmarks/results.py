"""docs/results.md from what `basicsr bench --json`, `basicsr profile --json` and `basicsr test` wrote.

    python -m benchmarks.results    # reads docs/data/{bench,psnr,profile,test}/*.json and docs/data/amsr_curves.csv

A figure that is not in one of these files is not on the page.
"""
from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

HEAD = """# Results

Written by `python -m benchmarks.results` from the files in `docs/data/`; each table has the command that measured it.
*Speed-up* is the time of the best dense form / our time: the fastest of all other engines and our own dense forms at
the same precision, marked \\*. *Efficiency* is speed-up times MACs / dense MACs. How it is measured:
[benchmarks](bench.md). Compare times within a table, not between tables. Images in `lr/` are photographs of CLIC 2025
to which nothing was fitted, made by [this command](amsr.md#measured).
"""
SUMMARY = """Milliseconds of a warm pass, in brackets the time of the fastest other engine over ours. *Skipping* is the
calibrated form where there is a calibration, MGA's M for MGA, else AMSR uncalibrated, whose picture differs. Of 23
photographs, *median* and *p90* are those at the median and the 90th percentile of the active share, *ten* are ten more.
"""
EQUAL_PSNR = """The fastest of ours that loses so many dB at most on the HR images named, in milliseconds of a warm
pass over the LR images named; in brackets its share of the time of the fastest other engine at any precision, which
computes every pixel. PSNR on Y, of the 8-bit picture; the loss is against the plain network in fp32.
"""
LOSSES = (0.02, 0.05, 0.1)
COSTS = """MACs that really run, means over the LR images of Set14, each with its own mask (*patches*: the share that is
computed). Each line is by a command as

```bash
basicsr prepare --hr Set14/HR --scale 2 3 4 --out prepared
basicsr profile -opt options/test/amsr_rfdn_x4.yml --images prepared/LR_bicubic/X4 --device cpu --no-timing
```
"""
QUALITY = """PSNR in dB / SSIM of whole sets, and the share of the patches that was computed where some are skipped; on
Y, fp32, without a border as wide as the scale, LR images by MATLAB's bicubic, made on the fly. Each line is by a
command as `basicsr test -opt options/test/amsr_rfdn_x4.yml`.
"""
CURVES = """PSNR on Y less the dense network's, in dB, at MACs / dense; whole sets. *One level* and *the same share* are
calibrated networks with patches of 4x4; *fewer units* is the honest rival, every pixel by a network whose last units
are replaced by a fitted 1x1 convolution ([picture](images/amsr_curves.png), [points](data/amsr_curves.csv)). To measure
them: `python -m benchmarks.curves measure --weights RFDN_x4 --fit photos --images Set14/HR --out rfdn_x4.jsonl`.
"""
FORMS = {'one level': 'one level for all images', 'calibrated': 'the same share of each image',
         'patches': 'uncalibrated patches of 8x8', 'smoothed': 'uncalibrated pixels', 'fewer units': 'fewer units'}
COLUMNS = ('form', 'ms', 'quartiles', 'speed-up', 'efficiency', 'MACs / dense', 'dB to dense', 'first picture, s',
           'MiB')


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--data', type=Path, default=Path('docs/data'))
    parser.add_argument('--out', type=Path, default=Path('docs/results.md'))
    args = parser.parse_args(argv)
    args.out.write_text(page(args.data), encoding='utf-8')


def page(data: Path) -> str:
    """The whole page, of the files under `data`."""
    parts = [HEAD]
    if benches := read(data / 'bench'):
        parts += ['## Time\n', SUMMARY, summary(benches.values()),
                  *(part for bench in benches.values() for part in times(bench))]
    if benches := read(data / 'psnr'):
        parts += ['## Time at equal PSNR\n', EQUAL_PSNR, equal_psnr(benches.values()),
                  *(f'```bash\n{bench["command"]}\n```\n' for bench in benches.values())]
    if profiles := read(data / 'profile'):
        parts += ['## Parameters and MACs\n', COSTS, costs(profiles)]
    if tests := read(data / 'test'):
        parts += ['## PSNR and SSIM\n', QUALITY, quality(tests)]
    if (data / 'amsr_curves.csv').is_file():
        parts += ['## PSNR against MACs\n', CURVES, *curves(data / 'amsr_curves.csv')]
    return '\n'.join(parts)


def read(folder: Path) -> dict[str, Any]:
    """What the JSON files of a folder hold, by their names."""
    return {path.stem: json.loads(path.read_text(encoding='utf-8')) for path in sorted(folder.glob('*.json'))}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return ''.join('| ' + ' | '.join(line) + ' |\n' for line in (head, ['---'] * len(head), *rows))


def summary(benches: Iterable[Mapping[str, Any]]) -> str:
    """A line for each comparison: the fastest other engine, and what of ours is faster by how much."""
    rows = []
    for one in (one for bench in benches for one in bench['comparisons']):
        fastest: dict[str, Mapping[str, Any]] = {}
        for each in sorted(one['contenders'], key=milliseconds):
            own = each['backend'] == 'native'
            group = f'own {each["kind"]}' if own else each['kind']
            fastest.setdefault(group, each)
        if 'own dense' not in fastest and 'own sparse' not in fastest:
            continue
        other = fastest['dense']
        height, width = one['size']
        cells = [against(fastest.get(group), other) for group in ('own dense', 'own sparse')]
        computed = fastest.get('own sparse')
        rows.append((one['network'].removeprefix('amsr_'), one['device_name'].removeprefix('x86_64 '),
                     f'{height}x{width}', Path(one['source']).name, one['dtype'],
                     f'{other["backend"]} {milliseconds(other):.1f}', *cells,
                     f'{computed["macs_share"]:.2f}' if computed else '', decibels(computed['psnr_to_dense'])
                     if computed else ''))
    return table(('network', 'CPU', 'LR', 'images', 'precision', 'fastest other engine, ms', 'ours, every pixel',
                  'ours, skipping', 'MACs / dense', 'dB to dense'), sorted(rows))


def milliseconds(contender: Mapping[str, Any]) -> float:
    """Its median."""
    return contender['latency_ms']['median']


def against(own: Mapping[str, Any] | None, other: Mapping[str, Any]) -> str:
    """'122.3 (x4.80)'."""
    return '' if own is None else f'{milliseconds(own):.1f} (x{milliseconds(other) / milliseconds(own):.2f})'


def decibels(psnr: float | str) -> str:
    """'equal' for the same picture."""
    return 'equal' if psnr == 'Infinity' else f'{psnr:.1f}'


def times(bench: Mapping[str, Any]) -> Iterator[str]:
    """A heading, how it was measured, and a table for each comparison of a bench."""
    for number, one in enumerate(bench['comparisons']):
        height, width = one['size']
        versions = ', '.join(f'{name} {version.split("-")[0]}' for name, version in sorted(one['versions'].items()))
        images = f'{len(one["images"])} image' + 's' * (len(one['images']) > 1)
        yield (f'### {one["network"]}, {height}x{width}, {one["dtype"]}, {Path(one["source"]).name}\n\n'
               f'{one["device_name"]}, {one["threads"]} threads, {bench["date"]}; {versions}; '
               f'{one["rounds"]} rounds, {images}' + ('; by the command above.\n' if number else
                                                      f'.\n\n```bash\n{bench["command"]}\n```\n'))
        rows = sorted(one['contenders'], key=milliseconds)
        yield table(COLUMNS, (contender(each, one['best_dense']) for each in rows))


def contender(one: Mapping[str, Any], best: str) -> list[str]:
    """The cells of a contender's row."""
    time, psnr, memory = one['latency_ms'], one['psnr_to_dense'], one['peak_memory_mb']
    return [one['name'] + '\\*' * (one['name'] == best),
            f'{time["median"]:.1f}', f'{time["q1"]:.1f} to {time["q3"]:.1f}',
            f'{one["speed_up"]["median"]:.2f}', f'{one["efficiency"]:.2f}', f'{one["macs_share"]:.3f}',
            decibels(psnr), f'{one["first_picture_s"]:.1f}',
            '' if memory is None else f'{memory:.0f}']


def equal_psnr(benches: Iterable[Mapping[str, Any]]) -> str:
    """A line for each bench with `--hr`: what of ours is fastest at each loss."""
    rows = []
    for bench in benches:
        ones = bench['comparisons']
        both = [(each, one['dtype']) for one in ones for each in one['contenders']]
        plain = next(each['psnr'] for each, dtype in both if dtype == 'float32' and each['backend'] == 'torch')
        other, its_dtype = min((pair for pair in both if pair[0]['backend'] != 'native'),
                               key=lambda pair: milliseconds(pair[0]))
        ours = [pair for pair in both if pair[0]['backend'] == 'native']
        cells = []
        for loss in LOSSES:
            own, dtype = min((pair for pair in ours if plain - pair[0]['psnr'] <= loss),
                             key=lambda pair: milliseconds(pair[0]))
            share = milliseconds(own) / milliseconds(other)
            cells.append(f'{milliseconds(own):.1f} ({share:.2f}), {dtype}, {own["macs_share"]:.2f} of the MACs')
        height, width = ones[0]['size']
        rows.append((ones[0]['network'].removeprefix('amsr_'), ones[0]['device_name'].removeprefix('x86_64 '),
                     f'{height}x{width}, {Path(ones[0]["source"]).name}', bench['flags']['hr'].removesuffix('/HR'),
                     f'{other["backend"]} {milliseconds(other):.1f}, {its_dtype}', *cells))
    return table(('network', 'CPU', 'LR images', 'PSNR on', 'fastest other engine, ms',
                  *(f'at most {loss} dB' for loss in LOSSES)), rows)


def costs(profiles: Mapping[str, Any]) -> str:
    """Parameters and MACs of each profile, a line each, beside the dense network's."""
    rows = []
    for name, one in sorted(profiles.items(), key=lambda item: plain_name(item[0])):
        dense = one['dense']
        rows.append((f'`{name}`', f'{one["params"]:,}', f'{dense["macs"] / 1e9:.2f} G', f'{one["macs"] / 1e9:.2f} G',
                     f'{one["macs"] / dense["macs"]:.3f}', f'{one["keep"]:.0%}'))
    return table(('option file', 'parameters', 'MACs, dense', 'MACs', 'MACs / dense', 'patches'), rows)


def quality(tests: Mapping[str, Any]) -> str:
    """PSNR / SSIM of each test, a column for each set; what skips below what does not."""
    sets = list(dict.fromkeys(name for one in tests.values() for name in one))
    rows = ((f'`{name}`', *(_means(one.get(each, {})) for each in sets))
            for name, one in sorted(tests.items(), key=lambda item: (plain_name(item[0]), len(item[0]))))
    return table(('option file', *sets), rows)


def plain_name(name: str) -> str:
    """That of the plain network's option file: carn_m_x4 of amsr_carn_m_x4."""
    return name.removeprefix('amsr_').removeprefix('mga_')


def _means(metrics: Mapping[str, Any]) -> str:
    digits = {'psnr': '.3f', 'ssim': '.4f', 'keep': '.0%'}
    return ' / '.join(format(metrics[name]['mean'], form) for name, form in digits.items() if name in metrics)


def curves(path: Path) -> Iterator[str]:
    """Loss of PSNR at MACs: a heading and a table for each network, a row for each form."""
    with path.open(encoding='utf-8') as file:
        rows = [row for row in csv.DictReader(file)
                if row['form'] in FORMS and (row['form'] != 'calibrated' or row['patch_size'] == '4')]
    for network, its in groupby(sorted(rows, key=lambda row: row['network']), key=lambda row: row['network']):
        cells: dict[str, dict[str, list[str]]] = {}
        for row in its:
            point = f'{float(row["loss"]):+.3f} at {float(row["macs"]):.2f}'
            cells.setdefault(row['form'], {}).setdefault(row['set'], []).append(point)
        sets = sorted({name for one in cells.values() for name in one})
        yield f'### {network}\n'
        yield table(('form', *sets), ((FORMS[form], *(', '.join(cells[form].get(name, [])) for name in sets))
                                      for form in FORMS if form in cells))


if __name__ == '__main__':
    main()
