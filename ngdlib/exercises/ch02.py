"""Chapter 2: checks for invariance, a counterexample to the empirical Fisher, one coin twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, call, judge


def check_invariant_step(answer: Any) -> Verdict:
    """Exercise 2.1: a function (J (N, P), r (N,), T (P, P)) -> natural gradient in theta, (P,)."""
    rng = np.random.default_rng(2)
    J, r, T = rng.standard_normal((7, 3)), rng.standard_normal(7), rng.standard_normal((3, 3))
    N = len(r)
    g, F = J.T @ r / N, J.T @ J / N
    right = np.linalg.solve(F, g)
    F_xi = T.T @ F @ T
    xi = np.linalg.solve(F_xi, T.T @ g)
    return judge(
        call(answer, J, r, T),
        right,
        "T cancels, and the step is F^-1 g whatever the coordinates.",
        mistakes=[
            (xi, "That is the step in xi. A step in xi moves theta by T times it."),
            (T @ T.T @ g, "You left the metric out: T T^T g is plain gradient descent in xi."),
            (
                T.T @ g,
                "That is the gradient in xi: not divided by the metric, and not mapped back.",
            ),
            (
                T @ np.linalg.solve(F_xi, g),
                "The gradient must change coordinates too: the chain rule makes it T^T g.",
            ),
            (
                T @ np.linalg.solve(F, T.T @ g),
                "The metric must change coordinates too: it becomes T^T F T.",
            ),
            (T.T @ xi, "You mapped back with T^T. Gradients map with T^T, steps with T."),
            (
                np.linalg.solve(T, xi),
                "You mapped back with T^-1. From theta = T xi, a step maps with T.",
            ),
            (-right, "The sign: return the natural gradient itself, the caller subtracts it."),
            (
                right / N,
                "There is a 1/N too many: it stands in the gradient and in F, and cancels.",
            ),
            (right * N, "There is a 1/N missing: it stands in the gradient and in F, and cancels."),
        ],
        otherwise="Take Jacobian J T in xi, form F and the gradient from it, solve, and map with T.",
    )


def check_counterexample(answer: Any) -> Verdict:
    """Exercise 2.2: (x, y, w) for f = w x where the empirical Fisher's step is ten times too long."""
    if answer is None:
        return Verdict(None, "Put yours in place of None and run the cell again.")
    try:
        x, y, w = answer
        x, y, w = (np.asarray(a, dtype=float) for a in (x, y, w))
    except (TypeError, ValueError):
        return Verdict(False, "Give three things: the list of x, the list of y, and the number w.")
    if x.shape != y.shape or x.ndim != 1 or w.ndim != 0 or len(x) == 0:
        return Verdict(False, "x and y are lists of the same length, and w is one number.")
    if not all(np.isfinite(a).all() for a in (x, y, w)):
        return Verdict(False, "The answer holds NaN or infinity.")
    r = w * x - y
    gradient, exact, empirical = (x * r).mean(), (x**2).mean(), (x**2 * r**2).mean()
    if exact == 0:
        return Verdict(False, "All x are zero: nothing depends on w, and both metrics vanish.")
    if empirical < 1e-24 * exact:
        return Verdict(
            False,
            "The fit is perfect: the gradient and the empirical Fisher are both zero, and their quotient "
            "says nothing. Stay a little away from the fit.",
        )
    if abs(gradient) < 1e-12 * np.sqrt(exact * empirical):
        return Verdict(
            False, "The gradient is zero: w is the best fit already, and both steps are zero."
        )
    ratio = exact / empirical
    if ratio >= 10:
        return Verdict(
            True,
            f"the empirical Fisher's step is {ratio:.3g} times the natural one. It divides by the squared "
            "residuals, so the smaller the error the longer the step.",
        )
    if ratio > 1.5:
        return Verdict(
            False, f"The right direction, but the step is only {ratio:.2f} times too long. Go on."
        )
    if ratio > 1 / 1.5:
        return Verdict(
            False,
            f"The two steps are about equal (ratio {ratio:.2f}): your residuals are of size 1, as the model "
            "expects them to be. That is the one case where the empirical Fisher is right.",
        )
    return Verdict(
        False,
        f"The wrong way round: with large residuals the empirical step is too short ({ratio:.2g} times "
        "the natural one).",
    )


def check_coin(answer: Any) -> Verdict:
    """Exercise 2.3: Fisher information of a coin with p = 0.2, in its logit and in p itself."""
    p = 0.2
    v = p * (1 - p)
    return judge(
        answer,
        [v, 1 / v],
        "p (1 - p) in the logit, and (df/dp)^2 = 1/(p (1 - p))^2 times that in p.",
        mistakes=[
            ([1 / v, v], "You have them the wrong way round: first the logit, then p."),
            ([v, v], "The same number in both coordinates? Distances agree, the matrix does not."),
            ([v, 1.0], "The chain rule comes in once for each side of the metric: square df/dp."),
            ([v, v**3], "You multiplied by (dp/df)^2; in p it is (df/dp)^2."),
            (
                [v**0.5, v**-0.5],
                "Those are the standard deviations of the scores. Fisher is the variance.",
            ),
            (
                [(1 - p) ** 2, p**-2.0],
                "You took the score of one label, heads, squared. Average over both labels, with the "
                "model's own probabilities.",
            ),
            ([0.25, 4.0], "That is for a fair coin; this one has p = 0.2."),
        ],
        otherwise="Score of the logit: y - p. Its variance is that of a coin. Then change coordinates.",
    )
