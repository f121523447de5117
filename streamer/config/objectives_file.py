"""The objectives file: YAML in, domain specs out, every mistake at once with its key path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from streamer.config.entries import ObjectivesFile, entry_at, keys_of
from streamer.config.problems import ObjectivesError, Problem, meant
from streamer.config.specs import build
from streamer.config.yaml_text import YamlError, parse_yaml
from streamer.domain.objectives import Objectives

Loc = tuple[int | str, ...]


def load_objectives(path: Path | None, calibrate: bool = False) -> Objectives:
    """The objectives of a file; without one, defaults for whatever model turns up.

    ``calibrate``: rules are as strict as the file says, not as a calibration does, which is still to be made.

    Raises:
        ObjectivesError: with every mistake in the file.
    """
    if path is None:
        return Objectives()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ObjectivesError([Problem("", f"cannot be read: {error.strerror}")], str(path)) from None
    except UnicodeDecodeError as error:
        raise ObjectivesError([Problem("", f"is not UTF-8 text: {error}")], str(path)) from None
    return parse_objectives(text, str(path), path.parent, calibrate)


def parse_objectives(
    text: str, name: str = "objectives", folder: Path = Path(), calibrate: bool = False
) -> Objectives:
    """As ``load_objectives``, from text; ``name`` is what errors call it, other files are in ``folder``."""
    try:
        content = parse_yaml(text)
    except YamlError as error:
        where = f"line {error.line}" if error.line else ""
        raise ObjectivesError([Problem(where, str(error))], name) from None
    if not isinstance(content, dict):
        raise ObjectivesError([Problem("", "an objectives file is a mapping with `models:`")], name)
    file, problems = _validate(_text_keys(content))
    wrong = {problem.path for problem in problems}
    objectives, more = build(
        file,
        wrong,
        lambda given: _load_reference(folder / given),
        None if calibrate else lambda given: _load_calibration(folder / given),
    )
    if problems or more:
        raise ObjectivesError([*problems, *more], name)
    return objectives


def _load_reference(path: Path) -> tuple[Any, str]:
    """A reference and the digest of its file. Raises ValueError."""
    # numpy comes with it: only whoever names a file waits.
    from streamer.adapters import reference_file

    try:
        return reference_file.load(path), sha256(path.read_bytes()).hexdigest()[:16]
    except reference_file.ReferenceFileError as error:
        raise ValueError(str(error)) from None


def _load_calibration(path: Path) -> Any:
    """Raises ValueError."""
    from streamer.adapters import calibration_file

    try:
        return calibration_file.load(path)
    except calibration_file.CalibrationFileError as error:
        raise ValueError(str(error)) from None


def objectives_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    return ObjectivesFile.model_json_schema(by_alias=True)


def _validate(content: dict[str, Any]) -> tuple[ObjectivesFile, list[Problem]]:
    """The file without what is wrong in it, and what is: so that one mistake does not hide the others.

    Every key is judged in the first round. Later ones only take out what the cuts left behind, such as
    a list that has become empty, and tell nothing.
    """
    problems: list[Problem] = []
    while True:
        try:
            return ObjectivesFile.model_validate(content), problems
        except ValidationError as error:
            found: list[Any] = error.errors()
            problems = problems or [_problem(each, content) for each in found]
            for holder, key in [_deepest(content, each["loc"]) for each in found]:
                holder.pop(key, None)


def _deepest(content: dict[str, Any], loc: Loc) -> tuple[dict[str, Any], str]:
    """The deepest key of a mapping that the path leads to, and its mapping: what has to be cut."""
    place: Any = content
    holder, key = content, loc[0]
    for part in loc:
        if not isinstance(place, dict) or part not in place:
            break
        holder, key, place = place, part, place[part]
    return holder, str(key)


def _text_keys(value: Any) -> Any:
    """``404:`` as a model's name is text too."""
    if isinstance(value, dict):
        return {str(key): _text_keys(each) for key, each in value.items()}
    return [_text_keys(each) for each in value] if isinstance(value, list) else value


def _problem(error: Any, content: Any) -> Problem:
    return Problem(".".join(_as_written(error["loc"], content)), _message(error))


def _as_written(loc: Loc, content: Any) -> Iterable[str]:
    """The path without the parts that pydantic adds: the long form of a short one, the kind of a detector."""
    for part in loc:
        known = part in content if isinstance(content, dict) else isinstance(content, list)
        if known and (isinstance(content, dict) or isinstance(part, int)):
            content = content[part]
            yield str(part)


def _message(error: Any) -> str:
    """What pydantic says, in words for somebody who has never heard of it."""
    kind, given = error["type"], error["input"]
    message = str(error["msg"]).removeprefix("Value error, ")
    match kind:
        case "value_error":
            return message
        case "extra_forbidden":
            names = keys_of(entry_at(error["loc"]))
            return f"there is no such key; {meant(str(error['loc'][-1]), names)}"
        case "literal_error":
            choices = re.findall("'([^']+)'", error["ctx"]["expected"])
            return f"{given!r} is not known; {meant(str(given), choices)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{given!r} stands where a mapping of keys belongs"
        case "list_type":
            return f"{given!r} stands where a list belongs, as in [{given}]"
        case "too_short":
            return "the list is empty"
        case "too_long":
            return f"{len(given)} stand here; there can be {error['ctx']['max_length']}"
    return f"{message.replace('Input should be', 'should be')}, not {given!r}"
