"""Clopper–Pearson intervals against SciPy's beta quantiles and the binomial distribution."""

import math

import pytest
from scipy.stats import beta

from stadx.core.errors import DataError
from stadx.metrics.intervals import clopper_pearson, korn_graubard, percent


def quantiles(k: int, n: int, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, k, n - k + 1) if k else 0.0
    return low, beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_every_count_of_small_numbers_agrees_with_scipy(confidence: float) -> None:
    for n in range(1, 41):
        for k in range(n + 1):
            assert clopper_pearson(k, n, confidence) == pytest.approx(quantiles(k, n, confidence), rel=0, abs=1e-9)


@pytest.mark.parametrize("n", [1_000, 100_000, 10_000_000])
def test_large_numbers_agree_with_scipy(n: int) -> None:
    for k in (0, 1, 7, n // 3, n // 2, n - 1, n):
        assert clopper_pearson(k, n) == pytest.approx(quantiles(k, n, 0.95), rel=0, abs=1e-9)


def test_limits_are_where_the_binomial_tails_are_half_of_what_is_left() -> None:
    k, n = 3, 17
    low, high = clopper_pearson(k, n)

    def tail(counts: range, share: float) -> float:
        return math.fsum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in counts)

    assert tail(range(k, n + 1), low) == pytest.approx(0.025, abs=1e-12)
    assert tail(range(k + 1), high) == pytest.approx(0.025, abs=1e-12)


def test_none_and_all_have_closed_forms() -> None:
    assert clopper_pearson(0, 12) == (0.0, pytest.approx(1 - 0.025 ** (1 / 12), abs=1e-12))
    assert clopper_pearson(12, 12) == (pytest.approx(0.025 ** (1 / 12), abs=1e-12), 1.0)


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (0, 0), (1.5, 5)])
def test_what_is_no_share_is_refused(k: int, n: int) -> None:
    with pytest.raises(DataError, match="is no share"):
        clopper_pearson(k, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0])
def test_confidence_that_cannot_be_is_refused(confidence: float) -> None:
    with pytest.raises(DataError, match="confidence is"):
        clopper_pearson(1, 5, confidence)


def test_shares_are_said_without_powers_of_ten() -> None:
    shares = [0, 0.00449, 0.134, 0.996, 1]
    assert [percent(share) for share in shares] == ["0 %", "0.45 %", "13 %", "100 %", "100 %"]
    assert percent(0.9995, 4) == "99.95 %"


def test_images_that_are_not_independent_count_as_fewer() -> None:
    assert korn_graubard(8, 160, 160) == clopper_pearson(8, 160)
    assert korn_graubard(8, 160, 80) == pytest.approx(clopper_pearson(4, 80), abs=1e-12)
    low, high = korn_graubard(8, 160, 90.5)
    k, n = 8 * 90.5 / 160, 90.5
    assert low == pytest.approx(beta.ppf(0.025, k, n - k + 1), abs=1e-9)
    assert high == pytest.approx(beta.ppf(0.975, k + 1, n - k), abs=1e-9)
