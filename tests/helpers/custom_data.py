"""Data of users' own: categories that no dataset has, and annotations of them."""

import numpy as np

from tests.helpers.builders import image, instance, write_json
from tests.helpers.releases import write_image

INPUT = "--input_size=64x96"

#: A paw print: names that say left and right, sigmas, an upper half.
FIVE = {
    "id": 7,
    "name": "paw",
    "keypoints": ["pad", "left_inner", "right_inner", "left_outer", "right_outer"],
    "skeleton": [[1, 2], [1, 3], [1, 4], [1, 5]],
    "sigmas": [0.05, 0.06, 0.06, 0.07, 0.07],
}

#: A ladder: as a labeling tool may leave it, with nothing but names.
TWENTY_THREE = {
    "id": 1,
    "name": "ladder",
    "keypoints": ["top", *[f"rung{n}{side}" for n in range(11) for side in "LR"]],
}


def write_dataset(folder, category, images, first_id):
    """Annotations of two instances an image, without "area", and their images; returns the former's path."""
    rng = np.random.default_rng(first_id)
    count, entries, instances = len(category["keypoints"]), [], []
    for number in range(first_id, first_id + images):
        entries.append(image(number, 160, 120, f"{number}.jpg"))
        write_image(folder / "photos" / f"{number}.jpg", seed=number)
        for left in (10, 85):
            points = rng.uniform([left, 15], [left + 60, 105], (count, 2)).round(1)
            keypoints = np.concatenate([points, np.full((count, 1), 2)], axis=1).ravel().tolist()
            one = instance(
                len(instances) + 1, number, [left, 15, 60, 90], keypoints, category_id=category["id"]
            )
            del one["area"], one["num_keypoints"], one["iscrowd"]
            instances.append(one)
    path = folder / f"labels_{first_id}.json"
    write_json(path, {"images": entries, "annotations": instances, "categories": [category]})
    return path
