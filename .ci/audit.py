"""Holds requirements/dev.lock against the known vulnerabilities. Exit status: 0 clean, 1 not, 3 not known.

pip-audit calls a lock clean of which it could look nothing up; here a package that
nobody was asked about is one that is not clean. ``--may-skip``: say that, and exit with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements" / "dev.lock"
COMMAND = [
    sys.executable,
    "-m",
    "pip_audit",
    "--disable-pip",
    "--require-hashes",
    "--progress-spinner",
    "off",
]
VULNERABLE, UNKNOWN = 1, 3


def main(arguments: list[str]) -> int:
    done = subprocess.run(
        [*COMMAND, "-r", str(LOCK), "--format", "json"], capture_output=True, text=True, check=False
    )
    found = packages_of(done.stdout)
    for line in findings(found):
        print(line)
    if any(each.get("vulns") for each in found):
        return VULNERABLE
    skipped = [each["name"] for each in found if "skip_reason" in each]
    if found and not skipped:
        print(f"{len(found)} locked packages, none with a known vulnerability")
        return 0
    reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    asked = f"{len(skipped)} of {len(found)} packages could not be looked up" if found else reason
    print(f"NOT AUDITED: {asked}", file=sys.stderr)
    return 0 if "--may-skip" in arguments else UNKNOWN


def packages_of(report: str) -> list[dict[str, Any]]:
    """Empty where there is no report: the service did not answer."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return []
    return packages


def findings(packages: list[dict[str, Any]]) -> list[str]:
    """A line for each vulnerability."""
    return [
        f"{each['name']} {each['version']}: {vulnerability['id']}"
        f" (mended in {', '.join(vulnerability['fix_versions']) or 'no version yet'})"
        for each in packages
        for vulnerability in each.get("vulns", ())
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
