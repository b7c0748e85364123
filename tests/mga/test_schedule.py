import pytest

from basicsr_amsr import UserError
from basicsr_amsr.mga.schedule import Step, parse_steps

PAPER = [{'variant': 'D', 'iters': 600_000, 'periods': 3}, {'variant': 'A', 'iters': 600_000, 'periods': 3},
         {'variant': 'M', 'iters': 100_000}]


def test_the_papers_learning_rate_at_its_corners():
    plan = parse_steps(PAPER)
    assert plan.total == 1_300_000
    for start in (0, 200_000, 400_000, 600_000, 1_000_000, 1_200_000):
        assert plan.learning_rate(start + 1) == pytest.approx(4e-5)
        assert plan.learning_rate(start + 1001) == pytest.approx((4e-5 + 4e-4) / 2)
        assert plan.learning_rate(start + 2001) == pytest.approx(4e-4)
    for end in (200_000, 400_000, 600_000, 1_200_000, 1_300_000):
        assert plan.learning_rate(end) == pytest.approx(1e-7)
    middle = 2000 + (200_000 - 1 - 2000) / 2
    assert plan.learning_rate(round(middle) + 1) == pytest.approx((4e-4 + 1e-7) / 2, rel=1e-4)


def test_steps_change_exactly_at_their_boundaries():
    plan = parse_steps(PAPER)
    assert [plan.index(i) for i in (0, 1, 600_000, 600_001, 1_200_000, 1_200_001, 1_300_000, 1_300_001)] == \
        [0, 0, 0, 1, 1, 2, 2, 2]


def test_a_step_without_warmup_and_a_step_of_one_iteration():
    assert Step('B', 4, warmup=0, lr=1.0, min_lr=0.0).learning_rate(0) == 1.0
    assert Step('B', 4, warmup=0, lr=1.0, min_lr=0.0).learning_rate(3) == pytest.approx(0.0)
    assert Step('B', 1, warmup=0, lr=1.0).learning_rate(0) == 1.0


@pytest.mark.parametrize(('steps', 'words'), [
    (None, 'missing'), ([], 'missing'), ([{'variant': 'D'}], 'no iters'), ([{'iters': 3}], 'no variant'),
    ([{'variant': 'X', 'iters': 3}], "'X'"), ([{'variant': 'D', 'iters': 10, 'periods': 3, 'warmup': 0}], 'multiple'),
    ([{'variant': 'M', 'iters': 10, 'supervision': 'absolut'}], 'absolute'),
    ([{'variant': 'D', 'iters': 10, 'warmup': 1, 'supervision': 'none'}], 'for variant M'),
    ([{'variant': 'A', 'iters': 10, 'warmup': 1, 'end_to_end': True}], 'for variant M'),
    ([{'variant': 'D', 'iters': 10}], 'warmup'), ([{'variant': 'D', 'iters': 10, 'warm_up': 2}], 'warmup'),
])
def test_wrong_steps_are_one_line(steps, words):
    with pytest.raises(UserError, match=words) as caught:
        parse_steps(steps)
    assert '\n' not in str(caught.value)
