"""What an alert is called, and the page about it: both follow from what its rule watches."""

from __future__ import annotations

import re

# deploy/prometheus/rules/models.yml has the same, so that routes, inhibitions and runbooks are the same.
NAMES = {
    r"error|score|feature:.*|data|label": "ModelDrift",
    r"silence": "ModelSilent",
    r"latency_p(50|95|99)": "ModelSlow",
    r"throughput": "ModelThroughputOff",
    r"label_coverage": "ModelLabelsMissing",
    r".*": "ModelObjectiveBreached",
}


def name_of(signal: str) -> str:
    """What alerts about this signal are called, in Alertmanager for one."""
    return next(name for pattern, name in NAMES.items() if re.fullmatch(pattern, signal, re.DOTALL))


def page_of(name: str) -> str:
    """``ModelDrift`` → ``docs/runbooks/model-drift.md``."""
    return f"docs/runbooks/{re.sub(r'(?<!^)(?=[A-Z])', '-', name).lower()}.md"


def runbook_of(signal: str) -> str:
    """The page for whoever is told of an alert about this signal."""
    return page_of(name_of(signal))
