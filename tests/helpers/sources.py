"""What annotation files and detectors' files may hold, for hypothesis, and how tests read them."""

import json
from collections import Counter

import numpy as np
from hypothesis import strategies as st

from pipelines.annotations.coco import Category, read_ground_truth, read_images
from pipelines.annotations.detections import read_detections
from pipelines.instances import keypoint_array
from records.skeletons import COCO
from tests.helpers.builders import CATEGORY, annotations, image, instance

BOX = [10, 12, 20, 30]


def ground_truth(data, **options):
    return read_ground_truth(data, "truth.json", COCO, **options)


def detected(detections, images=None, threshold=0.0):
    if images is None:
        images = read_images(annotations([image(1), image(2)], []), "truth.json")
    return read_detections(detections, "boxes.json", images, Category(1, COCO), score_threshold=threshold)


def everyone(source):
    return [instance for image in source.images for instance in image.instances]


def box_of(**changes):
    return {"image_id": 1, "category_id": 1, "bbox": BOX, "score": 0.5} | changes


def check_usable(source):
    """What planning and writing need of everybody that was taken."""
    for one in everyone(source):
        assert np.isfinite(np.float32([*one.box, one.area, one.score])).all()
        assert min(one.box[2:]) > 0
        assert keypoint_array(one).shape == (17, 3)
        assert isinstance(one.instance_id, int)
    Counter(entry["reason"] for entry in source.rejected)
    json.dumps(source.rejected)


number = st.one_of(st.integers(), st.floats(), st.integers(0, 100), st.floats(0, 100))
scalar = st.one_of(st.none(), st.booleans(), number, st.text(max_size=3))
anything = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
box = st.one_of(anything, st.lists(number, min_size=4, max_size=4), st.just(BOX))
visibility = st.sampled_from([0, 1, 2])
good_keypoints = st.lists(
    st.tuples(st.floats(0, 50), st.floats(0, 50), visibility), min_size=17, max_size=17
).map(lambda rows: [value for row in rows for value in row])
keypoints = st.one_of(anything, good_keypoints, st.lists(number, max_size=60))
an_id = st.one_of(st.integers(1, 3), anything)


def some_of(fields):
    return st.fixed_dictionaries({}, optional=fields)


annotation = st.one_of(
    anything,
    some_of(
        {"id": an_id, "image_id": an_id, "bbox": box, "keypoints": keypoints, "area": anything}
        | {"iscrowd": anything, "category_id": an_id}
    ),
    st.builds(
        lambda box, keypoints, area: instance(1, 1, BOX, keypoints=keypoints, bbox=box, area=area),
        box,
        keypoints,
        anything,
    ),
)
detection = some_of({"image_id": an_id, "category_id": an_id, "bbox": box, "score": anything}) | st.builds(
    lambda box, score: box_of(bbox=box, score=score), box, anything
)


an_image = st.one_of(
    anything, some_of({"id": an_id, "file_name": anything, "width": anything, "height": anything})
)
a_category = st.one_of(anything, some_of({"id": anything, "keypoints": anything}), st.just(CATEGORY))
