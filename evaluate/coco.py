"""COCO keypoint metrics for any number of joints, by faster-coco-eval.

Its ten numbers are those of pycocotools, COCO's own tool, to 1e-12 (the tests hold them together), in a fifth
of the time from files to numbers.
"""

import io
import json
import reprlib
import zipfile
from itertools import chain
from pathlib import Path

import numpy as np
import orjson
from faster_coco_eval import COCO, COCOeval_faster

from evaluate.files import write_whole
from nms import COCO_SIGMAS
from records.json_text import parse_json

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
    sigmas = COCO_SIGMAS if sigmas is None else np.asarray(sigmas, np.float64)
    if sigmas.ndim != 1 or not (sigmas > 0).all():
        raise ValueError(f"sigmas: received {sigmas}; expected (K,) numbers above 0")

    truth = _ground_truth(annotation_json, len(sigmas))
    annotated = {image["id"] for image in truth["images"]}
    categories = {category["id"] for category in truth["categories"]}
    results = _checked_results(results, len(sigmas), annotated, categories)
    image_ids = annotated if image_ids is None else set(image_ids)
    unknown = sorted(image_ids - annotated, key=str)
    if unknown:
        raise ValueError(
            f"image_ids: {_some(unknown)} not in the annotations, which have {len(annotated)} images"
        )
    # Ids may be anything that has an order; the tool wants int64. It ranks equal scores by the images' order.
    image_numbers = {image_id: number for number, image_id in enumerate(sorted(annotated), start=1)}
    category_numbers = {category: number for number, category in enumerate(sorted(categories), start=1)}
    truth_index, result_index = (
        _index(entries, image_numbers, category_numbers) for entries in (truth["annotations"], results)
    )
    evaluation = _Evaluation(truth_index, result_index, "keypoints", kpt_oks_sigmas=sigmas)
    evaluation.params.imgIds = sorted(image_numbers[image_id] for image_id in image_ids)
    evaluation.params.catIds = list(category_numbers.values())
    evaluation.run()
    values = evaluation.stats[: len(METRICS)]
    return {name: float(value) for (name, *_), value in zip(METRICS, values, strict=True)}


class _Evaluation(COCOeval_faster):
    """The tool with its slowest step, a sum per pose and person, done for all poses of a picture at once."""

    def computeOks(self, imgId, catId):  # noqa: N802, N803, the base class's names
        """OKS of a picture's best poses with its people, (D, G) float64: pycocotools' to the last bits.

        As there, sums run over the labelled joints alone, and each pose's terms lie side by side: NumPy adds
        them up in the same order, so that equal OKS stay equal.
        """
        people, poses = self.gt_dataset.get(imgId, catId), self.dt_dataset.get(imgId, catId)
        if not people or not poses:
            return []
        best = np.argsort([-pose["score"] for pose in poses], kind="stable")[: self.params.maxDets[-1]]
        points = np.stack([poses[place]["keypoints"] for place in best]).reshape(len(best), -1, 3)
        squares = 4 * self.params.kpt_oks_sigmas**2
        oks = np.empty((len(best), len(people)))
        for column, person in enumerate(people):
            truth = person["keypoints"].reshape(-1, 3)
            joints = np.flatnonzero(truth[:, 2] > 0)
            if len(joints):
                offsets = points.take(joints, axis=1)[:, :, :2] - truth[joints, :2]
            else:  # crowds: how far a joint is outside of the box grown by its own size to every side
                joints = np.arange(len(truth))
                corner, size = np.reshape(person["bbox"], (2, 2))
                low, high = corner - size, corner + size * 2
                offsets = np.maximum(0, low - points[:, :, :2]) + np.maximum(0, points[:, :, :2] - high)
            distances = offsets[:, :, 0] ** 2 + offsets[:, :, 1] ** 2
            exponents = distances / squares[joints] / (person["area"] + np.spacing(1)) / 2
            oks[:, column] = np.exp(-exponents).sum(axis=1) / len(joints)
        return oks


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


def format_table(metrics):
    """The metrics of `evaluate_coco` as pycocotools' summary of ten lines, without a newline at the end."""
    lines = []
    for name, quantity, oks, area in METRICS:
        value = metrics[name]
        text = "n/a (no such ground truth)" if value == UNDEFINED else f"{value:.3f}"
        lines.append(f"{quantity:<17} @[ OKS={oks:<9} | area={area:>6} | maxDets=20 ]  {name:<6} = {text}")
    return "\n".join(lines)


def write_submission(results, folder, split, algorithm):
    """Writes results as COCO's server wants them (https://cocodataset.org/#upload): one JSON file in a zip.

    Args:
        results: list of COCO result dicts.
        folder: where to write.
        split: which pictures, as COCO names them, for example "test-dev2017".
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


def _ground_truth(annotation_json, joints):
    """Images, annotations and categories; of the annotations, completed and checked, the keys that matter."""
    source, content = _load(annotation_json)
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise ValueError(
            f"{source}: not COCO annotations; expected an object with images, annotations and categories"
        )
    entries = content["annotations"]
    keys = ("image_id", "category_id", "keypoints", "bbox", "area")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise ValueError(f"{source}: annotation {number} is {reprlib.repr(entry)}; expected an object")
        missing = sorted(set(keys) - entry.keys())
        if missing:
            raise ValueError(f"{source}: annotation {entry.get('id', number)} has no {', '.join(missing)}")
        _check_joints(f"{source}: annotation {entry.get('id', number)}", entry["keypoints"], joints)
    keypoints = _numbers(f"{source}: annotations", [entry["keypoints"] for entry in entries], 3 * joints)
    visible = (keypoints[:, 2::3] > 0).sum(axis=1).tolist()
    annotations = [
        {key: entry[key] for key in keys}
        | {"keypoints": row, "iscrowd": int(bool(entry.get("iscrowd"))), "num_keypoints": count}
        for entry, row, count in zip(entries, keypoints, visible, strict=True)
    ]
    return {"images": content["images"], "annotations": annotations, "categories": content["categories"]}


def _checked_results(results, joints, annotated, categories):
    """The results' keys that matter, with the area that pycocotools' loadRes gives them: of all keypoints."""
    source, results = _load(results)
    if not isinstance(results, list):
        raise ValueError(
            f"{source}: received a {type(results).__name__}; expected a list of COCO result dicts"
        )
    for number, result in enumerate(results):
        if not isinstance(result, dict):
            raise ValueError(f"{source}: result {number} is {reprlib.repr(result)}; expected an object")
        missing = [key for key in ("image_id", "category_id", "keypoints", "score") if key not in result]
        if missing:
            raise ValueError(f"{source}: result {number} has no {', '.join(missing)}")
        _check_joints(f"{source}: result {number}", result["keypoints"], joints)
    keypoints = _numbers(f"{source}: results", [result["keypoints"] for result in results], 3 * joints)
    scores = _numbers(f"{source}: results", [[result["score"]] for result in results], 1)[:, 0]
    finite = np.isfinite(keypoints).all(axis=1) & np.isfinite(scores)
    if not finite.all():
        number = int(np.argmin(finite))
        image_id = results[number]["image_id"]
        raise ValueError(f"{source}: result {number} (image {image_id}) has numbers not finite")
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
    points = keypoints.reshape(-1, joints, 3)[:, :, :2]
    areas = np.prod(points.max(axis=1) - points.min(axis=1), axis=1).tolist()
    return [
        {
            "image_id": result["image_id"],
            "category_id": result["category_id"],
            "keypoints": row,
            "score": score,
            "area": area,
        }
        for result, row, score, area in zip(results, keypoints, scores.tolist(), areas, strict=True)
    ]


def _check_joints(place, keypoints, joints):
    if not isinstance(keypoints, list) or len(keypoints) != 3 * joints:
        received = f"{len(keypoints)} numbers" if isinstance(keypoints, list) else reprlib.repr(keypoints)
        raise ValueError(
            f"{place}: {received} in keypoints; expected 3 x {joints}, one triple per sigma "
            "(sigmas: None means COCO's 17)"
        )


def _numbers(place, rows, length):
    """(N, length) float64 of N lists of this length; NaN for null."""
    try:
        flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * length)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{place}: expected numbers ({error})") from error
    return flat.reshape(len(rows), length)


def _some(image_ids):
    """For an error's text: how many images and the first few of them."""
    listed = ", ".join(map(str, image_ids[:5])) + (", ..." if len(image_ids) > 5 else "")
    return f"{len(image_ids)} image{'s' if len(image_ids) > 1 else ''} ({listed})"


def _load(path_or_content):
    """(name for error messages, content); content that is in memory already is passed through."""
    if not isinstance(path_or_content, str | Path):
        return "evaluate_coco", path_or_content
    path = Path(path_or_content)
    content = path.read_bytes()
    try:
        return str(path), orjson.loads(content)
    except ValueError:  # in another encoding, packed, or none
        return str(path), parse_json(path, content)
