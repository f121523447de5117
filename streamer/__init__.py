"""Watches machine-learning models in production: predictions and labels in, alerts and metrics out.

A service needs one name from here; it is loaded when first used, so that
``import streamer`` costs next to nothing:

    from streamer import PredictionLogger
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamer.sdk import PredictionLogger

__version__ = "0.1.0"
__all__ = ["PredictionLogger", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "PredictionLogger":
        from streamer.sdk import PredictionLogger

        return PredictionLogger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
