"""What was done to a column is named; what chance does is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from streamer.domain.comparison import Change, compare
from streamer.domain.objectives import Quota
from streamer.domain.profile import Profile
from streamer.domain.reference import Reference

ROWS = 4_000
Row = dict[str, Any]
Spoiler = Callable[[Row, random.Random], object]


def stretch(seed: int, spoil: Spoiler = lambda row, chance: None, rows: int = ROWS) -> Reference:
    chance = random.Random(seed)
    found, profile = Reference("m"), Profile(20, Quota(20))
    for _ in range(rows):
        row = {
            "age": chance.gauss(40, 12),
            "income": chance.lognormvariate(10, 0.7),
            "children": chance.choice([0, 0, 0, 1, 2, 3]),
            "plan": chance.choice(["free", "free", "pro", "team"]),
            "debt": chance.uniform(-500, 500),
        }
        spoil(row, chance)
        profile.take(row)
        found.rows += 1
        found.take_answer(chance.betavariate(2, 5), False)
        found.predictions.take(chance.choice(["0", "0", "1"]))
    found.take_features(profile)
    return found


BEFORE = stretch(1)


def test_two_stretches_of_the_same_differ_by_chance_and_have_no_findings() -> None:
    for seed in range(2, 12):
        changes = compare(BEFORE, stretch(seed))
        assert not [change for change in changes if change.findings]
        assert max(change.psi / change.chance for change in changes) < 4
    columns = [f"feature:{name}" for name in ("age", "children", "debt", "income", "plan")]
    assert sorted(change.column for change in changes) == [*columns, "prediction", "score"]


@pytest.mark.parametrize(
    ("column", "spoil", "finding"),
    [
        ("income", lambda row, chance: row.update(income=row["income"] * 1000), "values are 1000 times"),
        ("income", lambda row, chance: row.update(income=row["income"] / 1000), "values are 0.001 times"),
        ("debt", lambda row, chance: row.update(debt=row["debt"] * 100), "values are 100 times"),
        (
            "age",
            lambda row, chance: row.update(age=None if chance.random() < 0.3 else row["age"]),
            "missing in",
        ),
        ("age", lambda row, chance: row.update(age=7.5), "within an eighth of 7.5"),
        ("plan", lambda row, chance: row.update(plan="gratis"), "it has one value any more, gratis"),
        (
            "plan",
            lambda row, chance: row.update(plan=chance.choice([row["plan"], "trial"])),
            "never seen before: trial",
        ),
        ("age", lambda row, chance: row.update(age=str(row["age"])[:2]), "are no numbers"),
        ("plan", lambda row, chance: row.update(plan=7), "are numbers"),
        ("debt", lambda row, chance: row.update(debt=row["debt"] + 700), "are above"),
        ("debt", lambda row, chance: row.update(debt=row["debt"] - 700), "are below"),
        ("city", lambda row, chance: row.update(city="Oslo"), "it is new"),
        ("children", lambda row, chance: row.pop("children"), "it is gone"),
    ],
)
def test_what_was_done_to_a_column_comes_first_and_is_named(
    column: str, spoil: Spoiler, finding: str
) -> None:
    first, *others = compare(BEFORE, stretch(2, spoil))
    assert first.column == f"feature:{column}"
    assert any(finding in each for each in first.findings), first.findings
    assert not [change for change in others if change.findings]


def test_a_drift_without_a_defect_comes_first_and_has_no_finding() -> None:
    first, second, *_ = compare(BEFORE, stretch(2, lambda row, chance: row.update(age=row["age"] + 8)))
    assert (first.column, first.findings) == ("feature:age", ())
    assert first.psi > 50 * first.chance
    assert first.psi > 20 * second.psi
    assert first.wasserstein == pytest.approx(8 / 12, rel=0.1)
    assert isinstance(first.middle[0], float)
    assert first.middle[1] == pytest.approx(48, rel=0.13)


def test_cells_are_shares_of_all_rows_and_bear_the_names_of_what_they_hold() -> None:
    found: dict[str, Change] = {change.column: change for change in compare(BEFORE, stretch(3))}
    for change in found.values():
        assert sum(cell.before for cell in change.cells) == pytest.approx(1)
        assert sum(cell.after for cell in change.cells) == pytest.approx(1)
    assert {cell.name for cell in found["feature:plan"].cells} == {"free", "pro", "team"}
    assert found["feature:plan"].cells[0].name == "free", "the commonest first"
    assert [cell.name for cell in found["feature:children"].cells] == ["0", "1", "2", "3"]
    assert found["score"].cells[0].name.startswith("0 to ")
    assert found["score"].cells[-1].name.endswith(" to 1")


def test_where_there_are_no_rows_there_is_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="no rows"):
        compare(BEFORE, Reference("m"))
