"""The rule of three answers, at its edges."""

from __future__ import annotations

import pytest

from scalewise.statistics.verdict import Answer, Verdict, decide


@pytest.mark.parametrize(
    ("gain", "high", "p", "expected"),
    [
        (0.02, 0.10, 0.05, Answer.NEEDED),  # both edges belong to "needed"
        (0.02, 0.10, 0.050001, Answer.CANNOT_TELL),
        (0.019999, 0.10, 0.0, Answer.CANNOT_TELL),
        (0.019999, 0.02, 0.0, Answer.CANNOT_TELL),  # a gain that pays is not excluded yet
        (0.01, 0.019999, 0.0, Answer.NOT_NEEDED),  # real, and does not pay
        (-0.5, -0.4, 1.0, Answer.NOT_NEEDED),
        (0.5, 0.9, 0.06, Answer.CANNOT_TELL),
        (0.02, 0.01, 0.0, Answer.NEEDED),  # the gain counts before its bound
    ],
)
def test_the_rule_at_its_edges(gain: float, high: float, p: float, expected: Answer) -> None:
    assert decide(gain, high, p, min_gain=0.02, alpha=0.05) is expected


def test_a_record_holds_what_files_hold_in_their_order() -> None:
    verdict = Verdict(Answer.NEEDED, 0.1, 0.05, 0.15, 0.001, "why", "data", 0.5)
    record = {"answer": "needed", "gain": 0.1, "low": 0.05, "high": 0.15, "p": 0.001}
    assert list(verdict.record().items()) == list(record.items())
    assert Verdict(**verdict.record()) == Verdict(Answer.NEEDED, 0.1, 0.05, 0.15, 0.001)
