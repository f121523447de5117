"""Where a setting comes from, and that no secret shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import Settings, SettingsError, load_settings


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text("group: file\nbootstrap: file:1\ntopic_prefix: file-\n")
    environ = {"STREAMER_GROUP": "variable", "STREAMER_BOOTSTRAP": "variable:1"}
    found = load_settings({"bootstrap": "flag:1", "group": None}, environ, file)
    assert (found.bootstrap, found.group, found.topic_prefix) == ("flag:1", "variable", "file-")
    assert found.metrics_port == Settings().metrics_port == 8000
    assert found.topics.dead_letters == "file-dead-letters"


def test_kafka_settings_pass_through_and_secrets_do_not_show(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text("kafka: {security.protocol: SASL_SSL, sasl.password: canary-1, enable.ssl.x: true}\n")
    found = load_settings({}, {"STREAMER_KAFKA__SASL_USERNAME": "canary-2"}, file)
    config = found.client_config()
    assert (config["sasl.password"], config["sasl.username"], config["enable.ssl.x"]) == (
        "canary-1",
        "canary-2",
        "true",
    )
    assert "canary" not in repr(found) + str(found)


@pytest.mark.parametrize(
    ("flags", "environ", "text", "where"),
    [
        ({"metrics_port": 99_999}, {}, "", "flag --metrics-port"),
        ({}, {"STREAMER_CHUNK": "many"}, "", "variable STREAMER_CHUNK"),
        ({}, {}, "sesion_timeout: 3", "sesion_timeout: there is no such setting"),
        ({}, {}, "kafka: {group.id: x}", "streamer sets this itself"),
        ({}, {}, "- a", "`key: value`"),
    ],
)
def test_a_bad_value_is_named_with_its_source(
    flags: dict[str, object], environ: dict[str, str], text: str, where: str, tmp_path: Path
) -> None:
    file = tmp_path / "s.yml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=where):
        load_settings(flags, environ, file)


def test_an_error_never_repeats_the_value() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {"STREAMER_KAFKA__GROUP_ID": "canary"})
    assert "canary" not in str(caught.value)
