"""The checks of chapter 1 know the right answers, other forms of them, and the named mistakes."""

import math
import re

import numpy as np
import pytest

from ngdlib.exercises import ch01

from .verdicts import printed, verdicts

PAGE = "01-foundations/gradient_descent.md"


def solution(a, g):
    n, c, i = g.shape
    flat = g.reshape(n * c, i)
    return np.kron(a @ a.T, np.ones((c, c))) * (flat @ flat.T)


def by_loops(a, g):
    n, c, _ = g.shape
    out = np.zeros((n * c, n * c))
    for p in range(n * c):
        for q in range(n * c):
            out[p, q] = (g[p // c, p % c] @ g[q // c, q % c]) * (a[p // c] @ a[q // c])
    return out


def four_axes(a, g):
    return (a @ a.T)[:, None, :, None] * np.einsum("nci,mdi->ncmd", g, g)


def gram(g):
    flat = g.reshape(-1, g.shape[2])
    return flat @ flat.T


def big(a, c):
    return np.kron(a @ a.T, np.ones((c, c)))


def class_major(a, g):
    n, c, _ = g.shape
    return solution(a, g).reshape(n, c, n, c).transpose(1, 0, 3, 2).reshape(n * c, n * c)


KERNELS = [
    (lambda a, g: big(a, g.shape[1]) @ gram(g), "entry-wise product"),
    (lambda a, g: big(a, g.shape[1]) + gram(g), "added A and G"),
    (lambda a, g: solution(a, g) / len(a), "divided by N"),
    (class_major, "sorted by output first"),
    (lambda a, g: np.kron(np.ones((2, 2)), a @ a.T) * gram(g), "tiled instead of repeated"),
    (lambda a, g: np.kron(a @ a.T, np.eye(2)) * gram(g), "same output"),
    (lambda a, g: np.trace(solution(a, g)), "the trace"),
    (lambda a, g: (a @ a.T) * np.einsum("nci,mci->nm", g, g), "summed over the outputs"),
    (lambda a, g: gram(g), "G alone"),
    (lambda a, g: big(a, g.shape[1]), "A alone"),
    (lambda a, g: a @ g, "stopped with ValueError"),
    (3.0, "Pass the function itself"),
]
LARGEST = [
    (0.25, "forgot the 1/N"),
    (5, "gone at once"),
    (0.125, "N is missing"),
    (800, "smallest eigenvalue"),
    (80 / 8.1, "the best step"),
    (0.00625, "wrong side"),
    (80 / 10.1, "sum of the eigenvalues"),
    (7, "reaches -1"),
]
STEPS = [
    (92, "round up"),
    (math.log(100) / (2 * math.log(81 / 79)), "come whole"),
    (185, "coefficient itself"),
    (91, "largest stable step"),
    (184, "removes the fastest mode"),
    (40, "base 10"),
    (24, "eigenvalue 2"),
    (7, "Solve factor"),
]
EXERCISES = [
    (ch01.check_layer_kernel, [solution, by_loops, four_axes], KERNELS),
    (ch01.check_largest_step, [10, 10.0, np.float64(2 * 40 / 8)], LARGEST),
    (ch01.check_steps, [93, 93.0, math.ceil(math.log(100) / (2 * math.log(81 / 79)))], STEPS),
]
test_verdicts = verdicts(*EXERCISES)


@pytest.mark.parametrize(("check", "_", "wrong"), EXERCISES)
def test_messages_are_all_different(check, _, wrong):
    assert len({check(answer).message for answer, _ in wrong}) == len(wrong)


def test_the_right_number_of_steps_is_the_least():
    assert (79 / 81) ** (2 * 93) <= 0.01 < (79 / 81) ** (2 * 92)


def test_printed_solutions_are_right():
    _, names = printed(PAGE, "sol-gd-hadamard")
    assert ch01.check_layer_kernel(names["layer_kernel"])
    text, _ = printed(PAGE, "sol-gd-largest")
    assert ch01.check_largest_step(float(re.search(r"2N/.* = 80/8 = (\d+)\$", text)[1]))
    text, _ = printed(PAGE, "sol-gd-steps")
    assert ch01.check_steps(float(re.search(r"the (\d+)rd step", text)[1]))
