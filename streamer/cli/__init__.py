"""The command line: flags in, one call to what does the work, exit status out.

Exit status: 0 done; 1 it failed, or ``check`` found mistakes; 2 the command
line or a setting cannot be used; 130 ended by Ctrl-C.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
from confluent_kafka import KafkaError, KafkaException

from streamer import __version__, terminal
from streamer.adapters.kafka import NOT_ALLOWED
from streamer.adapters.topics import ALLOW_IT
from streamer.cli.backtest import backtest
from streamer.cli.calibrate import calibrate
from streamer.cli.dead_letters import dead_letters_list, dead_letters_redrive, dead_letters_show
from streamer.cli.explain import explain
from streamer.cli.local import broker, demo
from streamer.cli.options import FAILED, INTERRUPTED, UNUSABLE
from streamer.cli.reference import (
    reference_build,
    reference_compare,
    reference_estimate,
    reference_show,
    reference_take,
)
from streamer.cli.relay import alerts_test, relay
from streamer.cli.report import report
from streamer.cli.state import state_export, state_import, state_reset, state_show
from streamer.cli.topics import topics_acls, topics_create, topics_describe
from streamer.cli.traffic import replay
from streamer.cli.versions import versions
from streamer.cli.watch import alerts, status
from streamer.cli.worker import check, worker
from streamer.config import ObjectivesError, SettingsError
from streamer.errors import StreamerError

app = typer.Typer(
    name="streamer",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Watches machine-learning models in production: predictions and labels in through Kafka,
alerts and metrics out.

Try it: `streamer demo`. By hand, each in a terminal of its own:

    streamer broker                      # a real Kafka on 127.0.0.1:9092
    streamer topics create
    streamer worker objectives.yml       # metrics on http://127.0.0.1:8000/metrics
    streamer replay predictions.csv --labels labels.csv --model churn
    streamer alerts --follow

Every setting can also be a variable (STREAMER_BOOTSTRAP, STREAMER_GROUP, …; Kafka client settings
as STREAMER_KAFKA__SECURITY_PROTOCOL=SASL_SSL) or a line of the file named by --config; a flag wins
over a variable, a variable over the file.""",
)

topics_app = typer.Typer(no_args_is_help=True, help="Make the topics, or look at them.")
topics_app.command("create")(topics_create)
topics_app.command("describe")(topics_describe)
topics_app.command("acls")(topics_acls)

state_app = typer.Typer(no_args_is_help=True, help="What workers restart from: look at it, mend it, move it.")
state_app.command("show")(state_show)
state_app.command("reset")(state_reset)
state_app.command("export")(state_export)
state_app.command("import")(state_import)

dead_letters_app = typer.Typer(
    no_args_is_help=True, help="Records that could not be used: look at them, send them back."
)
dead_letters_app.command("list")(dead_letters_list)
dead_letters_app.command("show")(dead_letters_show)
dead_letters_app.command("redrive")(dead_letters_redrive)

reference_app = typer.Typer(
    no_args_is_help=True, help="What a model's traffic looked like, and what has changed since."
)
reference_app.command("build")(reference_build)
reference_app.command("take")(reference_take)
reference_app.command("show")(reference_show)
reference_app.command("compare")(reference_compare)
reference_app.command("estimate")(reference_estimate)

alerts_app = typer.Typer(invoke_without_command=True)
alerts_app.callback()(alerts)
alerts_app.command("test")(alerts_test)

app.command()(broker)
app.add_typer(topics_app, name="topics")
app.add_typer(state_app, name="state")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(reference_app, name="reference")
app.add_typer(alerts_app, name="alerts")
for command in (worker, check, backtest, calibrate, replay, relay, status, explain, versions, report, demo):
    app.command()(command)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"streamer {__version__}")
        raise typer.Exit


@app.callback()
def _before_any_command(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None: ...


def main() -> NoReturn:
    """Run the program; every foreseen failure is a line that names the cure."""
    try:
        answer = app(standalone_mode=False)
        sys.exit(answer if isinstance(answer, int) else 0)
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (SettingsError, ObjectivesError) as error:
        _fail(error, UNUSABLE)
    except StreamerError as error:
        _fail(error, FAILED)
    except KafkaException as error:
        cause = error.args[0]
        if not isinstance(cause, KafkaError):
            _fail(f"Kafka: {cause}", FAILED)
        if cause.code() == KafkaError._INVALID_ARG:
            # A value is not repeated: it may be a secret that went to the wrong variable.
            why = re.sub(r"value \".*?\" for", "value for", cause.str(), flags=re.S)
            _fail(f"the client settings (`kafka`, STREAMER_KAFKA__…) cannot be used: {why}", UNUSABLE)
        cure = f". {ALLOW_IT}" if cause.code() in NOT_ALLOWED else ""
        _fail(f"Kafka: {cause.str().rstrip('.')}{cure}", FAILED)
    except BrokenPipeError:
        # Whoever read our output has enough: `streamer alerts | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        # click's own errors carry how they want to be shown; anything else is a bug of ours.
        show: Callable[[], None] | None = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", UNUSABLE))


def _fail(error: object, status: int) -> NoReturn:
    out = terminal.console(stderr=True)
    for line in str(error).splitlines() or [repr(error)]:
        out.print(f"streamer: {terminal.clean(line)}", markup=False)
    sys.exit(status)
