"""What people set: the objectives file, and the settings of a process."""

from streamer.config.objectives_file import load_objectives, objectives_schema, parse_objectives
from streamer.config.problems import ObjectivesError, Problem
from streamer.config.settings import Settings, SettingsError, TopicNames, load_settings

__all__ = [
    "ObjectivesError",
    "Problem",
    "Settings",
    "SettingsError",
    "TopicNames",
    "load_objectives",
    "load_settings",
    "objectives_schema",
    "parse_objectives",
]
