"""PoseTrack's annotation files, one per video, as one file in COCO format.

PoseTrack 2018 and 2021 share a layout: COCO's lists, one file per video, with `vid_id`, `frame_id`,
`is_labeled` and `ignore_regions_x/y` on the images and `track_id`, `bbox_head` (in 2021 also `instance_id`)
on the instances. Every field of theirs is kept.

What is changed, as the converter this replaces did it:

* images get `width`, `height` and `coco_url` ("invalid": there is none);
* instances of the labeled splits get `iscrowd` as 0 or 1 and `area`, the box's, which the dataset leaves out;
  those of the test split, which is not for training, stay as they are.

What is changed besides: the ears, placeholders that nobody annotated, have visibility 0; `num_keypoints` is
counted, since 2021 leaves it out; and instances in frames with `is_labeled: false` (2021 gives some of them a
box) are left out and counted. The frames themselves stay, so that a detector's boxes can be looked up there.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from hrpose.json_checks import is_id, is_number
from pipelines.annotations.conversion import Conversion, Converted, Measure, Options, Raw
from pipelines.annotations.json_stream import read_json
from pipelines.annotations.raw_files import is_there, list_json
from pipelines.errors import BuildError
from records.annotations.instance_checks import PERSON_CATEGORY, is_crowd, wrong_box, wrong_keypoints
from records.skeletons import POSETRACK

#: The dataset's own lines, which are COCO's by position; 1-based.
_LINES = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
    *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
)

_EARS = tuple(POSETRACK.keypoints.index(name) for name in ("left_ear", "right_ear"))


def find(folder: str, _: Options) -> Raw:
    """The files `original_annotations/{train,val,test}/*.json` in a dataset's folder: {split: paths}."""
    originals = FileSystems.join(folder, "original_annotations")
    if not is_there(originals):
        return {}
    found = {split: list_json(FileSystems.join(originals, split)) for split in ("train", "val", "test")}
    return {split: paths for split, paths in found.items() if paths}


def convert(raw: Raw, measure: Measure, _: Options) -> Converted:
    """Converts the files that `find` has found; raises BuildError as `join_videos` does."""
    files, filtered = {}, {}
    for split, paths in raw.items():
        read = [(path, read_json(path)) for path in paths]
        names = [image["file_name"] for _, data in read for image in _named_images(data)]
        sizes = measure(names, "images/", split)
        files[split], filtered[split] = join_videos(read, sizes.get, split)
    return Converted(files, filtered)


CONVERSION = Conversion(find=find, convert=convert, version=2)


def _named_images(data):
    """The entries of "images" that have a file name; `join_videos` says what is wrong with others."""
    entries = data.get("images") if isinstance(data, dict) else None
    entries = entries if isinstance(entries, list) else []
    return [e for e in entries if isinstance(e, dict) and isinstance(e.get("file_name"), str)]


def join_videos(
    files: Sequence[tuple[str, Any]], image_size_of: Callable[[str], tuple[int, int] | None], split: str
) -> tuple[dict[str, Any], dict[str, int]]:
    """Joins the files of a split.

    Args:
        files: list of (name, parsed file), in any order; the result is in the order of the names.
        image_size_of: function of an image's `file_name`, relative to the dataset's folder, that returns
            (width, height) in pixels, or None if there is no readable image. Such an image gets the size
            its entry has, else that of another frame of its video, else 0, 0: it and its instances are in the
            result, for the build to reject them with the reason it meets.
        split: "train", "val" or "test".

    Returns:
        A dict in COCO format, and {reason: count} of the instances left out on purpose.

    Raises:
        BuildError: if a file is not in PoseTrack's format or two images have the same id; the message names
            the file and the place.
    """
    files = sorted(files, key=lambda file: file[0])
    images: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    frames: dict[Any, tuple[str, dict[str, Any]]] = {}
    for name, data in files:
        _check_category(name, data)
        for place, image in _entries(name, data, "images"):
            _check_image(place, image)
            if image["id"] in frames:
                raise BuildError(
                    f"{place} has the id {image['id']}, which {frames[image['id']][0]} has already; "
                    "expected every frame once"
                )
            frames[image["id"]] = (place, image)
            images.append(image)
        if split != "test" or "annotations" in data:
            instances += [instance for _, instance in _entries(name, data, "annotations")]
    filtered: Counter[str] = Counter()
    kept = []
    for instance in instances:
        image_id = instance.get("image_id")
        # An entry with an unknown image stays: whoever reads the file rejects and reports it.
        _, image = frames.get(image_id, (None, {})) if is_id(image_id) else (None, {})
        if image.get("is_labeled", True):
            kept.append(_convert_instance(instance, labeled=split != "test"))
        else:
            filtered["unlabeled_frame"] += 1
    sizes = _sizes(images, image_size_of)
    converted = [
        image | {"width": width, "height": height, "coco_url": "invalid"}
        for image, (width, height) in zip(images, sizes, strict=True)
    ]
    return {"images": converted, "annotations": kept, "categories": [_category()]}, dict(filtered)


def _category():
    return {
        "supercategory": "person",
        "id": PERSON_CATEGORY,
        "name": "person",
        "keypoints": list(POSETRACK.keypoints),
        "skeleton": [list(line) for line in _LINES],
    }


def _entries(name, data, key):
    """(place, entry) of each entry of one of a file's lists."""
    entries = data.get(key) if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise BuildError(f'{name} is not in PoseTrack\'s format: expected an object with a list "{key}"')
    for position, entry in enumerate(entries):
        place = f"{name}: entry {position} of {key!r}"
        if not isinstance(entry, dict):
            raise BuildError(f"{place} is {str(entry)[:100]}, expected an object")
        yield place, entry


def _check_image(place, image):
    if not is_id(image.get("id")) or not isinstance(image.get("file_name"), str):
        raise BuildError(f"{place} is {str(image)[:200]}, expected a whole number id and a file_name")
    if not isinstance(image.get("is_labeled", True), bool):
        raise BuildError(f"{place} has is_labeled {image['is_labeled']!r}, expected true or false")


def _check_category(name, data):
    """Refuses files whose keypoints are others; files without categories are fine."""
    categories = data.get("categories") if isinstance(data, dict) else None
    for position, category in enumerate(categories if isinstance(categories, list) else []):
        names = category.get("keypoints") if isinstance(category, dict) else None
        if names is not None and names != list(POSETRACK.keypoints):
            raise BuildError(
                f"{name}: entry {position} of 'categories' has the keypoints {str(names)[:300]}; expected "
                f"PoseTrack's: {', '.join(POSETRACK.keypoints)}"
            )


def _sizes(images, image_size_of):
    """(width, height) of each image: its own, else its entry's, else its video's, else 0, 0."""
    measured = [image_size_of(image["file_name"]) for image in images]
    of_video = {str(image.get("vid_id")): size for image, size in zip(images, measured, strict=True) if size}
    sizes = []
    for image, size in zip(images, measured, strict=True):
        stated = (image.get("width"), image.get("height"))
        stated = stated if all(is_number(side) and side >= 1 for side in stated) else None
        video = of_video.get(str(image["vid_id"])) if "vid_id" in image else None
        sizes.append(size or stated or video or (0, 0))
    return sizes


def _convert_instance(instance, labeled):
    """An instance's entry; what is wrong with it stays for the reader of the file to reject."""
    instance = dict(instance)
    keypoints = instance.get("keypoints")
    if wrong_keypoints(keypoints, POSETRACK.num_keypoints) is None:
        instance["keypoints"] = keypoints = list(keypoints)
        for ear in _EARS:
            keypoints[3 * ear : 3 * ear + 3] = 0, 0, 0
        instance["num_keypoints"] = sum(visibility > 0 for visibility in keypoints[2::3])
    if labeled:
        instance["iscrowd"] = int(is_crowd(instance.get("iscrowd")))
        if wrong_box(instance.get("bbox")) is None:
            instance["area"] = instance["bbox"][2] * instance["bbox"][3]
    return instance
