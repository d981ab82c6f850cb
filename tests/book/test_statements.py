"""Numbers that chapters state in plain words, computed again."""

from pathlib import Path

import numpy as np

BOOK = Path(__file__).resolve().parents[2] / "book"


def test_how_to_use_best_step_of_two_curvatures() -> None:
    text = (BOOK / "00-orientation" / "how_to_use.md").read_text()
    eta = np.linspace(0, 2.4, 240_001)
    slower = np.maximum(abs(1 - eta), abs(1 - eta / 20))
    assert abs(eta[slower.argmin()] - 40 / 21) < 1e-5
    assert abs(slower.min() - 19 / 21) < 1e-5
    assert f"40/21 \\approx {40 / 21:.3f}" in text
    assert f"19/21 \\approx {19 / 21:.3f}" in text
