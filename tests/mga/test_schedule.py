import pytest

from basicsr_amsr import UserError
from basicsr_amsr.mga.schedule import Step, StepPlan
from basicsr_amsr.options.read import read

PAPER = [{'variant': 'D', 'iters': 600_000, 'periods': 3}, {'variant': 'A', 'iters': 600_000, 'periods': 3},
         {'variant': 'M', 'iters': 100_000}]


def test_the_papers_learning_rate_at_its_corners():
    plan = StepPlan([read(Step, step) for step in PAPER])
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
    plan = StepPlan([read(Step, step) for step in PAPER])
    assert [plan.index(i) for i in (0, 1, 600_000, 600_001, 1_200_000, 1_200_001, 1_300_000, 1_300_001)] == \
        [0, 0, 0, 1, 1, 2, 2, 2]


def test_a_step_without_warmup_and_a_step_of_one_iteration():
    assert Step(variant='B', iters=4, warmup=0, lr=1.0, min_lr=0.0).learning_rate(0) == 1.0
    assert Step(variant='B', iters=4, warmup=0, lr=1.0, min_lr=0.0).learning_rate(3) == pytest.approx(0.0)
    assert Step(variant='B', iters=1, warmup=0, lr=1.0).learning_rate(0) == 1.0


@pytest.mark.parametrize(('step', 'line'), [
    ({'variant': 'D'}, "train: steps #2: 'iters' is missing: length of the step."),
    ({'iters': 3}, "train: steps #2: 'variant' is missing: what is trained: B, D, A or M."),
    ({'variant': 'X', 'iters': 3}, "train: steps #2: variant is 'X': it has to be B, D, A or M."),
    ({'variant': 'D', 'iters': 10, 'periods': 3, 'warmup': 0},
     'train: steps #2: iters 10 is no multiple of periods 3.'),
    ({'variant': 'D', 'iters': 10, 'warmup': 10},
     'train: steps #2: warmup 10 does not fit into a period of 10 iterations.'),
    ({'variant': 'M', 'iters': 10, 'supervision': 'absolut'},
     "train: steps #2: supervision is 'absolut': it has to be normalized, absolute or none."),
    ({'variant': 'D', 'iters': 10, 'warmup': 1, 'supervision': 'none'},
     'train: steps #2: supervision and end_to_end are for variant M.'),
    ({'variant': 'A', 'iters': 10, 'warmup': 1, 'end_to_end': True},
     'train: steps #2: supervision and end_to_end are for variant M.'),
    ({'variant': 'D', 'iters': 9000, 'warm_up': 2}, "train: steps #2: there is no option 'warm_up' here. "
     'Did you mean warmup, warmup_lr?'),
    ({'variant': 'D', 'iters': 9000, 'lr': 0}, 'train: steps #2: lr is 0: it has to be a number above 0.'),
])
def test_wrong_steps_are_one_line(step, line):
    with pytest.raises(UserError) as caught:
        read(Step, step, 'train', 'steps', 1)
    assert str(caught.value) == line
