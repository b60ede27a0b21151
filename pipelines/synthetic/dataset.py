"""The built-in "synthetic" dataset: synthetic people in COCO's layout, made in seconds and without a
download.

It is there to try every step on, from building records to evaluation, and to see a small network learn.
Under the given directory:

    images/train/*.jpg, images/val/*.jpg
    annotations/person_keypoints_train.json, annotations/person_keypoints_val.json
    dets/human_detection.json       what a person detector might say about the val images (COCO results)
    synthetic.json                  the options; comes last, so it says that the dataset is complete

All of it is drawn in `.drawing` first, and what an earlier run has written stays until it is whole there.

Coordinates have a pixel's center at its integer index; boxes are COCO's x y w h of the pixels in sight.
A keypoint is hidden (1) where something else is drawn over its pixel, and left out (0) beyond the image's
border and, for nose and eyes, on a head seen from behind.
"""

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path, PurePath

import cv2
import numpy as np

from hrpose.json_text import loads
from pipelines.synthetic.detections import simulate_detections
from pipelines.synthetic.options import SPLITS, VAL_ID_OFFSET, SyntheticOptions
from pipelines.synthetic.scenes import Scene, render_scene
from records.skeletons import COCO

FORMAT = 1  # raised whenever the same options give other files
CATEGORY = {
    "id": 1,
    "name": "person",
    "supercategory": "person",
    "keypoints": list(COCO.keypoints),
    "skeleton": [[start + 1, end + 1] for start, end in COCO.limbs],  # COCO counts from 1
}
INFO = {"description": "HRPose synthetic people", "version": str(FORMAT), "contributor": "HRPose"}
LICENSES = [{"id": 1, "name": "Apache License 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}]

MARKER = "synthetic.json"
GENERATING = ".drawing"  # until all of it is there
DETECTIONS = PurePath("dets", "human_detection.json")

IDS_PER_IMAGE = 100  # person ids: 100 * image id, 100 * image id + 1, ...
IMAGES_PER_TASK = 16
# Detections have random numbers of their own, so that changing them changes no image.
DETECTION_STREAM = len(SPLITS)

Progress = Callable[[int, int], None]


def generate(
    directory: Path,
    options: SyntheticOptions,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> bool:
    """Write the dataset into `directory`; True when it was written, False when it was already there.

    The files do not depend on `workers`, the number of processes; more than one are started afresh (`spawn`),
    so a script that calls this needs the usual `if __name__ == "__main__":`. `progress` is called with the
    number of images done and of all images. A complete dataset of other options raises FileExistsError unless
    `overwrite`; so do, always, images, annotations or detections where this function has written none. An
    interrupted run is done again, or only ended if it had drawn everything.
    """
    directory = Path(directory)
    if workers < 1:
        raise ValueError(f"synthetic dataset: workers is {workers}; expected 1 or more")
    marker, made = directory / MARKER, directory / GENERATING
    wanted = {
        "format": FORMAT,
        "options": {**asdict(options), "instances_weights": list(options.instances_weights)},
    }
    if (made / MARKER).exists():
        _exchange(made, directory)
    if marker.exists():
        if not overwrite and _read_json(marker) == wanted:
            return False
        if not overwrite:
            raise FileExistsError(
                f"{directory} holds a synthetic dataset of other options (see {marker}); "
                "pass overwrite to replace it, or choose another directory"
            )
    else:
        _refuse_foreign_files(directory)
    shutil.rmtree(made, ignore_errors=True)  # of a run that was killed
    try:
        _generate_dataset(made, options, workers, progress)
        _write_json(made / MARKER, wanted)
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(directory)  # a full disk does not say where it is
        raise
    _exchange(made, directory)
    return True


def _generate_dataset(
    directory: Path, options: SyntheticOptions, workers: int, progress: Progress | None
) -> None:
    """Draw the images and write their annotations and detections."""
    ground_truths: dict[str, list[tuple[dict, list[dict]]]] = {split: [] for split in SPLITS}
    done, total = 0, options.train_images + options.val_images
    for split, ground_truth in _generate_all(directory, options, workers):
        ground_truths[split] += ground_truth
        done += len(ground_truth)
        if progress is not None:
            progress(done, total)

    for split, ground_truth in ground_truths.items():
        content = {
            "info": INFO,
            "licenses": LICENSES,
            "images": [image for image, _ in ground_truth],
            "annotations": [person for _, instances in ground_truth for person in instances],
            "categories": [CATEGORY],
        }
        _write_json(_annotation_path(directory, split), content)
    detections = []
    for index, (image, instances) in enumerate(ground_truths["val"]):
        rng = _random(options, DETECTION_STREAM, index)
        size = (image["width"], image["height"])
        boxes = np.array([person["bbox"] for person in instances]).reshape(-1, 4)
        detections += [
            {
                "image_id": image["id"],
                "category_id": CATEGORY["id"],
                "bbox": np.round(box, 2).tolist(),
                "score": round(score, 4),
            }
            for box, score in simulate_detections(rng, boxes, size, options.detector)
        ]
    _write_json(directory / DETECTIONS, detections)


def _exchange(made: Path, directory: Path) -> None:
    """Move a whole dataset to where an earlier one may stand; the next call ends what was interrupted.

    Of the earlier one those images go that its annotations name and the new ones do not.
    """

    def move(path: Path) -> None:
        target = directory / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)

    for split in SPLITS:
        annotations = _annotation_path(made, split)
        if not annotations.exists():  # moved by an earlier call, after all the images
            continue
        for path in (made / "images" / split).iterdir():
            move(path)
        for name in _image_names(_annotation_path(directory, split)) - _image_names(annotations):
            (directory / "images" / split / name).unlink(missing_ok=True)
        move(annotations)
    for path in (made / DETECTIONS, made / MARKER):
        if path.exists():
            move(path)
    shutil.rmtree(made)


def _image_names(path: Path) -> set[str]:
    """The names of an annotation file's images; none of one that is not there, or not as it was written."""
    content = _read_json(path) if path.exists() else None
    images = content.get("images") if isinstance(content, dict) else None
    images = images if isinstance(images, list) else []
    names = [image.get("file_name") for image in images if isinstance(image, dict)]
    return {name for name in names if isinstance(name, str) and name == PurePath(name).name}


def _annotation_path(directory: Path, split: str) -> Path:
    return directory / "annotations" / f"person_keypoints_{split}.json"


def _read_json(path: Path) -> object:
    """A file's content; None when it is not JSON, which equals no options."""
    try:
        return loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _refuse_foreign_files(directory: Path) -> None:
    for name in ("images", "annotations", "dets"):
        first = next((directory / name).glob("*"), None)
        if first is not None:
            raise FileExistsError(
                f"{directory} holds files that are not a synthetic dataset ({first}, but no synthetic.json); "
                "choose an empty directory"
            )


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _generate_all(
    directory: Path, options: SyntheticOptions, workers: int
) -> Iterator[tuple[str, list[tuple[dict, list[dict]]]]]:
    """Draw all images; yields (split, their COCO image and annotations), in order."""
    tasks = []
    for split, count in zip(SPLITS, (options.train_images, options.val_images), strict=True):
        (directory / "images" / split).mkdir(parents=True, exist_ok=True)
        starts = range(0, count, IMAGES_PER_TASK)
        tasks += [(directory, options, split, start, min(start + IMAGES_PER_TASK, count)) for start in starts]
    splits = [task[2] for task in tasks]
    if workers == 1:
        yield from zip(splits, map(_generate_range, tasks), strict=True)
        return
    # The caller may hold threads and accelerators, which a forked child must not inherit.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        yield from zip(splits, pool.map(_generate_range, tasks), strict=True)


def _start_worker() -> None:
    """Leave the cores to the other workers, and do not outlive a parent that was killed."""
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a child

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def _generate_range(task: tuple[Path, SyntheticOptions, str, int, int]) -> list[tuple[dict, list[dict]]]:
    """Draw and write images start to stop of a split."""
    directory, options, split, start, stop = task
    return [_generate_image(directory, options, split, index) for index in range(start, stop)]


def _generate_image(
    directory: Path, options: SyntheticOptions, split: str, index: int
) -> tuple[dict, list[dict]]:
    """Draw one image and write it; returns its COCO image and annotations."""
    scene = render_scene(
        _random(options, SPLITS.index(split), index),
        options.instances_weights,
        (options.min_height, options.max_height),
        options.back_view_fraction,
    )
    image_id = SPLITS.index(split) * VAL_ID_OFFSET + index + 1
    name = f"{image_id:012d}.jpg"
    _, data = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, options.jpeg_quality])
    (directory / "images" / split / name).write_bytes(data.tobytes())
    height, width = scene.image.shape[:2]
    image = {"id": image_id, "file_name": name, "width": width, "height": height, "license": 1}
    return image, _annotations(scene, image_id)


def _random(options: SyntheticOptions, stream: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([options.seed, stream, index]))


def _annotations(scene: Scene, image_id: int) -> list[dict]:
    return [
        {
            "id": image_id * IDS_PER_IMAGE + i,
            "image_id": image_id,
            "category_id": CATEGORY["id"],
            "keypoints": [
                number
                for x, y, v in person.keypoints.tolist()
                for number in (round(x, 2), round(y, 2), int(v))
            ],
            "num_keypoints": int(np.count_nonzero(person.keypoints[:, 2])),
            "bbox": [float(number) for number in person.box],
            "area": float(person.area),
            "iscrowd": 0,
            "segmentation": [],
        }
        for i, person in enumerate(scene.instances)
    ]
