"""The site: every page is in its menu, and the results page is what the files say."""
import json
import re
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


def test_the_zoo_has_all_weights_that_come_along():
    page = (REPOSITORY / 'docs' / 'backbones.md').read_text(encoding='utf-8')
    rows = [line.split(' | ')[0] for line in page.split('## Networks')[0].splitlines() if line.startswith('| `')]
    named = {name for row in rows for name in re.findall(r'`([^`]+)`', row.partition(' (')[0])}
    assert named == {path.stem for path in (REPOSITORY / 'pretrained').glob('*.pth')}


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


def test_the_fastest_at_each_loss_of_psnr_is_told(tmp_path):
    (tmp_path / 'psnr').mkdir()

    def contender(backend, kind, ms, psnr, macs=1.0):
        return {'backend': backend, 'kind': kind, 'latency_ms': {'median': ms}, 'psnr': psnr, 'macs_share': macs}
    found = {'float32': [contender('torch', 'dense', 500, 27.0), contender('native', 'dense', 300, 27.0)],
             'bfloat16': [contender('openvino', 'dense', 200, 26.99), contender('native', 'dense', 100, 26.985),
                          contender('native', 'sparse', 50, 26.975, .5), contender('native', 'sparse', 20, 26.91, .2),
                          contender('native', 'sparse', 10, 26.89, .1)]}
    bench = {'command': 'basicsr bench --hr', 'flags': {'hr': 'BSD100/HR'}, 'comparisons': [
        {'network': 'amsr_net', 'size': [270, 480], 'device_name': 'x86_64 CPU', 'source': 'lr/median', 'dtype': dtype,
         'contenders': contenders} for dtype, contenders in found.items()]}
    (tmp_path / 'psnr' / 'net.json').write_text(json.dumps(bench))
    text = page(tmp_path)
    assert ('| net | CPU | 270x480, median | BSD100 | openvino 200.0, bfloat16 | '
            '100.0 (0.50), bfloat16, 1.00 of the MACs | '
            '50.0 (0.25), bfloat16, 0.50 of the MACs | 20.0 (0.10), bfloat16, 0.20 of the MACs |') in text
    assert '```bash\nbasicsr bench --hr\n```' in text


def test_tests_and_profiles_become_tables(tmp_path):
    for folder in ('test', 'profile'):
        (tmp_path / folder).mkdir()

    def metrics(**means):
        return {'Set5': {name: {'mean': mean} for name, mean in means.items()}}
    files = {'test/carn_x4.json': metrics(psnr=31.87219, ssim=0.89151), 'test/b_x4.json': metrics(psnr=30),
             'test/amsr_carn_x4.json': metrics(psnr=31.81, ssim=0.89, keep=0.735),
             'profile/amsr_carn_x4.json': {'params': 294000, 'macs': 3.5e9, 'keep': 0.72, 'dense': {'macs': 5e9}}}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    text = page(tmp_path)
    assert '| `amsr_carn_x4` | 294,000 | 5.00 G | 3.50 G | 0.700 | 72% |' in text
    assert ('| `b_x4` | 30.000 |\n| `carn_x4` | 31.872 / 0.8915 |\n'
            '| `amsr_carn_x4` | 31.810 / 0.8900 / 74% |') in text
