"""Images for timing: crops where the photograph is large enough, else mosaics; nothing is enlarged."""
import cv2
import numpy as np

from benchmarks.timing_images import filled, landscape, main


def shades(*sizes):
    return [np.full((*size, 3), 10 * number + 10, np.uint8) for number, size in enumerate(sizes)]


def test_a_large_photograph_gives_its_centre():
    image = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    assert np.array_equal(filled([image], 0, (4, 5)), image[2:6, 2:7])


def test_a_small_one_begins_a_mosaic_of_whole_ones():
    images = shades((4, 6), (5, 6), (3, 8))
    found = filled(images, 1, (7, 10))
    assert found.shape == (7, 10, 3)
    assert (found[:3, :6] == 20).all() and (found[:3, 6:] == 30).all()  # the row is as high as its lowest
    assert (found[3:7, :6] == 10).all() and (found[3:7, 6:] == 20).all()  # it goes on with the next ones


def test_portraits_are_turned():
    assert landscape(np.zeros((9, 4, 3), np.uint8)).shape == (4, 9, 3)
    assert landscape(np.zeros((4, 9, 3), np.uint8)).shape == (4, 9, 3)


def test_folders_by_active_share(tmp_path, capsys):
    photos, out = tmp_path / 'photos', tmp_path / 'lr'
    photos.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (128, 160, 3)).astype(np.float64)
    for number in range(5):  # from flat to noisy
        cv2.imwrite(str(photos / f'{number}.png'), np.uint8(128 + (noise - 128) * number / 4))
    cv2.imwrite(str(photos / '3140d643a1f5 drawn.png'), np.uint8(noise))
    main(['--photos', str(photos), '--size', '32x32', '--calibration', 'pretrained/CARN_M_x4.amsr', '--out', str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('32x32 median: 2 ') and lines[1].startswith('32x32 p90: 4 ')
    assert [path.name for path in (out / '32x32/median').iterdir()] == ['2.png']
    assert cv2.imread(str(out / '32x32/median/2.png')).shape == (32, 32, 3)
