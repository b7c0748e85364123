"""`basicsr prepare`, killed with SIGKILL at random moments, ends with the files of a run that nobody killed."""
import cv2
import numpy as np
import pytest

from tests.data.prepare.kill_prepare import main


@pytest.mark.slow
@pytest.mark.parametrize('form', [[], ['--lmdb']], ids=['folders', 'lmdb'])
def test_killed_at_random_moments(tmp_path, capsys, form):
    (tmp_path / 'hr').mkdir()
    noise = np.random.default_rng(0)
    for number in range(12):
        cv2.imwrite(str(tmp_path / 'hr' / f'{number}.png'), noise.integers(0, 256, (360, 480, 3), np.uint8))
    words = ['--hr', str(tmp_path / 'hr'), '--crop', '96', '--scale', '2', '--kills', '4', '--folder', str(tmp_path)]
    assert main([*words, *form]) == 0
    assert 'killed' in capsys.readouterr().out
