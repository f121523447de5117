"""What our dashboards are made of: selectors, queries, panels of one look, the frame with its variables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    FieldTextAlignment,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="$source")
JOB = 'job=~"$job"'
MODEL = f'{JOB},model=~"$model"'
VERSION = f'{MODEL},version=~"$version"'
DRIFT = 'signal=~"error|score|feature:.*|data|label"'
WINDOW = f'{VERSION},window=~"$window"'
SEGMENT = f'{VERSION},segment=~"$segment"'
RATE = "[$__rate_interval]"
GREEN, ORANGE, RED = "green", "orange", "red"
WIDTH = 24  # Grafana's columns
LETTERS = "ABCDEFGHIJ"  # what queries of one panel are called


def firing(labels: str) -> str:
    """1 or 0 for each rule; during a rebalance two workers may tell the same."""
    return f"max by (model, version, rule, severity, signal) (model_alert_firing{{{labels}}})"


def target(expr: str, legend: str = "", *, instant: bool = False, heat: bool = False) -> prometheus.Dataquery:
    """One query; ``instant``: its last value as rows of a table."""
    query = prometheus.Dataquery().datasource(SOURCE).expr(expr).legend_format(legend or "__auto").ref_id("A")
    if instant:
        query = query.instant().format(PromQueryFormat.TABLE)
    else:
        query = query.range()
    return query.format(PromQueryFormat.HEATMAP) if heat else query


def steps(*pairs: tuple[float | None, str]) -> board.ThresholdsConfig:
    """Colours from a value on; the first from None on."""
    return (
        board.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=colour) for value, colour in pairs])
    )


BAD_ABOVE_ZERO = ((None, GREEN), (1.0, RED))


def number(
    title: str,
    expr: str,
    unit: str = "short",
    *,
    colours: Iterable[tuple[float | None, str]] = ((None, "blue"),),
    about: str = "",
    width: int = 4,
) -> stat.Panel:
    """One figure, as it is now, with its recent course behind it."""
    return (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(target(expr))
        .unit(unit)
        .thresholds(steps(*colours))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(4)
        .span(width)
    )


def lines(
    title: str,
    queries: Iterable[tuple[str, str]],
    unit: str = "short",
    *,
    about: str = "",
    width: int = 12,
    share: bool = False,
    bars: bool = False,
) -> timeseries.Panel:
    """Courses over time; ``share``: between 0 and 1; ``bars``: events that are counted, stacked."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .line_width(1)
        .fill_opacity(80 if bars else 8)
        .draw_style(GraphDrawStyle.BARS if bars else GraphDrawStyle.LINE)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .calcs([])
        )
        .height(8)
        .span(width)
    )
    if share:
        panel = panel.max(1)
    if bars:
        panel = panel.min(0).stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for letter, (expr, legend) in zip(LETTERS, queries, strict=False):
        panel = panel.with_target(target(expr, legend).ref_id(letter))
    return panel


def timeline(
    title: str, expr: str, legend: str, *, about: str = "", width: int = WIDTH
) -> statetimeline.Panel:
    """When each rule was firing."""
    states = ValueMap(
        options={
            "0": ValueMappingResult(text="fine", color=GREEN, index=0),
            "1": ValueMappingResult(text="firing", color=RED, index=1),
        }
    )
    return (
        statetimeline.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(target(expr, legend))
        .mappings([states])
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(70)
        .height(8)
        .span(width)
    )


def heat(title: str, expr: str, unit: str, *, about: str = "", width: int = 12) -> heatmap.Panel:
    """A histogram over time; ``expr`` gives buckets by ``le``."""
    return (
        heatmap.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .with_target(target(expr, "{{le}}", heat=True))
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .height(8)
        .span(width)
    )


def rows(
    title: str,
    queries: Iterable[tuple[str, str]],
    names: dict[str, str],
    *,
    link: tuple[str, str] | None = None,
    units: dict[str, str] | None = None,
    about: str = "",
    width: int = WIDTH,
) -> table.Panel:
    """A table of what is now: one query a column, rows by their labels.

    ``queries``: (column's name, expr); the column is called ``Value #A``, ``Value #B``, … until ``names``
    (field → heading) renames it. ``link``: what a click on a model opens, and what that is called.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .align(FieldTextAlignment.AUTO)
        .height(9)
        .span(width)
    )
    headings = dict(names)
    several = list(queries)
    for letter, (heading, expr) in zip(LETTERS, several, strict=False):
        panel = panel.with_target(target(expr, instant=True).ref_id(letter))
        headings["Value" if len(several) == 1 else f"Value #{letter}"] = heading
    panel = panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel = panel.with_transformation(
        DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": headings}
        )
    )
    for heading, unit in (units or {}).items():
        panel = panel.override_by_name(heading, [DynamicConfigValue(id_val="unit", value=unit)])
    if link is not None:
        url, said = link
        panel = panel.override_by_name(
            "model", [DynamicConfigValue(id_val="links", value=[{"title": said, "url": url}])]
        )
    return panel


def words(title: str, markdown: str, *, width: int = WIDTH, height: int = 6) -> text.Panel:
    return text.Panel().title(title).content(markdown).height(height).span(width)


def choice(
    name: str, query: str, label: str, *, several: bool = False, all_of_them: bool = False
) -> board.QueryVariable:
    """A variable whose values are those of a label."""
    variable = (
        board.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(several)
        .include_all(all_of_them)
    )
    return variable.all_value(".*") if all_of_them else variable


def job() -> board.QueryVariable:
    return choice(
        "job", "label_values(streamer_partitions_owned, job)", "Group", several=True, all_of_them=True
    )


def model() -> board.QueryVariable:
    return choice("model", f"label_values(model_predictions_total{{{JOB}}}, model)", "Model")


def version() -> board.QueryVariable:
    query = f"label_values(model_predictions_total{{{MODEL}}}, version)"
    return choice("version", query, "Version", several=True, all_of_them=True)


def window() -> board.QueryVariable:
    return choice("window", f"label_values(model_window_labels{{{VERSION}}}, window)", "Window")


def segment() -> board.QueryVariable:
    query = f"label_values(model_segment_predictions_total{{{VERSION}}}, segment)"
    return choice("segment", query, "Segment", several=True, all_of_them=True)


def frame(uid: str, title: str, about: str, variables: Iterable[board.QueryVariable]) -> board.Dashboard:
    """An empty dashboard with its variables, and links to the others that keep time and choice."""
    made = (
        board.Dashboard(f"Streamer · {title}")
        .uid(f"streamer-{uid}")
        .description(about)
        .tags(["streamer"])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(board.DatasourceVariable("source").label("Data source").type("prometheus"))
        .link(
            board.DashboardLink("Streamer")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["streamer"])
            .include_vars(True)
            .keep_time(True)
        )
    )
    for each in variables:
        made = made.with_variable(each)
    return made


def annotation(name: str, expr: str, colour: str, title: str, words: str) -> dict[str, Any]:
    """Marks in every panel, in the form that the data source for Prometheus reads."""
    return {
        "name": name,
        "datasource": {"type": "prometheus", "uid": "$source"},
        "enable": True,
        "iconColor": colour,
        "expr": expr,
        "step": "15s",
        "titleFormat": title,
        "textFormat": words,
        "tagKeys": "severity",
    }


def incidents(labels: str) -> dict[str, Any]:
    """From the moment an alert fires to the one in which it resolves."""
    return annotation("Incidents", f"{firing(labels)} == 1", RED, "{{rule}}", "{{model}} {{version}}")


def detections(labels: str) -> dict[str, Any]:
    """Each alarm of a drift detector."""
    alarms = f"increase(model_drift_detected_total{{{labels}}}[1m])"
    expr = f"sum by (model, version, detector, signal) ({alarms}) > 0"
    return annotation("Detections", expr, ORANGE, "{{signal}} changed", "{{model}} {{version}}: {{detector}}")
