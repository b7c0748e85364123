"""Picture files: what is read is written back with all that is beside the pixels, in every format."""
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from basicsr_amsr.errors import UserError
from basicsr_amsr.infer import picture as files
from basicsr_amsr.infer.formats import FORMATS
from basicsr_amsr.infer.picture import EXIF_IFD, Picture
from basicsr_amsr.infer.writing import HEIGHT, MOST, WIDTH, check_format, exif_of, write
from tests.infer.conftest import picture

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def exif(orientation=1):
    found = Image.Exif()
    found[0x0112], found[0x010F] = orientation, 'Maker'
    inner = found.get_ifd(EXIF_IFD)
    inner[WIDTH], inner[HEIGHT], inner[0x9003] = 9, 12, '2026:01:02 03:04:05'
    return found


@pytest.mark.parametrize('ending', FORMATS)
def test_profile_exif_and_resolution_are_kept(tmp_path, ending):
    source = tmp_path / f'in{ending}'
    beside = {} if ending == '.bmp' else {'exif': exif().tobytes(), 'icc_profile': PROFILE}
    Image.fromarray(picture(12, 9)).save(source, dpi=(300, 300), **beside)
    found = files.read(source)
    assert found.array.shape == (12, 9, 3)
    large = found.with_array(np.repeat(np.repeat(found.array, 2, 0), 2, 1))
    assert write(tmp_path / f'out{ending}', large) == ()
    with Image.open(tmp_path / f'out{ending}') as image:
        assert image.size == (18, 24) and image.format == FORMATS[ending]
        if ending not in ('.webp', '.avif'):  # which have no place for it
            assert image.info['dpi'][0] == pytest.approx(300, abs=1)
        if ending != '.bmp':
            kept = image.getexif()
            assert image.info['icc_profile'] == PROFILE and kept[0x010F] == 'Maker'
            inner = kept.get_ifd(EXIF_IFD)
            assert (inner[WIDTH], inner[HEIGHT], inner[0x9003]) == (18, 24, '2026:01:02 03:04:05')


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('ending', ['.jpg', '.png', '.tif', '.webp'])
def test_orientation_is_applied_once(tmp_path, orientation, ending):
    stored = Image.fromarray(picture(12, 9)).resize((18, 24))
    stored.save(tmp_path / f'in{ending}', exif=exif(orientation).tobytes())
    with Image.open(tmp_path / f'in{ending}') as image:
        turned = files.of_pillow(image)
    assert turned.array.shape[:2] == ((18, 24) if orientation > 4 else (24, 18))
    write(tmp_path / 'out.png', turned)
    again = files.read(tmp_path / 'out.png')
    assert (again.array == turned.array).all()


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('ending', ['.png', '.tif'])
def test_sixteen_bits_with_profile(tmp_path, channels, ending):
    array = picture(12, 9, channels, 16)
    given = Picture(array, exif().tobytes(), PROFILE, (240.0, 240.0))
    write(tmp_path / f'a{ending}', given)
    found = files.read(tmp_path / f'a{ending}')
    expected = array[..., [0, 0, 0, 1]] if channels == 2 else array
    assert found.array.dtype == np.uint16 and (found.array == expected).all()
    assert found.icc == PROFILE and found.dpi[0] == pytest.approx(240, abs=1)


@pytest.mark.parametrize('write_it', [
    lambda path, array: cv2.imwrite(str(path), array[..., ::-1]),
    lambda path, array: tifffile.imwrite(path.with_suffix('.tif'), array, photometric='rgb')])
def test_sixteen_bits_of_other_programs(tmp_path, write_it):
    array = picture(12, 9, 3, 16)
    write_it(tmp_path / 'a.png', array)
    path = next(tmp_path.iterdir())
    assert (files.read(path).array == array).all()


def test_cmyk_becomes_rgb_without_its_profile(tmp_path):
    Image.fromarray(picture(12, 9)).convert('CMYK').save(tmp_path / 'a.jpg', icc_profile=PROFILE)
    found = files.read(tmp_path / 'a.jpg')
    assert found.array.shape == (12, 9, 3) and found.icc is None


def test_palettes(tmp_path):
    rgba = np.dstack([picture(12, 9), np.full((12, 9), 255, np.uint8)])
    rgba[:4, :4, 3] = 0
    Image.fromarray(rgba).quantize(16).save(tmp_path / 'clear.png')
    Image.fromarray(picture(12, 9)).quantize(16).save(tmp_path / 'plain.png')
    assert files.read(tmp_path / 'clear.png').array.shape == (12, 9, 4)
    assert files.read(tmp_path / 'plain.png').array.shape == (12, 9, 3)


def test_what_a_format_cannot_keep_is_said(tmp_path):
    assert write(tmp_path / 'a.jpg', Picture(picture(12, 9, 4, 16))) == ('JPEG has no transparency', 'JPEG has 8 bits')
    assert write(tmp_path / 'a.webp', Picture(picture(12, 9, 4, 16))) == ('WEBP has 8 bits',)
    with Image.open(tmp_path / 'a.webp') as image:
        assert image.mode == 'RGBA'


@pytest.mark.parametrize('kind', MOST)
def test_pictures_that_a_format_has_no_room_for(tmp_path, kind):
    ending = next(ending for ending, name in FORMATS.items() if name == kind)
    check_format(tmp_path / f'a{ending}', 1, MOST[kind])
    with pytest.raises(UserError, match='--ext png'):
        check_format(tmp_path / f'a{ending}', 1, MOST[kind] + 1)
    with pytest.raises(UserError, match='pictures are written as'):
        check_format(tmp_path / 'a.gif', 1, 1)


def test_the_first_of_several_frames(tmp_path):
    frames = [Image.fromarray(picture(12, 9, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / 'a.tif', save_all=True, append_images=frames[1:])
    found = files.read(tmp_path / 'a.tif')
    assert found.notes == ('the first of 3 frames',) and (found.array == np.asarray(frames[0])).all()


def test_damaged_exif_data_says_nothing_about_the_pixels(tmp_path):
    content = io.BytesIO()
    Image.fromarray(picture(12, 9)).save(content, 'JPEG', exif=b'Exif\0\0II*\0\xff\xff\xff\xff')
    (tmp_path / 'a.jpg').write_bytes(content.getvalue())
    found = files.read(tmp_path / 'a.jpg')
    assert found.array.shape == (12, 9, 3) and exif_of(found) is None


def png_of_size(width, height):
    """A PNG whose head promises more than its few bytes hold."""
    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    body = chunk(b'IDAT', zlib.compress(b'\0' * 100)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + body


@pytest.mark.parametrize(('content', 'line'), [
    (b'', 'is empty'), (b'no picture', 'is damaged or no picture'), (png_of_size(60000, 60000), 'larger in memory'),
    (png_of_size(4000, 4000), 'damaged or truncated'), (b'%!PS-Adobe-3.0 EPSF-3.0\n', 'is damaged or no picture')])
def test_what_is_no_picture_is_one_line(tmp_path, content, line):
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(UserError, match=line) as raised:
        files.read(tmp_path / 'a.png')
    assert str(tmp_path / 'a.png') in str(raised.value)
