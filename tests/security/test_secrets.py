"""No secret shows: not in logs, errors, representations, /metrics or the list of processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from streamer import PredictionLogger
from streamer.adapters.rights import Role
from streamer.app import Worker
from streamer.cli.options import settings_of
from streamer.config import SettingsError, load_settings, parse_objectives
from streamer.config.settings import Settings
from streamer.domain.objectives import Objectives
from tests.deadline import wait_until
from tests.e2e.worker_process import WorkerProcess
from tests.security.calls import called
from tests.security.certificates import Authority
from tests.security.secured import PREFIX, Secured, environ_with, password_of

CANARY = "canary-7c1f"
# What librdkafka knows of secrets; each is given one.
SECRETS = (
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
)


def with_secrets() -> Settings:
    return load_settings({}, {variable(key): CANARY for key in SECRETS})


def variable(key: str) -> str:
    return f"STREAMER_KAFKA__{key.upper().replace('.', '_')}"


def said_by(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return called(environ_with(environ), *arguments)


def test_no_representation_of_the_settings_shows_one() -> None:
    settings = with_secrets()
    assert settings.client_config()["sasl.password"] == CANARY
    shown = [repr(settings), str(settings), f"{settings!s:>10}", repr(settings.kafka), str(vars(settings))]
    shown += [repr(settings.model_dump()), settings.model_dump_json(), repr(Worker(settings, Objectives()))]
    assert CANARY not in "".join(shown)


def test_the_key_of_hashes_is_in_no_representation_of_settings_or_objectives() -> None:
    key = CANARY * 2
    settings = load_settings({}, {"STREAMER_PRIVACY_KEY": key})
    objectives = settings.keyed(parse_objectives("models: {m: {privacy: {ids: hash}}}"))
    derived = objectives.models["m"].privacy
    assert derived is not None
    assert derived.key
    shown = (
        repr(settings) + settings.model_dump_json() + repr(objectives) + repr(Worker(settings, objectives))
    )
    assert CANARY not in shown
    assert repr(derived.key) not in shown


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("STREAMER_KAFKA__GROUP_ID", CANARY),
        ("STREAMER_KAFKA_SASL_PASSWORD", CANARY),
        ("STREAMER_SASL__PASSWORD", CANARY),
        ("STREAMER_CHUNK", CANARY),
        ("STREAMER_PRIVACY_KEY", CANARY),  # which is too short
        ("STREAMER_PRIVACY__KEY", CANARY),
        ("STREAMER_LOG_LEVEL", CANARY),
        ("STREAMER_METRICS_PORT", CANARY),
        ("STREAMER_TOPIC_NAMES__PASSWORD", CANARY),
    ],
)
def test_a_secret_under_a_wrong_name_is_not_repeated(key: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {key: value})
    assert key in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value) + repr(caught.value.__context__)


@pytest.mark.parametrize(
    "text",
    [
        f"kafka: {{sasl.password: [{CANARY}]}}",
        f"kafka: {CANARY}",
        f"kafka: {{sasl.password: {{x: {CANARY}}}}}",
        f"kafka: {{sasl.password: {CANARY}, sasl.password: {CANARY}}}",
        f"kafka:\n  sasl.password: {CANARY}\n bad",
        f'kafka:\n  sasl.password: "{CANARY}\n',
        f"kafka:\n  sasl.password: @{CANARY}\n",
        f"kafka:\n  sasl.password: *{CANARY}\n",
        f"kafka:\n  sasl.password: !{CANARY}\n",
        f"kafka:\n  sasl.password: !{CANARY} x\n",
        f"kafka:\n  sasl.password: %{CANARY}\n",
        f"kafka:\n  sasl.password: &{CANARY} [\n",
        f"kafka:\n  sasl.password: '{CANARY}\n  x: y\n",
        f"kafka:\n  sasl.password: !!python/object/apply:os.system [{CANARY}]\n",
        f"kafka:\n\tsasl.password: {CANARY}\n",
        CANARY,
    ],
)
def test_a_secret_in_a_broken_file_is_not_repeated(text: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {}, file)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [*SECRETS, "security.protocol", "ssl.endpoint.identification.algorithm", "sasl.pasword",
     "ssl.certificate.pem", "ssl.ca.pem", "sasl.oauthbearer.grant.type", "socket.timeout.ms"],
)  # fmt: skip
def test_a_client_setting_that_cannot_be_used_is_named_without_its_value(key: str) -> None:
    where = {"STREAMER_BOOTSTRAP": "127.0.0.1:1", "STREAMER_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}
    done = said_by("topics", "describe", **(where | {variable(key): CANARY}))
    assert done.returncode in (1, 2)
    assert len(done.stderr.strip().splitlines()) == 1
    assert CANARY not in done.stdout + done.stderr


def test_a_client_setting_that_cannot_be_used_is_exit_status_2() -> None:
    done = said_by("topics", "describe", **{variable("security.protocol"): CANARY})
    assert done.returncode == 2
    assert "security.protocol" in done.stderr


def test_no_option_takes_a_secret_so_that_no_process_list_shows_one() -> None:
    for command in ([], ["worker"], ["replay"], ["alerts"], ["status"], ["topics", "create"]):
        done = said_by(*command, "--help", **{variable(key): CANARY for key in SECRETS})
        assert done.returncode == 0
        options = done.stdout.lower()
        assert not {word for word in ("--password", "--sasl", "--secret", "--token") if word in options}
        assert CANARY not in done.stdout + done.stderr


def test_a_worker_that_logs_everything_shows_none(secured: Secured, tmp_path: Path) -> None:
    """With librdkafka's own debug lines, a key with a password, and the right passwords in use."""
    authority = Authority.new(tmp_path / "client-ca.pem")
    authority.issue(tmp_path / "client.pem", tmp_path / "client-key.pem", password=CANARY.encode())
    more = {
        "debug": "all",
        "ssl_key_password": CANARY,
        "ssl_key_location": str(tmp_path / "client-key.pem"),
        "ssl_certificate_location": str(tmp_path / "client.pem"),
    }
    variables = secured.variables(Role.WORKER, **more)
    settings = {
        key.removeprefix("STREAMER_").lower(): value
        for key, value in variables.items()
        if key not in ("STREAMER_BOOTSTRAP", "STREAMER_TOPIC_PREFIX", "STREAMER_METRICS_PORT")
    }
    worker = WorkerProcess(
        secured.kafka.secured_bootstrap, PREFIX, tmp_path, **settings, log_level="debug", log_format="json"
    )
    try:
        worker.await_ready()
        pages = [worker.readiness()[1], "".join(str(each) for each in worker.scrape()._samples)]  # type: ignore[union-attr]
        command_line = Path(f"/proc/{worker.process.pid}/cmdline")
        if command_line.exists():
            pages.append(command_line.read_text())
    finally:
        status = worker.stop()
    assert status == 0
    logged = worker.log.read_text()
    assert "sasl.password = [redacted]" in logged  # the client did say what it was told
    for secret in (CANARY, password_of(Role.WORKER)):
        assert secret not in logged + "".join(pages)


def test_a_logger_in_a_service_shows_none(caplog: pytest.LogCaptureFixture) -> None:
    kafka = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "debug": "all"}
    kafka |= {"sasl.username": "u", "sasl.password": CANARY}
    caplog.set_level("DEBUG")
    logger = PredictionLogger("127.0.0.1:1", model="m", kafka=kafka)
    logger.prediction(1)
    wait_until(lambda: "redacted" in caplog.text, 20, "the client logs its settings")
    logger.close(0.1)
    assert CANARY not in caplog.text + repr(logger) + str(logger)
    with pytest.raises(Exception, match=r"ssl\.key\.pem failed") as caught:
        PredictionLogger("127.0.0.1:1", kafka=kafka | {"ssl.key.pem": CANARY})
    assert CANARY not in repr(caught.value)


def test_the_settings_of_a_command_leave_no_trace_in_its_log(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configured: list[tuple[str, str]] = []
    monkeypatch.setattr("streamer.adapters.logs.configure", lambda *given: configured.append(given))
    monkeypatch.setenv(variable("sasl.password"), CANARY)
    settings_of(None, log_level="debug", log_format="json")
    assert configured == [("debug", "json")]
    assert CANARY not in "".join(capfd.readouterr())
