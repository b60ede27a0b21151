"""What `evaluate/predict.py` reads and writes: pictures and boxes of the user's own."""

import reprlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from evaluate.files import write_json, write_whole
from evaluate.rescoring import PERSON_CATEGORY
from records.command import CommandError
from records.drawing import draw_skeleton, joint_sides
from records.json_text import parse_json
from records.people_checks import is_id

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

#: Pixels; what lies farther out is no box of a picture that OpenCV could read (2^30 pixels at most).
_FAR = 2.0**30


class PictureError(CommandError):
    """One picture that cannot be used; the others can."""


def find_pictures(image):
    """The pictures that ``--image`` names.

    Args:
        image: path of a file, or of a folder: then of every file in it with a suffix of `SUFFIXES`, by name.

    Returns:
        A list of `Path`, not empty.

    Raises:
        CommandError: if there are none.
    """
    path = Path(image)
    if path.is_dir():
        pictures = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        if not pictures:
            raise CommandError(f"--image={image}: no pictures in this folder; expected {', '.join(SUFFIXES)}")
        return pictures
    if not path.exists():
        raise CommandError(f"--image={image} does not exist; expected a picture or a folder of pictures")
    return [path]


def result_names(pictures):
    """What each picture's results are called.

    Args:
        pictures: list of `Path` with different names.

    Returns:
        A list of different str: names without suffix, but with it for those that would be the same. Names
        that differ in case only are, on some file systems.
    """
    stems = Counter(picture.stem.casefold() for picture in pictures)
    names = [p.name if stems[p.stem.casefold()] > 1 else p.stem for p in pictures]
    # a.jpg, a.png and a.jpg.jpg: a name with suffix may be another's without.
    doubled = len({name.casefold() for name in names}) < len(names)
    return [picture.name for picture in pictures] if doubled else names


def read_boxes(path, pictures):
    """Reads people's boxes.

    Args:
        path: of a JSON file: a list of {"image" or "image_id", "bbox": [x, y, w, h], "score", "category_id"},
            the last two optional; see the command's help.
        pictures: list of `Path`.

    Returns:
        {picture: (boxes (N, 4) float64, x y w h in image pixels, scores (N,) float64)}, N >= 1; pictures
        without boxes are not in it.

    Raises:
        CommandError: if the file cannot be read or is of another form, or none of its boxes is for one of the
            pictures.
    """
    try:
        entries = parse_json(path, Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise CommandError(f"--boxes={path} cannot be read: {error}") from error
    if not isinstance(entries, list):
        raise CommandError(f'--boxes={path}: expected a list of {{"image", "bbox", "score"}}')
    by_name = {picture.name: picture for picture in pictures}
    by_number = {}
    for picture in pictures:
        if picture.stem.isascii() and picture.stem.isdecimal():
            by_number.setdefault(int(picture.stem), []).append(picture)
    found = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not ({"image", "image_id"} & entry.keys()):
            raise CommandError(f'--boxes={path}: entry {number} names no picture ("image" or "image_id")')
        if entry.get("category_id", PERSON_CATEGORY) != PERSON_CATEGORY:
            continue
        if "image" in entry:
            picture = by_name.get(entry["image"]) if isinstance(entry["image"], str) else None
        else:
            numbered = by_number.get(entry["image_id"], []) if is_id(entry["image_id"]) else []
            if len(numbered) > 1:
                raise CommandError(
                    f"--boxes={path}: entry {number} is for image_id {entry['image_id']}, which "
                    f'{" and ".join(p.name for p in numbered)} could be; name the picture with "image"'
                )
            picture = numbered[0] if numbered else None
        if picture is not None:
            found.setdefault(picture, []).append(_box(entry, f"--boxes={path}: entry {number}"))
    if not found:
        raise CommandError(
            f"--boxes={path}: none of its {len(entries):,} entries is a person's box in one of "
            f"{len(pictures):,} pictures, for example {pictures[0].name}"
        )
    return {
        picture: (
            np.array([box for box, _ in boxes], np.float64),
            np.array([s for _, s in boxes], np.float64),
        )
        for picture, boxes in found.items()
    }


def _box(entry, place):
    """([x, y, w, h], score) of an entry."""
    box, score = entry.get("bbox"), entry.get("score", 1.0)
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)) or min(box[2:]) <= 0:
        raise CommandError(f"{place}: bbox is {reprlib.repr(box)}; expected [x, y, width, height] in pixels")
    if not _is_number(score):
        raise CommandError(f"{place}: score is {reprlib.repr(score)}; expected a number")
    return box, score


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FAR


def read_picture(path, exif_orientation):
    """Reads a picture's pixels.

    Args:
        path: of the file.
        exif_orientation: whether to turn it upright as its EXIF data say.

    Returns:
        (height, width, 3) uint8, RGB. Transparency is dropped; more than 8 bits a channel are reduced to 8.

    Raises:
        PictureError: if it cannot be read.
    """
    flags = cv2.IMREAD_COLOR_RGB | (0 if exif_orientation else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        pixels = cv2.imdecode(data, flags) if data.size else None
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror}") from error
    except cv2.error as error:  # for example a header that promises more pixels than OpenCV allows
        raise PictureError(f"{path} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise PictureError(f"{path} is empty, cut off or no picture: {data.size:,} bytes")
    return pixels


def write_results(folder, name, pixels, people, skeleton, min_score, about):
    """Writes NAME_pose.jpg and NAME.json.

    Args:
        folder: an existing `Path`.
        name: of the results.
        pixels: (height, width, 3) uint8, RGB.
        people: list of {"box", "score", "keypoints": (K, 3) x, y in image pixels, and score}, best first.
        skeleton: a `Skeleton`.
        min_score: people and joints with a lower score are not drawn.
        about: dict of more to say in the JSON file.

    Returns:
        How many people are drawn.
    """
    drawn, sides = pixels, joint_sides(skeleton.keypoints)
    shown = [person for person in people if person["score"] >= min_score]
    for person in reversed(shown):  # the best on top
        drawn = draw_skeleton(drawn, person["keypoints"], skeleton.limbs, sides, min_score)
    encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise PictureError(f"{name}: OpenCV could not encode a picture of shape {drawn.shape}")
    write_whole(folder / f"{name}_pose.jpg", jpeg.tobytes())
    content = about | {
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "people": [
            person | {"keypoints": dict(zip(skeleton.keypoints, person["keypoints"].tolist(), strict=True))}
            for person in people
        ],
    }
    write_json(folder / f"{name}.json", content, indent=1)
    return len(shown)
