"""``streamer`` on a machine whose clock is wrong: by the seconds that a file says, read at every look."""

from __future__ import annotations

import sys
import time
from pathlib import Path

if __name__ == "__main__":
    shift = Path(sys.argv.pop(1))
    right = time.time
    time.time = lambda: right() + float(shift.read_text())  # type: ignore[assignment]

    from streamer.cli import main

    sys.argv[0] = "streamer"
    main()
