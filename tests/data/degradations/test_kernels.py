"""Kernels: the disk's areas, and what files may hold."""
import math

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from basicsr_amsr.data.degradations.kernels import disk_kernel, read_kernels
from basicsr_amsr.errors import UserError


def test_the_disk_is_matlabs():
    # a circle of radius 1, of area pi: the middle pixel lies inside whole, an edge pixel holds what the strip
    # |y| < 0.5 leaves beyond x = 0.5, and the four corners share the rest
    edge = math.sqrt(3) / 4 + math.pi / 6 - 0.5
    corner = (math.pi - 1 - 4 * edge) / 4
    expected = np.array([[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]]) / math.pi
    np.testing.assert_allclose(disk_kernel(1), expected, atol=2e-5)
    assert disk_kernel(1).round(4).tolist() == [[0.0251, 0.1453, 0.0251], [0.1453, 0.3183, 0.1453],
                                                [0.0251, 0.1453, 0.0251]]  # fspecial('disk', 1)


@pytest.mark.parametrize(('radius', 'side'), [(0, 1), (0.3, 1), (0.5, 1), (0.51, 3), (1.5, 3), (2.6, 7), (10, 21)])
def test_disks_are_round_and_add_up(radius, side):
    kernel = disk_kernel(radius)
    assert kernel.shape == (side, side)
    assert kernel.sum() == pytest.approx(1) and kernel.min() >= 0
    for turned in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_allclose(turned, kernel, atol=1e-12)
    if radius >= 1.5:
        assert kernel[side // 2, side // 2] == pytest.approx(1 / (math.pi * radius**2), rel=1e-4)


@pytest.fixture
def kernel():
    return np.random.default_rng(0).random((5, 5))


def written(folder, kernel):
    np.save(folder / 'k.npy', kernel)
    np.savetxt(folder / 'k.txt', kernel)
    np.savetxt(folder / 'k.csv', kernel, delimiter=',')
    savemat(folder / 'k.mat', {'kernel': kernel, 'version': 3.0, 'name': 'x'})
    return ['k.npy', 'k.txt', 'k.csv', 'k.mat']


def test_kinds_of_files(tmp_path, kernel):
    for name in written(tmp_path, kernel):
        (found,) = read_kernels(tmp_path / name)
        np.testing.assert_allclose(found, kernel / kernel.sum(), rtol=1e-12)
    cv2.imwrite(str(tmp_path / 'k.png'), (kernel * 255).astype(np.uint8))
    (found,) = read_kernels(tmp_path / 'k.png')
    np.testing.assert_allclose(found, kernel / kernel.sum(), atol=5e-4)


def test_several_kernels(tmp_path, kernel):
    stack = np.stack([kernel, kernel.T, np.eye(5)])
    np.save(tmp_path / 'a.npy', stack)
    cells = np.empty((1, 2), dtype=object)
    cells[0, 0], cells[0, 1] = kernel, np.ones((3, 3))
    savemat(tmp_path / 'b.mat', {'kernels': cells})
    (tmp_path / 'notes.md').write_text('not a kernel')
    assert [len(k) for k in read_kernels(tmp_path)] == [5, 5, 5, 5, 3]
    np.testing.assert_allclose(read_kernels(tmp_path)[1], kernel.T / kernel.sum())


@pytest.mark.parametrize(('name', 'content', 'words'), [
    ('gone.npy', None, 'is not there'), ('k.npy', b'nothing', 'cannot be read'),
    ('k.mat', b'x' * 200, 'cannot be read'),
    ('k.txt', b'1 2\n3 4', '2x2; a kernel has to be square with an odd side'), ('k.txt', b'a b', 'cannot be read'),
    ('k.txt', b'1 2 3', '1x3'), ('k.txt', b'0', 'positive'), ('k.txt', b'nan', 'positive'),
    ('k.png', b'no picture', 'k.png'), ('k.xyz', b'1', 'unknown kind')])
def test_files_that_hold_no_kernel(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        read_kernels(tmp_path / name)
    assert name in str(error.value) and '\n' not in str(error.value)


def test_pickles_are_refused(tmp_path):
    np.save(tmp_path / 'k.npy', np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match='cannot be read'):
        read_kernels(tmp_path / 'k.npy')
