"""The report's sections on curves, kinds of instances and keypoints."""

import numpy as np

from evaluate.metrics.metric import MetricInput
from evaluate.metrics.oks_matching import MAX_POSES, RECALLS
from evaluate.report.analysis import ERRORS, Analysis, count_errors
from evaluate.report.charts import bar_chart, line_chart, share_bar
from evaluate.report.html_page import Markup, element, section, table
from records.skeletons import Skeleton


def curves_section(analysis: Analysis, metric_input: MetricInput, own: bool) -> Markup:
    """Precision-recall curves, and AP by kind of instances.

    Args:
        analysis: of the results.
        metric_input: what was measured.
        own: whether it is the headline metric that the curves take apart.
    """
    if not analysis.curves:
        text = "Nobody in these images has a labeled keypoint, so there is nothing to find."
        return section("Precision and recall", element("p", text))
    lines = [(f"OKS {threshold:g}", curve) for threshold, curve in analysis.curves.items()]
    chart = line_chart("Precision against recall", "recall", "precision", RECALLS, lines)
    sizes, visible = (
        bar_chart(
            f"AP by {what}",
            [
                (
                    group.name,
                    group.ap,
                    "nobody" if group.ap is None else f"{group.ap:.3f}, {group.instances:,} instances",
                )
                for group in groups
            ],
        )
        for what, groups in (("size", analysis.sizes), ("number of labeled keypoints", analysis.visible))
    )
    note = (
        f"By COCO's rules: AP is the mean over OKS 0.50 to 0.95, of at most {MAX_POSES} poses an image. "
        "Medium instances have an annotated area of 32² to 96² square pixels, large ones more. By labeled "
        "keypoints: instances outside of the group and the poses next to them are ignored."
    )
    texts = [note]
    if not own:
        texts.insert(
            0,
            "This is COCO's metric, not the one above: it shows what kinds of instances are found. Its "
            f"constants are those of the skeleton {metric_input.split.skeleton.name}.",
        )
    if not metric_input.results:
        texts.insert(0, "No poses were kept, so nobody is found.")
    if not metric_input.split.ground_truth.has_areas:
        texts.append("The annotations have no areas; those of the boxes stand in.")
    return section(
        "Precision and recall",
        element(
            "div",
            element("div", element("h3", "Precision-recall curves"), Markup(chart)),
            element(
                "div",
                element("h3", "AP by size"),
                Markup(sizes),
                element("h3", "AP by number of labeled keypoints"),
                Markup(visible),
            ),
            css="two",
        ),
        *(element("p", text, css="note") for text in texts),
    )


def keypoints_section(analysis: Analysis, skeleton: Skeleton) -> Markup:
    """What goes wrong at each keypoint."""
    if not analysis.pairs:
        return section("Keypoints", element("p", "No pose comes near an annotated instance (OKS of 0.1)."))
    counts, similarity = count_errors(analysis.pairs, skeleton.num_keypoints)
    names = [_keypoint(name) for name in skeleton.keypoints]
    rows = [_error_row(*row) for row in zip(names, counts, similarity, strict=True)]
    overall = np.concatenate([pair.similarity[pair.errors >= 0] for pair in analysis.pairs]).mean()
    rows.append(_error_row("all", counts.sum(axis=0), overall))
    key = element("p", *(element("span", _swatch(name), name, css="key") for name in ERRORS))
    unmatched = f" {analysis.unmatched:,} labeled instances have no such pose." if analysis.unmatched else ""
    texts = (
        f"Of {len(analysis.pairs):,} poses with an OKS of at least 0.1 with the instance they are matched to."
        f"{unmatched} Similarity is the keypoint's own OKS, exp(-d²/2s²k²), at best 1.",
        "What a keypoint is most similar to decides. Its own place: good from 0.85 on, jitter from 0.5 on. "
        "The same instance's keypoint of the other side: inversion. Another instance's keypoint of either "
        "side: swap. Less than 0.5 everywhere: miss. Ronchi and Perona, Benchmarking and Error Diagnosis in "
        "Multi-Instance Pose Estimation, ICCV 2017.",
    )
    header = ["keypoint", "shares", "labeled", "similarity", *(f"{name} %" for name in ERRORS)]
    return section(
        "Keypoints",
        key,
        table(header, rows, css="keypoints"),
        *(element("p", text, css="note") for text in texts),
    )


def _error_row(name, counts, similarity):
    total = int(counts.sum())
    if not total:
        return [name, "", "0", *["–"] * (1 + len(ERRORS))]
    shares = counts / total
    words = ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in zip(ERRORS, shares, strict=True))
    bar = Markup(share_bar(f"{name}: {words}", list(zip(ERRORS, shares, strict=True))))
    return [name, bar, f"{total:,}", f"{similarity:.3f}", *(f"{100 * share:.1f}" for share in shares)]


def _swatch(css):
    return Markup(f'<span class="swatch {css}"></span>')


def _keypoint(name):
    return name.replace("_", " ")
