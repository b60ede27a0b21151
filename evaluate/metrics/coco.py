"""COCO keypoint metrics for any number of keypoints, by faster-coco-eval.

Its ten numbers are those of pycocotools, COCO's own tool, to 1e-12 (the tests hold them together), in a fifth
of the time from files to numbers.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from evaluate.ground_truth import GroundTruth
from evaluate.metrics.coco_files import ids_of, in_order, read_ground_truth, read_results, some
from evaluate.metrics.metric import Metric, MetricInput, MetricResult, Number, not_measured, number_or_none
from evaluate.metrics.oks_matching import MAX_POSES, annotation_oks
from evaluate.metrics.pck import pck_of_boxes
from evaluate.run_inputs import EvaluationSplit
from hrpose.atomic_files import write_whole
from nms import COCO_SIGMAS
from records.datasets import DATASETS

NUMBERS = (
    ("AP", "Average Precision", "0.50:0.95", "all"),
    ("AP .5", "Average Precision", "0.50", "all"),
    ("AP .75", "Average Precision", "0.75", "all"),
    ("AP (M)", "Average Precision", "0.50:0.95", "medium"),
    ("AP (L)", "Average Precision", "0.50:0.95", "large"),
    ("AR", "Average Recall", "0.50:0.95", "all"),
    ("AR .5", "Average Recall", "0.50", "all"),
    ("AR .75", "Average Recall", "0.75", "all"),
    ("AR (M)", "Average Recall", "0.50:0.95", "medium"),
    ("AR (L)", "Average Recall", "0.50:0.95", "large"),
)
"""(name, what it is, OKS thresholds, size of instances) in pycocotools' and the official code's order.

Medium instances have an annotated area of 32² to 96² square pixels, large ones more.
"""

UNDEFINED = -1.0
"""What pycocotools says for a metric without ground truth to count, such as AP (L) without large
instances.
"""


def evaluate_coco(
    annotation_json: str | Path | dict[str, Any],
    results: str | Path | list[dict[str, Any]],
    sigmas: npt.ArrayLike | None = None,
    image_ids: Iterable[int | str] | None = None,
) -> dict[str, float]:
    """The ten numbers of the COCO keypoint task (https://cocodataset.org/#keypoints-eval).

    Args:
        annotation_json: path of a COCO keypoint annotation file, or its content as a dict. Annotations need
            ``image_id, category_id, keypoints, bbox, area``; without ``iscrowd``, or with null or "0", they
            are no crowd. ``num_keypoints`` is counted and ``id`` not looked at (pycocotools believes the one,
            and takes id 0 for "no match").
        results: list of result dicts ``{"image_id", "category_id", "keypoints", "score"}``, or the path of a
            JSON file with one; other keys are not looked at. As in COCO's rules the best 20 per image count.
            An empty list is valid: every metric with ground truth to find is then 0. An ``image_id`` that no
            image has, but that is text, is taken for the image whose ``file_name`` it is, with or without
            ending and folders, or else for the number it says, see
            `records.annotations.image_ids.find_texts`.
        sigmas: (K,) float, > 0, the skeleton's OKS sigmas; None: COCO's 17.
        image_ids: the images to evaluate; None: all of the annotation file. Results on others are left out.

    Returns:
        Dict of float, keys "AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)",
        "AR (L)" in this order; -1 for those without ground truth. Arguments are left unchanged.

    Warns:
        UserWarning: with the number of results whose ``image_id`` was such text.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: on files of another form, results on images or of categories that the annotations do not
            have, numbers of keypoints that do not fit together, and ``image_ids`` that are not annotated.
    """
    sigmas = COCO_SIGMAS if sigmas is None else np.asarray(sigmas, np.float64)
    if sigmas.ndim != 1 or not (sigmas > 0).all():
        raise ValueError(f"sigmas: received {sigmas}; expected (K,) numbers above 0")

    ground_truth = read_ground_truth(annotation_json, len(sigmas))
    annotated, categories = (ids_of(ground_truth[key]) for key in ("images", "categories"))
    results = read_results(results, len(sigmas), ground_truth["images"], categories)
    image_ids = annotated if image_ids is None else set(image_ids)
    unknown = sorted(image_ids - annotated, key=str)
    if unknown:
        raise ValueError(
            f"image_ids: {some(unknown)} not in the annotations, which have {len(annotated)} images"
        )
    # Ids may be text and numbers; the tool wants int64. It ranks equal scores by the images' order.
    image_numbers, category_numbers = (
        {one: number for number, one in enumerate(sorted(ids, key=in_order), start=1)}
        for ids in (annotated, categories)
    )
    ground_truth_index, result_index = (
        _index(entries, image_numbers, category_numbers) for entries in (ground_truth["annotations"], results)
    )
    evaluation = _Evaluation(ground_truth_index, result_index, "keypoints", kpt_oks_sigmas=sigmas)
    evaluation.params.imgIds = sorted(image_numbers[image_id] for image_id in image_ids)
    evaluation.params.catIds = list(category_numbers.values())
    evaluation.run()
    values = evaluation.stats[: len(NUMBERS)]
    return {name: float(value) for (name, *_), value in zip(NUMBERS, values, strict=True)}


class _Evaluation(COCOeval_faster):
    """The tool with its slowest step, a sum per pose and instance, done for all poses of an image at once."""

    def computeOks(self, imgId, catId):  # noqa: N802, N803, the base class's names
        """OKS of an image's best poses with its instances, (D, G)."""
        instances, poses = self.gt_dataset.get(imgId, catId), self.dt_dataset.get(imgId, catId)
        if not instances or not poses:
            return []
        best = np.argsort([-pose["score"] for pose in poses], kind="stable")[: self.params.maxDets[-1]]
        points = np.stack([poses[place]["keypoints"] for place in best]).reshape(len(best), -1, 3)
        keypoints = np.stack([instance["keypoints"] for instance in instances])
        areas, boxes = ([instance[key] for instance in instances] for key in ("area", "bbox"))
        return annotation_oks(
            points[:, :, :2],
            keypoints.reshape(len(instances), -1, 3),
            areas,
            boxes,
            self.params.kpt_oks_sigmas,
        )


def _index(entries, image_numbers, category_numbers):
    """Annotations or results as the tool's `COCO`, all ids replaced by numbers from 1, without strays."""
    index = COCO()
    index.dataset = {
        "images": [{"id": number} for number in image_numbers.values()],
        "categories": [{"id": number} for number in category_numbers.values()],
        "annotations": [
            entry
            | {
                "id": number,
                "image_id": image_numbers[entry["image_id"]],
                "category_id": category_numbers[entry["category_id"]],
            }
            for number, entry in enumerate(entries, start=1)
            if entry["image_id"] in image_numbers and entry["category_id"] in category_numbers
        ],
    }
    index.createIndex()
    return index


def format_table(metrics: Mapping[str, float]) -> str:
    """The metrics of `evaluate_coco` as pycocotools' summary of ten lines, without a newline at the end."""
    lines = []
    for name, quantity, oks, area in NUMBERS:
        value = metrics[name]
        text = "n/a (no such ground truth)" if value == UNDEFINED else f"{value:.3f}"
        lines.append(f"{quantity:<17} @[ OKS={oks:<9} | area={area:>6} | maxDets=20 ]  {name:<6} = {text}")
    return "\n".join(lines)


def write_submission(results: list[dict[str, Any]], folder: str | Path, split: str, algorithm: str) -> Path:
    """Writes results as COCO's server wants them (https://cocodataset.org/#upload): one JSON file in a zip.

    Args:
        results: list of COCO result dicts.
        folder: where to write.
        split: which images, as COCO names them, for example "test-dev2017".
        algorithm: a name for the method.

    Returns:
        Path of ``person_keypoints_{split}_{algorithm}_results.zip``. The same results make the same bytes.
    """
    path = Path(folder) / f"person_keypoints_{split}_{algorithm}_results.zip"
    entry = zipfile.ZipInfo(path.with_suffix(".json").name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr, entry.create_system = 0o644 << 16, 3  # an ordinary file of any system
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(entry, json.dumps(results), zipfile.ZIP_DEFLATED)
    return write_whole(path, content.getvalue())


def check(split: EvaluationSplit, options: Mapping[str, Any]) -> None:
    """Raises ValueError if the annotations could not be read."""
    if split.ground_truth.labeled:
        read_ground_truth(split.ground_truth.content, split.skeleton.num_keypoints)


def measure(metric_input: MetricInput) -> MetricResult:
    """AP and AR with the skeleton's sigmas; for data without areas also PCK, which needs none."""
    split, results = metric_input.split, metric_input.results
    annotated = split.ground_truth
    if not annotated.labeled:
        why = f"{annotated.path} has no annotations to measure against"
        return not_measured(why, _submission(metric_input))
    metrics = evaluate_coco(annotated.content, results, split.skeleton.sigmas, annotated.image_ids)
    values: dict[str, Number] = {**metrics}
    table, headline = format_table(metrics), f"AP {metrics['AP']:.3f}"
    remarks: tuple[str, ...] = ()
    if values["AP"] == UNDEFINED:
        headline = "AP n/a, nobody to find"
    elif not results:
        table += "\nNo poses were kept, so nobody is found."
    if annotated.unusable:
        table += (
            f"\n{annotated.unusable:,} annotations without usable id, image, box or keypoints are rejected"
        )
    if not annotated.has_areas:
        remark = "The annotations have no areas; OKS takes those of the boxes."
        remarks, table = (remark,), f"{table}\n{remark}"
        if split.manifest.boxes == "ground_truth":
            of_boxes = pck_of_boxes(metric_input)["mean"]
            values["PCK@0.2"] = number_or_none(of_boxes)
            table += f"\nPCK@0.2 of the box's longer side = {of_boxes:.1f} %"
    doubts = (f"{annotated.path}: {annotated.area_warning}",) if annotated.area_warning else ()
    return MetricResult(
        headline=headline,
        table=table,
        values=values,
        best_by="AP",
        notes=(*doubts, *_crowded(annotated)),
        remarks=remarks,
        shares=frozenset(name for name, *_ in NUMBERS),
        undefined=UNDEFINED,
        analyzed=True,
    )


def _crowded(annotated: GroundTruth) -> tuple[str, ...]:
    """(line,) that names the images with more instances than the metric looks at; () if there are none."""
    instances = Counter(
        instance["image_id"]
        for instance in annotated.content["annotations"]
        if instance["num_keypoints"] and not instance["iscrowd"]
    )
    crowded = [
        count
        for image_id, count in instances.items()
        if count > MAX_POSES and (annotated.image_ids is None or image_id in annotated.image_ids)
    ]
    if not crowded:
        return ()
    return (
        f"COCO's metric counts the {MAX_POSES} best poses of an image, and {len(crowded):,} of the images "
        f"{'has' if len(crowded) == 1 else 'have'} more instances (up to {max(crowded):,}): not all of them "
        "can be found",
    )


def _submission(metric_input: MetricInput) -> tuple[Path, ...]:
    """For images that COCO's server evaluates the file for it: a tuple of one path, or none."""
    dataset = DATASETS.get(metric_input.split.manifest.dataset)
    if dataset is None or not dataset.has_coco_server:
        return ()
    stem, name = metric_input.split.ground_truth.path.stem, metric_input.name
    split = stem.removeprefix("image_info_").removeprefix("person_keypoints_")
    algorithm = name.name.removeprefix(f"{stem}_").replace("_", "-")
    return (write_submission(metric_input.results, name.parent, split, algorithm),)


METRIC = Metric(
    name="coco",
    summary="AP and AR by object keypoint similarity (OKS)",
    measure=measure,
    check=check,
)
