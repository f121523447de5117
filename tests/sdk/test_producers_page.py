"""docs/producers.md says what is so: its Python is run, and its reasons are those of the SDK."""

from __future__ import annotations

import re
from pathlib import Path

from streamer.home import home
from streamer.sdk import DropReason
from tests.conftest import TopicsFactory
from tests.sdk.test_prediction_logger import PARTITIONS, read, run

PAGE = (Path(__file__).parents[2] / "docs" / "producers.md").read_text()


def test_the_python_of_the_page_logs_to_the_models_home(bootstrap: str, topics: TopicsFactory) -> None:
    names = topics(PARTITIONS)
    where = f'"{bootstrap}", predictions_topic="{names.predictions}", labels_topic="{names.labels}"'
    [script] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    run(script.replace('"kafka:9092"', where))
    [(partition, key, prediction)] = read(bootstrap, names.predictions)
    [(same, _, label)] = read(bootstrap, names.labels)
    assert partition == same == home("churn", PARTITIONS)
    assert key == prediction["model"] == "churn"
    assert prediction["prediction_id"] == label["prediction_id"]


def test_the_page_lists_every_reason_to_drop_an_event() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [reason.value for reason in DropReason]


def test_each_snippet_of_another_language_keys_by_model_and_names_the_partitioner() -> None:
    snippets = re.findall(r"```(?:java|go|js)\n(.*?)```", PAGE, re.DOTALL)
    assert len(snippets) == 4
    for snippet in snippets:
        assert re.search(r'"predictions", "churn", event|Key: +\[\]byte\(model\)|key: event\.model', snippet)
        assert re.search(r"murmur2|partitioner", snippet, re.IGNORECASE)
