"""The checks of chapter 11 know the right answers, other forms of them, and the named mistakes."""

import re

import numpy as np

from ngdlib.exercises import ch11
from ngdlib.fisher import FISHERS
from ngdlib.fisher.layerwise import Layerwise

from .verdicts import BOOK, verdicts

J, N, SIZES = ch11.problem()
F = J.T @ J / N
P = len(F)
GROUP = np.repeat([0, 0, 1], SIZES)
LAYER = np.repeat([0, 1, 2], SIZES)
BLIND = np.eye(P) - np.linalg.pinv(J) @ J


class Coupled(Layerwise):
    """Neighbouring layers coupled half as strongly."""

    def sigma(self, depth):
        return np.eye(depth) + 0.5 * (super().sigma(depth) - np.eye(depth))


def pattern(sigma):
    return F * np.array(sigma)[np.ix_(LAYER, LAYER)]


RIGHT = [
    F * (GROUP[:, None] == GROUP),
    F + BLIND,
    (F + BLIND).tolist(),
    pattern([[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]),
    7 * (F + 2 * BLIND),
    Coupled(**vars(FISHERS["block_tridiagonal"])),
]
OWN = [
    (np.eye(P), "gradient descent"),
    (np.diag(np.diag(F)), "diagonal metric"),
    (F, "it is exact"),
    (3 * F, "it is exact"),
    (pattern(np.eye(3)), "it is block_diagonal"),
    (FISHERS["block_tridiagonal"], "it is block_tridiagonal"),
    (FISHERS["kfac"], "it is kfac"),
    (FISHERS["unit_wise"], "it is unit_wise"),
    (FISHERS["gradient"], "gradient descent"),
    (J @ J.T / N, "function space"),
    (np.eye(3), "should have shape"),
    (np.triu(F), "symmetric"),
    (-F - BLIND, "negative"),
    (np.zeros((P, P)), "zero matrix"),
    (BLIND, "moves no training output"),
    (np.full((P, P), np.nan), "NaN"),
    (F + 1e-3 * np.trace(F) * np.eye(P) / P, "damping inside"),
    (np.linalg.pinv(F, rcond=1e-10), "inverted it"),
    (F**2, "eigenvalues on the training set differ"),
    ("exact", "not str"),
]
CUT = [
    (10060, "trace"),
    (1002, "full rank"),
    (3, "counted layers"),
    (201, "unit-wise"),
    (102, "100 blocks"),
    (550, "counted parameters"),
    (333.33, "are missing"),
    (334.33, "One of the layers"),
    (340, "Add the ranks"),
]
SPECTRUM = [
    ((4, 0.75, 0.25, 0.75), "1/alpha is the best"),
    ((4, 3, 2 / 9, 5 / 9), "relative"),
    ((4, 0.5, 2 / 9, 5 / 9), "smallest eigenvalue"),
    ((4, 0.75, 2 / 9, 25 / 81), "of the loss"),
    ((3, 4 / 3, 2 / 9, 5 / 9), "median"),
    ((4, 0.75, 1 / 7, 5 / 7), "safe but not best"),
    ((4, 0.75, 2 / 7, 3 / 7), "edge of stability"),
    ((12, 0.75, 2 / 9, 5 / 9), "trace"),
    ((4, 0.75, 2 / 9, -5 / 9), "size"),
    (4, "shape"),
    ((1, 1, 1, 1), "one by one"),
]

test_verdicts = verdicts(
    (ch11.check_own_metric, RIGHT, OWN),
    (ch11.check_cut, [10060 / 30, 335.33, np.float64(1006) / 3], CUT),
    (ch11.check_spectrum, [(4, 0.75, 2 / 9, 5 / 9), [4.0, 3 / 4, 0.2222, 0.5556]], SPECTRUM),
)


def test_printed_solutions_are_right():
    text = (BOOK / "02-approximations/isotropy.md").read_text("utf-8")
    codes = re.findall(r"```python\n(.*?)```", text, re.S)
    names = {"np": np, "ch11": ch11}
    for code in codes:
        exec(code, names)
        assert ch11.check_own_metric(names["own"])
    assert ch11.check_cut(float(re.search(r"10\\,060/30 = ([\d.]+)\$", text)[1]))
    alpha, deviation = re.search(r"12/3 = (\d)\$.*the deviation is ([\d.]+)\.", text).groups()
    step, factor = re.search(r"eta = (\d/\d)\$, not.*1 - 4/9 = (\d/\d)\$", text).groups()
    numbers = [float(alpha), float(deviation), *(int(f[0]) / int(f[2]) for f in (step, factor))]
    assert ch11.check_spectrum(numbers)
