"""The table of milliseconds: what it measures, and that it goes on where it was interrupted."""
import json

import pytest

from benchmarks.mga_latency import main, markdown


def figures(ms, speed_up=1.0, ideal=1.0):
    return {'ms': {'median': ms}, 'speed_up': speed_up, 'ideal': ideal}


def test_a_table_by_hand():
    case = {'network': 'RFDN', 'size': [128, 96], 'threads': 2, 'rounds': 7,
            'variants': {'D': figures(1234.4), 'M 0.25': figures(99.96, 1.234, 1.3)}}
    phone = {**case, 'variants': {'D': figures(50.0)}}
    assert markdown([case, case, phone]).splitlines() == [
        '', '| network, LR size | threads | rounds | D | M 0.25 |', '|---|---|---|---|---|',
        *['| RFDN 128x96 | 2 | 7 | 1234 ms | 100.0 ms, x1.23 of x1.30 |'] * 2,
        '', '| network, LR size | threads | rounds | D |', '|---|---|---|---|', '| RFDN 128x96 | 2 | 7 | 50.0 ms |']


def test_a_run_that_goes_on(tmp_path, capsys):
    flags = ['--networks', 'FSRCNN', '--keeps', '0.5', '--threads', '1', '--budget', '0', '--no-phone', '--json',
             str(tmp_path / 'out.json'), '--sizes']
    main([*flags, '8x12'])
    first, = json.loads((tmp_path / 'out.json').read_text())
    assert list(first['variants']) == ['B', 'D', 'A', 'M 0.5']
    assert (first['rounds'], first['size'], first['threads']) == (3, [8, 12], 1)
    dense, half = first['variants']['D'], first['variants']['M 0.5']
    assert dense['speed_up'] == dense['ideal'] == 1.0
    assert half['ideal'] == pytest.approx(dense['macs'] / half['macs'])
    assert half['efficiency'] == pytest.approx(half['speed_up'] / half['ideal'])
    main([*flags, '8x12', '4x4'])
    again, other = json.loads((tmp_path / 'out.json').read_text())
    assert again == first and other['size'] == [4, 4]
    assert capsys.readouterr().out.count('| FSRCNN 8x12 |') == 3  # as it came, and in both tables
