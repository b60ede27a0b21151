"""Made-up releases in the datasets' own forms: MPII's MATLAB struct and PoseTrack's files."""

import io
import json

import cv2
import numpy as np
from scipy.io import savemat

from pipelines.annotations import CONVERSIONS
from pipelines.annotations.conversion import ConversionTask
from records.datasets import DATASETS, dataset_paths
from tests.helpers.builders import generate_image, write_json
from tests.helpers.messages import messages

EMPTY = np.zeros((0, 0))
#: The head's top, a keypoint.
POINT = {"x": np.uint8(30), "y": np.int16(40), "id": np.uint8(9), "is_visible": "1"}


def structs(elements):
    """A MATLAB struct array; a field that an element lacks is empty there, as in MATLAB."""
    if not elements:
        return EMPTY
    names = list(dict.fromkeys(name for element in elements for name in element))
    array = np.empty((1, len(elements)), dtype=[(name, object) for name in names])
    for column, element in enumerate(elements):
        array[0, column] = tuple(element.get(name, EMPTY) for name in names)
    return array


def rect(points=(), **changes):
    """One element of MPII's `annorect`, an instance."""
    fields = {"x1": np.uint8(10), "y1": np.int16(-5), "x2": 50.0, "y2": np.uint8(45), "scale": 2.0}
    fields |= {"objpos": {"x": np.uint8(40), "y": np.int16(50)}}
    fields |= {"annopoints": {"point": structs(list(points))}} if points else {}
    return {name: value for name, value in (fields | changes).items() if value is not None}


def write_release(folder, images, img_train=None, name="release.mat", **changes):
    """An MPII release of [(file name, list of rects)]; by default everything is of the training part."""
    annolist = structs([{"image": {"name": name}, "annorect": structs(rects)} for name, rects in images])
    img_train = np.ones((1, len(images)), np.uint8) if img_train is None else np.array([img_train])
    content = io.BytesIO()
    release = {"annolist": annolist, "img_train": img_train} | changes
    savemat(content, {"RELEASE": release}, long_field_names=True)
    path = folder / name
    # The text that a file begins with has the time: what is written a second later would be another release.
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + content.getvalue()[116:])
    return path


def frame(frame_id, **changes):
    """An entry of the list of images of a PoseTrack file."""
    return {
        "id": frame_id,
        "frame_id": frame_id,
        "vid_id": "000001",
        "file_name": f"images/train/000001_bonn_train/{frame_id:06d}.jpg",
        "nframes": 3,
        "is_labeled": True,
        "ignore_regions_x": [[0, 10, 10]],
        "ignore_regions_y": [[0, 0, 10]],
    } | changes


def instance(instance_id, image_id, **changes):
    """An entry of the list of instances of a PoseTrack file; everything but the ears is labeled."""
    keypoints = np.tile([100.0, 50.0, 1.0], 17)
    keypoints[9:15] = 0  # the ears
    return {
        "id": instance_id,
        "image_id": image_id,
        "category_id": 1,
        "track_id": 4,
        "instance_id": 1024,  # PoseTrack 2021's
        "bbox": [80.0, 30.0, 40.0, 90.5],
        "bbox_head": [90, 30, 20, 20],
        "keypoints": keypoints.tolist(),
        "scores": [],
    } | changes


def video(images, instances, **changes):
    """A PoseTrack file."""
    return {"images": images, "annotations": instances} | changes


def read_videos(folder):
    """The (path, parsed file) of a folder of PoseTrack files."""
    return [(str(path), json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def write_image(path, size=(160, 120), seed=0):
    """Writes a random JPEG of (width, height) and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), generate_image(np.random.default_rng(seed), *size))


def mpii_instances(*places):
    """Elements of `annorect` with two keypoints each, around these (x, y) counted from 1."""
    return [
        rect(
            [
                {"x": x - 10.0, "y": y - 20.0, "id": 9.0, "is_visible": "1"},
                {"x": x + 10.0, "y": y + 20.0, "id": 0.0, "is_visible": "0"},
            ],
            objpos={"x": float(x), "y": float(y)},
            scale=0.4,
        )
        for x, y in places
    ]


def write_mpii(folder, **changes):
    """An MPII dataset folder: five instances in three images of the training part, one of the test part."""
    folder.mkdir(parents=True, exist_ok=True)
    images = [
        ("a.jpg", mpii_instances((60, 60), (110, 70))),
        ("b.jpg", mpii_instances((80, 50))),
        ("c.jpg", mpii_instances((50, 50), (100, 80))),
        ("t.jpg", [rect(objpos={"x": 70.0, "y": 60.0}, scale=0.5)]),
    ]
    write_release(folder, images, img_train=[1, 1, 1, 0], name="mpii_human_pose_v1_u12_1.mat", **changes)
    for seed, (name, _) in enumerate(images):
        write_image(folder / "images" / name, seed=seed)


def write_posetrack(folder):
    """A PoseTrack dataset folder: two videos in train and one in val, of three frames with an instance
    each.
    """
    for split, video_id in (("train", 1), ("train", 2), ("val", 3)):
        name = f"{video_id:06d}_bonn_{split}"
        images, instances = [], []
        for number in range(3):
            frame_id = 10 * video_id + number
            path = f"images/{split}/{name}/{number:06d}.jpg"
            write_image(folder / path, seed=frame_id)
            images.append(frame(frame_id, vid_id=f"{video_id:06d}", file_name=path))
            instances.append(instance(frame_id, frame_id))
        write_json(folder / "original_annotations" / split / f"{name}.json", video(images, instances))


def convert(folder, dataset="mpii", images=None, said=None, overwrite=False, annotations_dir=None, **options):
    """Converts a dataset's folder as a build does first; returns who was left out.

    Args:
        folder: the dataset's folder.
        dataset: "mpii" or "posetrack".
        images: the image folder, if it is not the folder's.
        said: list that gets the lines shown to the user.
        overwrite: whether to replace what was made otherwise.
        annotations_dir: where the files go, if not to the folder's annotations/.
        **options: of the dataset's own ones.
    """
    entry = DATASETS[dataset]
    paths = dataset_paths(entry, dataset_dir=folder, images=images, annotations_dir=annotations_dir)
    own = {option.name: option.default for option in entry.options} | options
    with messages([] if said is None else said):
        return CONVERSIONS[dataset](ConversionTask(entry, paths, own, overwrite=overwrite))


def written(folder):
    """{name: content} of everything in annotations/."""
    return {path.name: path.read_bytes() for path in (folder / "annotations").iterdir()}
