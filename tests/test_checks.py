"""Each check of a setting: what it returns, and the one sentence of its error."""

import pytest

from cotracker import checks


def test_good_values_come_back():
    assert checks.whole("n", 3, 1, 3) == 3 and checks.whole("n", -5) == -5
    assert checks.number("x", 0.5, 0) == 0.5 and checks.number("x", 2) == 2
    assert checks.share("p", 0) == 0 and checks.share("p", 1.0) == 1.0
    assert checks.switch("on", False) is False
    assert checks.pair("range", [1, 1]) == (1, 1)
    assert checks.pair("size", (5, 3), 1, whole=True, ordered=False) == (5, 3)
    assert checks.choice("kind", "a", ("a", "b")) == "a"


@pytest.mark.parametrize(
    "check, sentence",
    [
        (lambda: checks.whole("n", True), "n must be a whole number, not True"),
        (lambda: checks.whole("n", 2.0, 1), "n must be a whole number of at least 1, not 2.0"),
        (lambda: checks.whole("n", 4, 1, 3), "n must be a whole number from 1 to 3, not 4"),
        (lambda: checks.number("x", float("nan")), "x must be a number, not nan"),
        (lambda: checks.number("x", "1"), "x must be a number, not 1"),
        (lambda: checks.number("x", 3, most=2), "x must be a number of at most 2, not 3"),
        (lambda: checks.share("p", -0.1), "p must be a number from 0 to 1, not -0.1"),
        (lambda: checks.switch("on", 1), "on must be true or false, not 1"),
        (lambda: checks.pair("r", (2, 1)), "r must be two numbers, the lower first, not (2, 1)"),
        (lambda: checks.pair("r", "12"), "r must be two numbers, the lower first, not 12"),
        (
            lambda: checks.pair("s", (1.5, 2), 1, 9, whole=True, ordered=False),
            "s must be two whole numbers from 1 to 9, not (1.5, 2)",
        ),
        (lambda: checks.choice("k", "d", ("a", "b", "c")), "k must be a, b or c, not d"),
    ],
)
def test_other_values_are_refused_in_one_sentence(check, sentence):
    with pytest.raises(ValueError) as caught:
        check()
    assert str(caught.value) == sentence
