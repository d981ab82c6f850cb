"""The checks of chapter 26 know the right answer and name every misconception."""

import numpy as np
import pytest

from ngdlib.exercises import ch26
from ngdlib.figures.hardware import crossover, operations


def test_crossover():
    N = np.arange(1, 1000)
    work = operations(ch26.WIDTHS, N)
    first = N[work["solve"] > work["passes"] + work["kernel"] + work["step"]][0]
    assert ch26.check_crossover(first)
    assert ch26.check_crossover(crossover(ch26.WIDTHS) / 10)
    wrong = {
        10 * first: "N C, the rows",
        crossover((784, 500, 500, 1)): "one output",
        770_820**0.5 / 10: "left out the kernel",
        crossover(ch26.WIDTHS, price=1 / 3) / 10: "LU factor too",
        (784 * 500 + 500 * 500 + 5000) / 10: "same size",
        crossover(ch26.WIDTHS, devices=8) / 10: "eight devices",
        77: "Set (N C)^3",
    }
    messages = {ch26.check_crossover(answer).message for answer in wrong}
    assert len(messages) == len(wrong)
    for answer, words in wrong.items():
        verdict = ch26.check_crossover(answer)
        assert verdict.right is False
        assert words in verdict.message


def rows(own, everyone, *, others=None, join="*", order="ncmd"):
    """The solution of exercise 26.2, with switches for what can go wrong."""
    a, g = (np.concatenate(parts) for parts in zip(*(others or everyone)))
    A = (own[0] @ a.T)[:, None, :, None]
    G = np.einsum("nci,mdi->ncmd", own[1], g)
    block = {"*": A * G, "+": A + G, "G": G, "A": A + 0 * G}[join]
    return np.einsum(f"ncmd->{order}", block)


def test_rows():
    assert ch26.check_rows(rows)

    def by_jacobian(own, everyone):
        J = np.concatenate([np.einsum("nci,nj->ncij", g, a).reshape(-1, 20) for a, g in everyone])
        mine = np.einsum("nci,nj->ncij", own[1], own[0]).reshape(-1, 20)
        return mine @ J.T  # (n c, N c): as one matrix

    assert ch26.check_rows(by_jacobian)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"join": "G"}, "products of g"),
        ({"join": "A"}, "products of a"),
        ({"join": "+"}, "multiplied, not added"),
        ({"order": "mdnc"}, "your columns"),
        ({"order": "nmcd"}, "The order is"),
    ],
)
def test_wrong_rows_are_recognised(wrong, words):
    verdict = ch26.check_rows(lambda own, everyone: rows(own, everyone, **wrong))
    assert verdict.right is False
    assert words in verdict.message


def test_a_block_of_the_diagonal_is_recognised():
    verdict = ch26.check_rows(lambda own, everyone: rows(own, [own]))
    assert "block of the diagonal" in verdict.message
    shuffled = ch26.check_rows(lambda own, everyone: rows(own, everyone[::-1]))
    assert "one below the other" in shuffled.message


def test_compiles():
    assert ch26.check_compiles((False, True, False, True, True))
    wrong = {
        (True, True, True, True, True): "ever be reused",
        (True, True, False, True, True): "damping is an argument",
        (False, False, False, True, True): "number of samples is a shape",
        (False, True, False, True, False): "made for types",
        (False, True, True, True, True): "New weights",
        (True, False, True, False, False): "other way round",
        (False, False, False, False, False): "Ask of each",
    }
    for answer, words in wrong.items():
        verdict = ch26.check_compiles(answer)
        assert verdict.right is False
        assert words in verdict.message


@pytest.mark.parametrize("check", [ch26.check_crossover, ch26.check_rows, ch26.check_compiles])
def test_no_answer_and_nonsense(check):
    assert check(None).right is None
    assert check("seven").right is False
    assert check(-1.0).right is False


def test_functions_that_fail_say_why():
    assert "Your function stopped with" in ch26.check_rows(lambda own: own).message
    assert ch26.check_rows(lambda own, everyone: None).right is None
    assert "shape (3, 2, 9, 2)" in ch26.check_rows(lambda own, everyone: np.zeros(3)).message
