"""What every measurement asks of the models: two windows, five scores, three detectors."""

from __future__ import annotations

from pathlib import Path

from streamer.config import load_objectives

FILE = Path(__file__).with_name("objectives.yml")
OBJECTIVES = load_objectives(FILE)
