"""How well a binary model does before its labels come, from what its scores were worth on the reference.

Confidence-based performance estimation: calibrate the scores on labelled rows,
then count each later row as right with the probability that it is. It sees
what changes the scores (other traffic, other features). It cannot see concept
drift: where the same score has come to mean something else, nothing in the
scores says so, and only labels will.

Source: NannyML, Confidence-based Performance Estimation (CBPE), documentation
of the library, 2022; isotonic calibration: B. Zadrozny and C. Elkan, Transforming
classifier scores into accurate multiclass probability estimates, KDD 2002.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.domain.bins import BINARY_CODES, NO_SCORE, SCORE_BINS
from streamer.domain.reference import Reference
from streamer.domain.scores import binary_estimate

ESTIMATED = ("accuracy", "precision", "recall", "f1", "auc_roc")
MIN_LABELLED = 100
BILLION = 1e9
_CERTAIN = 3.0  # standard errors


class NoCalibration(ValueError):
    """The reference cannot say what scores are worth; the message says why."""


@dataclass(frozen=True, slots=True)
class Estimated:
    """One figure. ``margin``: three standard errors of the estimate, for accuracy; None for the rest.

    ``actual``: the figure of the labelled rows, None where it is undefined. ``rows`` were estimated,
    ``labelled`` are behind ``actual``.
    """

    name: str
    value: float | None
    margin: float | None
    actual: float | None
    rows: int
    labelled: int


def estimate(reference: Reference, current: Reference) -> list[Estimated]:
    """What the current rows' figures are, if scores still mean what they meant on the reference.

    Raises:
        NoCalibration: too few rows of the reference have a score and a label, or no current row has a score.
    """
    by_bin = reference.truths.reshape(SCORE_BINS, 2, 2).sum(axis=1)
    chance = calibrated(by_bin, reference.made_of or reference.model)
    answers = current.answers[:NO_SCORE]
    rows = int(answers.sum())
    if not rows:
        raise NoCalibration(f"no row of {current.made_of or current.model} has a score")
    labelled = int(current.truths.sum())
    found = []
    for name, value in expected(answers, chance).items():
        actual = binary_estimate(current.truths, name) if labelled else None
        found.append(
            Estimated(
                name,
                value,
                margin(answers, chance) if name == "accuracy" else None,
                None if actual is None else actual.value,
                rows,
                labelled,
            )
        )
    return found


def expected(answers: NDArray[np.int64], chance: NDArray[np.float64]) -> dict[str, float | None]:
    """Each figure of ``ESTIMATED`` if a row is positive with the probability of its score; None: undefined.

    Args:
        answers: rows by score bin and predicted class, shape ``(NO_SCORE, 2)``; at least one.
        chance: of ``calibrated``.
    """
    cells = np.zeros((SCORE_BINS, 2, 2))
    cells[:NO_SCORE, :, 1] = answers * chance[:, None]
    cells[:NO_SCORE, :, 0] = answers * (1 - chance[:, None])
    # Figures are worked out of whole rows: a billion of them, so that parts of a row count.
    finely = np.round(cells.reshape(BINARY_CODES) * (BILLION / int(answers.sum()))).astype(np.int64)
    figures = {name: binary_estimate(finely, name) for name in ESTIMATED}
    return {name: None if found is None else found.value for name, found in figures.items()}


def right(answers: NDArray[np.int64], chance: NDArray[np.float64]) -> float:
    """How many rows are expected to be right; see ``expected``."""
    return float((answers[:, 1] * chance + answers[:, 0] * (1 - chance)).sum())


def calibrated(by_bin: NDArray[np.int64], made_of: str) -> NDArray[np.float64]:
    """P(positive) of each score bin, rising, shape ``(NO_SCORE,)``.

    Args:
        by_bin: labelled rows by score bin and actual class, shape ``(SCORE_BINS, 2)``.
        made_of: what they are, for people.

    Raises:
        NoCalibration: there are too few with a score.
    """
    by_bin = by_bin[:NO_SCORE]
    total = int(by_bin.sum())
    if total < MIN_LABELLED:
        raise NoCalibration(
            f"{made_of} has {total} rows with a score and a label, and {MIN_LABELLED} are needed"
        )
    rows = by_bin.sum(axis=1)
    filled = np.flatnonzero(rows)
    levels = rising(by_bin[filled, 1] / rows[filled], rows[filled].astype(np.float64))
    # Between bins that the reference filled, as scikit-learn's calibration does it: a straight line.
    return np.interp(np.arange(NO_SCORE), filled, levels)


def rising(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The closest sequence that never falls, by weighted least squares: pool adjacent violators.

    Source: M. Ayer et al., An empirical distribution function for sampling with
    incomplete information, Annals of Mathematical Statistics 26(4), 1955.
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many values
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, size, count = value, weight, 1
        while pools and pools[-1][0] >= mean:
            before, heavy, many = pools.pop()
            mean = (before * heavy + mean * size) / (heavy + size)
            size, count = heavy + size, many + count
        pools.append((mean, size, count))
    return np.repeat([mean for mean, _, _ in pools], [count for _, _, count in pools])


def margin(answers: NDArray[np.int64], chance: NDArray[np.float64]) -> float:
    """Three standard errors of the share of right rows, if each is right by itself with its probability."""
    rows = answers.sum(axis=1)
    return _CERTAIN * math.sqrt(float((rows * chance * (1 - chance)).sum())) / float(rows.sum())
