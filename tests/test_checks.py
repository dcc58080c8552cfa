"""checks.py: what it returns, and the sentence for what cannot be."""

import pytest

from cotracker import checks


def test_values_come_back_as_they_are():
    assert checks.whole("n", 3, 1, 3) == 3 and checks.number("n", 0.5, 0) == 0.5
    assert checks.share("p", 1) == 1 and checks.pair("r", [1, 2.5], 0) == (1, 2.5)
    assert checks.pair("s", (4, 3), ordered=False) == (4, 3)
    assert checks.choice("c", "a", ("a", "b")) == "a" and checks.flag("f", False) is False


@pytest.mark.parametrize("refused, sentence", [
    (lambda: checks.whole("n", True, 1), "n must be a whole number, 1 or more, not True"),
    (lambda: checks.whole("n", 2.0), "n must be a whole number, not 2.0"),
    (lambda: checks.whole("n", 9, 1, 8), "n must be a whole number from 1 to 8, not 9"),
    (lambda: checks.number("x", "1"), "x must be a number, not 1"),
    (lambda: checks.number("x", float("nan"), 0), "x must be a number, 0 or more, not nan"),
    (lambda: checks.number("x", 3, most=2.5), "x must be a number, 2.5 or less, not 3"),
    (lambda: checks.share("p", 1.5), "p must be a number from 0 to 1, not 1.5"),
    (lambda: checks.pair("r", 5, 0), "r must be two numbers, 0 or more, not 5"),
    (lambda: checks.pair("r", "12"), "r must be two numbers, not 12"),
    (lambda: checks.pair("r", [2, 1]),
     "r must be two numbers, the smaller one first, not [2, 1]"),
    (lambda: checks.choice("c", 1, (True, False)), "c must be true or false, not 1"),
    (lambda: checks.choice("c", "d", ("a", "b", "c")), "c must be a, b or c, not d"),
])  # fmt: skip
def test_a_value_that_cannot_be_is_one_sentence(refused, sentence):
    with pytest.raises(ValueError) as refusal:
        refused()
    assert str(refusal.value) == sentence
