"""Shares, differences and their intervals against values worked by hand, exact enumeration and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq.evaluate import statistics
from qaq.evaluate.statistics import (
    Z95,
    difference,
    mean,
    pass_at_k,
    per_token,
    share,
    share_difference,
    sign_flip,
    student,
    wilson,
)

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
cells = st.tuples(st.integers(1, 3), st.integers(2, 12), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape)).map(
        lambda bits: np.array(bits, int).reshape(shape)
    )
)


def paired(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two x_ST of one seed and one sample with these counts of tasks."""
    a = [1] * both + [1] * first + [0] * second + [0] * neither
    b = [1] * both + [0] * first + [1] * second + [0] * neither
    return np.array([a], float), np.array([b], float)


def test_wilson_against_values_worked_by_hand():
    # 1 of 2: middle 1/2, half = sqrt(z^2 / 8 + z^4 / 16) / (2 + z^2) with z^2 = 3.8415: 0.40547
    assert wilson(1, 2) == pytest.approx((0.09453, 0.90547), abs=1e-4)
    # 0 of n: [0, z^2 / (n + z^2)]
    assert wilson(0, 10) == pytest.approx((0, 3.841459 / 13.841459), abs=1e-6)


@given(counts)
def test_the_interval_holds_the_share_mirrors_and_its_ends_solve_the_score_equation(case):
    passed, tasks = case
    low, high = wilson(passed, tasks)
    value = passed / tasks
    assert 0 <= low <= value <= high <= 1
    assert wilson(tasks - passed, tasks) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    for end in (low, high):
        assert (value - end) ** 2 == pytest.approx(Z95**2 * end * (1 - end) / tasks, abs=1e-12)


@given(counts)
def test_one_sample_of_one_model_has_wilsons_interval_to_the_letter(case):
    passed, tasks = case
    found = share(np.array([[1.0] * passed + [0.0] * (tasks - passed)]), tasks)
    assert found.value == pytest.approx(passed / tasks)
    assert (found.low, found.high) == pytest.approx(wilson(passed, tasks), abs=1e-9)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no task"):
        share(np.empty((1, 0)), 0)


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_choices_of_k_samples_that_hold_a_passing_one(case):
    samples, passed, k = case
    choices = list(itertools.combinations([1] * passed + [0] * (samples - passed), k))
    assert pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_pass_at_k_of_fewer_samples_is_refused():
    with pytest.raises(ValueError, match="pass@10 needs 10 samples of each task; there are 5"):
        pass_at_k(5, 1, 10)


@given(cells)
def test_an_interval_of_any_seeds_and_samples_stays_in_0_to_1_and_holds_the_share(x_STN):
    found = share(x_STN.mean(2), x_STN.size)
    assert found.value == pytest.approx(x_STN.mean())
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0  # also where every verdict is the same


@given(cells)
def test_more_samples_of_the_same_tasks_never_make_the_interval_wider_than_one_sample_would(x_STN):
    x_T = x_STN[0].mean(1)
    low, high = wilson(x_T.mean() * len(x_T), len(x_T))
    found = share(x_T[None], x_STN[0].size)
    assert low - 1e-9 <= found.low
    assert found.high <= high + 1e-9


def test_copies_of_a_sample_are_worth_nothing():
    x_T = np.array([1.0, 0, 0, 1, 1, 0, 0, 0])
    copies = np.repeat(x_T[:, None], 10, axis=1)
    assert share(copies.mean(1)[None], copies.size) == pytest.approx(share(x_T[None], 8))


@pytest.mark.parametrize("k", [1, 5])
def test_the_interval_of_pass_at_k_covers_the_truth(k):
    rng = np.random.default_rng(0)
    a, b, tasks, samples, times = 0.4, 1.2, 60, 10, 600  # a task's chance is Beta(a, b), as uneven as benchmarks are
    truth = 1 - math.exp(math.lgamma(b + k) + math.lgamma(a + b) - math.lgamma(b) - math.lgamma(a + b + k))
    chances = np.array([pass_at_k(samples, passed, k) for passed in range(samples + 1)])
    passed = rng.binomial(samples, rng.beta(a, b, (times, tasks)))
    found = [share(row[None], tasks * (samples // k)) for row in chances[passed]]
    assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.975


@pytest.mark.parametrize(
    ("seeds", "shift", "least"), [(3, 0.0, 0.95), (3, 0.02, 0.95), (3, 0.04, 0.93), (5, 0.03, 0.94)]
)
def test_the_interval_of_pooled_seeds_covers_the_truth_whether_seeds_differ_or_not(seeds, shift, least):
    rng = np.random.default_rng(1)
    tasks, times = 100, 500

    def chance(*shape: int) -> np.ndarray:  # of a task, and of what a seed makes of it
        logit = rng.normal(-0.5, 1.6, (*shape, tasks, 1)) + rng.normal(0, 0.7, (*shape, tasks, seeds))
        return 1 / (1 + np.exp(-logit))

    truth = chance(2000).mean()
    p = np.clip(chance(times) + rng.normal(0, shift, (times, 1, seeds)), 0, 1)
    x = (rng.random(p.shape) < p).astype(float)
    found = [share(one.T, tasks * seeds) for one in x]
    assert least <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.99


def test_seeds_that_agree_are_worth_one_and_seeds_that_differ_widen_the_interval():
    x_T = np.array([1.0] * 30 + [0.0] * 70)
    alone = share(x_T[None], 100)
    same = share(np.stack([x_T] * 3), 300)
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high), abs=0.003)
    apart = share(
        np.stack([np.roll(x_T, 0), np.array([1.0] * 50 + [0.0] * 50), np.array([1.0] * 10 + [0.0] * 90)]), 300
    )
    assert apart.high - apart.low > 2 * (alone.high - alone.low)


def test_newcombes_interval_against_published_values():
    # Newcombe 1998, table II, method 10; and Fagerland, Lydersen and Laake 2013, airway hyper-responsiveness
    for table, value, low, high in [((36, 12, 2, 0), 0.2, 0.0569, 0.3404), ((1, 1, 7, 12), -6 / 21, -0.507, -0.026)]:
        found = share_difference(*paired(*table), sum(table))
        assert found == pytest.approx((value, low, high), abs=5e-4)


@given(st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any))
def test_a_difference_of_shares_mirrors_and_stays_within_bounds(table):
    a_ST, b_ST = paired(*table)
    found, other = share_difference(a_ST, b_ST, a_ST.size), share_difference(b_ST, a_ST, a_ST.size)
    assert (found.low, found.high) == pytest.approx((-other.high, -other.low))
    assert -1 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1


def test_the_interval_of_a_difference_covers_the_truth():
    rng = np.random.default_rng(2)
    tasks, times = 80, 500
    for samples_a, samples_b in [(1, 1), (5, 5), (5, 1)]:
        logit = rng.normal(-1, 2, (times, tasks))
        a, b = 1 / (1 + np.exp(-logit - 0.4)), 1 / (1 + np.exp(-logit))
        truth = a.mean() - b.mean()
        xs = rng.binomial(samples_a, a) / samples_a, rng.binomial(samples_b, b) / samples_b
        draws = tasks * max(samples_a, samples_b)
        found = [share_difference(x[None], y[None], draws) for x, y in zip(*xs, strict=True)]
        assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.995


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=9))
def test_sign_flip_is_the_share_of_all_sign_choices_that_are_as_extreme(differences):
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(differences))]  # fmt: skip
    expected = np.mean([total >= abs(sum(differences)) for total in sums])
    assert sign_flip(np.array(differences)) == pytest.approx(expected)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_of_single_verdicts_sign_flip_is_mcnemars_exact_test(won, lost, tied):
    discordant, fewer = won + lost, min(won, lost)
    tail = sum(math.comb(discordant, i) for i in range(fewer + 1)) / 2**discordant
    assert sign_flip(np.array([1] * won + [-1] * lost + [0] * tied)) == pytest.approx(min(1.0, 2 * tail))


def test_sign_flip_does_not_mind_the_unit():
    values = np.array([3, -1, 2, 0, 5])
    assert sign_flip(values) == sign_flip(values * 7)


def test_students_points_against_the_printed_table():
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}
    assert {n: round(student(n), 3) for n in table} == table
    assert student(100_001) == pytest.approx(Z95, abs=1e-4)


@given(st.floats(0, 20), st.integers(1, 30))
def test_students_distribution_is_the_integral_of_its_density(t, freedom):
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    x = np.linspace(0, t, 4001)
    density = constant * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    assert statistics._within(t, freedom) == pytest.approx(2 * np.trapezoid(density, x), abs=1e-5)


def test_a_paired_difference_by_hand():
    # differences 1, 2, 3: mean 2, variance of the mean 1/3; t = 2 / 0.57735 = 3.4641 with 2 degrees: p = 0.0742
    found, p = difference(np.array([[2.0, 4, 6]]), np.array([[1.0, 2, 3]]))
    assert found == pytest.approx((2, 2 - 4.302653 * 3**-0.5, 2 + 4.302653 * 3**-0.5), abs=1e-5)
    assert p == pytest.approx(0.07418, abs=1e-5)


def test_the_same_twice_differs_by_nothing_and_one_task_has_no_interval():
    x_ST = np.array([[1.0, 2, 4]])
    assert difference(x_ST, x_ST) == ((0, 0, 0), 1)
    assert difference(x_ST[:, :1], np.zeros((1, 1))) == ((1, None, None), None)


def test_the_interval_of_a_contrast_covers_the_truth_however_tasks_and_seeds_spread():
    """A difference of two differences, what the four have in common by task left out: the truth is 1."""
    draw, held = np.random.default_rng(1), 0
    for _ in range(400):
        common_T, own = draw.normal(0, 5, 20), draw.normal(0, 1, (4, 20))
        x = [common_T + own_T + draw.normal(0, 1, (3, 1)) for own_T in own]
        found, p = statistics.contrast((1, x[0] + 1), (-1, x[1]), (-1, x[2]), (1, x[3]))
        held += found.low <= 1 <= found.high
        assert (found.low <= 0 <= found.high) == (p >= 0.05)
    assert 0.93 <= held / 400 <= 0.99


def test_a_mean_over_seeds_by_hand():
    # task means 1, 3 (variance of the mean 1, 1 degree); seed means 1.5, 2.5 (0.25, 1): 1.25^2 / (1 + 0.0625) = 1 degree
    found = mean(np.array([[0.0, 3.0], [2.0, 3.0]]))
    assert found == pytest.approx((2, 2 - 12.7062 * 1.25**0.5, 2 + 12.7062 * 1.25**0.5), abs=1e-3)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), min_size=1, max_size=20))
def test_per_token_has_the_mean_of_sum_over_sum(rows):
    sums, tokens = np.array([[nll for nll, _ in rows]]), np.array([t for _, t in rows])
    assert per_token(sums, tokens).mean() == pytest.approx(sums.sum() / tokens.sum(), abs=1e-9)
