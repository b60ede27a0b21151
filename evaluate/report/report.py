"""The report of an evaluation: one HTML page that needs nothing beside itself.

`write_report` reads the crops of the instances it shows and writes the page; what the page says is put
together by the functions below it, one per section.
"""

from evaluate.metrics.coco import METRICS, UNDEFINED
from evaluate.report.analysis import analyse
from evaluate.report.analysis_sections import curves_section, keypoints_section
from evaluate.report.examples import instances_section
from evaluate.report.html_page import element, facts, page, section, table
from evaluate.report.published import published_for
from hrpose.atomic_files import write_whole

BOX_SOURCES = {"ground_truth": "annotated", "detections": "detected"}
"""Whose boxes: what the values of ``--boxes`` are called in texts."""


def write_report(path, metric_input, metric_result, run, folder, timing, *, epoch, flip_test, more=()):
    """Writes the report.

    Args:
        path: of the HTML file.
        metric_input: `evaluate.metrics.registry.MetricInput`.
        metric_result: `evaluate.metrics.registry.MetricResult`.
        run: `model.run_config.RunConfig`.
        folder: the records that were predicted.
        timing: {phase: seconds}, in order; "predict" is shown per instance too.
        epoch: of the checkpoint.
        flip_test: whether it was used.
        more: further (name, value) of how it was evaluated.

    Returns:
        The path.
    """
    analysis = None
    if any(any(instance["keypoints"][2::3]) for instance in metric_input.ground_truth.content["annotations"]):
        analysis = analyse(
            metric_input.ground_truth.content["annotations"],
            metric_input.results,
            metric_input.skeleton,
            metric_input.ground_truth.image_ids,
        )
    title = f"{run.model} on {run.dataset} {metric_input.manifest.split}, epoch {epoch}"
    parts = [
        element("h1", title),
        element("p", metric_result.headline, css="headline"),
        _about(metric_input, run, epoch, flip_test, more),
        _metrics(metric_input, metric_result, run, flip_test),
    ]
    if analysis is None:
        reason = "Curves, groups and errors need annotated keypoints, which these annotations do not have."
        parts.append(section("Analysis", element("p", reason)))
    else:
        parts += [curves_section(analysis, metric_input), keypoints_section(analysis, metric_input.skeleton)]
    parts += [instances_section(analysis, metric_input, folder), _timing(timing, metric_input)]
    return write_whole(path, page(title, parts))


def _about(metric_input, run, epoch, flip_test, more):
    manifest = metric_input.manifest
    pairs = [
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
        ("annotations", metric_input.ground_truth.path.name),
    ]
    return facts(pairs)


def _metrics(metric_input, metric_result, run, flip_test):
    metrics = metric_result.metrics
    if not metrics:
        return section("Metric", element("p", metric_result.table or "not measured"))
    columns = {name: values for name, values in metrics.items() if isinstance(values, dict)}
    columns.pop("sequences", None)
    if columns:
        keypoints = next(iter(columns.values()))
        rows = [
            [
                keypoint.replace("_", " "),
                *(_value(f"{name} %", columns[name].get(keypoint)) for name in columns),
            ]
            for keypoint in keypoints
        ]
        note = (
            "In percent, by the rules of PoseTrack's tool poseval; total is the mean of the keypoints. "
            "There is no published number for this recipe."
        )
        return section("Metric", table(["keypoint", *columns], rows), element("p", note, css="note"))

    published = published_for(run.dataset, metric_input.manifest.split, run.model, run.input_size)
    if published is None:
        recipe = f"{run.model} at {run.input_size[0]}x{run.input_size[1]} on {run.dataset}"
        note = [f"There is no published number for this recipe ({recipe} {metric_input.manifest.split})."]
        content = table(
            ["metric", "this run"], [[name, _value(name, value)] for name, value in metrics.items()]
        )
    else:
        theirs = dict(published.metrics)
        if not metric_input.official_tenth:
            theirs.pop("Mean@0.1", None)
        rows = [
            [
                name,
                _value(name, value),
                _value(name, theirs.get(name)),
                _difference(name, value, theirs.get(name)),
            ]
            for name, value in metrics.items()
        ]
        content = table(["metric", "this run", "published", "difference"], rows)
        note = [
            f"Published: {published.setting}. {published.source}.",
            *_unlike(metric_input, run, flip_test, published),
        ]
    if not metric_input.ground_truth.has_areas and "AP" in metrics:
        note.append("The annotations have no areas; OKS takes those of the boxes.")
    note += [f"Note: {text}." for text in metric_result.notes]
    return section("Metric", content, *(element("p", text, css="note") for text in note))


def _unlike(metric_input, run, flip_test, published):
    """Sentences that say in what this evaluation is unlike the published one."""
    differences = []
    if metric_input.manifest.boxes != published.boxes:
        differences.append(f"{BOX_SOURCES[metric_input.manifest.boxes]} boxes")
    if not flip_test:
        differences.append("no flip test")
    if run.codec != published.codec:
        differences.append(f"codec {run.codec}")
    if metric_input.ground_truth.image_ids is not None:
        differences.append("a list of images")
    return [f"Not the same setting: this run has {', '.join(differences)}."] if differences else []


def _timing(timing, metric_input):
    total = sum(timing.values())
    rows = [
        [phase, f"{seconds:.1f}", f"{100 * seconds / total:.0f}" if total else "–"]
        for phase, seconds in timing.items()
    ]
    rows.append(["together", f"{total:.1f}", "100" if total else "–"])
    content = [table(["phase", "seconds", "%"], rows)]
    if timing.get("predict"):
        rate = metric_input.manifest.records / timing["predict"]
        content.append(element("p", f"{rate:,.1f} instances per second in the network.", css="note"))
    return section("Timing", *content)


def _value(name, value):
    """A metric's value as text: COCO's are shares, all others percent."""
    if value is None or (_is_share(name) and value == UNDEFINED):
        return "–"
    return f"{value:.3f}" if _is_share(name) else f"{value:.1f}"


def _difference(name, ours, theirs):
    if "–" in (_value(name, ours), _value(name, theirs)):
        return "–"
    return f"{ours - theirs:+.3f}" if _is_share(name) else f"{ours - theirs:+.1f}"


def _is_share(name):
    return name in {metric for metric, *_ in METRICS}
