"""Schedules of many sizes do not add up."""
from dataclasses import dataclass

import torch

from basicsr_amsr.execution.dense.form import DenseForm
from basicsr_amsr.execution.dense.kept import Kept
from basicsr_amsr.execution.graph.traces import Traces
from tests.backbones.tiny import image
from tests.execution.graph.networks import build
from tests.kernels import needs_kernels


@dataclass
class Block:
    bytes: int


def test_what_was_used_longest_ago_goes():
    kept, made = Kept(most=10), []

    def get(key, size=4):
        return kept.get(key, lambda: made.append(key) or Block(size))

    for key in 'abac':
        get(key)
    assert made == ['a', 'b', 'c'] and len(kept) == 3
    get('d')  # 12 bytes are there: b, which was used longest ago, goes
    get('a')
    assert made == ['a', 'b', 'c', 'd']
    get('b')
    assert made[4:] == ['b'] and len(kept) == 4 - 1
    get('e', 100)
    get('f')  # one that is too large stays until there is another
    assert len(kept) == 1


@needs_kernels
@torch.no_grad()
def test_schedules_of_many_sizes_are_bounded(monkeypatch):
    net, form = build('RFDN'), DenseForm()
    trace = Traces.graph
    monkeypatch.setattr(Traces, 'graph', lambda self, net, x: trace(Traces(), net, x))  # as if it held for one size
    graphs = []
    schedule = DenseForm.schedule
    monkeypatch.setattr(DenseForm, 'schedule', lambda *args: graphs.append(schedule(*args)) or graphs[-1])
    for width in (16, 17, 18, 19):
        x = image(1, 3, 16, width)
        assert torch.allclose(form.run(net, x), net(x), atol=1e-4)
        form._schedules.most = 3 * graphs[0].bytes // 2
    assert len(graphs) == 4 and len(form._schedules) == 2 and graphs[0].bytes > 10000
