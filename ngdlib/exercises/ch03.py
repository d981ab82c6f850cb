"""Chapter 3: where an estimate has no noise, the variance of one weight, how many labels."""

from __future__ import annotations

from typing import Any

from ngdlib.exercises import Verdict, judge

_RIGHT = ("hessian", "score", "hessian", "none", "both")
_WORDS = ("score", "hessian", "both", "none")
# What a wrong word says about each case.
_MESSAGES: list[dict[str, str]] = [
    {
        "score": "The score's noise is that of e^2, which varies at p other than 1/2. What is H of w . x?",
        "both": "The Hessian has none, right. But e^2 is p^2 or (1 - p)^2: the score has noise.",
        "none": "f = w . x is linear in w. What is its second derivative?",
    },
    {
        "hessian": "The network bends, so H is not 0, and e is 1/2 or -1/2. What is e^2?",
        "both": "The score has none, right. But e changes its sign and multiplies H of a bending network.",
        "none": "At f = 0 the label is a fair coin, e is 1/2 or -1/2. What is e^2?",
    },
    {
        "score": "Normal labels have an e^2 that varies. What is H in the weights of the last layer?",
        "both": "The Hessian has none there, right. But e^2 of normal labels varies.",
        "none": "The output is linear in the weights of the last layer. What is H in its block?",
    },
    {
        "score": "Normal labels have an e^2 that varies, in every block.",
        "hessian": "That is so for ReLU. A tanh network bends in the weights of its first layer.",
        "both": "A tanh network bends in its first layer, and e^2 of normal labels varies.",
    },
    {
        "score": "The score has none, right. But the model is linear as well: what is H?",
        "hessian": "The Hessian has none, right. But at w = 0 the label is a fair coin: what is e^2?",
        "none": "Linear in w, and p = 1/2: check both.",
    },
]


def check_exact(answer: Any) -> Verdict:
    """Exercise 3.1: for five cases "score", "hessian", "both" or "none"."""
    if answer is None:
        return Verdict(None, "Put yours in place of None and run the cell again.")
    if (
        isinstance(answer, str)
        or not isinstance(answer, list | tuple)
        or len(answer) != len(_RIGHT)
    ):
        return Verdict(False, f"Give a list of {len(_RIGHT)} words, one for each case.")
    words = [str(word).strip().lower() for word in answer]
    for k, word in enumerate(words):
        if word not in _WORDS:
            return Verdict(False, f"Case {k + 1}: the words are {', '.join(_WORDS)}; not {word!r}.")
    for k, (word, right) in enumerate(zip(words, _RIGHT, strict=True)):
        if word != right:
            return Verdict(False, f"Case {k + 1}: {_MESSAGES[k][word]}")
    return Verdict(
        True, "no bending, no noise in the Hessian; a constant e^2, no noise in the score."
    )


def check_weight(answer: Any) -> Verdict:
    """Exercise 3.2: (F, Var F_1, Var F_2) of f = w^2 at w = 3 with 4 labels, squared error."""
    F, J = 36.0, 6.0
    return judge(
        answer,
        (F, 2 * F**2 / 4, 1.0),
        "slopes to the fourth for the score, bending squared for the Hessian, each over 4.",
        mistakes=[
            ((F, 2 * F**2, 4.0), "That is for one label. Four labels divide the variance by four."),
            ((F, 2 * F**2 / 16, 0.25), "A variance falls as 1/S, not as 1/S^2."),
            (
                (F, F**2 / 4, 1.0),
                "Var(e^2) is 2 for normal labels: the fourth moment is 3, and 3 - 1 = 2.",
            ),
            (
                (F, 3 * F**2 / 4, 1.0),
                "That is the second moment of e^2. Subtract the square of its mean: 3 - 1.",
            ),
            ((F, 648**0.5, 1.0), "Those are standard deviations; give variances."),
            ((J, 2 * J**2 / 4, 1.0), "F is J^2, not J."),
            ((F, 648.0, 0.5), "The Hessian's noise is e H, with variance H^2 = 4, not H = 2."),
            ((F, 1.0, 648.0), "The other way round: the score's noise multiplies slopes."),
            ((F, 648.0, 0.0), "f = w^2 bends: H = 2, and the Hessian has noise."),
            ((9.0, 2 * 81 / 4, 1.0), "J is df/dw = 2 w, not w."),
        ],
        otherwise="J = 2 w, H = 2; Var F_1 = 2 J^4 / S and Var F_2 = H^2 / S.",
        rtol=1e-4,
    )


def check_labels(answer: Any) -> Verdict:
    """Exercise 3.3: labels per input for 5 % of the trace with 50 inputs."""
    return judge(
        answer,
        16,
        "2 / (N S) = 0.05^2.",
        mistakes=[
            (800, "That is N S, all labels together. Divide by the 50 inputs."),
            (8, "Var(e^2) is 2, not 1."),
            (
                0.8,
                "You set the variance to 5 %. The standard deviation is its root: square the 5 %.",
            ),
            (1, "You set the variance to 5 %. The standard deviation is its root: square the 5 %."),
            (
                24,
                "You used the fourth moment, 3. The variance of e^2 is 3 - 1 = 2.",
            ),
            (40000, "You multiplied by the inputs. They average the noise as labels do."),
            (4, "That is the root of it. The relative variance is 2 / (N S)."),
            (20, "One over 5 % is no number of labels: the noise falls as the root of N S."),
        ],
        otherwise="The relative variance of a mean of N S values of e^2 is 2 / (N S).",
        rtol=1e-6,
    )
