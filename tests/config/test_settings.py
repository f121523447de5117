"""Where a setting comes from, and that no secret shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import Settings, SettingsError, load_settings
from streamer.config.settings import OURS


def lines_of(environ: dict[str, str], file: Path | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, environ, file)
    return str(caught.value).splitlines()


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text("group: file\nbootstrap: file:1\ntopic_prefix: file-\n")
    environ = {"STREAMER_GROUP": "variable", "STREAMER_BOOTSTRAP": "variable:1"}
    found = load_settings({"bootstrap": "flag:1", "group": None}, environ, file)
    assert (found.bootstrap, found.group, found.topic_prefix) == ("flag:1", "variable", "file-")
    assert found.metrics_port == Settings().metrics_port == 8000
    assert found.topics.dead_letters == "file-dead-letters"


def test_blocks_of_the_file_and_the_variables_add_up_and_the_variable_wins(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text("kafka: {client.id: file, sasl.username: file}\ntopic_names: {labels: truth, state: s}\n")
    environ = {"STREAMER_KAFKA__SASL_USERNAME": "variable", "STREAMER_TOPIC_NAMES__STATE": "memory"}
    found = load_settings({}, environ, file)
    assert found.client_config()["client.id"] == "file"
    assert found.client_config()["sasl.username"] == "variable"
    assert (found.topics.labels, found.topics.state, found.topics.alerts) == ("truth", "memory", "alerts")


def test_the_objectives_have_a_flag_a_variable_and_a_line_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text("objectives: file.yml\n")
    environ = {"STREAMER_OBJECTIVES": "variable.yml"}
    assert load_settings({}, {}, file).objectives == Path("file.yml")
    assert load_settings({}, environ, file).objectives == Path("variable.yml")
    assert load_settings({"objectives": Path("flag.yml")}, environ, file).objectives == Path("flag.yml")
    assert load_settings().objectives is None


def test_an_empty_variable_is_not_given(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text("group: file\n")
    found = load_settings(
        {}, {"STREAMER_GROUP": "", "STREAMER_METRICS_PORT": "", "STREAMER_CONFIG": ""}, file
    )
    assert (found.group, found.metrics_port) == ("file", 8000)


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
        (
            {},
            {},
            "sesion_timeout: 3",
            "sesion_timeout: there is no such setting; did you mean session_timeout",
        ),
        ({}, {}, "session_timeout: .inf", "session_timeout: .*finite"),
        (
            {},
            {},
            "topic_names: {lables: x}",
            "topic_names.lables: there is no such setting; did you mean labels",
        ),
        ({}, {}, "group: a\ngroup: b", "line 2: .*second time"),
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


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("STREAMER_BOOTSTRP", "STREAMER_BOOTSTRAP"),
        ("STREAMER_OBJECTIVE", "STREAMER_OBJECTIVES"),
        ("STREAMER_CONFG", "STREAMER_CONFIG"),
        ("STREAMER_KAFKA", "STREAMER_KAFKA__…"),
        ("STREAMER_KAFKA_SASL_USERNAME", ""),
        ("STREAMER_GROUP__ID", "STREAMER_GROUP"),
        ("STREAMER_NONSENSE", ""),
    ],
)
def test_a_variable_that_nobody_knows_is_refused_with_the_one_that_was_meant(
    variable: str, meant: str
) -> None:
    [line] = lines_of({variable: "x"})
    assert line.startswith(f"variable {variable}: there is no such setting")
    assert line.endswith(f"did you mean {meant}?") if meant else True


def test_what_kubernetes_says_of_a_service_named_streamer_is_no_setting_of_ours() -> None:
    links = {
        "STREAMER_PORT": "tcp://10.0.0.11:8000",
        "STREAMER_PORT_8000_TCP": "tcp://10.0.0.11:8000",
        "STREAMER_PORT_8000_TCP_ADDR": "10.0.0.11",
        "STREAMER_SERVICE_HOST": "10.0.0.11",
        "STREAMER_SERVICE_PORT_HTTP": "8000",
        "STREAMER_METRICS_PORT": "tcp://10.0.0.12:8000",
        "STREAMER_METRICS_SERVICE_PORT": "8000",
    }
    assert load_settings({}, links) == Settings()
    [line] = lines_of({"STREAMER_CHUNK": "tcp://10.0.0.11:8000"})
    assert "STREAMER_CHUNK" in line


@pytest.mark.parametrize("key", OURS)
def test_a_client_setting_of_ours_is_refused_with_the_reason(key: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(f"kafka: {{{key}: canary, client.id: fine}}")
    variable = f"STREAMER_KAFKA__{key.upper().replace('.', '_')}"
    reason = f"streamer sets this itself: {OURS[key]}"
    assert lines_of({}, file) == [f"{file}: kafka.{key}: {reason}"]
    assert lines_of({variable: "canary"}) == [f"variable {variable}: {reason}"]


def test_the_protocol_of_the_group_is_among_those() -> None:
    assert {"group.protocol", "group.id", "enable.auto.commit", "transactional.id", "isolation.level"} <= {
        *OURS
    }


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text("chunk: many\nkafka: {group.id: x, acks: 1}\n")
    environ = {"STREAMER_GRUOP": "x", "STREAMER_METRICS_PORT": "many"}
    assert len(lines_of(environ, file)) == 5


def test_an_error_never_repeats_the_value() -> None:
    canary = {
        "STREAMER_KAFKA__GROUP_ID": "canary",
        "STREAMER_KAFKA_PASSWORD": "canary",
        "STREAMER_CHUNK": "canary",
    }
    assert "canary" not in "".join(lines_of(canary))
