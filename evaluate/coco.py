"""COCO keypoint metrics by pycocotools, COCO's own tool: kept quiet, and for any number of joints."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

METRICS = (
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
"""(name, what it is, OKS thresholds, size of people) in pycocotools' and the official code's order.

Medium people have an annotated area of 32² to 96² square pixels, large ones more.
"""

UNDEFINED = -1.0
"""What pycocotools says for a metric without ground truth to count, such as AP (L) without large people."""


def evaluate_coco(annotation_json, results, sigmas=None, image_ids=None):
    """The ten numbers of the COCO keypoint task (https://cocodataset.org/#keypoints-eval).

    Args:
        annotation_json: path of a COCO keypoint annotation file, or its content as a dict. Annotations need
            ``image_id, category_id, keypoints, bbox, area``; without ``iscrowd``, or with null, they are no
            crowd. ``num_keypoints`` is counted and ``id`` not looked at (pycocotools believes the one, and
            takes id 0 for "no match").
        results: list of result dicts ``{"image_id", "category_id", "keypoints", "score"}``, or the path of a
            JSON file with one; other keys are not looked at. As in COCO's rules the best 20 per image count.
            An empty list is valid: every metric with ground truth to find is then 0.
        sigmas: (K,) float, > 0, the skeleton's OKS sigmas; None: COCO's 17.
        image_ids: the images to evaluate; None: all of the annotation file. Results on others are left out.

    Returns:
        Dict of float, keys "AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)",
        "AR (L)" in this order; -1 for those without ground truth. Arguments are left unchanged.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: on files of another form, results on images or of categories that the annotations do not
            have, numbers of joints that do not fit together, and ``image_ids`` that are not annotated.
    """
    params = Params("keypoints")
    if sigmas is not None:
        params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)
        if params.kpt_oks_sigmas.ndim != 1 or not (params.kpt_oks_sigmas > 0).all():
            raise ValueError(f"sigmas: received {sigmas}; expected (K,) numbers above 0")
    joints = len(params.kpt_oks_sigmas)

    truth = _ground_truth(annotation_json, joints)
    annotated = {image["id"] for image in truth["images"]}
    categories = {category["id"] for category in truth["categories"]}
    results = _checked_results(results, joints, annotated, categories)
    image_ids = annotated if image_ids is None else set(image_ids)
    unknown = sorted(image_ids - annotated, key=str)
    if unknown:
        raise ValueError(
            f"image_ids: {_some(unknown)} not in the annotations, which have {len(annotated)} images"
        )

    with contextlib.redirect_stdout(io.StringIO()):
        truth_index = COCO()
        truth_index.dataset = truth
        truth_index.createIndex()
        # loadRes fails on an empty list; an index of nothing is what it would have to make of it.
        result_index = truth_index.loadRes(results) if results else COCO()
        evaluation = COCOeval(truth_index, result_index, "keypoints")
        params.imgIds = sorted(image_ids)
        params.catIds = sorted(categories)
        evaluation.params = params
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for (name, *_), value in zip(METRICS, evaluation.stats, strict=True)}


def format_table(metrics):
    """The metrics of `evaluate_coco` as pycocotools' summary of ten lines, without a newline at the end."""
    lines = []
    for name, quantity, oks, area in METRICS:
        value = metrics[name]
        text = "n/a (no such ground truth)" if value == UNDEFINED else f"{value:.3f}"
        lines.append(f"{quantity:<17} @[ OKS={oks:<9} | area={area:>6} | maxDets=20 ]  {name:<6} = {text}")
    return "\n".join(lines)


def _ground_truth(annotation_json, joints):
    """Images, annotations and categories, the annotations copied, completed, numbered from 1 and checked."""
    source, content = _load(annotation_json)
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise ValueError(
            f"{source}: not COCO annotations; expected an object with images, annotations and categories"
        )
    annotations = []
    for number, annotation in enumerate(content["annotations"], start=1):
        missing = {"image_id", "category_id", "keypoints", "bbox", "area"} - annotation.keys()
        if missing:
            raise ValueError(
                f"{source}: annotation {annotation.get('id', number)} has no {', '.join(sorted(missing))}"
            )
        _check_joints(f"{source}: annotation {annotation.get('id', number)}", annotation["keypoints"], joints)
        visible = sum(flag > 0 for flag in annotation["keypoints"][2::3])
        crowd = int(bool(annotation.get("iscrowd")))
        annotations.append(annotation | {"iscrowd": crowd, "num_keypoints": visible, "id": number})
    return {"images": content["images"], "annotations": annotations, "categories": content["categories"]}


def _checked_results(results, joints, annotated, categories):
    """Copies of the results with the four keys that matter.

    pycocotools' loadRes writes into its argument and takes results with a ``bbox`` for detections of boxes.
    """
    source, results = _load(results)
    if not isinstance(results, list):
        raise ValueError(
            f"{source}: received a {type(results).__name__}; expected a list of COCO result dicts"
        )
    keys = ("image_id", "category_id", "keypoints", "score")
    for number, result in enumerate(results):
        missing = [key for key in keys if key not in result]
        if missing:
            raise ValueError(f"{source}: result {number} has no {', '.join(missing)}")
        _check_joints(f"{source}: result {number}", result["keypoints"], joints)
        if not np.isfinite([*result["keypoints"], result["score"]]).all():
            raise ValueError(f"{source}: result {number} (image {result['image_id']}) has numbers not finite")
    unknown = sorted({result["image_id"] for result in results} - annotated, key=str)
    if unknown:
        raise ValueError(
            f"{source}: results on {_some(unknown)} not in the annotations; use the annotation file of the "
            "split the results were made on"
        )
    unknown = sorted({result["category_id"] for result in results} - categories, key=str)
    if unknown:
        raise ValueError(
            f"{source}: results of category {unknown}, but the annotations have {sorted(categories, key=str)}"
        )
    return [{key: result[key] for key in keys} for result in results]


def _check_joints(place, keypoints, joints):
    if len(keypoints) != 3 * joints:
        raise ValueError(
            f"{place}: {len(keypoints)} numbers in keypoints; expected 3 x {joints}, one triple per sigma "
            "(sigmas: None means COCO's 17)"
        )


def _some(image_ids):
    """For an error's text: how many images and the first few of them."""
    listed = ", ".join(map(str, image_ids[:5])) + (", ..." if len(image_ids) > 5 else "")
    return f"{len(image_ids)} image{'s' if len(image_ids) > 1 else ''} ({listed})"


def _load(path_or_content):
    """(name for error messages, content); content that is in memory already is passed through."""
    if not isinstance(path_or_content, str | Path):
        return "evaluate_coco", path_or_content
    path = Path(path_or_content)
    try:
        return str(path), json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
