"""Imports go one way: no folder of the package imports, by whatever detour and wherever in its code, one above it."""
from tests.imports import cycles, folder_imports, module_imports

# Modules inside execution/ that import each other. Nothing may be added; what is mended comes out.
KNOWN = [
    {'execution.backends.choice', 'execution.backends.triton_backend', 'execution.triton.operator'},
    {'execution.dense.build', 'execution.dense.steps', 'execution.dense.weights'},
    {'execution.dense.fold', 'execution.dense.units'},
    {'execution.native.checks', 'execution.native.program'},
]
NETWORKS = {'amsr', 'archs', 'backbones', 'mga', 'models', 'sfm', 'weights'}


def test_no_folder_is_in_a_cycle():
    edges = folder_imports()
    assert len(edges) > 20 and 'selection' in edges['execution']
    found = [{(one, other): edges[one][other] for one in group for other in group & edges[one].keys()}
             for group in cycles(edges)]
    assert found == []


def test_no_new_cycle_of_modules():
    found = cycles(module_imports())
    assert sorted(map(sorted, found)) == sorted(map(sorted, KNOWN))


def test_nothing_below_the_backbones_knows_a_network():
    edges = folder_imports()
    for folder in ('execution', 'selection'):
        assert not NETWORKS & edges[folder].keys()


def test_a_cycle_is_found_through_others():
    assert cycles({'a': {'b': 1}, 'b': {'c': 1}, 'c': {'a': 1}, 'd': {'a': 1}}) == [{'a', 'b', 'c'}]
    assert cycles({'a': {'b': 1, 'c': 1}, 'b': {'c': 1}}) == []
