"""Flags of ``evaluate/predict.py``."""

from pathlib import Path

from absl import flags

from evaluate.options import LARGEST_BATCH
from evaluate.weight_flags import define_weight_flags
from hrpose.command import UsageError, import_tensorflow, run
from hrpose.json_checks import PERSON_CATEGORY
from hrpose.storage import local_only
from model.run_config import read_config
from records.datasets import LAYOUTS

NAME = "python evaluate/predict.py"

DESCRIPTION = """
Predicts the people in pictures of your own with a trained network.

  python evaluate/predict.py --image A.jpg --run output
  python evaluate/predict.py --image photos --boxes boxes.json --run output

Writes NAME_pose.jpg, the picture with skeletons, and NAME.json with everybody's keypoints by name, in pixels
of the picture, which is turned upright first if its EXIF data say so, as phones' do. The network expects one
person per box. Without --boxes the whole picture is one box, which suits pictures of a single person.

--boxes is a JSON file with a list, in the form of COCO results:

  [{"image": "A.jpg", "bbox": [x, y, width, height], "score": 0.9}, ...]

"image" is a picture's name, for a folder its name there; in its place "image_id" finds the picture whose
name is that number, as COCO's 000000000139.jpg is of 139, or that text, with or without ending. The box is in
pixels from the upper left corner of the upright picture. "score" is 1 where it is missing. Of entries with a
"category_id" those of --category count: by default 1, COCO's person; for a run on data of your own, the only
one in the file. A picture or a box that cannot be used is named and left out; the exit code is 1 only if no
picture could be used.
"""


def define_flags(values):
    """Defines the command's flags in an absl `FlagValues`."""
    add = dict(flag_values=values)
    flags.DEFINE_string("image", None, "A picture, or a folder: then every picture right in it.", **add)
    flags.DEFINE_string("boxes", None, "JSON file with people's boxes; see above.", **add)
    flags.DEFINE_integer(
        "category",
        None,
        "Whose boxes count, by their category_id; see above.",
        **add,
    )
    flags.DEFINE_string("run", "output", "The run's folder, as train/main.py --output_dir has it.", **add)
    define_weight_flags(values)
    flags.DEFINE_string(
        "output_dir",
        None,
        "Where the results go; by default predictions/ in the run's folder. Not the pictures' own folder.",
        **add,
    )
    flags.DEFINE_bool("flip_test", True, "Average with the heatmaps of the mirrored picture.", **add)
    flags.DEFINE_bool(
        "exif_orientation",
        True,
        "Turn pictures upright as their EXIF data say; boxes and keypoints then are those of the upright "
        "picture. COCO, MPII and PoseTrack count in pixels as stored, and their records are built without "
        "turning (build_records.py --exif_orientation): --noexif_orientation does the same here.",
        **add,
    )
    flags.DEFINE_float(
        "min_score",
        0.2,
        "People with a lower score are not drawn, and of the others no joint with a lower one. The JSON has "
        "all of them.",
        **add,
    )
    flags.DEFINE_integer(
        "batch_size", 32, "People per forward pass.", lower_bound=1, upper_bound=LARGEST_BATCH, **add
    )


def main(values, rest):
    """Predicts what the flags ask for; returns the exit code."""
    if rest:
        raise UsageError(f"nothing is expected after --, received {rest[0]!r}")
    if not values.image:
        raise UsageError("--image is missing: a picture or a folder of pictures")
    for flag in ("image", "boxes", "run", "output_dir"):
        local_only(values[flag].value, flag)
    from evaluate.prediction.boxes import read_boxes
    from evaluate.prediction.files import find_pictures, passed_over
    from model.image_files import SUFFIXES

    pictures = find_pictures(values.image)
    if others := passed_over(values.image):
        print(f"note: passed over {others}; pictures end in {', '.join(SUFFIXES)}")
    boxes = None
    if values.boxes is not None:
        boxes, notes = read_boxes(values.boxes, pictures, _category(values))
        for note in notes:
            print(f"note: {note}")
    import_tensorflow()
    from evaluate.prediction.predict import PredictOptions, predict_pictures

    return predict_pictures(
        pictures,
        boxes,
        PredictOptions(
            run=values.run,
            epoch=values.epoch,
            averaged=values.averaged,
            output_dir=values.output_dir,
            flip_test=values.flip_test,
            exif_orientation=values.exif_orientation,
            min_score=values.min_score,
            batch_size=values.batch_size,
        ),
    )


def _category(values):
    """Whose boxes count; None for the only category in the file."""
    if values.category is not None:
        return values.category
    layout = LAYOUTS.get(read_config(Path(values.run) / "model_dump").dataset)
    # A skeleton that the annotation file describes is of a category of that file's own.
    return PERSON_CATEGORY if layout is not None and layout.skeleton is not None else None


def command(argv=None):
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv)
