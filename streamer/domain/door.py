"""What an event goes through before anything sees it: fields under our names, and what is hidden.

A hash is keyed (BLAKE2b, RFC 7693): without the key nobody finds a customer's id by trying all of them,
and with it the same id is the same hash, so labels meet their predictions and columns are counted as
before. What is left out was never there.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from streamer.domain.classes import canonical
from streamer.domain.events import read_id, remap
from streamer.domain.objectives import ModelSpec, PrivacySpec

ID_BYTES, VALUE_BYTES = 16, 8


class Door:
    """Of one model."""

    __slots__ = ("_hashed", "_ids", "_key", "_label", "_left_out", "_prediction")

    def __init__(self, spec: ModelSpec) -> None:
        privacy = spec.privacy or PrivacySpec()
        self._prediction, self._label = spec.fields.prediction, spec.fields.label
        self._key, self._ids = privacy.key, privacy.ids == "hash"
        self._left_out = tuple(name for name, what in privacy.features if what == "drop")
        self._hashed = tuple(name for name, what in privacy.features if what == "hash")

    def prediction(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Refused where an id that is to be hidden is none."""
        found = self._named(event, self._prediction)
        features = found.get("features")
        if type(features) is dict and (self._left_out or self._hashed):
            found["features"] = self._veiled(features)
        return found

    def label(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Refused where an id that is to be hidden is none."""
        return self._named(event, self._label)

    def _named(self, event: Mapping[str, Any], paths: Any) -> dict[str, Any]:
        found = remap(event, paths)
        if self._ids and "prediction_id" in found:
            found["prediction_id"] = self._hash(read_id(found["prediction_id"]), ID_BYTES)
        return found

    def _veiled(self, features: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: value for name, value in features.items() if name not in self._left_out}
        for name in self._hashed:
            if name in found:
                value = found[name]
                text = value if type(value) is str else canonical(value)
                # What cannot be a value of a column stays outside as well.
                found[name] = None if text is None else self._hash(text, VALUE_BYTES)
        return found

    def _hash(self, text: str, size: int) -> str:
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=size).hexdigest()


def door_of(spec: ModelSpec) -> Door | None:
    """None where everybody may come in as they are."""
    changes = spec.fields.prediction or spec.fields.label or spec.privacy is not None
    return Door(spec) if changes else None
