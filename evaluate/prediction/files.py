"""What `evaluate/predict.py` finds and writes: images of the user's own, and the results of each."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hrpose.atomic_files import write_json, write_whole
from hrpose.command import CommandError
from hrpose.drawing import draw_skeleton, encode, keypoint_sides
from model.image_files import SUFFIXES, ImageError
from records.skeletons import Skeleton


def find_images(image: str | Path) -> list[Path]:
    """The images that ``--image`` names.

    Args:
        image: path of a file, or of a folder: then of every file in it with a suffix of `SUFFIXES`, by name.

    Returns:
        A list of `Path`, not empty.

    Raises:
        CommandError: if there are none.
    """
    path = Path(image)
    if path.is_dir():
        images = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        if not images:
            others = f" ({others})" if (others := passed_over(image)) else ""
            raise CommandError(
                f"--image={image}: no images in this folder{others}; expected {', '.join(SUFFIXES)}"
            )
        return images
    if not path.exists():
        raise CommandError(f"--image={image} does not exist; expected an image or a folder of images")
    return [path]


def passed_over(image: str | Path) -> str:
    """What else is in the folder that ``--image`` names, by ending: "2 .heic, 1 .mp4, 1 folder".

    Returns:
        A str; empty if there is nothing else, or it is no folder. Hidden files are not counted.
    """
    path, kinds = Path(image), Counter[str]()
    for entry in path.iterdir() if path.is_dir() else ():
        if entry.suffix.lower() not in SUFFIXES and not entry.name.startswith("."):
            kinds["folder" if entry.is_dir() else entry.suffix.lower() or "without ending"] += 1
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))


def shown_name(path: Path) -> str:
    """A file's name as text that every program can read: bytes that are no UTF-8 become \\xNN."""
    return os.fsencode(path.name).decode(errors="backslashreplace")


def result_names(images: Sequence[Path]) -> list[str]:
    """What each image's results are called.

    Args:
        images: of different names.

    Returns:
        Different names without suffix, but with it for those that would be the same. Names
        that differ in case only are, on some file systems.
    """
    stems = Counter(image.stem.casefold() for image in images)
    names = [p.name if stems[p.stem.casefold()] > 1 else p.stem for p in images]
    # a.jpg, a.png and a.jpg.jpg: a name with suffix may be another's without.
    doubled = len({name.casefold() for name in names}) < len(names)
    return [image.name for image in images] if doubled else names


def write_results(
    folder: Path,
    name: str,
    pixels: npt.NDArray[np.uint8],
    instances: Sequence[Mapping[str, Any]],
    skeleton: Skeleton,
    min_score: float,
    about: Mapping[str, Any],
) -> int:
    """Writes NAME_pose.jpg and NAME.json.

    Args:
        folder: which exists.
        name: of the results.
        pixels: (height, width, 3) RGB.
        instances: {"box", "score", "keypoints": (K, 3) x, y in image pixels, and score}, best first.
        skeleton: of their keypoints.
        min_score: instances and keypoints with a lower score are not rendered.
        about: more to say in the JSON file.

    Returns:
        How many instances are rendered.
    """
    rendered, sides = pixels, keypoint_sides(skeleton.keypoints)
    shown = [instance for instance in instances if instance["score"] >= min_score]
    for instance in reversed(shown):  # the best on top
        rendered = draw_skeleton(rendered, instance["keypoints"], skeleton.limbs, sides, min_score)
    try:
        jpeg = encode(rendered, ".jpg")
    except CommandError as error:
        raise ImageError(f"{name}: {error}") from error
    write_whole(folder / f"{name}_pose.jpg", jpeg)
    content = {
        **about,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "instances": [
            {
                **instance,
                "keypoints": dict(zip(skeleton.keypoints, instance["keypoints"].tolist(), strict=True)),
            }
            for instance in instances
        ],
    }
    write_json(folder / f"{name}.json", content, indent=1)
    return len(shown)
