"""Flags of ``evaluate/predict.py``."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from evaluate.options import LARGEST_BATCH
from hrpose.command import UsageError, import_tensorflow, run
from hrpose.storage import local_only
from model.run_config import read_config
from model.run_folder import checkpoints_folder
from model.weight_choice import define_weight_flags
from records.annotations.instance_checks import PERSON_CATEGORY
from records.datasets import DATASETS

log = logging.getLogger(__name__)

NAME = "python evaluate/predict.py"

DESCRIPTION = """
Predicts the keypoints in images of your own with a trained network.

  python evaluate/predict.py --image A.jpg --run_dir output
  python evaluate/predict.py --image photos --detections boxes.json --run_dir output

Writes NAME_pose.jpg, the image with skeletons, and NAME.json with everybody's keypoints by name, in pixels
of the image, which is turned upright first if its EXIF data say so, as phones' do. The network expects one
instance per box. Without --detections the whole image is one box, which suits images of a single person.

--detections is a JSON file with a list, in the form of COCO results:

  [{"image": "A.jpg", "bbox": [x, y, width, height], "score": 0.9}, ...]

"image" is an image's name, for a folder its name there; in its place "image_id" finds the image whose
name is that number, as COCO's 000000000139.jpg is of 139, or that text, with or without ending. The box is in
pixels from the upper left corner of the upright image. "score" is 1 where it is missing. Of entries with a
"category_id" those of --detection_category count: by default 1, COCO's person; for a run on data of your own,
the only one in the file. An image or a box that cannot be used is named and rejected; the exit code is 1 only
if no image could be used.
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags in an absl `FlagValues`."""
    add: dict[str, Any] = dict(flag_values=values)
    flags.DEFINE_string("image", None, "An image, or a folder: then every image right in it.", **add)
    flags.DEFINE_string("detections", None, "JSON file with instances' boxes; see above.", **add)
    flags.DEFINE_integer(
        "detection_category",
        None,
        "Whose boxes count, by their category_id; see above.",
        **add,
    )
    flags.DEFINE_string("run_dir", "output", "The run's folder, as train/main.py --run_dir has it.", **add)
    define_weight_flags(values)
    flags.DEFINE_string(
        "output_dir",
        None,
        "Where the results go; by default predictions/ in the run's folder. Not the images' own folder.",
        **add,
    )
    flags.DEFINE_bool("flip_test", True, "Average with the heatmaps of the mirrored image.", **add)
    flags.DEFINE_enum(
        "exif_orientation",
        "apply",
        ["apply", "ignore"],
        "apply turns images upright as their EXIF data say; boxes and keypoints then are those of the "
        "upright image. COCO, MPII and PoseTrack count in pixels as stored, and their records are built "
        "without turning: ignore does the same here.",
        **add,
    )
    flags.DEFINE_float(
        "min_score",
        0.2,
        "Instances with a lower score are not rendered, and of the others no keypoint with a lower one. The "
        "JSON has all of them.",
        **add,
    )
    flags.DEFINE_integer(
        "batch_size", 32, "Instances per forward pass.", lower_bound=1, upper_bound=LARGEST_BATCH, **add
    )


def main(values: flags.FlagValues) -> int:
    """Predicts what the flags ask for; returns the exit code."""
    if not values.image:
        raise UsageError("--image is missing: an image or a folder of images")
    for flag in ("image", "detections", "run_dir", "output_dir"):
        local_only(values[flag].value, flag)
    run_dir = Path(values.run_dir)
    from evaluate.prediction.boxes import read_boxes
    from evaluate.prediction.files import find_images, passed_over
    from model.image_files import SUFFIXES

    images = find_images(values.image)
    if others := passed_over(values.image):
        log.info("note: passed over %s; images end in %s", others, ", ".join(SUFFIXES))
    boxes = None
    if values.detections is not None:
        boxes, notes = read_boxes(values.detections, images, _category(values, run_dir))
        for note in notes:
            log.info("note: %s", note)
    import_tensorflow()
    from evaluate.prediction.predict import PredictOptions, predict_images

    return predict_images(
        images,
        boxes,
        PredictOptions(
            run_dir=run_dir,
            output_dir=Path(values.output_dir or run_dir / "predictions"),
            epoch=values.epoch,
            averaged=values.averaged,
            flip_test=values.flip_test,
            exif_orientation=values.exif_orientation == "apply",
            min_score=values.min_score,
            batch_size=values.batch_size,
        ),
    )


def _category(values: flags.FlagValues, run_dir: Path) -> int | None:
    """Whose boxes count; None for the only category in the file."""
    if values.detection_category is not None:
        return values.detection_category
    dataset = DATASETS.get(read_config(checkpoints_folder(run_dir)).dataset)
    # A skeleton that the annotation file describes is of a category of that file's own.
    return PERSON_CATEGORY if dataset is not None and dataset.skeleton is not None else None


def command(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv)
