"""The study's verdict: which answer, with which bound, and that it says why."""

from __future__ import annotations

import pytest

from scalewise.statistics.bootstrap import Interval
from scalewise.statistics.verdict import Answer, Verdict
from scalewise.study.verdict import judge_routing


def answer(selector: Interval | None, p: float, two: Interval | None = None) -> Verdict:
    return judge_routing(
        selector, p, two, selector_name="learned", fixed_scale=0.5, alpha=0.05, min_gain=0.01
    )


@pytest.mark.parametrize(
    ("selector", "p", "two", "expected"),
    [
        (Interval(0.90, 0.88, 0.92), 0.001, None, Answer.NEEDED),
        (Interval(0.90, 0.88, 0.92), 0.20, None, Answer.CANNOT_TELL),
        (Interval(0.995, 0.993, 0.997), 0.001, None, Answer.NOT_NEEDED),
        (Interval(0.995, 0.985, 1.005), 0.001, None, Answer.CANNOT_TELL),
        (Interval(1.0, 0.999, 1.001), 1.0, None, Answer.NOT_NEEDED),
        (Interval(1.0, 0.97, 1.03), 1.0, None, Answer.CANNOT_TELL),
        (Interval(1.0, 0.999, 1.001), 1.0, Interval(0.95, 0.9, 1.0), Answer.CANNOT_TELL),
        (None, 1.0, None, Answer.CANNOT_TELL),
    ],
)
def test_verdict(
    selector: Interval | None, p: float, two: Interval | None, expected: Answer
) -> None:
    found = answer(selector, p, two)
    assert found.answer is expected
    assert found.reason


def test_another_selector_that_might_gain_forbids_not_needed() -> None:
    found = judge_routing(
        Interval(1.0, 1.0, 1.0),
        1.0,
        None,
        others=[Interval(0.99, 0.95, 1.03)],
        selector_name="fixed",
        fixed_scale=0.5,
        alpha=0.05,
        min_gain=0.01,
    )
    assert found.answer is Answer.CANNOT_TELL


def test_the_upper_bound_is_that_of_whatever_may_gain_most() -> None:
    selector, other = Interval(0.98, 0.97, 0.99), Interval(1.0, 0.96, 1.04)
    two = Interval(0.95, 0.9, 1.0)
    bounds = [
        judge_routing(
            selector,
            0.5,
            pair,
            others=others,
            selector_name="learned",
            fixed_scale=0.5,
            alpha=0.05,
            min_gain=0.01,
        )
        for others, pair in (([], None), ([other], None), ([other], two))
    ]
    assert [v.high for v in bounds] == pytest.approx([0.03, 0.04, 0.1])
    assert {(v.gain, v.low, v.p) for v in bounds} == {(1 - 0.98, 1 - 0.99, 0.5)}
