"""The report of an evaluation: one HTML page that needs nothing beside itself.

`write_report` reads the crops of the instances it shows and writes the page; what the page says is put
together by the functions below it, one per section.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluate.metrics.metric import MetricInput, MetricResult, Number
from evaluate.report.analysis import analyze
from evaluate.report.analysis_sections import curves_section, keypoints_section
from evaluate.report.examples import instances_section
from evaluate.report.html_page import Content, Markup, element, facts, page, section, table
from evaluate.report.published import Published, published_for
from hrpose.atomic_files import write_whole
from model.run_config import RunConfig

BOX_SOURCES = {"ground_truth": "annotated", "detections": "detected"}
"""Whose boxes: what the values of ``--boxes`` are called in texts."""


def write_report(
    path: Path,
    metric_input: MetricInput,
    metric_results: Mapping[str, MetricResult],
    run: RunConfig,
    timing: Mapping[str, float],
    *,
    epoch: int,
    flip_test: bool,
    more: Sequence[tuple[str, str]] = (),
) -> Path:
    """Writes the report.

    Args:
        path: of the HTML file.
        metric_input: what was measured.
        metric_results: the results by the metric's name, the headline metric first.
        run: the run's configuration.
        timing: {phase: seconds}, in order; "predict" is shown per instance too.
        epoch: of the checkpoint.
        flip_test: whether it was used.
        more: further (name, value) of how it was evaluated.

    Returns:
        The path.
    """
    split, headline = metric_input.split, next(iter(metric_results.values()))
    annotated, analysis = split.ground_truth, None
    if any(any(instance["keypoints"][2::3]) for instance in annotated.content["annotations"]):
        analysis = analyze(
            annotated.content["annotations"], metric_input.results, split.skeleton, annotated.image_ids
        )
    title = f"{run.model} on {run.dataset} {split.manifest.split}, epoch {epoch}"
    parts = [
        element("h1", title),
        element("p", headline.headline, css="headline"),
        _about(metric_input, run, epoch, flip_test, more),
    ]
    for number, (name, result) in enumerate(metric_results.items()):
        heading = f"Metric: {name}" if number else "Metric"
        parts.append(section(heading, *_metric(name, result, metric_input, run, flip_test)))
    if analysis is None:
        reason = "Curves, groups and errors need annotated keypoints, which these annotations do not have."
        parts.append(section("Analysis", element("p", reason)))
    else:
        parts.append(curves_section(analysis, metric_input, headline.analyzed))
        parts.append(keypoints_section(analysis, split.skeleton))
    parts += [instances_section(analysis, metric_input), _timing(timing, split.manifest.records)]
    return write_whole(path, page(title, parts))


def _about(
    metric_input: MetricInput,
    run: RunConfig,
    epoch: int,
    flip_test: bool,
    more: Sequence[tuple[str, str]],
) -> Markup:
    manifest = metric_input.split.manifest
    pairs: list[tuple[str, Content]] = [
        ("network", run.model),
        ("network input", "x".join(map(str, run.input_size)) + " pixels"),
        ("codec", run.codec),
        ("epoch", epoch),
        ("flip test", "on" if flip_test else "off"),
        *more,
        (
            "records",
            f"{run.dataset} {manifest.split}, {manifest.records:,} {BOX_SOURCES[manifest.boxes]} boxes",
        ),
        ("poses after OKS-NMS", f"{len(metric_input.results):,}"),
        ("annotations", metric_input.split.ground_truth.path.name),
    ]
    return facts(pairs)


def _metric(
    name: str, result: MetricResult, metric_input: MetricInput, run: RunConfig, flip_test: bool
) -> list[Markup]:
    """One metric's tables, and the sentences below them."""
    if not result.content:
        return [element("p", result.table or "not measured")]
    split = metric_input.split.manifest.split
    published = published_for(name, run.dataset, split, run.model, run.input_size)
    tables = []
    if result.values:
        tables.append(_values_table(result, published))
    if result.per_keypoint:
        tables.append(_keypoints_table(result))
    if published is None:
        recipe = f"{run.model} at {run.input_size[0]}x{run.input_size[1]} on {run.dataset}"
        notes = [f"There is no published number for this recipe ({recipe} {split})."]
    else:
        notes = [
            f"Published: {published.setting}. {published.source}.",
            *_unlike(metric_input, run, flip_test, published),
        ]
    notes += [*result.remarks, *(f"Note: {text}." for text in result.notes)]
    return [*tables, *(element("p", text, css="note") for text in notes)]


def _values_table(result: MetricResult, published: Published | None) -> Markup:
    """A metric's numbers, beside the published ones if there are any."""

    def text(name: str, value: Number) -> str:
        if value is None or value == result.undefined:
            return "–"
        return f"{value:.3f}" if name in result.shares else f"{value:.1f}"

    if published is None:
        rows = [[name, text(name, value)] for name, value in result.values.items()]
        return table(["metric", "this run"], rows)
    rows = []
    for name, value in result.values.items():
        theirs = None if name in result.unlike_published else published.values.get(name)
        difference = "–"
        if value is not None and theirs is not None and value != result.undefined:
            difference = f"{value - theirs:+.3f}" if name in result.shares else f"{value - theirs:+.1f}"
        rows.append([name, text(name, value), text(name, theirs), difference])
    return table(["metric", "this run", "published", "difference"], rows)


def _keypoints_table(result: MetricResult) -> Markup:
    """A metric's numbers of single keypoints, one row each."""
    columns = result.per_keypoint
    rows = [
        [
            keypoint.replace("_", " "),
            *(
                "–" if numbers.get(keypoint) is None else f"{numbers[keypoint]:.1f}"
                for numbers in columns.values()
            ),
        ]
        for keypoint in dict.fromkeys(keypoint for numbers in columns.values() for keypoint in numbers)
    ]
    return table(["keypoint", *columns], rows)


def _unlike(metric_input: MetricInput, run: RunConfig, flip_test: bool, published: Published) -> list[str]:
    """Sentences that say in what this evaluation is unlike the published one."""
    split, differences = metric_input.split, []
    if split.manifest.boxes != published.boxes:
        differences.append(f"{BOX_SOURCES[split.manifest.boxes]} boxes")
    if not flip_test:
        differences.append("no flip test")
    if run.codec != published.codec:
        differences.append(f"codec {run.codec}")
    if split.ground_truth.image_ids is not None:
        differences.append("a list of images")
    return [f"Not the same setting: this run has {', '.join(differences)}."] if differences else []


def _timing(timing: Mapping[str, float], instances: int) -> Markup:
    total = sum(timing.values())
    rows = [
        [phase, f"{seconds:.1f}", f"{100 * seconds / total:.0f}" if total else "–"]
        for phase, seconds in timing.items()
    ]
    rows.append(["together", f"{total:.1f}", "100" if total else "–"])
    content = [table(["phase", "seconds", "%"], rows)]
    if timing.get("predict"):
        rate = instances / timing["predict"]
        content.append(element("p", f"{rate:,.1f} instances per second in the network.", css="note"))
    return section("Timing", *content)
