"""Memory of pictures: used again when nobody holds the picture, and never before."""
import copy
import gc
import pickle
import threading

import pytest
import torch

from basicsr_amsr.execution import picture_memory

SHAPE = (1, 3, 512, 512)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    gc.collect()
    picture_memory._returned.clear()
    monkeypatch.setattr(picture_memory, '_free', [])


def test_memory_comes_back_when_the_last_tensor_on_it_goes():
    picture = picture_memory.empty(SHAPE)
    place, corner = picture.data_ptr(), picture.detach()[..., :4, :4]
    assert place % picture_memory.ALIGNMENT == 0 and picture.is_contiguous() and picture.dtype == torch.float32
    corner.fill_(7)
    del picture
    assert picture_memory.empty(SHAPE).data_ptr() != place and (corner == 7).all()  # a view still holds it
    del corner
    assert picture_memory.empty((1, 3, 512, 500)).data_ptr() == place  # a smaller one fits too


def test_sizes_that_do_not_fit_have_memory_of_their_own():
    place = picture_memory.empty(SHAPE).data_ptr()
    small, large = picture_memory.empty((1, 3, 300, 300)), picture_memory.empty((1, 3, 512, 520))
    assert place not in (small.data_ptr(), large.data_ptr())
    assert picture_memory.empty((1, 1, 8, 8)).untyped_storage().resizable()  # torch's own


def test_no_more_is_kept_than_the_next_picture_needs():
    pictures = [picture_memory.empty(SHAPE) for _ in range(5)]
    assert len({each.data_ptr() for each in pictures}) == 5
    pictures.clear()
    assert len(picture_memory._free) == picture_memory.MOST_FREE and not picture_memory._returned


def test_copies_and_pickles_have_memory_of_their_own():
    picture = picture_memory.empty(SHAPE).fill_(1)
    copies = copy.deepcopy(picture), pickle.loads(pickle.dumps(picture)), picture.clone()
    place = picture.data_ptr()
    del picture
    picture_memory.empty(SHAPE).fill_(2)
    assert all(each.data_ptr() != place and (each == 1).all() for each in copies)


def test_threads_share_nothing_that_is_held():
    wrong = []

    def work(value):
        for _ in range(100):
            picture = picture_memory.empty(SHAPE)
            picture.fill_(value)
            if not (picture == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def test_in_inference_mode_as_torch():
    with torch.inference_mode():
        assert picture_memory.empty(SHAPE).is_inference() == torch.empty(1).is_inference()
