"""Progress bars: on a terminal, above them whole log lines; nothing elsewhere."""
import re

import basicsr_amsr.cli.pipeline  # noqa: F401  # before `quiet` is replaced in the module it imports from
from tests.cli.conftest import options_to_test, options_to_train, pairs


def pretend_terminal(monkeypatch):
    monkeypatch.setattr('basicsr_amsr.cli.progress.quiet', lambda: False)
    monkeypatch.setattr('basicsr_amsr.cli.pipeline.quiet', lambda: False)


def test_training_shows_iterations_and_losses_and_log_lines_stay_whole(basicsr, monkeypatch):
    pretend_terminal(monkeypatch)
    options = options_to_train(val={'val_freq': 2, 'metrics': options_to_test()['val']['metrics']})
    options['datasets']['val'] = pairs(name='Three')
    code, _, err = basicsr('train', options)
    assert code == 0
    assert re.search(r'tiny: 100%\|.*\| 2/2 .*l_pix=', err)
    assert '3/3' in err  # validation's own bar
    logged = [piece for piece in re.split(r'[\r\n]', err) if ' INFO: ' in piece]
    assert logged and all(re.match(r'(\x1b\[A)*\d{4}-\d\d-\d\d ', piece) for piece in logged)


def test_a_resumed_run_goes_on_where_it_was(basicsr, monkeypatch):
    basicsr('train', options_to_train())
    pretend_terminal(monkeypatch)
    longer = options_to_train()
    longer['train']['total_iter'] = 4
    _, _, err = basicsr('train', longer, '--auto_resume')
    assert re.search(r'\| 4/4 ', err) and not re.search(r'\| 1/4 ', err)


def test_testing_shows_images(basicsr, monkeypatch):
    pretend_terminal(monkeypatch)
    _, _, err = basicsr('test', options_to_test())
    assert re.search(r'\| 3/3 .*image/s', err)


def test_nothing_is_drawn_where_nobody_watches(basicsr):
    for command, options in (('train', options_to_train()), ('test', options_to_test())):
        _, out, err = basicsr(command, options)
        assert '\r' not in out + err and 'it/s' not in err and 'image/s' not in err
