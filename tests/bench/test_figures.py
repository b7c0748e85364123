"""Speed-up, ideal, efficiency, crossover and the fastest at a quality, against values worked out by hand."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basicsr_amsr.bench.figures import compare, crossover, crossovers, fastest_within, in_words


def of_one_image(*rounds):
    """Times of passes, a list for each round."""
    return [[passes] for passes in rounds]


def test_speed_up_is_against_the_best_dense_form_and_paired_by_rounds():
    # The machine is twice as slow in the second round and four times in the third: ratios do not feel it.
    times = {'slow': of_one_image([15.0, 15.0], [30.0, 30.0], [60.0, 60.0]),
             'fast': of_one_image([10.0, 10.0], [19.0, 20.0, 21.0], [40.0, 40.0]),
             'sparse': of_one_image([5.0, 5.0], [16.0, 16.0], [20.0, 20.0])}
    best, figures = compare(times, {'slow': 100.0, 'fast': 100.0, 'sparse': 40.0}, ['slow', 'fast'])
    assert best == 'fast'
    sparse = figures['sparse']
    assert sparse['latency_ms'] == {'median': 16.0, 'q1': 7.75, 'q3': 19.0, 'samples': 6}
    assert sparse['speed_up'] == {'median': 2.0, 'q1': pytest.approx(1 / 0.65), 'q3': 2.0, 'samples': 3}
    assert (sparse['ideal'], sparse['efficiency'], sparse['macs'], sparse['macs_share']) == (2.5, 0.8, 40.0, 0.4)
    assert sparse['time_share'] == 0.5 and figures['fast']['latency_ms']['samples'] == 7
    assert figures['fast']['speed_up']['median'] == figures['fast']['efficiency'] == 1.0
    assert figures['slow']['speed_up']['median'] == pytest.approx(2 / 3)


def test_what_depends_on_the_image_is_a_mean_over_the_images():
    # Two rounds of two images, the second of which takes the sparse form three times as long.
    times = {'dense': [[[10.0], [10.0]], [[10.0], [20.0]]], 'sparse': [[[2.0], [6.0]], [[2.0], [12.0]]]}
    figures = compare(times, {'dense': 10.0, 'sparse': 4.0}, ['dense'])[1]['sparse']
    assert figures['latency_ms'] == {'median': (2 + 9) / 2, 'q1': (2 + 7.5) / 2, 'q3': (2 + 10.5) / 2, 'samples': 4}
    assert figures['speed_up']['median'] == pytest.approx(1 / ((0.2 + 0.6) / 2))


def test_a_sparse_form_is_no_rival():
    times = {'dense': of_one_image([10.0]), 'sparse': of_one_image([1.0])}
    best, figures = compare(times, {'dense': 8.0, 'sparse': 4.0}, ['dense'])
    assert best == 'dense' and figures['sparse']['efficiency'] == 5.0


def test_crossover_is_linear_in_time_between_the_points():
    # Times as shares of dense: 0.5 at 20 %, 0.8 at 50 %, 1.2 at 80 %: half-way between the last two.
    assert crossover([(0.8, 1 / 1.2), (0.2, 2.0), (0.5, 1.25)]) == pytest.approx(0.65)


@given(st.floats(0.06, 0.94), st.floats(0.2, 3), st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_crossover_of_a_line_is_where_it_crosses(where, slope, others):
    points = [(keep, 1 / (1 + slope * (keep - where))) for keep in {0.05, 0.95, *others}
              if 1 + slope * (keep - where) > 0.01]
    found = crossover(points)
    if min(keep for keep, _ in points) <= where:
        assert found == pytest.approx(where, abs=1e-6)
    else:
        assert found is None


@pytest.mark.parametrize('points, keep, words', [
    ([(0.25, 4.0), (0.5, 2.0)], None, 'faster than dense wherever measured'),
    ([(0.25, 0.9), (0.5, 0.5)], None, 'slower than dense wherever measured'),
    ([(0.25, 0.8), (0.5, 1.25)], None, 'dense is faster at the lower shares measured'),
    ([(0.25, 2.0), (0.75, 1 / 1.5)], 0.5, 'dense is faster above 50 % active'),
    ([(0.4, 1.0)], None, 'faster than dense wherever measured'),
    ([(0.2, 1.25), (0.4, 1 / 1.2), (0.6, 1.25), (0.8, 0.5)], 0.3, 'dense is faster above 30 % active'),
])
def test_one_sided_curves_have_no_crossover(points, keep, words):
    assert crossover(points) == (None if keep is None else pytest.approx(keep))
    assert in_words(points) == words


def entry(form, keep, speed_up, kind='sparse', backend='torch', **more):
    return {'form': form, 'backend': backend, 'kind': kind, 'keep': keep, 'speed_up': {'median': speed_up},
            'asked': {'keep': keep}, **more}


def test_crossovers_are_by_form_and_backend():
    entries = [entry('dense', 1.0, 1.0, 'dense'), entry('patches', 0.25, 2.0), entry('pixels', 0.25, 0.5),
               entry('patches', 0.75, 1 / 1.5), entry('patches', 0.25, 3.0, backend='other')]
    assert [(one['form'], one['backend'], one['keep']) for one in crossovers(entries)] == [
        ('patches', 'torch', 0.5), ('pixels', 'torch', None), ('patches', 'other', None)]


def test_fastest_that_loses_no_more():
    def one(form, milliseconds, loss):
        return entry(form, 0.5, 10 / milliseconds, latency_ms={'median': milliseconds}, psnr=30 - loss, psnr_loss=loss)

    entries = [one('dense', 10.0, 0.0), one('a', 8.0, 0.04), one('b', 5.0, 0.08), one('c', 2.0, 1.0),
               {**one('unknown', 1.0, 0.0), 'psnr': None, 'psnr_loss': None}]
    found = fastest_within(entries)
    assert [(each['loss_db'], each['form'], each['latency_ms']) for each in found] == [
        (0.02, 'dense', 10.0), (0.05, 'a', 8.0), (0.1, 'b', 5.0)]
    assert found[1]['speed_up'] == 1.25 and found[1]['psnr_loss'] == 0.04
    assert fastest_within([entries[-1]]) == []
