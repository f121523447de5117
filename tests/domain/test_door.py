"""What is hidden at the door is nowhere behind it, and everything is counted all the same."""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import Any

import pytest

from streamer.domain.door import Door, door_of
from streamer.domain.events import Refused
from streamer.domain.objectives import (
    DetectorSpec,
    DriftSpec,
    FieldMap,
    Limits,
    ModelSpec,
    Objectives,
    PrivacySpec,
    ReferenceSpec,
    ThresholdSpec,
    WindowSpec,
)
from streamer.domain.readings import read_partition
from tests.domain.feed import Disk, Log, build, feed

KEY = blake2b(b"a secret of the workers").digest()
HIDING = PrivacySpec("hash", (("email", "drop"), ("town", "hash")), KEY)


def hash_of(text: str, size: int) -> str:
    return blake2b(text.encode(), key=KEY, digest_size=size).hexdigest()


def door(privacy: PrivacySpec = HIDING, **more: Any) -> Door:
    return Door(ModelSpec("m", privacy=privacy, **more))


def test_an_id_is_its_hash_and_features_are_hashed_or_gone() -> None:
    event = {"prediction_id": "p1", "features": {"age": 3, "email": "a@b", "town": "Ulm"}, "score": 0.5}
    found = door().prediction(event)
    assert found == {
        "prediction_id": hash_of("p1", 16), "features": {"age": 3, "town": hash_of("Ulm", 8)}, "score": 0.5,
    }  # fmt: skip
    assert event["features"] == {"age": 3, "email": "a@b", "town": "Ulm"}  # the caller's own stays as it is
    assert door().label({"prediction_id": "p1", "label": 1})["prediction_id"] == found["prediction_id"]


def test_a_number_and_its_text_are_one_id_and_one_value_as_they_are_without_a_door() -> None:
    assert door().label({"prediction_id": 7}) == door().label({"prediction_id": "7"})
    hashed = [
        door().prediction({"features": {"town": value}})["features"]["town"] for value in (1, 1.0, "1", True)
    ]
    assert len(set(hashed)) == 1


@pytest.mark.parametrize("value", [[1], {"a": 1}, float("nan"), 10**30])
def test_what_cannot_be_hashed_stays_outside(value: Any) -> None:
    assert door().prediction({"features": {"town": value}})["features"] == {"town": None}


def test_what_is_missing_or_malformed_is_left_to_those_who_judge_it() -> None:
    assert door().prediction({}) == {}
    assert door().prediction({"features": [1]}) == {"features": [1]}
    assert door().prediction({"features": None}) == {"features": None}
    with pytest.raises(Refused):
        door().label({"prediction_id": [1]})


def test_fields_are_found_before_they_are_hidden() -> None:
    fields = FieldMap(
        (("prediction_id", ("meta", "id")), ("features", ("x",))), (("prediction_id", ("ref",)),)
    )
    found = door(fields=fields).prediction({"meta": {"id": "p1"}, "x": {"email": "a@b", "town": "Ulm"}})
    assert found["prediction_id"] == hash_of("p1", 16)
    assert found["features"] == {"town": hash_of("Ulm", 8)}
    assert door(fields=fields).label({"ref": "p1"})["prediction_id"] == hash_of("p1", 16)


def test_without_fields_and_privacy_there_is_no_door() -> None:
    assert door_of(ModelSpec("m")) is None
    assert door_of(ModelSpec("m", privacy=PrivacySpec())) is not None


def test_another_key_makes_other_hashes() -> None:
    other = PrivacySpec("hash", (), blake2b(b"another one").digest())
    assert door(other).label({"prediction_id": "p1"}) != door().label({"prediction_id": "p1"})


def spec(privacy: PrivacySpec | None) -> ModelSpec:
    low = ThresholdSpec("accuracy", "accuracy", WindowSpec("last", 200), minimum=0.9)
    return ModelSpec(
        "m",
        task="binary",
        thresholds=(low,),
        drift=(DriftSpec("error", (DetectorSpec("adwin"),)),),
        reference=ReferenceSpec("first", 500),
        alert_feature_values=True,
        privacy=privacy,
    )


def run(privacy: PrivacySpec | None) -> tuple[Disk, list[dict[str, Any]], Any]:
    """A model that goes wrong in one town."""
    chance, log = random.Random(3), Log()
    for number in range(3000):
        features = {"age": chance.gauss(40, 9), "email": f"canary{number}@mail", "town": "canary-town"}
        if number > 1500:
            features["town"] = "canary-village"
        log.predict(f"canary-id-{number}", 1, features=features)
        log.label(f"canary-id-{number}", int(number < 1500 or number % 2))
        log.wait(100)
    disk = Disk(Objectives(models={"m": spec(privacy)}, limits=Limits()))
    pipeline = build(disk.objectives)
    told = []
    for begin in range(0, len(log.steps), 1000):
        feed(pipeline, log.steps[begin : begin + 1000])
        told += pipeline.effects.alerts
        disk.commit(pipeline)
    return disk, told, read_partition(pipeline.partition, None)


def test_nothing_behind_the_door_has_seen_what_is_hidden_and_the_figures_are_the_same() -> None:
    hidden, plain = run(HIDING), run(None)
    written = [*hidden[0].raw.keys(), *hidden[0].raw.values(), *hidden[0].alerts, *hidden[0].reports]
    assert b"canary" not in b"".join(written)
    assert b"canary" in b"".join([*plain[0].raw.values(), *plain[0].alerts])  # else nothing was looked for
    rules = [(each["rule"], each["status"], each["value"]) for each in hidden[1]]
    without_email = [(each["rule"], each["status"]) for each in plain[1]]
    assert {rule for rule, _, _ in rules} >= {"accuracy", "drift.error", "drift.data"}
    assert [each[:2] for each in rules if each[0] != "drift.data"] == [
        each for each in without_email if each[0] != "drift.data"
    ]
    examples = next(each["evidence"]["examples"] for each in hidden[1] if each["rule"] == "accuracy")
    known = {hash_of(f"canary-id-{number}", 16) for number in range(3000)}
    assert set(examples) <= known
    assert hidden[2].identity == plain[2].identity
    columns = {
        sample.labels[2]
        for sample in hidden[2].parts["m", ""].samples
        if sample.name == "model_data_distance"
    }
    assert "feature:town" in columns
    assert "feature:email" not in columns
