"""What `evaluate/predict.py` finds and writes: pictures of the user's own, and the results of each."""

import os
from collections import Counter
from pathlib import Path

import cv2

from hrpose.atomic_files import write_json, write_whole
from hrpose.command import CommandError
from hrpose.drawing import draw_skeleton, joint_sides
from model.image_files import SUFFIXES, PictureError


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
            others = f" ({others})" if (others := passed_over(image)) else ""
            raise CommandError(
                f"--image={image}: no pictures in this folder{others}; expected {', '.join(SUFFIXES)}"
            )
        return pictures
    if not path.exists():
        raise CommandError(f"--image={image} does not exist; expected a picture or a folder of pictures")
    return [path]


def passed_over(image):
    """What else is in the folder that ``--image`` names, by ending: "2 .heic, 1 .mp4, 1 folder".

    Returns:
        A str; empty if there is nothing else, or it is no folder. Hidden files are not counted.
    """
    path, kinds = Path(image), Counter()
    for entry in path.iterdir() if path.is_dir() else ():
        if entry.suffix.lower() not in SUFFIXES and not entry.name.startswith("."):
            kinds["folder" if entry.is_dir() else entry.suffix.lower() or "without ending"] += 1
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))


def shown_name(path):
    """A file's name as text that every program can read: bytes that are no UTF-8 become \\xNN."""
    return os.fsencode(path.name).decode(errors="backslashreplace")


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
    try:
        encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    except cv2.error:
        encoded = False
    if not encoded:  # a JPEG has at most 65,535 pixels a side
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
