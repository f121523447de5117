"""What a log is counted to be is what pandas and SciPy say of the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, wasserstein_distance

from streamer.adapters.tables import TableError
from streamer.domain.comparison import Change, compare
from streamer.domain.distances import equal_groups
from streamer.domain.estimate import estimate
from streamer.domain.reference import Reference
from streamer.reference_log import build
from streamer.replay import Plan
from tests.docs.pages import page, table
from tests.shared_data import data_file

JOBS = {"prediction_id": "id", "score": "predicted_probability"}
HOUSES = {"prediction_id": "id", "score": "y_pred_proba", "prediction": "y_pred"}
PLACE = ("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude")
# Powers of two and the eighths between them, from far below one to far above it.
EDGES = np.array([2.0**octave * (1 + part / 8) for octave in range(-30, 31) for part in range(8)])


def table_of(*names: str) -> pd.DataFrame:
    return pd.concat([pd.read_csv(data_file(name)) for name in names], ignore_index=True)


def fine(values: pd.Series[Any]) -> pd.Series[Any]:
    """The bin of each number, counted from zero to both sides."""
    steps = np.searchsorted(EDGES, values.abs(), side="right")
    return pd.Series(np.where(values < 0, -1 - steps, np.where(values > 0, 1 + steps, 0)))


def expected(before: pd.Series[Any], after: pd.Series[Any]) -> dict[str, float]:
    """The distances between two numeric columns over ten groups of the first one's rows."""
    old, new = fine(before), fine(after)
    keys = np.arange(min(old.min(), new.min()), max(old.max(), new.max()) + 1)
    counted = [each.value_counts().reindex(keys, fill_value=0).to_numpy() for each in (old, new)]
    starts = equal_groups(counted[0])
    groups = pd.DataFrame([np.add.reduceat(each, starts) for each in counted], ["before", "after"]).T
    groups = groups[groups.sum(axis=1) > 0]
    p, q = groups["before"] + 0.5, groups["after"] + 0.5
    shares = groups / groups.sum()
    return {
        "psi": entropy(p, q) + entropy(q, p),
        "jensen_shannon": jensenshannon(groups["before"], groups["after"], base=2),
        "total_variation": (shares["after"] - shares["before"]).abs().sum() / 2,
    }


def agree(change: Change, before: pd.Series[Any], after: pd.Series[Any]) -> None:
    for name, value in expected(before.dropna(), after.dropna()).items():
        assert getattr(change, name) == pytest.approx(value, rel=1e-9, abs=1e-9), (change.column, name)
    # The bins are up to an eighth wide; distances along the axis are as good as that.
    exact = wasserstein_distance(before, after) / before.std(ddof=0)
    assert change.wasserstein == pytest.approx(exact, rel=0.2, abs=0.03), change.column
    assert change.missing == (before.isna().mean(), after.isna().mean())


@pytest.mark.parametrize("year", [2016, 2017, 2018])
def test_what_changed_in_the_employment_log_is_what_pandas_and_scipy_say(year: int) -> None:
    reference, current = jobs_of(2015), jobs_of(year)
    labels = data_file("employment_analysis_target.csv.gz")
    old = table_of("employment_reference.csv.gz")
    new = table_of("employment_analysis.csv.gz").merge(pd.read_csv(labels), on="id")
    new = new[new["year"] == year].reset_index(drop=True)
    changes = {change.column: change for change in compare(reference, current)}
    features = [name for name in old if name not in ("id", "year", "employed", "prediction", JOBS["score"])]
    assert set(changes) == {*(f"feature:{name}" for name in features), "score", "prediction", "label"}
    for name in features:
        agree(changes[f"feature:{name}"], old[name], new[name])
    for stretch, frame in ((reference, old), (current, new)):
        assert (stretch.rows, stretch.judged) == (len(frame), len(frame))
        assert stretch.error_rate == pytest.approx((frame["prediction"] != frame["employed"]).mean())
        for column, name in ((stretch.predictions, "prediction"), (stretch.labels, "employed")):
            counted = frame[name].value_counts()
            assert column.names == {str(value): count for value, count in counted.items()}
    assert max(changes.values(), key=lambda change: change.psi).column == "feature:ANC"


def test_what_changed_in_the_housing_log_is_what_pandas_and_scipy_say() -> None:
    plans = {
        name: Plan("houses", data_file(f"california_housing_{name}.csv.gz"), fields=HOUSES, features=PLACE)
        for name in ("reference", "analysis")
    }
    reference, current = (build(plan, {}, False) for plan in plans.values())
    old, new = (table_of(f"california_housing_{name}.csv.gz") for name in plans)
    changes = {change.column: change for change in compare(reference, current)}
    for name in PLACE:
        agree(changes[f"feature:{name}"], old[name], new[name])
    # The log goes from one part of the state to another.
    first, second, *_ = changes
    assert {first, second} == {"feature:Latitude", "feature:Longitude"}


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (lambda column: column * 1000, "1000 times what they were"),
        (lambda column: column.where(column.index % 3 > 0), "missing in 33"),
        (lambda column: column * 0 + column.iloc[0], "within an eighth of"),
    ],
)
def test_what_is_done_to_a_column_of_real_data_comes_first_by_name(
    tmp_path: Path, spoil: Any, finding: str
) -> None:
    frame = pd.read_csv(data_file("weather.csv.gz"))
    victim = next(name for name in frame if frame[name].nunique() > 100)
    frame["prediction"] = 0
    half = len(frame) // 2
    old, new = frame.iloc[::2], frame.iloc[1::2].reset_index(drop=True)
    assert abs(len(old) - half) <= 1
    new = new.assign(**{victim: spoil(new[victim])})
    stretches = []
    for name, part in (("old", old), ("new", new)):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
        stretches.append(build(Plan("rain", tmp_path / f"{name}.csv"), {}, False))
    first, *others = compare(*stretches)
    assert first.column == f"feature:{victim}"
    assert any(finding in each for each in first.findings), first.findings
    assert not [change for change in others if change.findings]


def log_of(folder: Path, text: str) -> Plan:
    file = folder / "log.csv"
    file.write_text(text)
    return Plan("m", file)


def test_rows_that_are_not_asked_for_and_their_labels_do_not_count(tmp_path: Path) -> None:
    plan = log_of(tmp_path, "year,x,prediction,label\n2015,1,a,a\n2016,2,b,a\n2016,3,b,b\n")
    found = build(plan, {"year": "2016"}, False)
    assert (found.rows, found.judged, found.wrong) == (2, 2, 1)
    assert set(found.columns) == {"x"}
    assert found.made_of == "log.csv, year=2016"


def test_a_regression_is_counted_in_numbers(tmp_path: Path) -> None:
    found = build(log_of(tmp_path, "x,prediction,label\n1,2.5,2\n2,3,3\n"), {}, True)
    assert (found.predictions.numbers, found.labels.numbers, found.judged) == (2, 2, 0)
    assert found.error_rate is None


@pytest.mark.parametrize(
    ("text", "where", "regression", "words"),
    [
        ("x,prediction\n1,a\n", {"x": "2"}, False, "no row has x=2"),
        ("x,prediction\n1,a\n", {"y": "1"}, False, "has to be a feature"),
        ("x,prediction\n1,a\n", {}, True, "'a' is no number"),
        ("score,prediction\n7,a\n", {}, False, "no probability"),
        ("x,prediction\n", {}, False, "no row"),
        ("x,y\n1,2\n", {}, False, "which column holds the prediction"),
    ],
)
def test_a_log_that_cannot_be_used_says_why(
    tmp_path: Path, text: str, where: dict[str, str], regression: bool, words: str
) -> None:
    with pytest.raises(TableError, match=words):
        build(log_of(tmp_path, text), where, regression)


def jobs_of(year: int) -> Reference:
    """A year of the employment log, with its labels."""
    if year == 2015:
        log = data_file("employment_reference.csv.gz")
        return build(Plan("jobs", log, fields={**JOBS, "label": "employed"}), {"year": "2015"})
    labels = data_file("employment_analysis_target.csv.gz")
    plan = Plan(
        "jobs", data_file("employment_analysis.csv.gz"), labels, fields=JOBS,
        label_fields={"prediction_id": "id", "label": "employed"},
    )  # fmt: skip
    return build(plan, {"year": str(year)})


def test_the_estimates_of_the_employment_log_are_close_to_the_truth_and_are_those_of_the_page() -> None:
    reference = jobs_of(2015)
    said = {row[0]: row[1:] for row in table(page("drift.md"), "year")}
    assert set(said) == {"2016", "2017", "2018"}
    for year, cells in said.items():
        found = {each.name: each for each in estimate(reference, jobs_of(int(year)))}
        for each in found.values():
            assert each.value == pytest.approx(each.actual, abs=0.01), (year, each)
        accuracy, auc = found["accuracy"], found["auc_roc"]
        assert accuracy.value == pytest.approx(accuracy.actual, abs=accuracy.margin)
        figures = (accuracy.value, accuracy.margin, accuracy.actual, auc.value, auc.actual)
        assert cells == [f"{figure:.4f}" for figure in figures]
