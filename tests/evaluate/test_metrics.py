"""Each dataset's metric: perfect predictions, and data that has nothing to measure."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat

from evaluate.metrics.metric import MetricResult
from hrpose.command import CommandError
from records.coco_category import skeleton_from_coco_category
from records.skeletons import COCO, MPII
from tests.helpers.builders import CATEGORY, annotations, image, instance
from tests.helpers.custom_data import FIVE, TWENTY_THREE
from tests.helpers.metric_inputs import check, measure, metric_input, of_split
from tests.helpers.sources import BOX, annotation, ground_truth


def test_a_result_says_what_is_worth_a_curve_and_what_is_for_the_file_only():
    result = MetricResult(
        headline="AP 70.0",
        table="",
        values={"Mean": 1.0, "Mean@0.1": None},
        per_keypoint={"AP": {"nose": None, "total": 70.0}},
        best_by="AP/total",
        details={"sequences": {"one": {"AP": {"total": 70.0}}}},
    )
    assert result.curves == {"Mean": 1.0, "AP/total": 70.0}
    assert [*result.content] == ["Mean", "Mean@0.1", "AP", "sequences"]
    assert MetricResult("not measured", "no annotations").content == {}


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (
            "pckh",
            r"PCKh is a measure of MPII's 16 keypoints, these are the 17 of coco; --metric names others",
        ),
        ("posetrack", r"PoseTrack's metric is one of its 17 keypoints, these are the 17 of coco; --metric"),
        ("pck", r"PCK compares each annotation with the prediction in its box: --boxes=ground_truth"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(metric, says):
    data = scene(CATEGORY)
    made = metric_input(data, COCO, data["annotations"], "coco", boxes="detections")
    with pytest.raises(CommandError, match=rf"^truth\.json: {says}"):
        check(made, metric)


def test_pck_is_a_metric_of_its_own_for_annotated_boxes():
    data = scene(FIVE)
    made = metric_input(data, skeleton_from_coco_category(FIVE), data["annotations"])
    check(made, "pck")
    made.predictions.keypoints[0, 0, 0] += 0.21 * 90
    result = measure(made, "pck")
    assert result.headline == "PCK@0.2 96.7"
    assert result.curves[result.best_by] == pytest.approx(100 * 29 / 30)
    assert result.per_keypoint["PCK@0.2"][FIVE["keypoints"][0]] == pytest.approx(100 * 5 / 6)
    for one in data["annotations"]:
        one["keypoints"] = [0] * 15
    with pytest.raises(CommandError, match="PCK needs annotated keypoints, and nobody has any"):
        check(metric_input(data, skeleton_from_coco_category(FIVE), []), "pck")


# ---- COCO and users' own


def scene(category, instances=6):
    """Annotations of two instances an image, with a box of 60 x 90 px."""
    rng = np.random.default_rng(0)
    count, entries = len(category["keypoints"]), []
    for number in range(instances):
        points = rng.uniform(10, 70, (count, 2))
        flat = np.concatenate([points, np.full((count, 1), 2.0)], axis=1).ravel().tolist()
        entries.append(instance(number + 1, number // 2 + 1, [10, 10, 60, 90], flat))
        entries[-1]["category_id"] = category["id"]
    images = [image(number + 1, 160, 120) for number in range(instances // 2)]
    return {"images": images, "annotations": entries, "categories": [category]}


@pytest.mark.parametrize("category", [FIVE, TWENTY_THREE], ids=["5", "23"])
def test_perfect_predictions_of_any_number_of_keypoints_score_one(category):
    data = scene(category)
    made = metric_input(data, skeleton_from_coco_category(category), data["annotations"])
    metric_result = measure(made)
    assert metric_result.content["AP"] == pytest.approx(1)
    assert metric_result.headline == "AP 1.000"
    assert "PCK@0.2" not in metric_result.content
    made.results[0]["keypoints"] = [0.0] * len(made.results[0]["keypoints"])
    assert measure(made).content["AP"] < 1


def test_without_areas_there_is_pck_too():
    data = scene(FIVE)
    for one in data["annotations"]:
        del one["area"]
    made = metric_input(data, skeleton_from_coco_category(FIVE), data["annotations"])
    metric_result = measure(made)
    assert (metric_result.content["PCK@0.2"], metric_result.content["AP"]) == (100, pytest.approx(1))
    assert "PCK@0.2 of the box's longer side = 100.0 %" in metric_result.table
    made.predictions.keypoints[0, 0, 0] += 0.21 * 90
    assert measure(made).content["PCK@0.2"] == pytest.approx(100 * 29 / 30)
    detections = of_split(made, manifest=replace(made.split.manifest, boxes="detections"))
    assert "PCK@0.2" not in measure(detections).content


@pytest.mark.parametrize(("area", "notes"), [(1.0, 1), (60 * 90 * 0.5, 0)])
def test_areas_that_are_none_are_noted_beside_the_numbers(area, notes):
    data = scene(FIVE)
    for one in data["annotations"]:
        one["area"] = area
    metric_result = measure(metric_input(data, skeleton_from_coco_category(FIVE), data["annotations"]))
    assert len(metric_result.notes) == notes
    for note in metric_result.notes:
        assert note.startswith('truth.json: "area" of 6 of 6 instances is below 5% of their box')


def test_pck_of_nobody_is_undefined():
    data = scene(FIVE)
    for one in data["annotations"]:
        del one["area"]
    nobody = metric_input(data, skeleton_from_coco_category(FIVE), [])
    assert measure(nobody).content["PCK@0.2"] is None


def test_a_rejected_duplicate_is_no_miss_and_not_the_one_to_compare_with():
    data = scene(FIVE)
    for one in data["annotations"]:
        del one["area"]
    other = scene(FIVE, 2)["annotations"][1]
    moved = [value + 80 * (place % 3 < 2) for place, value in enumerate(other["keypoints"])]
    instances = list(data["annotations"])
    data["annotations"].append(other | {"id": 1, "keypoints": moved})
    del data["annotations"][-1]["area"]
    metric_result = measure(metric_input(data, skeleton_from_coco_category(FIVE), instances))
    assert (metric_result.content["AP"], metric_result.content["PCK@0.2"]) == (pytest.approx(1), 100)
    assert "1 annotations without usable id, image, box or keypoints are rejected" in metric_result.table


def test_annotations_that_the_metric_could_not_read_are_refused_before_predicting():
    data = scene(FIVE)
    made = metric_input(data, skeleton_from_coco_category(FIVE), data["annotations"])
    check(made)
    made.split.ground_truth.content["images"].append({"id": 2**64})
    with pytest.raises(CommandError, match=r"^truth\.json: .*expected objects with an id: a whole number"):
        check(made)


def test_images_with_more_instances_than_coco_looks_at_are_counted_in_a_note():
    def notes(ids, **changes):
        data = scene(FIVE, len(ids))
        for one, image_id in zip(data["annotations"], ids, strict=True):
            one["image_id"] = image_id
        data["annotations"][-1] |= changes
        image_ids = frozenset({1, 2})
        return measure(metric_input(data, skeleton_from_coco_category(FIVE), [], image_ids=image_ids)).notes

    assert notes([1] * 20 + [2] * 20) == notes([1] * 21, iscrowd=1) == notes([3] * 21 + [1]) == ()
    assert notes([1] * 21 + [2] * 23) == (
        "COCO's metric counts the 20 best poses of an image, and 2 of the images have more instances (up to "
        "23): not all of them can be found",
    )
    assert "1 of the images has more instances (up to 21)" in notes([1] * 21)[0]


def unlabeled(path, dataset, name, **changes):
    """`MetricInput` of three poses in images of which the file at `path` is a mere list."""
    data = scene(CATEGORY)
    instances = data.pop("annotations")
    made = metric_input(data, COCO, instances, dataset, boxes="detections", name=name, **changes)
    return of_split(made, ground_truth=replace(made.split.ground_truth, path=Path(path)))


def test_for_images_without_annotations_there_is_what_cocos_server_wants(tmp_path):
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
        name = folder / "image_info_test-dev2017_w32_epoch-0210_detections"
        made = unlabeled("annotations/image_info_test-dev2017.json", "coco", name, split="test")
        metric_result = measure(made)
        assert (metric_result.content, metric_result.headline) == ({}, "not measured")
        assert "image_info_test-dev2017.json has no annotations to measure against" in metric_result.table
    stem = "person_keypoints_test-dev2017_w32-epoch-0210-detections_results"
    assert metric_result.files == (folders[1] / f"{stem}.zip",)
    with zipfile.ZipFile(metric_result.files[0]) as archive:
        assert [(i.filename, i.date_time) for i in archive.infolist()] == [
            (f"{stem}.json", (1980, 1, 1, 0, 0, 0))
        ]
        written = json.loads(archive.read(f"{stem}.json"))
    assert written == made.results
    assert {tuple(entry) for entry in written} == {("image_id", "category_id", "keypoints", "score")}
    assert (folders[0] / f"{stem}.zip").read_bytes() == metric_result.files[0].read_bytes()


def test_other_data_without_annotations_has_no_server(tmp_path):
    metric_result = measure(unlabeled("mine.json", "custom", tmp_path / "mine_w32"))
    assert (metric_result.content, metric_result.headline, metric_result.files) == ({}, "not measured", ())
    assert "mine.json has no annotations to measure against" in metric_result.table
    assert not list(tmp_path.iterdir())


def test_an_unlabeled_split_has_no_number():
    data = scene(FIVE)
    instances = [dict(one) for one in data["annotations"]]
    for one in data["annotations"]:
        one["keypoints"] = [0] * 15
    metric_result = measure(metric_input(data, skeleton_from_coco_category(FIVE), instances, split="test"))
    assert metric_result.content["AP"] == -1
    assert metric_result.headline == "AP n/a, nobody to find"
    assert metric_result.table.count("n/a (no such ground truth)") == 10


def test_without_any_pose_ap_is_0_and_the_text_says_why():
    data = scene(FIVE)
    metric_result = measure(metric_input(data, skeleton_from_coco_category(FIVE), [], boxes="detections"))
    assert (metric_result.content["AP"], metric_result.content["AR"], metric_result.headline) == (
        0,
        0,
        "AP 0.000",
    )
    assert metric_result.table.endswith("No poses were kept, so nobody is found.")


def test_results_of_another_dataset_are_refused(tmp_path):
    data = scene(FIVE)
    made = metric_input(data, skeleton_from_coco_category(FIVE), data["annotations"], boxes="detections")
    for result in made.results:
        result["image_id"] += 100
    with pytest.raises(
        CommandError, match=r"^truth\.json: .*results on 3 images \(101, 102, 103\) not in the"
    ):
        measure(made)


entries = annotation | st.builds(
    lambda number, flaw: instance(number, number, BOX, area=None) | flaw,
    st.integers(1, 2),
    st.dictionaries(
        st.sampled_from(["id", "area", "iscrowd", "num_keypoints", "image_id"]),
        st.none() | st.just([3]) | st.just(10**29) | st.just(float("nan")) | st.text(max_size=1),
        max_size=2,
    ),
)


@given(st.lists(entries, max_size=6), st.sampled_from([None, frozenset({1})]))
def test_no_annotation_that_a_build_tolerates_crashes_the_metric(instances, image_ids):
    """Perfect predictions of everybody whom the build takes are measured, and find everybody."""
    data = annotations([image(1), image(2)], instances)
    taken = [
        {"id": one.instance_id, "image_id": annotated.image_id, "keypoints": one.keypoints}
        for annotated in ground_truth(data, clean_boxes=False, image_ids=image_ids).images
        for one in annotated.instances
    ]
    made = metric_input(data, COCO, taken, image_ids=image_ids)
    metrics = measure(made).content
    json.dumps(metrics, allow_nan=False)
    assert metrics.get("PCK@0.2") in ((100, None) if taken else (None,))


# ---- MPII

ROWS = {11: 3, 12: 0, 13: 4, 14: 1, 15: 2}


def mpii_scene():
    """Five instances in three images with their rows in a shuffled list; heads of 30 x 40 px."""
    rng = np.random.default_rng(1)
    instances = []
    for one, row in ROWS.items():
        points = rng.uniform(0, 100, (16, 2))
        flat = np.concatenate([points, np.full((16, 1), 2.0)], axis=1).ravel().tolist()
        instances.append(
            instance(one, one % 3 + 1, [0, 0, 100, 100], flat, head_box=[10, 10, 40, 50], list_row=row)
        )
    data = annotations([image(number, 160, 120) for number in (1, 2, 3)], instances)
    data["categories"] = [{"id": 1, "name": "person", "keypoints": list(MPII.keypoints)}]
    return data


def in_list_order(data):
    instances = sorted(data["annotations"], key=lambda one: one["list_row"])
    return np.array([p["keypoints"] for p in instances], float).reshape(-1, 16, 3)[..., :2]


def test_perfect_predictions_have_a_pckh_of_100_and_pred_mat_is_in_list_order(tmp_path):
    data = mpii_scene()
    made = metric_input(data, MPII, data["annotations"], "mpii", name=tmp_path / "run")
    metric_result = measure(made)
    assert set(metric_result.content.values()) == {100}
    assert metric_result.headline == "PCKh@0.5 100.0"
    assert metric_result.files == (tmp_path / "run.mat", tmp_path / "run.pred.json")
    expected = in_list_order(data)
    np.testing.assert_allclose(loadmat(metric_result.files[0])["preds"] - 1, expected)
    np.testing.assert_allclose(json.loads(metric_result.files[1].read_text()), expected)
    assert "instances" not in metric_result.table
    made.predictions.keypoints[0, 10, 0] += 0.5 * 0.6 * 50 + 0.1  # a wrist, just too far
    assert measure(made).content["Wrist"] == pytest.approx(90)


def test_instances_without_a_record_or_a_head_keep_their_row(tmp_path):
    data = mpii_scene()
    expected = in_list_order(data)
    instances = data["annotations"][2:]  # 11 and 12 have no record, in rows 3 and 0
    data["annotations"][2]["head_box"] = None
    data["annotations"][0]["bbox"] = [0, 0, 0, 0]  # as without objpos
    metric_result = measure(metric_input(data, MPII, instances, "mpii", name=tmp_path / "run"))
    assert metric_result.content["Mean"] == 100
    written = loadmat(metric_result.files[0])["preds"] - 1
    expected[[0, 3]] = 0
    np.testing.assert_allclose(written, expected)
    assert "measured on 2 of 5 annotated instances" in metric_result.table
    assert (
        "2 of the 5 rows in run.mat are of instances without a record: all their keypoints are 0, 0"
        in metric_result.table
    )


@pytest.mark.parametrize("head_box", [None, "abcd", [1, 2, 3], [1, 2, 10**30, 4], [5, 6, 5, 6], [None] * 4])
def test_without_a_head_there_is_no_pckh_and_the_text_says_so(tmp_path, head_box):
    data = mpii_scene()
    for one in data["annotations"]:
        one["head_box"] = head_box
    metric_result = measure(metric_input(data, MPII, data["annotations"], "mpii", name=tmp_path / "run"))
    assert (metric_result.content, metric_result.headline) == ({}, "not measured")
    assert [path.name for path in metric_result.files] == ["run.mat", "run.pred.json"]
    assert "PCKh needs annotated keypoints and head boxes" in metric_result.table


def test_the_test_split_of_mpii_only_writes_the_submission(tmp_path):
    """In the release's order; instances with no place and size, who have no record, keep their row."""
    data = mpii_scene()
    instances = [dict(one) for one in data["annotations"]][1:]
    expected = np.reshape([one["keypoints"] for one in data["annotations"]], (-1, 16, 3))[..., :2]
    expected[0] = 0
    for one in data["annotations"]:
        one["keypoints"], one["head_box"] = [0] * 48, None
        del one["list_row"]
    metric_result = measure(metric_input(data, MPII, instances, "mpii", split="test", name=tmp_path / "run"))
    assert (metric_result.content, metric_result.headline) == ({}, "not measured")
    assert "not public; run.mat has a row for each of its instances" in metric_result.table
    assert "1 of the 5 rows in run.mat are of instances without a record" in metric_result.table
    np.testing.assert_allclose(loadmat(metric_result.files[0])["preds"] - 1, expected)
    np.testing.assert_allclose(json.loads(metric_result.files[1].read_text()), expected)


def test_the_published_column_of_a_tenth_is_that_of_0_11(tmp_path):
    data = mpii_scene()
    made = metric_input(data, MPII, data["annotations"], "mpii", name=tmp_path / "run")
    made.predictions.keypoints[:, 10, 0] += 0.105 * 0.6 * 50
    strict, official = measure(made), measure(made, official_tenth=True)
    assert strict.values["Mean@0.1"] < official.values["Mean@0.1"] == 100
    assert (strict.unlike_published, official.unlike_published) == ({"Mean@0.1"}, frozenset())


def test_pckh_says_that_it_needs_annotated_boxes():
    data = mpii_scene()
    metric_result = measure(metric_input(data, MPII, data["annotations"], "mpii", boxes="detections"))
    assert (metric_result.content, metric_result.table) == (
        {},
        "PCKh needs annotated boxes: --boxes=ground_truth",
    )


odd = st.sampled_from([None, [3], "a", 10**29, float("nan"), True, -1, 0, [1, 1, 1, 1], [0, 0, 9, 9]])


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["id", "list_row", "head_box", "keypoints", "bbox"]), odd), max_size=5
    )
)
def test_no_annotation_that_a_build_tolerates_crashes_pckh(tmp_path_factory, flaws):
    data = mpii_scene()
    taken = [dict(one) for one in data["annotations"]]
    for one, flaw in zip(data["annotations"], flaws, strict=False):
        one |= flaw
    name = tmp_path_factory.mktemp("pckh") / "run"
    metric_result = measure(metric_input(data, MPII, taken, "mpii", name=name))
    json.dumps(metric_result.content, allow_nan=False)
    assert set(metric_result.content.values()) <= {100}


# ---- PoseTrack


def test_other_datasets_are_measurable_without_videos():
    made = metric_input(mpii_scene(), MPII, mpii_scene()["annotations"], "mpii", image_ids=frozenset({1}))
    check(made)
