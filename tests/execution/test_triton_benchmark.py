"""The benchmark of the Triton kernel as far as it goes without a GPU."""
import pytest
import torch

from basicsr_amsr.errors import UserError
from benchmarks.triton_conv import Case, Prepared, main, measure, parser, peaks_of, recorded, roofline, table, tune

CASE = Case('fp32', (9, 14), 5, 4, 0.5)


def test_flags():
    args = parser().parse_args(['--dtype', 'fp16', '--size', '12x34', '--patch-size', '1', '8', '--tune', '--json',
                                'a.json'])
    assert (args.dtype, args.size, args.patch_size, args.tune, args.minutes) == (['fp16'], [(12, 34)], [1, 8], True, 8)
    with pytest.raises(SystemExit):
        parser().parse_args(['--dtype', 'int8'])


def test_without_a_gpu_it_says_so_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert main([]) == 2
    assert capsys.readouterr() == ('', 'benchmarks.triton_conv: needs an NVIDIA GPU, and there is none.\n')


def test_peaks():
    args = parser().parse_args([])
    assert peaks_of('NVIDIA H200', 'fp16', args) == (4.8, 989)
    assert peaks_of('NVIDIA H100 80GB HBM3', 'fp32', args) == (3.35, 494)
    assert peaks_of('NVIDIA H100 PCIe', 'bf16', args) == (2.0, 756)
    assert peaks_of('NVIDIA H200', 'fp32', parser().parse_args(['--ieee', '--bandwidth', '4'])) == (4, 67)
    with pytest.raises(UserError, match='give --bandwidth'):
        peaks_of('Tesla T4', 'fp16', args)
    assert peaks_of('Tesla T4', 'fp16', parser().parse_args(['--bandwidth', '0.3', '--tflops', '65'])) == (0.3, 65)


def test_roofline_by_hand():
    assert roofline((4.8e9, 1.0), (4.8, 989)) == pytest.approx(1.0)  # ms
    assert roofline((1.0, 989e9), (4.8, 989)) == pytest.approx(1.0)
    # one patch in a corner: 5×5 pixels with what is around
    prepared = Prepared(Case('fp16', (8, 8), 5, 4, 0.25), 'cpu')
    assert prepared.layout.active == 1
    weights = 5 * 5 * 9
    assert prepared.work(dense=False) == (2 * ((25 + 16) * 5 + weights) + 4 * 36, 2 * 16 * weights)
    assert prepared.work(dense=True) == (2 * ((64 + 64) * 5 + weights), 2 * 64 * weights)


def test_measuring_and_tuning_run(interpreter, monkeypatch):
    monkeypatch.setattr('benchmarks.triton_conv.WARPS', (4,))
    monkeypatch.setattr('benchmarks.triton_conv.STAGES', (3,))
    prepared = Prepared(CASE, 'cpu')
    with torch.no_grad():
        prepared.check()
        for calls in (prepared.convolutions(False), prepared.units(False)):
            rows = measure(prepared, calls, (1.0, 1.0), 0)
            assert [row['name'] for row in rows] == ['dense', 'torch', 'triton']
            assert rows[0]['speed_up'] == 1 and rows[0]['efficiency'] is None
            assert rows[2]['efficiency'] == pytest.approx(rows[2]['speed_up'] / 2)
            assert table('a table', rows).row_count == 3
        found = tune(prepared, 0)
    assert [row['graph_ms'] for row in found] == sorted(row['graph_ms'] for row in found)
    assert sum('(own)' in row['name'] for row in found) == 1 and len(found) == 3
    prepared.first.bias.data += 1e3
    monkeypatch.setattr(prepared, 'convolutions', lambda compiled: Prepared(CASE, 'cpu').convolutions(compiled))
    with pytest.raises(UserError, match='the kernel differs from cuDNN'), torch.no_grad():
        prepared.check()


def test_what_does_not_run_is_left_out(capsys):
    def broken(x):
        raise RuntimeError('no\ncompiler')

    assert list(recorded({'works': torch.relu, 'broken': broken}, torch.zeros(1))) == ['works']
    assert capsys.readouterr().err == 'broken left out: no compiler\n'


@pytest.mark.cuda
def test_graphs_repeat_what_was_recorded():
    x, seen = torch.ones(3, 4, device='cuda'), torch.zeros(3, 4, device='cuda')
    replay = recorded({'sum': lambda x: seen.add_(x)}, x)['sum']
    seen.zero_()
    replay(), replay()
    assert torch.equal(seen, 2 * x)
