"""Workers: all items, errors as one line, and no wait for OpenCV's threads after a fork."""
from __future__ import annotations

import multiprocessing
import os
import signal
import time

import cv2
import numpy as np
import pytest

from basicsr_amsr import UserError
from basicsr_amsr.data.prepare.pool import each


def gray(size: int) -> float:
    return float(cv2.cvtColor(np.full((size, size, 3), 7, np.uint8), cv2.COLOR_BGR2GRAY).mean())


def fails(item: int) -> int:
    raise UserError(f'item {item} is wrong.')


@pytest.mark.parametrize('workers', [1, 2, 9])
def test_all_items(workers):
    assert sorted(each(abs, [-3, 1, -2], workers)) == [1, 2, 3]
    assert list(each(abs, [], workers)) == []


@pytest.mark.parametrize('workers', [1, 2])
def test_error_is_one_line(workers):
    with pytest.raises(UserError) as error:
        list(each(fails, [4, 4], workers))
    assert str(error.value) == 'item 4 is wrong.'


def dies(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_killed_worker_is_one_line():
    """As the system does that runs out of memory."""
    with pytest.raises(UserError, match=r'^A worker process was killed.*fewer --workers'):
        list(each(dies, range(9), 2))


@pytest.mark.parametrize('fails_in', ['worker', 'caller'])
def test_no_worker_outlives_an_error(fails_in):
    with pytest.raises(UserError):
        for _ in each(fails if fails_in == 'worker' else abs, [4] * 9, 2):
            raise UserError('the caller fails.')
    assert not multiprocessing.active_children()


def test_items_are_not_handed_out_before_results_are_taken():
    """Results that nobody has taken yet stay few: of LMDBs, they are the images."""
    taken = []

    class Items(list):
        def __iter__(self):
            for item in super().__iter__():
                taken.append(item)
                yield item

    results = each(abs, Items(range(50)), 2)
    assert len(taken) == 4
    next(results)
    assert len(taken) == 5
    assert len(list(results)) == 49


def test_opencv_threads_of_the_parent():
    def hangs(*_):
        raise TimeoutError("the workers wait for OpenCV's threads")

    threads, before = cv2.getNumThreads(), signal.signal(signal.SIGALRM, hangs)
    signal.alarm(30)
    try:
        cv2.setNumThreads(4)
        gray(2000)  # starts them
        time.sleep(0.3)  # until they wait for work
        assert list(each(gray, [500, 500], 2)) == [7.0, 7.0]
        assert cv2.getNumThreads() == 4
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        cv2.setNumThreads(threads)
