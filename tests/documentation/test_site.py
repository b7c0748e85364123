"""The site: every page is in its menu, and the results page is what the files say."""
import json
from pathlib import Path

import yaml

from benchmarks.results import page

REPOSITORY = Path(__file__).resolve().parents[2]


def named(entry) -> list[str]:
    """The pages of an entry of the menu."""
    if isinstance(entry, str):
        return [entry]
    return [name for each in (entry.values() if isinstance(entry, dict) else entry) for name in named(each)]


def test_every_page_is_in_the_menu():
    menu = named(yaml.safe_load((REPOSITORY / 'mkdocs.yml').read_text(encoding='utf-8'))['nav'])
    docs = REPOSITORY / 'docs'
    assert sorted(menu) == sorted(path.relative_to(docs).as_posix() for path in docs.rglob('*.md'))


def test_results_are_those_of_the_files():
    assert (REPOSITORY / 'docs' / 'results.md').read_text(encoding='utf-8') == page(REPOSITORY / 'docs' / 'data')


def test_a_bench_becomes_a_table(tmp_path):
    (tmp_path / 'bench').mkdir()
    time = {'median': 131.25, 'q1': 130.0, 'q3': 133.0}
    row = {'latency_ms': time, 'speed_up': {'median': 4.6}, 'efficiency': 0.95, 'macs_share': 0.5,
           'psnr_to_dense': 53.2, 'first_picture_s': 1.25, 'peak_memory_mb': None}
    rows = [{**row, 'name': 'sparse', 'kind': 'sparse', 'backend': 'native'},
            {**row, 'name': 'dense', 'kind': 'dense', 'backend': 'openvino', 'latency_ms': {**time, 'median': 600.0},
             'psnr_to_dense': 'Infinity', 'peak_memory_mb': 80.0}]
    bench = {'command': 'basicsr bench', 'date': '2026-11-29', 'comparisons': [{
        'network': 'net', 'source': 'lr/ten',
        'size': [270, 480], 'dtype': 'float32', 'device_name': 'cpu', 'threads': 2, 'rounds': 3,
        'images': ['a.png'], 'versions': {'torch': '2.15.0'}, 'best_dense': 'dense', 'contenders': rows[::-1]}]}
    (tmp_path / 'bench' / 'net.json').write_text(json.dumps(bench))
    text = page(tmp_path)
    assert '### net, 270x480, float32' in text and 'basicsr bench' in text
    assert '| sparse | 131.2 | 130.0 to 133.0 | 4.60 | 0.95 | 0.500 | 53.2 | 1.2 |  |' in text
    assert text.index('| sparse') < text.index('| dense\\* | 600.0') and '| equal |' in text
    assert '| net | cpu | 270x480 | ten | float32 | openvino 600.0 |  | 131.2 (x4.57) | 0.50 | 53.2 |' in text
