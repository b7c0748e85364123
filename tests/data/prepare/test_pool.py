"""Workers: all items, errors as one line, and no wait for OpenCV's threads after a fork."""
from __future__ import annotations

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
