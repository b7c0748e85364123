"""Saving: whole files only, also when the disk is full or the process dies while it writes."""
import os
import signal

import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.files import part_name, remove_parts
from basicsr_amsr.training.checkpoints import save_atomically


def test_saved_and_replaced(tmp_path):
    file = tmp_path / '5.state'
    for value in (1, 2):
        save_atomically({'iter': value}, file)
        assert torch.load(file) == {'iter': value}
    assert os.listdir(tmp_path) == ['5.state']


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full here')
@pytest.mark.parametrize('size', [1, 1_000_000])  # noticed when the file is closed, and while it is written
def test_a_full_disk_is_one_line_and_the_older_file_stays(tmp_path, size):
    file = tmp_path / '5.state'
    save_atomically({'iter': 1}, file)
    part_name(tmp_path / '5.state').symlink_to('/dev/full')
    with pytest.raises(UserError) as caught:
        save_atomically({'iter': 2, 'weights': torch.rand(size)}, file)
    assert '\n' not in str(caught.value) and str(file) in str(caught.value) and 'no space left' in str(caught.value)
    assert os.listdir(tmp_path) == ['5.state'] and torch.load(file) == {'iter': 1}


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match='no such file or directory'):
        save_atomically({}, tmp_path / 'none' / '5.state')


def test_what_a_killed_process_left_is_found_by_no_search_and_removed(tmp_path):
    if not os.fork():
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        save_atomically({'iter': 2}, tmp_path / '5.state')
    assert os.wait()[1] == signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1
    assert not list(tmp_path.glob('*.state')) and not list(tmp_path.glob('*.pth'))
    (tmp_path / '4.state').write_bytes(b'mine')
    remove_parts(tmp_path)
    assert os.listdir(tmp_path) == ['4.state']
