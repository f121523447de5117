"""The streams of ../shared/data: a frozen model's predictions on them, and where they are known to change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.naive_bayes import GaussianNB

FOLDER = Path(__file__).parents[3] / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Stream:
    """``learn``: rows that the model learns from; they are not part of the log.

    ``changes``: rows of the file before which something changed. ``within``: so many rows later an
    alarm counts as found.
    """

    name: str
    file: str
    learn: int = 1000
    changes: tuple[int, ...] = ()
    within: int = 1000

    @property
    def path(self) -> Path:
        return FOLDER / self.file


STREAMS = (
    Stream("insects, abrupt", "insects_2016_abrupt.csv.gz", 500, (1775, 3550), 400),
    Stream("insects, gradual", "insects_2020_gradual.csv.gz", 1000, (14_028,)),
    Stream("sine, abrupt", "lobo2020_sine_0123_abrupto.csv.gz", 1000, (10_000, 20_000, 30_000)),
    Stream("sine, gradual", "lobo2020_sine_0123_gradual.csv.gz", 1000, (9_500, 20_000, 30_500)),
    Stream("mixed, abrupt", "lobo2020_mixed_0101_abrupto.csv.gz", 1000, (10_000, 20_000, 30_000)),
    Stream("stagger, abrupt", "lobo2020_stagger_0120_abrupto.csv.gz", 1000, (10_000, 20_000, 30_000)),
    Stream("stagger, gradual", "lobo2020_stagger_0120_gradual.csv.gz", 1000, (9_500, 20_000, 30_500)),
    Stream("tornado sine1", "tornado_sine1_w_50_n_0.1_101.csv.gz", 1000, (20_000, 40_000, 60_000, 80_000)),
    Stream("tornado mixed", "tornado_mixed_w_50_n_0.1_101.csv.gz", 1000, (20_000, 40_000, 60_000, 80_000)),
    Stream("tornado circles", "tornado_circles_w_500_n_0.1_101.csv.gz", 1000, (25_000, 50_000, 75_000)),
    Stream("electricity", "electricity.csv.gz"),
    Stream("weather", "weather.csv.gz"),
)


def labels_and_guesses(path: Path, learn: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What a Gaussian naive Bayes, frozen after ``learn`` rows, says of the rest, and what was true."""
    first = pd.read_csv(path, nrows=1, header=None).iloc[0, 0]
    headed = isinstance(first, str) and not first.replace(".", "").replace("-", "").isdigit()
    table = pd.read_csv(path, header=0 if headed else None)
    x = pd.get_dummies(table.iloc[:, :-1]).to_numpy(float)
    y = pd.factorize(table.iloc[:, -1])[0]
    model = GaussianNB().fit(x[:learn], y[:learn])
    return y[learn:], model.predict(x[learn:])


def write_log(stream: Stream, path: Path) -> None:
    """The frozen model's predictions, each with its label, as ``streamer backtest`` reads them."""
    labels, guesses = labels_and_guesses(stream.path, stream.learn)
    table = pd.DataFrame({"prediction": guesses, "label": labels})
    ("c" + table.astype(str)).to_csv(path, index=False)


def write_employment(path: Path) -> None:
    """A real prediction log with its features: the years 2016 to 2018 of the US census employment task."""
    table = pd.read_csv(FOLDER / "employment_analysis.csv.gz")
    truth = pd.read_csv(FOLDER / "employment_analysis_target.csv.gz")
    table = table.merge(truth, on="id", validate="one_to_one")
    names = {"predicted_probability": "score", "employed": "label"}
    table.rename(columns=names).drop(columns=["id", "year"]).to_csv(path, index=False)
