"""Reading files written by OpenCV and Pillow, and the one line for what cannot be read."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from basicsr_amsr import UserError
from basicsr_amsr.data.image_io import centre_crop, list_images, read_image, to_float

COLOR = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (24, 36, 3)).astype(np.uint8), (5, 5), 2)
COLOR16 = COLOR.astype(np.uint16) * 201 + 7
RGB = np.ascontiguousarray(COLOR[..., ::-1])
GRAY = COLOR[..., 1]
GRAY16 = COLOR16[..., 1]


def save(path, pixels, **options):
    """Write with OpenCV (BGR)."""
    assert cv2.imwrite(str(path), pixels, **options)
    return path


def save_rgb(path, pixels, mode=None, **options):
    """Write with Pillow, optionally converted to `mode`."""
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def one_line(error) -> str:
    message = str(error.value)
    assert '\n' not in message
    return message


@pytest.mark.parametrize(('extension', 'pixels'), [
    ('png', COLOR), ('bmp', COLOR), ('tif', COLOR), ('tiff', COLOR), ('png', COLOR16), ('tif', COLOR16)])
def test_colour_without_loss(tmp_path, extension, pixels):
    img = read_image(save(tmp_path / f'a.{extension}', pixels))
    assert img.dtype == pixels.dtype and img.flags.c_contiguous
    np.testing.assert_array_equal(img, pixels)


def test_lossless_webp(tmp_path):
    np.testing.assert_array_equal(read_image(save_rgb(tmp_path / 'a.webp', RGB, lossless=True)), COLOR)


def test_jpeg_equals_pillow(tmp_path):
    """Two decoders may differ by a level or two, not by a channel order."""
    path = save_rgb(tmp_path / 'a.jpg', RGB, quality=95, subsampling=0)
    with Image.open(path) as image:
        expected = np.asarray(image)[..., ::-1].astype(int)
    assert np.abs(read_image(path) - expected).max() <= 2


@pytest.mark.parametrize(('extension', 'pixels'), [
    ('png', GRAY), ('bmp', GRAY), ('tif', GRAY), ('png', GRAY16), ('tif', GRAY16)])
def test_gray_files(tmp_path, extension, pixels):
    path = save(tmp_path / f'a.{extension}', pixels)
    np.testing.assert_array_equal(read_image(path, gray=True), pixels[..., None])
    np.testing.assert_array_equal(read_image(path), np.dstack([pixels] * 3))


@pytest.mark.parametrize('pixels', [COLOR, COLOR16])
def test_gray_of_colour(tmp_path, pixels):
    img = read_image(save(tmp_path / 'a.png', pixels), gray=True)
    assert img.dtype == pixels.dtype and img.shape == (24, 36, 1)
    assert np.abs(img[..., 0] - pixels @ [0.114, 0.587, 0.299]).max() <= 1


@pytest.mark.parametrize(('mode', 'extension'), [('P', 'png'), ('P', 'bmp'), ('P', 'tif'), ('1', 'png'), ('1', 'bmp')])
def test_palettes_and_bits(tmp_path, mode, extension):
    path = save_rgb(tmp_path / f'a.{extension}', RGB, mode)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path), np.asarray(image.convert('RGB'))[..., ::-1])


def with_alpha(pixels, alpha):
    return np.dstack([pixels, np.full(pixels.shape[:2], alpha, pixels.dtype)])


@pytest.mark.parametrize(('extension', 'pixels', 'opaque'), [
    ('png', COLOR, 255), ('tif', COLOR, 255), ('png', COLOR16, 65535), ('tif', COLOR16, 65535)])
def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path, extension, pixels, opaque):
    solid = save(tmp_path / f'solid.{extension}', with_alpha(pixels, opaque))
    np.testing.assert_array_equal(read_image(solid), pixels)
    layers = with_alpha(pixels, opaque)
    layers[3, 5, 3] -= 1
    sheer = save(tmp_path / f'sheer.{extension}', layers)
    with pytest.raises(UserError, match=rf'sheer\.{extension}.*transparent.*alpha: drop') as error:
        read_image(sheer)
    one_line(error)
    np.testing.assert_array_equal(read_image(sheer, alpha='drop'), pixels)


def test_transparent_webp_and_gray_with_alpha(tmp_path):
    webp = save_rgb(tmp_path / 'a.webp', with_alpha(RGB, 100), lossless=True)
    layers = np.dstack([GRAY, np.full_like(GRAY, 100)])
    png = save_rgb(tmp_path / 'a.png', layers)
    for path in (webp, png):
        with pytest.raises(UserError, match='transparent'):
            read_image(path)
    np.testing.assert_array_equal(read_image(webp, alpha='drop'), COLOR)
    np.testing.assert_array_equal(read_image(png, gray=True, alpha='drop'), GRAY[..., None])


def test_transparent_palette(tmp_path):
    path = save_rgb(tmp_path / 'a.png', RGB, 'P', transparency=int(np.asarray(Image.fromarray(RGB).convert('P'))[0, 0]))
    with pytest.raises(UserError, match='transparent'):
        read_image(path)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('extension', ['jpg', 'png', 'webp', 'tif'])
def test_exif_orientation_is_applied(tmp_path, extension, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {'webp': {'lossless': True}, 'jpg': {'quality': 100, 'subsampling': 0}}.get(extension, {})
    path = save_rgb(tmp_path / f'a.{extension}', RGB, exif=exif, **lossless)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))[..., ::-1].astype(int)
    img = read_image(path)
    assert img.shape == expected.shape == ((36, 24, 3) if orientation > 4 else (24, 36, 3))
    assert np.abs(img - expected).max() <= (2 if extension == 'jpg' else 0)
    assert img.flags.c_contiguous


def test_damaged_exif_does_not_matter(tmp_path):
    path = save_rgb(tmp_path / 'a.png', RGB)
    data = path.read_bytes()
    path.write_bytes(data + b'Exif\0\0garbage')
    np.testing.assert_array_equal(read_image(path), COLOR)


@pytest.mark.parametrize('extension', ['png', 'jpg', 'webp', 'bmp', 'tif'])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.95])
def test_truncated_files(tmp_path, capfd, extension, share):
    path = save(tmp_path / f'half.{extension}', COLOR)
    data = path.read_bytes()
    path.write_bytes(data[:int(len(data) * share)])
    with pytest.raises(UserError, match=rf'half\.{extension}.*truncated') as error:
        read_image(path)
    one_line(error)
    assert capfd.readouterr() == ('', ''), 'the decoder wrote something beside the one line'


def test_unreadable_files(tmp_path):
    (tmp_path / 'empty.png').touch()
    (tmp_path / 'text.jpg').write_text('no image')
    save(tmp_path / 'float.tif', COLOR.astype(np.float32))
    save_rgb(tmp_path / 'print.tif', RGB, 'CMYK')
    cases = {'empty.png': 'is empty', 'text.jpg': 'not an image', 'float.tif': 'float32', 'print.tif': 'CMYK',
             'absent.png': 'No such file'}
    for name, words in cases.items():
        with pytest.raises(UserError, match=words) as error:
            read_image(tmp_path / name)
        assert name in one_line(error)


def test_cmyk_jpeg_is_read_as_colour(tmp_path):
    img = read_image(save_rgb(tmp_path / 'a.jpg', RGB, 'CMYK', quality=100, subsampling=0))
    assert np.abs(img - COLOR.astype(int)).max() <= 4


def test_unknown_alpha_choice(tmp_path):
    with pytest.raises(ValueError, match="alpha is 'none'"):
        read_image(save(tmp_path / 'a.png', COLOR), alpha='none')


def test_to_float():
    np.testing.assert_array_equal(to_float(np.array([0, 51, 255], np.uint8)), np.float32([0, 0.2, 1]))
    np.testing.assert_array_equal(to_float(np.array([0, 13107, 65535], np.uint16)), np.float32([0, 0.2, 1]))
    assert to_float(GRAY).dtype == np.float32


def test_list_images(tmp_path):
    for name in ('b.PNG', 'a.jpg', 'c.txt', '.hidden.png', 'deep/d.webp', '.cache/e.png', 'folder.png/f.bmp'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ['a.jpg', 'b.PNG']
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(str(tmp_path), recursive=True)]
    assert names == ['a.jpg', 'b.PNG', 'deep/d.webp', 'folder.png/f.bmp']
    assert [path.name for path in list_images(tmp_path, extensions=['.txt'])] == ['c.txt']


def test_list_images_refuses(tmp_path):
    (tmp_path / 'none').mkdir()
    (tmp_path / 'none' / 'note.txt').touch()
    for name, words in (('none', r'none.*no image.*\.png'), ('absent', 'absent.*not there'),
                        ('none/note.txt', 'not a folder')):
        with pytest.raises(UserError, match=words) as error:
            list_images(tmp_path / name)
        one_line(error)


@pytest.mark.parametrize(('side', 'multiple', 'rows', 'columns'), [
    (99, 1, (0, 11), (0, 14)), (8, 1, (1, 9), (3, 11)), (8, 3, (2, 8), (4, 10)), (12, 4, (1, 9), (1, 13))])
def test_the_centre_of_an_image(side, multiple, rows, columns):
    image = np.arange(11 * 14).reshape(11, 14, 1)
    np.testing.assert_array_equal(centre_crop(image, side, multiple), image[slice(*rows), slice(*columns)])
