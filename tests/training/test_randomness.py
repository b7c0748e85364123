"""Random states of the process, and samples whose random numbers follow from seed, epoch and sample."""
import random
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from basicsr_amsr.training import randomness
from basicsr_amsr.training.order import Sample
from basicsr_amsr.training.seeded import SeededDataset


def draw():
    return random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(())), random.gauss(0, 1)


def test_states_are_put_back_from_a_file_read_as_data_only(tmp_path):
    draw()
    torch.save(randomness.capture(), tmp_path / 'state')
    expected = [draw() for _ in range(3)]
    randomness.restore(torch.load(tmp_path / 'state', weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_half_a_gaussian_pair_is_kept():
    random.gauss(0, 1), np.random.randn()
    state = randomness.capture()
    expected = random.gauss(0, 1), np.random.randn()
    draw()
    randomness.restore(state)
    assert (random.gauss(0, 1), np.random.randn()) == expected


def test_untouched_also_after_an_error():
    state = randomness.capture()
    with pytest.raises(ValueError), randomness.untouched():
        draw()
        raise ValueError
    after = draw()
    randomness.restore(state)
    assert draw() == after


class Noise(Dataset):
    """Every item is what all three generators give; asks for more of one item now and then."""

    def __init__(self):
        self.opt = {'name': 'noise'}

    def __len__(self):
        return 5

    def __getitem__(self, index):
        assert isinstance(index, int)
        values = [index, *draw()]
        return torch.tensor([*values, *(draw()[0] for _ in range(index))][:6])

    def __getitems__(self, indices):
        raise AssertionError('would draw a batch without seeds')


def items(samples, **loader):
    dataset = SeededDataset(Noise(), seed=7)
    return [batch.tolist() for batch in torch.utils.data.DataLoader(dataset, sampler=samples, **loader)]


SAMPLES = [Sample(number % 5, epoch, number) for epoch in range(2) for number in range(10)]


def test_a_sample_depends_on_seed_epoch_and_number_alone():
    expected = items(SAMPLES, batch_size=None)
    assert items(SAMPLES[::-1], batch_size=None) == expected[::-1]
    assert list(chain(*items(SAMPLES, batch_size=4))) == expected
    torch.manual_seed(123)
    assert items(SAMPLES, batch_size=None) == expected
    assert len({tuple(item[1:]) for item in expected}) == len(SAMPLES)  # of one image too, in both epochs
    assert SeededDataset(Noise(), seed=8)[SAMPLES[0]].tolist() != expected[0]


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers_draw_the_same(method):
    samples = SAMPLES[:6]
    batches = items(samples, batch_size=2, num_workers=2, multiprocessing_context=method)
    assert list(chain(*batches)) == items(samples, batch_size=None)


def test_drawing_leaves_the_process_as_it_was():
    state = randomness.capture()
    expected = draw()
    randomness.restore(state)
    SeededDataset(Noise(), 0)[SAMPLES[3]]
    assert draw() == expected


def test_no_generator_repeats_another():
    values = []
    for number in range(100):
        with randomness.drawn_from(0, 0, number):
            values += [random.random(), float(np.random.rand()), float(torch.rand((), dtype=torch.float64))]
    assert len(set(values)) == len(values)


def test_places_of_different_length_are_different():
    def words(*place):
        return tuple(randomness.derive(5, *place).generate_state(4))

    assert len({words(), words(0), words(0, 0), words(1), words(1, 0), words(0, 1)}) == 6


def test_attributes_of_the_data_set_are_reached():
    dataset = SeededDataset(Noise(), 0)
    dataset.dataset.lr_source = 'made here'
    assert dataset.opt == {'name': 'noise'} and dataset.lr_source == 'made here' and len(dataset) == 5
    assert not hasattr(dataset, 'nothing') and not hasattr(dataset, '__getitems__')
    assert not hasattr(SeededDataset.__new__(SeededDataset), 'opt')  # as pickle makes it
    assert SeededDataset(SimpleNamespace(scale=2), 0).scale == 2
