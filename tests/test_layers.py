"""Imports go one way: no folder of the package imports, by whatever detour and wherever in its code, one above it."""
from tests.imports import cycles, folder_imports, module_imports

NETWORKS = {'amsr', 'archs', 'backbones', 'mga', 'models', 'sfm', 'weights'}


def test_no_folder_is_in_a_cycle():
    edges = folder_imports()
    assert len(edges) > 20 and 'selection' in edges['execution']
    found = [{(one, other): edges[one][other] for one in group for other in group & edges[one].keys()}
             for group in cycles(edges)]
    assert found == []


def test_no_module_is_in_a_cycle():
    assert cycles(module_imports()) == []


def test_nothing_below_the_backbones_knows_a_network():
    edges = folder_imports()
    for folder in ('execution', 'selection'):
        assert not NETWORKS & edges[folder].keys()


def test_a_cycle_is_found_through_others():
    assert cycles({'a': {'b': 1}, 'b': {'c': 1}, 'c': {'a': 1}, 'd': {'a': 1}}) == [{'a', 'b', 'c'}]
    assert cycles({'a': {'b': 1, 'c': 1}, 'b': {'c': 1}}) == []
