"""Learning curves, extended."""

from __future__ import annotations

import numpy as np
import pytest

from scalewise.analysis.attribution.forecasts import ordered
from scalewise.analysis.forecast import BEND, ErrorForecast, extend
from scalewise.statistics.verdict import Answer, Verdict


def curve(*errors: float) -> np.ndarray:
    return np.array([errors, errors])


def test_a_power_law_goes_on_as_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BEND, "frames", (1.0, 0.0))
    found = extend("frames", (100, 200), curve(16.0, 8.0), 800)
    assert found is not None
    assert found.gain == pytest.approx(0.75)
    assert found.low == found.high == found.gain


def test_a_curve_that_bends_saves_less_with_each_doubling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BEND, "steps", (0.5, 0.0))
    # slopes log 2, then 0.5 and 0.25 of it at the middles of the next two doublings
    found = extend("steps", (100, 200), curve(16.0, 8.0), 400)
    assert found is not None
    assert -np.log1p(-found.gain) == pytest.approx(
        np.log(2.0) * np.sqrt(0.5) * (0.5 - 1.0) / np.log(0.5)
    )


def test_what_a_forecast_may_not_do() -> None:
    # below the noise of the labels, where it is known; nor above what was reached for its sake
    for floor, most in ((7.0, 0.125), (12.0, 0.0)):
        found = extend("frames", (100, 200), curve(16.0, 8.0), 400, floor=floor)
        assert found is not None
        assert found.high == pytest.approx(most)
    assert extend("frames", (100, 200), curve(16.0, 0.0), 400) is None
    assert extend("steps", (100, 100), curve(16.0, 8.0), 200) is None
    # an error that rose is not forecast to fall
    risen = extend("frames", (100, 200), curve(8.0, 9.0), 400)
    assert risen is not None
    assert risen.high == 0.0


def test_luck_that_few_replicas_tell_widens_it_more() -> None:
    """As Student's t: 2.92 to 1.645 with two degrees of freedom, where luck is all there is."""
    known, few = (
        extend("frames", (100, 200), curve(8.0, 8.0), 400, luck=0.01, freedom=freedom)
        for freedom in (None, 2)
    )
    assert known is not None
    assert few is not None
    assert few.high - few.low == pytest.approx(2.92 / 1.645 * (known.high - known.low), rel=0.12)


def test_luck_widens_an_interval() -> None:
    widths = []
    for luck in (0.0, 0.1):
        found = extend("frames", (100, 200), curve(16.0, 8.0), 400, luck=luck)
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[1] > 1.2 * widths[0]


def test_the_order_of_what_saves_most() -> None:
    now = [
        Verdict(Answer.NEEDED, 0.1, 0.08, 0.12, question="cutoff"),
        Verdict(Answer.NOT_NEEDED, -0.1, -0.12, -0.08, question="routing"),
        Verdict(Answer.NEEDED, 0.3, 0.2, 0.4, question="data"),
        Verdict(Answer.CANNOT_TELL, question="long"),
    ]
    found = ordered(now, {"frames": ErrorForecast(400, 0.2, 0.1, 0.3), "steps": None})
    assert [row["remedy"] for row in found] == ["frames", "cutoff"]
    # intervals of 90 % all of them
    assert 0.08 < found[1]["low"] < 0.1 < found[1]["high"] < 0.12
