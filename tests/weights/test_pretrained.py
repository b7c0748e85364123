"""Weights that come with the project, and their cards."""
import hashlib
import shutil

import pytest
import torch

from basicsr_amsr import load_pretrained, resources
from basicsr_amsr.cli.checks import absent_files
from basicsr_amsr.errors import UserError
from basicsr_amsr.training.trained_model import TrainedModel
from basicsr_amsr.weights.cards import available, calibration_card, find_weights, read_card
from tests.backbones.tiny import image, network


def test_every_file_has_a_card_with_a_licence_that_allows_to_ship_it(repository):
    files = sorted((repository / 'pretrained').glob('*.pth'))
    assert files
    for file in files:
        card = read_card(file)
        assert card is not None, f'{file.name} has no card'
        assert card.licence in ('MIT', 'Apache-2.0', 'BSD-3-Clause', 'CC0-1.0', 'CC-BY-SA-4.0', 'CC-BY-NC-SA-4.0')
        assert card.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_everything_available_loads():
    cards = available()
    assert {'RFDN_x4', 'CARN_M_x234', 'realesr-general-x4v3', 'realesr-animevideov3', 'RealESRGAN_x4plus_anime_6B',
            'SPAN_ch28_x4'} <= {card.weights.stem for card in cards}
    for card in cards:
        net = load_pretrained(card.weights.stem)
        assert not net.training


def test_carn_m_takes_the_upsampler_of_its_scale():
    for scale in (2, 3, 4):
        assert load_pretrained('CARN_M_x234', upscale=scale)(image(1, 3, 5, 6)).shape == (1, 3, 5 * scale, 6 * scale)


@pytest.mark.parametrize(('name', 'options', 'words'), [
    ('RFDN_x4', {'upscale': 2}, r'RFDN_x4\.pth holds RFDN with upscale 4, but the network has upscale 2'),
    ('RFDN_x4', {'upscal': 4}, "no option 'upscal'"),
    ('RFDN_x2', {}, 'Did you mean RFDN_x4'),
])
def test_mistakes_are_named(name, options, words):
    with pytest.raises(UserError, match=words):
        load_pretrained(name, **options)


def card(tmp_path, head: str):
    torch.save(network('RFDN', 2).state_dict(), tmp_path / 'own.pth')
    (tmp_path / 'own.md').write_text(f'---\n{head}\n---\n# Own\n', encoding='utf-8')
    return tmp_path / 'own.pth'


def test_a_file_of_ones_own_needs_a_type_or_a_card(tmp_path):
    net = network('RFDN', 2)
    torch.save(net.state_dict(), tmp_path / 'own.pth')
    with pytest.raises(UserError, match=r'has no card own\.md'):
        load_pretrained(tmp_path / 'own.pth')
    loaded = load_pretrained(tmp_path / 'own.pth', type='RFDN', upscale=2, num_feat=8, num_block=2)
    x = image(1, 3, 6, 6)
    with torch.no_grad():
        assert torch.equal(loaded(x), net(x))


@pytest.mark.parametrize(('head', 'words'), [
    ('network: {type: RFDN', 'is no YAML'),
    ('network: {type: RFDN}', 'lacks sha256, licence, origin'),
    ('network: {upscale: 2}\nsha256: 0\nlicence: MIT\norigin: here', 'lacks network: type'),
    ('just text', 'lacks network'),
    ('network: {type: RFDN, upscale: 2}\nsha256: 00\nlicence: MIT\norigin: here', 'sha256 differs'),
])
def test_a_broken_card_is_named(tmp_path, head, words):
    with pytest.raises(UserError, match=words):
        load_pretrained(card(tmp_path, head))


def test_a_file_that_changed_since_its_card_was_written_is_refused(repository, tmp_path):
    for ending in ('pth', 'md'):
        shutil.copy(repository / 'pretrained' / f'RFDN_x4.{ending}', tmp_path)
    weights = torch.load(tmp_path / 'RFDN_x4.pth', weights_only=True)
    load_pretrained(tmp_path / 'RFDN_x4.pth')
    torch.save(weights, tmp_path / 'RFDN_x4.pth')
    with pytest.raises(UserError, match='sha256 differs'):
        load_pretrained(tmp_path / 'RFDN_x4.pth')


def test_names_are_found_from_any_folder_and_in_an_installation(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_weights('RFDN_x4').is_file()
    options = {'path': {'pretrain_network_g': 'RFDN_x4', 'pretrain_network_d': 'RFDN_x5'}}
    (problem,) = absent_files(options, is_train=True, demo_offered=False)
    assert 'pretrain_network_d: RFDN_x5 does not exist' in problem.text
    assert options['path']['pretrain_network_g'] == str(find_weights('RFDN_x4'))
    net = load_pretrained('RFDN_x4')
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    torch.nn.init.zeros_(next(net.parameters()))
    TrainedModel({'num_gpu': 0, 'is_train': False}).load_network(net, 'RFDN_x4')
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())
    shutil.copytree(repository / 'pretrained', tmp_path / 'share' / 'pretrained')
    monkeypatch.setattr(resources, 'roots', lambda: [tmp_path / 'share'])
    assert find_weights('RFDN_x4') == tmp_path / 'share' / 'pretrained' / 'RFDN_x4.pth'


def test_speed_ups_are_about_those_of_the_results(repository):
    rows = [line.split(' | ') for line in (repository / 'docs/results.md').read_text().splitlines()
            if line.startswith('| ') and ' | AVX512 | 270x480 | median | float32 | ' in line]
    measured = {row[0].removeprefix('| '): float(row[7].split('(x')[1].rstrip(')')) for row in rows if '(x' in row[7]}
    told = {path.name.removesuffix('.amsr.md'): float(calibration_card(path.with_suffix(''))['speed_up'])
            for path in (repository / 'pretrained').glob('*.amsr.md') if 'speed_up: ' in path.read_text()}
    assert len(told) >= 4
    for name, speed_up in told.items():
        assert speed_up == pytest.approx(measured[name.lower().replace('-', '_')], rel=0.1), name
