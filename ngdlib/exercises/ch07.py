"""Checks for chapter 7, block-diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np

from ngdlib.exercises import Verdict, call, judge


def check_divergence(answer: Any) -> Verdict:
    """At eta = 0.45: (the largest L that converges, loss after 6 steps / loss at the start at L = 5)."""
    right = 1.25**12
    return judge(
        answer,
        (4, right),
        "1 - 0.45 x 4 = -0.8 shrinks, 1 - 0.45 x 5 = -1.25 does not, and the loss is a square.",
        [
            (
                (4, 1.25**6),
                "The first is right. The second is the residual; the loss is its square.",
            ),
            (
                (2, right),
                "eta L < 1 is where the residual keeps its sign. It may change its sign and still "
                "shrink: |1 - eta L| < 1 is all that is needed.",
            ),
            (
                (2, 1.25**6),
                "Two things: |1 - eta L| < 1 allows a change of sign, and the loss is the square of the "
                "residual.",
            ),
            (
                (5, right),
                "At L = 5 the factor is 1 - 2.25 = -1.25: that grows. The last one that shrinks?",
            ),
            (
                (4.44, right),
                "A number of layers is whole: 2 / 0.45 = 4.44 lies between two of them.",
            ),
            (
                (4, 0.55**12),
                "You let the loss shrink, by 1 - eta per step (that is the exact method) or per layer (as if "
                "the layers took turns). All L of them see the same residual and move at once: 1 - eta L.",
            ),
            (
                (4, 2.25**12),
                "2.25 is the share that a step takes away; 1 - 2.25 is what it leaves.",
            ),
            (
                (right, 4),
                "The other way round: first the number of layers, then the ratio of the losses.",
            ),
        ],
        otherwise="The factor of the residual per step is 1 - eta L; its absolute value decides.",
        rtol=2e-3,
    )


def check_outputs_moved(answer: Any) -> Verdict:
    """outputs_moved(thetas, residual, damping) -> (N,), G_bar r; thetas (L, N, N), residual (N,)."""
    rng = np.random.default_rng(7)
    L, n, rho = 3, 5, 0.4
    J = rng.standard_normal((L, n, 9)) * np.array([1.0, 1.5, 2.0])[:, None, None]
    thetas, r, eye = J @ J.swapaxes(1, 2), rng.standard_normal(n), np.eye(n)

    def one(theta: np.ndarray, damping: float = rho, scale: float = n) -> np.ndarray:
        return theta / scale @ np.linalg.solve(theta / scale + damping * eye, r)

    each = sum(one(t) for t in thetas)
    whole = thetas.sum(0)
    mean = sum(thetas / n) @ np.linalg.solve(thetas.mean(0) / n + rho * eye, r)
    return judge(
        call(answer, thetas, r, rho),
        each,
        "every layer filters the same residual by itself, and the outputs add up.",
        [
            (one(whole), "That is exact natural gradient: you added the kernels, then inverted. Block by "
             "block means to invert each, then to add."),
            (sum(one(t, scale=1) for t in thetas), "Damping is in units of F, which contains 1/N: "
             "it belongs to Theta_l / N."),
            (each / L, "That is the mean over the layers: eta = 1/L is the caller's business, and "
             "G_bar contains no step size."),
            (mean, "You inverted the mean of the kernels. Each block has its own inverse."),
            (sum(one(t, rho / L) for t in thetas), "Every block gets all of rho, not its share: "
             "(F_hat + rho I) adds rho to every diagonal entry."),
            (L * r, "That is the undamped limit, L times the residual. Here rho = 0.4."),
            (r - each, "That is what is left of the residual; asked for is by how much the outputs move."),
            (-each, "The sign: G_bar r is what the step takes away. The minus is in the update."),
            (each / n, "A 1/N too many: in (Theta/N) (Theta/N + rho)^-1 it appears once on each side."),
            (sum(np.linalg.solve(t / n + rho * eye, r) for t in thetas), "These are the weights of the "
             "samples. The outputs move by Theta_l / N times them."),
        ],
        otherwise="Layer by layer: (Theta_l / N) (Theta_l / N + rho I)^-1 r, then the sum.",
    )  # fmt: skip


def check_narrow(answer: Any) -> Verdict:
    """(best eta, slowest factor) for L = 4 and a last layer of 12 weights, N = 20, rho -> 0."""
    return judge(
        answer,
        (2 / 7, 1 / 7),
        "12 modes are taken by all four layers and 8 by three: eigenvalues 4 and 3 of G_bar.",
        [
            (
                (1 / 4, 1 / 4),
                "eta = 1/4 kills the twelve modes with eigenvalue 4 and leaves a quarter of the other "
                "eight. A little more does better: balance both ends.",
            ),
            (
                (1 / 3, 1 / 3),
                "eta = 1/3 kills the eight modes with eigenvalue 3 and overshoots the other twelve by a "
                "third. A little less does better: balance both ends.",
            ),
            (
                (1 / 4, 0),
                "That would be so if every layer could fit every residual. The last one has 12 weights "
                "for 20 samples.",
            ),
            (
                (20 / 72, 1 / 6),
                "1/alpha with the mean eigenvalue alpha = 72/20 is not the best step once the eigenvalues "
                "differ: take 2 / (smallest + largest).",
            ),
            (
                (1 / 2, 1),
                "You let the last layer drop out of G_bar or stand alone: the 8 modes that it cannot fit "
                "are still taken by the three others, eigenvalue 3, not 0.",
            ),
            (
                (2 / 7, 1 / 49),
                "The step size is right, and 1/49 is the factor of the loss. Asked for is that of the "
                "residual.",
            ),
            (
                (2 / 7, 6 / 7),
                "6/7 is what a step takes away from the slowest mode; what does it leave?",
            ),
            (
                (1 / 7, 2 / 7),
                "The best step is 2 / (smallest + largest), not 1 / (smallest + largest).",
            ),
        ],
        otherwise="Which eigenvalues has the sum of four projectors, one of them of rank 12 out of 20?",
        rtol=2e-3,
    )
