"""Images, LMDBs and lists that cannot be used: a line that names the file, before the run where that can be."""
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import options_to_test, options_to_train
from tests.faults.lines import mistake, mistakes

GRAY = {'type': 'BicubicPairedImageDataset', 'dataroot_gt': 'data/gt', 'color': 'gray'}


@pytest.mark.parametrize('content', [b'', b'\x89PNG nothing', b'<html>not found</html>'])
@pytest.mark.parametrize('command', ['test', 'train', 'train in a worker'])
def test_an_image_that_cannot_be_decoded(basicsr, command, content):
    Path('data/lq/b.png').write_bytes(content)
    options = options_to_test() if command == 'test' else options_to_train()
    if command != 'test':
        options['train']['total_iter'] = 9
        options['datasets']['train']['num_worker_per_gpu'] = int('worker' in command)
    code, _, err = basicsr(command.split()[0], options)
    line = err.splitlines()[-1]
    assert code == 2 and 'Traceback' not in err
    assert "data/lq/b.png' is " in line and 'replace or remove it' in line and 'datasets: ' in line


@pytest.mark.parametrize('command', ['test', 'train'])
@pytest.mark.parametrize('channels', [1, 3])
def test_images_of_other_channels_than_the_networks(basicsr, command, channels):
    options = (options_to_test if command == 'test' else options_to_train)()
    name = 'test_1' if command == 'test' else 'train'
    if channels == 3:
        options['datasets'][name].update(GRAY)
        options['datasets'][name].pop('dataroot_lq')
    else:
        options['network_g'].update(num_in_ch=1, num_out_ch=1)
    line = mistake(basicsr, command, options)
    assert f'gives images of {4 - channels} channel' in line and f'the network takes {channels}' in line
    assert 'color' in line and f'num_out_ch: {4 - channels}' in line


def test_a_network_that_makes_other_channels(basicsr):
    options = options_to_train()
    options['network_g']['num_out_ch'] = 1
    assert 'gives images of 3 channels, but the network makes 1' in mistake(basicsr, 'train', options)


def test_gray_and_luma_run(basicsr):
    options = options_to_test()
    options['network_g'].update(num_in_ch=1, num_out_ch=1)
    options['datasets']['test_1']['color'] = 'y'
    options['datasets']['test_2'] = dict(GRAY, name='gray')
    options['val']['metrics']['psnr'].pop('test_y_channel')
    code, _, err = basicsr('test', options)
    assert code == 0, err


@pytest.fixture
def lmdb(basicsr):
    assert basicsr('prepare', None, '--hr', 'data/gt', '--out', 'p', '--scale', '2', '--lmdb')[0] == 0
    options = options_to_train()
    options['datasets']['train'].update(dataroot_gt='p/HR.lmdb', dataroot_lq='p/LR_bicubic_X2.lmdb',
                                        io_backend={'type': 'lmdb'})
    return options


def test_an_lmdb_trains(basicsr, lmdb):
    assert basicsr('train', lmdb)[0] == 0


def test_an_lmdb_as_a_folder_and_the_reverse(basicsr, lmdb):
    lmdb['datasets']['train']['io_backend'] = {'type': 'disk'}
    lines = mistakes(basicsr, 'train', lmdb)
    assert len(lines) == 2 and all('.lmdb is an LMDB: write io_backend: {type: lmdb}' in line for line in lines)
    lmdb['datasets']['train'].update(dataroot_gt='data/gt', dataroot_lq='data/lq', io_backend={'type': 'lmdb'})
    assert all('it has no data.mdb and no meta_info.txt' in line for line in mistakes(basicsr, 'train', lmdb))


@pytest.mark.parametrize('file', ['data.mdb', 'meta_info.txt'])
def test_an_lmdb_of_which_a_file_is_gone(basicsr, lmdb, file):
    Path('p/HR.lmdb', file).unlink()
    assert f'p/HR.lmdb is no LMDB of BasicSR, it has no {file}' in mistake(basicsr, 'train', lmdb)


def test_an_lmdb_whose_list_names_what_is_not_in_it(basicsr, lmdb):
    for folder in ('p/HR.lmdb', 'p/LR_bicubic_X2.lmdb'):
        (Path(folder) / 'meta_info.txt').write_text('other.png (32,32,3) 1\n')
    lmdb['datasets']['train']['dataset_enlarge_ratio'] = 3
    line = mistake(basicsr, 'train', lmdb)
    assert "'other' of the LMDB: it is not there or cannot be decoded" in line


LISTS = {
    'UTF-8 with a mark': ('a.png (32,32,3)\n'.encode('utf-8-sig'), 'begins with a byte order mark'),
    'UTF-16': ('a.png (32,32,3)\n'.encode('utf-16'), 'is text in UTF-16'),
    'Latin-1': ('ä.png\n'.encode('latin-1'), 'is no text in UTF-8 (byte 0)'),
    'empty line': (b'a.png (32,32,3)\n\n', 'names no image in line 2'),
    'empty': (b'', 'names no image in line 1'),
    'other images': (b'0430_s037.png (480,480,3)\n', "names '0430_s037.png', which is not in data/gt"),
}


@pytest.mark.parametrize('kind', LISTS)
@pytest.mark.parametrize('dataset', ['PairedImageDataset', 'BicubicPairedImageDataset'])
def test_lists_of_images(basicsr, kind, dataset):
    content, part = LISTS[kind]
    Path('list.txt').write_bytes(content)
    options = options_to_test()
    options['datasets']['test_1'].update(type=dataset, meta_info_file='list.txt')
    if dataset != 'PairedImageDataset':
        options['datasets']['test_1'].pop('dataroot_lq')
    assert f'meta_info_file: list.txt {part}' in mistake(basicsr, 'test', options)


def test_whatever_an_item_of_another_data_set_raises_names_its_file(tmp_path):
    from basicsr_amsr.data.items import naming_files
    from basicsr_amsr.errors import UserError

    class Other:
        paths = ('a.npy',)

        def __getitem__(self, index):
            return np.load(self.paths[index]) if index < 1 else {}[index]

    naming_files(Other)
    naming_files(Other)
    with pytest.raises(UserError, match=r"^Cannot read 'a\.npy'"):
        Other()[0]
    with pytest.raises(UserError, match='item 1: KeyError: 1'):
        Other()[1]
