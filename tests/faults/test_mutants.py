"""Mutants of the shipped option files end with exit code 0, or 2 and lines; a renamed key never passes."""
import pytest

from tests.faults.mutants import FILES, Mutant, make_images, mutants, original, outcome


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_images()


def check(count, seed, build_only, small=False):
    wrong = []
    for one in mutants(count, seed, small):
        found = outcome(one, build_only)
        problem = found.wrong(one)
        if problem:
            wrong.append(f'{problem}: {one.what}: {" / ".join(found.lines[-2:])}')
    assert wrong == []


def test_a_sample(images):
    check(60, seed=0, build_only=True, small=True)


@pytest.mark.parametrize('file', [file for file in FILES if 'fsrcnn_x2' in file.stem or 'carn_m_x4' in file.stem],
                         ids=lambda file: f'{file.parent.name}/{file.stem}')
def test_what_is_not_changed_passes(images, file):
    found = outcome(Mutant(original(file)[0], 'nothing', 'drop', original(file)[1]), build_only=True)
    assert found.code == 0, found.lines[-5:]


@pytest.mark.slow
def test_through_check_and_construction(images):
    check(2000, seed=1, build_only=True)


@pytest.mark.slow
def test_through_two_iterations(images):
    check(200, seed=1, build_only=False)
