"""COCO's ten numbers on instances made here, where the answer is known, and on the official code's
results.
"""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.metrics.coco import NUMBERS, evaluate_coco, format_table
from tests.helpers.reference_coco import official_metrics
from tests.helpers.shared import shared_data

NAMES = ["AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)"]


def annotations(keypoints=17, sides=(60, 200)):
    """Images 10, 20, each with one instance per side length: 60 px is a medium instance, 200 px a large
    one.
    """
    rng = np.random.default_rng(0)
    instances = []
    for image_id in (10, 20):
        for side in sides:
            points = np.concatenate(
                [rng.uniform(0, side, (keypoints, 2)), np.full((keypoints, 1), 2)], axis=1
            )
            instances.append(
                {
                    "id": len(instances),  # from 0, which pycocotools alone would take for "no match"
                    "image_id": image_id,
                    "category_id": 1,
                    "keypoints": points.ravel().tolist(),
                    "bbox": [0, 0, side, side],
                    "area": side**2,
                }
            )
    return {
        "images": [{"id": 10}, {"id": 20}],
        "annotations": instances,
        "categories": [{"id": 1, "name": "person"}],
    }


def perfect(ground_truth):
    return [
        {key: instance[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 0.9}
        for instance in ground_truth["annotations"]
    ]


def test_perfect_predictions_score_one_in_the_official_order():
    ground_truth = annotations()
    metrics = evaluate_coco(ground_truth, perfect(ground_truth))
    assert list(metrics) == NAMES == [name for name, *_ in NUMBERS]
    assert list(metrics.values()) == pytest.approx([1] * 10)
    assert all(type(value) is float for value in metrics.values())


def test_a_miss_halves_the_recall():
    ground_truth = annotations()
    metrics = evaluate_coco(
        ground_truth, [result for result in perfect(ground_truth) if result["image_id"] == 10]
    )
    assert metrics["AR"] == pytest.approx(0.5)
    assert metrics["AP"] == pytest.approx(51 / 101)  # precision 1 at the 51 of 101 recall levels up to 0.5


def test_the_oks_decides_which_thresholds_are_met():
    """A shift by which every keypoint's OKS is 0.77 is right at .50 to .75 and wrong at .80 to .95."""
    ground_truth, sigma = annotations(keypoints=5), 0.05
    results = perfect(ground_truth)
    for result, instance in zip(results, ground_truth["annotations"], strict=True):
        shift = np.sqrt(-np.log(0.77) * 2 * instance["area"]) * 2 * sigma
        moved = np.reshape(instance["keypoints"], (-1, 3)) + np.array([shift, 0, 0])
        result["keypoints"] = moved.ravel().tolist()
    metrics = evaluate_coco(ground_truth, results, sigmas=np.full(5, sigma))
    assert [metrics[name] for name in ("AP .5", "AP .75", "AP", "AR")] == pytest.approx([1, 1, 0.6, 0.6])
    # Twice as strict sigmas: OKS 0.77^4 = 0.35, right nowhere.
    assert evaluate_coco(ground_truth, results, sigmas=np.full(5, sigma / 2))["AP"] == 0


def test_ignored_crowds_of_other_skeletons_count_with_their_boxes():
    """Instances without visible keypoints are ignored; a pose inside their doubled box is then no false
    alarm.
    """
    ground_truth = annotations(keypoints=5, sides=(60,))
    results = perfect(ground_truth)
    results.append(copy.deepcopy(results[0]) | {"score": 1.0})
    results[-1]["keypoints"] = [500 + value for value in results[-1]["keypoints"]]
    sigmas = np.full(5, 0.05)
    assert evaluate_coco(ground_truth, results, sigmas)["AP"] < 0.9
    ground_truth["annotations"].append(
        ground_truth["annotations"][0] | {"keypoints": [0] * 15, "bbox": [500, 500, 80, 80], "iscrowd": 1}
    )
    assert evaluate_coco(ground_truth, results, sigmas)["AP"] == pytest.approx(1)


@pytest.mark.parametrize("no", ["0", "false", None])
def test_what_says_that_it_is_no_crowd_is_none(no):
    ground_truth = annotations()
    for instance in ground_truth["annotations"]:
        instance["iscrowd"] = no
    assert evaluate_coco(ground_truth, [])["AP"] == 0  # nobody to find, -1, if all were crowds


def test_nothing_found_is_zero_and_nothing_to_find_is_undefined():
    metrics = evaluate_coco(annotations(sides=(60,)), [])
    assert {name for name, value in metrics.items() if value == -1} == {"AP (L)", "AR (L)"}
    assert {value for name, value in metrics.items() if "(L)" not in name} == {0}
    ground_truth = annotations()
    ground_truth["annotations"] = []
    assert set(evaluate_coco(ground_truth, []).values()) == {-1}


def test_image_ids_restrict_the_evaluation():
    ground_truth = annotations()
    results = [result for result in perfect(ground_truth) if result["image_id"] == 10]
    assert evaluate_coco(ground_truth, results, image_ids=[10])["AP"] == pytest.approx(1)
    assert evaluate_coco(ground_truth, results, image_ids=np.array([20]))["AP"] == 0
    with pytest.raises(ValueError, match=r"^image_ids: 1 image \(30\) not in the annotations"):
        evaluate_coco(ground_truth, results, image_ids=[10, 30])


def test_paths_and_contents_are_the_same_and_left_unchanged(tmp_path, capfd):
    ground_truth = annotations()
    results = perfect(ground_truth)
    for result in results:
        result["bbox"] = [0, 0, 1, 1]  # with it pycocotools would take them for detections of boxes
    before = copy.deepcopy((ground_truth, results))
    ground_truth_path, results_path = tmp_path / "truth.json", tmp_path / "results.json"
    ground_truth_path.write_text(json.dumps(ground_truth))
    results_path.write_text(json.dumps(results))
    metrics = evaluate_coco(ground_truth, results)
    assert (ground_truth, results) == before
    assert metrics == evaluate_coco(ground_truth_path, str(results_path))
    assert capfd.readouterr() == ("", "")


def crowded_scene(seed, keypoints):
    """(annotations, results, sigmas, image ids to look at): all that pycocotools has a rule for.

    Two categories; instances without labels, crowds, doubled instances, areas at the ends of the ranges;
    poses that are perfect, shifted copies of one another, false alarms, on images without instances, more
    than 20 on one; few different scores. Image ids in no order.
    """
    rng = np.random.default_rng(seed)
    images = (rng.choice(2**40, 6, replace=False) - 2**39).tolist()
    instances, results = [], []
    for image_id in images[:5]:
        for _ in range(rng.integers(0, 6)):
            side, corner = rng.choice([20.0, 60.0, 140.0]), rng.uniform(0, 150, 2)
            points = np.concatenate(
                [np.round(corner + rng.uniform(0, side, (keypoints, 2))), rng.integers(0, 3, (keypoints, 1))],
                axis=1,
            )
            if rng.random() < 0.2:
                points[:] = 0
            area = float(rng.choice([0.6 * side**2, 32.0**2, 96.0**2, np.nextafter(96.0**2, 0)]))
            instance = {
                "id": 1000 - len(instances),
                "image_id": image_id,
                "category_id": int(rng.choice([1, 7], p=[0.8, 0.2])),
                "keypoints": points.ravel().tolist(),
                "num_keypoints": int((points[:, 2] > 0).sum()),
                "bbox": [*corner.tolist(), side, side],
                "area": area,
                "iscrowd": int(rng.random() < 0.15),
            }
            instances += (
                [instance] if rng.random() < 0.9 else [instance, instance | {"id": 2000 + len(instances)}]
            )
    for instance in instances:
        for _ in range(rng.integers(0, rng.choice([3, 30], p=[0.95, 0.05]))):
            points = np.reshape(instance["keypoints"], (-1, 3)).astype(float)
            points[:, :2] += rng.normal(
                0, rng.choice([0, 1, 4, 15]), (keypoints if rng.random() < 0.7 else 1, 2)
            )
            results.append([instance["image_id"], instance["category_id"], points])
    for image_id in images:
        for _ in range(rng.integers(0, 3)):
            results.append([image_id, 1, rng.uniform(0, 200, (keypoints, 3))])
    results = [
        {
            "image_id": image_id,
            "category_id": c,
            "keypoints": p.ravel().tolist(),
            "score": rng.integers(9) / 8,
        }
        for image_id, c, p in (results[place] for place in rng.permutation(len(results)))
    ]
    if instances:  # strays, of an image and of a category that are not there
        instances += [
            instances[0] | {"id": 5001, "image_id": 5},
            instances[0] | {"id": 5002, "category_id": 3},
        ]
    content = {
        "images": [{"id": image_id} for image_id in images],
        "annotations": instances,
        "categories": [{"id": 1}, {"id": 7}],
    }
    chosen = None if rng.random() < 0.6 else images[: rng.integers(1, 7)]
    return content, results, rng.uniform(0.02, 0.11, keypoints), chosen


@pytest.mark.parametrize("keypoints", [1, 5, 17, 23])
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_numbers_are_those_of_pycocotools(keypoints, seed):
    ground_truth, results, sigmas, image_ids = crowded_scene(seed, keypoints)
    expected = official_metrics(ground_truth, results, sigmas, image_ids)
    metrics = evaluate_coco(ground_truth, results, sigmas, image_ids)
    np.testing.assert_allclose(list(metrics.values()), expected, rtol=0, atol=1e-12)


def test_ids_may_be_any_that_have_an_order():
    ground_truth, results, sigmas, _ = crowded_scene(5, 17)
    expected = evaluate_coco(ground_truth, results, sigmas)
    for entry in (*ground_truth["annotations"], *results):
        entry["image_id"] = f"{entry['image_id'] + 2**40:015d}"
    for entry in ground_truth["images"]:
        entry["id"] = f"{entry['id'] + 2**40:015d}"
    assert 0 < expected["AP"] < 1
    assert evaluate_coco(ground_truth, results, sigmas) == expected


def test_no_images_to_look_at_are_nothing_to_find():
    ground_truth = annotations()
    assert set(evaluate_coco(ground_truth, perfect(ground_truth), image_ids=[]).values()) == {-1}


def test_the_numbers_are_those_of_pycocotools_with_cocos_own_sigmas():
    compared = set()
    for seed in range(20):
        ground_truth, results, _, image_ids = crowded_scene(seed, 17)
        expected = official_metrics(ground_truth, results, image_ids=image_ids)
        metrics = evaluate_coco(ground_truth, results, image_ids=image_ids)
        np.testing.assert_allclose(list(metrics.values()), expected, rtol=0, atol=1e-12)
        compared |= set(expected.tolist())
    assert len(compared) > 100  # not all of them 0, 1 or undefined


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_id": 99}, r"results on 1 image \(99\) not in the annotations; use the annotation file of"),
        ({"category_id": 2}, r"category \[2\], but the annotations have \[1\]"),
        ({"keypoints": [1.0] * 15}, r"result 0: 15 numbers in keypoints; expected 3 x 17"),
        ({"score": float("nan")}, r"result 0 \(image 10\) has numbers not finite"),
        ({"score": None}, r"result 0 \(image 10\) has numbers not finite"),
        ({"keypoints": [float("inf")] * 51}, r"result 0 \(image 10\) has numbers not finite"),
        ({"keypoints": 7}, r"result 0: 7 in keypoints; expected 3 x 17"),
        ({"keypoints": ["left"] * 51}, r"results: expected numbers \(could not convert string"),
        ({"score": [0.5]}, r"results: expected numbers"),
        ({"score": 10**400}, r"results: expected numbers \(int too large"),
    ],
)
def test_results_that_do_not_fit_are_refused(change, says):
    ground_truth = annotations()
    with pytest.raises(ValueError, match=says):
        evaluate_coco(ground_truth, [perfect(ground_truth)[0] | change])


def test_many_unknown_images_are_counted_and_some_named():
    ground_truth = annotations()
    results = [perfect(ground_truth)[0] | {"image_id": image_id} for image_id in range(100, 112)]
    with pytest.raises(ValueError, match=r"12 images \(100, 101, 102, 103, 104, \.\.\.\)"):
        evaluate_coco(ground_truth, results)


def test_bad_files_are_named_with_what_was_expected(tmp_path):
    ground_truth = annotations()
    path = tmp_path / "file.json"
    path.write_text("[{")
    with pytest.raises(ValueError, match=r"file\.json: not valid JSON"):
        evaluate_coco(ground_truth, path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"file\.json: received a dict; expected a list"):
        evaluate_coco(ground_truth, path)
    with pytest.raises(ValueError, match=r"file\.json: not COCO annotations"):
        evaluate_coco(path, [])
    with pytest.raises(ValueError, match=r"result 0 is 5; expected an object"):
        evaluate_coco(ground_truth, [5])
    with pytest.raises(ValueError, match=r"annotation 1 is \['a'\]; expected an object"):
        evaluate_coco(ground_truth | {"annotations": [["a"]]}, [])
    with pytest.raises(ValueError, match=r"result 0 has no score"):
        evaluate_coco(ground_truth, [without(perfect(ground_truth)[0], "score")])
    ground_truth["annotations"][1] = without(ground_truth["annotations"][1], "area")
    with pytest.raises(ValueError, match=r"annotation 1 has no area"):
        evaluate_coco(ground_truth, [])
    with pytest.raises(ValueError, match=r"expected 3 x 5"):
        evaluate_coco(annotations(), [], sigmas=np.ones(5))
    with pytest.raises(ValueError, match=r"^sigmas: "):
        evaluate_coco(annotations(), [], sigmas=np.zeros(17))


def test_table_has_a_readable_line_per_number():
    metrics = dict(zip(NAMES, [0.765, 0.9, 0.8, 0.7, -1, 0.81, 0.9, 0.8, 0.7, -1], strict=True))
    lines = format_table(metrics).splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("Average Precision @[ OKS=0.50:0.95 | area=   all | maxDets=20 ]")
    assert lines[0].endswith("AP     = 0.765")
    assert lines[4].endswith("AP (L) = n/a (no such ground truth)")


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_official_metrics(kind):
    folder = shared_data("golden", "coco_eval")
    expected = json.loads((folder / "metrics.json").read_text())[kind]
    files = folder / "gt_annotations.json", folder / f"results_{kind}.json"
    metrics = evaluate_coco(*files)
    # The official code spells one of the names "Ap .5".
    assert [name.lower() for name in metrics] == [name.lower() for name in expected]
    assert list(metrics.values()) == pytest.approx(list(expected.values()), abs=1e-6)
    official = official_metrics(*(json.loads(file.read_text()) for file in files))
    np.testing.assert_allclose(list(metrics.values()), official, rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [3, 500, 1000])
def test_what_is_nested_deeply_is_named(tmp_path, depth):
    nested = "[" * depth + "]" * depth
    for name, content in (
        ("a.json", f'{{"images": [], "categories": [], "annotations": [{nested}]}}'),
        ("b.json", nested.replace("[]", '[{"image_id": 1}]')),
    ):
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"a\.json: annotation 1 is \[.*; expected an object"):
        evaluate_coco(tmp_path / "a.json", [])
    empty = {"images": [], "categories": [], "annotations": []}
    with pytest.raises(ValueError, match=r"b\.json: result 0 is \[.*; expected an object"):
        evaluate_coco(empty, tmp_path / "b.json")


def test_results_that_name_their_image_by_text_are_matched_and_that_is_said():
    ground_truth = annotations()
    results = perfect(ground_truth)
    for image in ground_truth["images"]:
        image["file_name"] = f"photo_{image['id']}.jpg"
    expected = evaluate_coco(ground_truth, results)
    for spelled in (
        str,
        "{:012d}".format,
        "photo_{}".format,
        "photo_{}.jpg".format,
        "C:\\a\\photo_{}.jpg".format,
    ):
        other = [result | {"image_id": spelled(result["image_id"])} for result in results]
        with pytest.warns(UserWarning, match=rf"{len(other)} results name their image by text, such as '"):
            assert evaluate_coco(ground_truth, other) == expected
    with pytest.raises(
        ValueError, match=r"results on 1 image \('elsewhere'\) .*images have ids such as \d+\)$"
    ):
        evaluate_coco(ground_truth, [results[0] | {"image_id": "elsewhere"}])


def test_text_is_the_file_before_it_is_the_number_as_for_a_builds_detections():
    ground_truth = annotations()
    results = perfect(ground_truth)
    ground_truth["images"] = [{"id": 10, "file_name": "0020.jpg"}, {"id": 20, "file_name": "0010.jpg"}]
    expected = evaluate_coco(ground_truth, results)
    other = [result | {"image_id": f"{30 - result['image_id']:04d}"} for result in results]
    with pytest.warns(UserWarning, match="'0010', which is taken for the image 20"):
        assert evaluate_coco(ground_truth, other) == expected
    ground_truth["images"][1]["file_name"] = "10.jpg"
    with pytest.raises(ValueError, match=r'"10", a text, may be the number of 0020\.jpg or the file 10\.jpg'):
        evaluate_coco(ground_truth, [results[0] | {"image_id": "10"}])


def test_text_that_two_images_are_called_is_no_name():
    ground_truth = annotations()
    results = perfect(ground_truth)
    for image in ground_truth["images"]:
        image["file_name"] = f"{image['id']}/photo.jpg"
    with pytest.raises(ValueError, match=r"results on 1 image \('photo.jpg'\) not in the annotations"):
        evaluate_coco(ground_truth, [results[0] | {"image_id": "photo.jpg"}])


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 1.5, None, True, [1], {}])
@pytest.mark.parametrize(
    ("part", "key"),
    [("images", "id"), ("categories", "id"), ("annotations", "image_id"), ("annotations", "category_id")],
)
def test_ids_that_are_none_are_named(part, key, value):
    ground_truth = annotations()
    ground_truth[part][0] = ground_truth[part][0] | {key: value}
    with pytest.raises(ValueError, match=r"expected .*a whole number below 2\^63, or text"):
        evaluate_coco(ground_truth, perfect(annotations()))
    if part == "annotations":
        results = perfect(annotations())
        results[1] = results[1] | {key: value}
        with pytest.raises(
            ValueError, match=rf"^evaluate_coco: result 1: {key} is .* whole number below 2\^63"
        ):
            evaluate_coco(annotations(), results)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": None}, "images is None; expected a list"),
        ({"annotations": {}}, "annotations is {}; expected a list"),
        ({"categories": ["person"]}, "categories has 'person'; expected objects with an id"),
    ],
)
def test_annotations_of_another_form_are_named(changes, says):
    with pytest.raises(ValueError, match=says):
        evaluate_coco(annotations() | changes, [])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"area": "big"}, "areas: expected numbers"),
        ({"area": 10**400}, "areas: expected numbers"),
        ({"keypoints": [0] * 51, "bbox": [1, 2]}, r"has no keypoints and the bbox \[1, 2\]; expected \[x, y"),
    ],
)
def test_an_area_or_a_box_that_is_none_is_named(changes, says):
    ground_truth = annotations()
    ground_truth["annotations"][0] = ground_truth["annotations"][0] | changes
    with pytest.raises(ValueError, match=says):
        evaluate_coco(ground_truth, [])
