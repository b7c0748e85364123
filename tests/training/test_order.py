"""Epochs in iterations, and which sample comes when: for any number of processes, and from the middle of an epoch."""
import pickle
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basicsr_amsr.training.epochs import Epochs
from basicsr_amsr.training.order import Sample, SampleOrder


def epochs_of(samples, joint_batch, total, **start):
    return Epochs(samples, joint_batch, total, **start)


def batches(order, epochs, size):
    """Joint or single batches of one process, all epochs of the run one after the other."""
    result = []
    for epoch in range(epochs.start_epoch, epochs.count + 1):  # as BasicSR's loop, one more than there are
        order.set_epoch(epoch)
        samples = list(order)
        assert len(samples) == len(order)
        result += [samples[i:i + size] for i in range(0, len(samples), size)]
    return result


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)).filter(
    lambda s: s[0] * s[1] >= s[2] * s[3])


@given(SIZES, st.integers(0, 40))
def test_every_run_has_exactly_its_iterations(sizes, total):
    images, ratio, batch, world = sizes
    epochs = epochs_of(images * ratio, batch * world, total)
    order = SampleOrder(images, epochs, seed=3)
    assert len(batches(order, epochs, batch * world)) == total
    order.set_epoch(epochs.count)
    assert list(order) == []


@given(SIZES, st.integers(0, 25))
def test_processes_together_draw_the_joint_batch(sizes, total):
    images, ratio, batch, world = sizes
    epochs = epochs_of(images * ratio, batch * world, total)
    joint = batches(SampleOrder(images, epochs, seed=3), epochs, batch * world)
    parts = [batches(SampleOrder(images, epochs, 3, rank, world), epochs, batch) for rank in range(world)]
    assert [list(chain(*part)) for part in zip(*parts, strict=True)] == joint


@given(SIZES, st.integers(1, 25), st.data())
def test_a_run_resumed_after_any_iteration_goes_on_with_the_next_batch(sizes, total, data):
    images, ratio, batch, world = sizes
    size = batch * world
    epochs = epochs_of(images * ratio, size, total)
    full = batches(SampleOrder(images, epochs, seed=3), epochs, size)
    done = data.draw(st.integers(0, total))
    epoch = max((done - 1) // epochs.per_epoch, 0)
    position = epochs.position(epoch, done)
    resumed = epochs_of(images * ratio, size, total, start_iter=done, start_epoch=epoch, start_position=position)
    assert batches(SampleOrder(images, resumed, seed=3), resumed, size) == full[done:]
    assert resumed.count == epochs.count
    last = resumed.count - 1  # and from there once more
    assert resumed.position(last, total) == epochs.position(last, total)


@given(SIZES, st.integers(0, 3))
def test_an_epoch_holds_no_sample_twice_and_has_another_order_than_the_next(sizes, seed):
    images, ratio, batch, world = sizes
    epochs = epochs_of(images * ratio, batch * world, 1000)
    order = SampleOrder(images, epochs, seed)
    order.set_epoch(0)
    first = list(order)
    assert len({sample.number for sample in first}) == len(first) == images * ratio // (batch * world) * batch * world
    assert all(sample.image == sample.number % images and sample.epoch == 0 for sample in first)


def test_orders_differ_between_epochs_and_seeds():
    def numbers(seed, epoch):
        order = SampleOrder(50, epochs_of(50, 1, 1000), seed)
        order.set_epoch(epoch)
        return tuple(sample.number for sample in order)

    seen = {numbers(seed, epoch) for seed in range(3) for epoch in range(3)}
    assert len(seen) == 9 and all(sorted(order) == list(range(50)) for order in seen)


def test_another_joint_batch_goes_on_with_what_is_not_done():
    before = epochs_of(10, 2, 5)
    after = epochs_of(10, 3, 9, start_iter=2, start_epoch=0, start_position=before.position(0, 2))
    order, full = SampleOrder(10, after, 0), SampleOrder(10, epochs_of(10, 1, 10), 0)
    order.set_epoch(0)
    full.set_epoch(0)
    assert list(order) == list(full)[4:10]
    assert after.iterations_before(1) == 4 and after.count == 3 and after.batches(1) == 3 and after.batches(2) == 2


def test_before_an_epoch_is_set_there_is_nothing():
    order = SampleOrder(4, epochs_of(4, 2, 2), 0)
    assert len(order) == 0 and list(order) == []


def test_a_sample_travels_to_a_worker():
    assert pickle.loads(pickle.dumps(Sample(1, 2, 3))) == Sample(image=1, epoch=2, number=3)


@pytest.mark.parametrize(('samples', 'joint', 'total', 'count'), [
    (6, 2, 6, 2), (6, 2, 7, 3), (7, 2, 6, 2), (6, 6, 0, 1)])
def test_number_of_epochs(samples, joint, total, count):
    assert epochs_of(samples, joint, total).count == count
