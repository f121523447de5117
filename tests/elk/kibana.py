"""What deploy/elk/kibana imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

FILE = Path(__file__).parents[2] / "deploy" / "elk" / "kibana" / "saved-objects.ndjson"


def saved_objects() -> dict[str, dict[str, Any]]:
    """By their type; there is one of each."""
    objects = [orjson.loads(line) for line in FILE.read_bytes().splitlines()]
    found = {each["type"]: each for each in objects}
    assert len(found) == len(objects)
    return found


def saved_query() -> str:
    """Of the saved search, in Lucene's language, which Elasticsearch itself understands."""
    meta = saved_objects()["search"]["attributes"]["kibanaSavedObjectMeta"]
    query = orjson.loads(meta["searchSourceJSON"])["query"]
    assert query["language"] == "lucene"
    return str(query["query"])
