"""A file of one's own about the keypoints: `--skeleton`."""

import json
import re
from pathlib import Path

import pytest

from evaluate.ground_truth import find_ground_truth
from pipelines.annotations.skeleton_file import read_skeleton, with_skeleton
from pipelines.cli import command
from pipelines.errors import BuildError
from records.manifest import read_manifest
from tests.helpers.builders import write_json
from tests.helpers.custom_data import FIVE, INPUT, write_dataset

OWN = {
    "keypoints": ["sole", "toe_l", "toe_r", "tip_l", "tip_r"],
    "flip_pairs": [["toe_l", "toe_r"], [3, 4]],
    "sigmas": [0.01, 0.02, 0.02, 0.03, 0.03],
    "upper_body": ["sole"],
    "skeleton": [[1, 2]],
}


@pytest.fixture
def folder(tmp_path):
    write_dataset(tmp_path, FIVE, 2, 1)
    return tmp_path


def build(folder, own, categories=(FIVE,), *arguments):
    """Builds with the file; returns the exit code."""
    path = folder / "labels_1.json"
    write_json(path, json.loads(path.read_text()) | {"categories": list(categories)})
    write_json(folder / "own.json", own)
    where = (f"--annotations={path}", f"--images={folder / 'photos'}", f"--records_dir={folder / 'records'}")
    return command(["--dataset=custom", *where, INPUT, f"--skeleton={folder / 'own.json'}", *arguments])


def built(folder):
    return read_manifest(folder / "records/train").skeleton


@pytest.mark.parametrize(
    "wrap", [lambda own: own, lambda own: {"categories": [own, {"id": 3, "name": "car"}]}]
)
def test_the_file_replaces_names_pairs_sigmas_upper_body_and_lines(folder, capsys, wrap):
    assert build(folder, wrap(OWN)) == 0
    assert "warning" not in "".join(capsys.readouterr())
    skeleton = built(folder)
    assert list(skeleton.keypoints) == OWN["keypoints"]
    assert (skeleton.flip_pairs, skeleton.upper_body, skeleton.limbs) == (((1, 2), (3, 4)), (0,), ((0, 1),))
    assert list(skeleton.sigmas) == OWN["sigmas"]


def test_what_the_file_does_not_have_stays_as_the_annotations_say(folder, capsys):
    assert build(folder, {"upper_body": [0], "flip_pairs": []}) == 0
    assert "warning" not in "".join(capsys.readouterr())
    skeleton = built(folder)
    assert list(skeleton.keypoints) == FIVE["keypoints"]
    assert list(skeleton.sigmas) == FIVE["sigmas"]
    assert (skeleton.flip_pairs, skeleton.upper_body, len(skeleton.limbs)) == ((), (0,), 4)


def test_nothing_is_kept_that_the_annotations_say_of_keypoints_with_other_names(folder, capsys):
    wrong = FIVE | {"sigmas": [9], "flip_pairs": [["nobody", 3]], "skeleton": 5}
    assert build(folder, {"keypoints": OWN["keypoints"]}, [wrong]) == 0
    assert 'no "sigmas" in the category' in "".join(capsys.readouterr())
    assert built(folder).flip_pairs == ((1, 2), (3, 4))


def test_the_names_may_be_in_the_file_only(folder, capsys):
    assert build(folder, OWN, [{"id": 7, "name": "paw"}]) == 0
    assert list(built(folder).keypoints) == OWN["keypoints"]
    capsys.readouterr()


def test_the_file_decides_what_the_records_are(folder, capsys):
    assert build(folder, OWN) == 0
    assert build(folder, OWN) == 0
    assert "already built" in "".join(capsys.readouterr())
    assert build(folder, OWN | {"sigmas": [0.05] * 5}) == 1
    assert re.search(r"cannot be kept: skeleton was \w{8}…, now \w{8}…", capsys.readouterr().err)


def test_it_is_for_datasets_whose_keypoints_are_not_known(folder, capsys):
    assert command(["--dataset=coco", f"--skeleton={folder / 'own.json'}"]) == 2
    assert "--skeleton is for --dataset=custom" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({}, "in the form of a COCO category, with any of keypoints, flip_pairs"),
        ([OWN], "expected a JSON object"),
        ({"name": "paw"}, "expected a JSON object"),
        ({"categories": [OWN, OWN]}, "has 2 categories with keypoints, expected one"),
        ({"categories": []}, "has 0 categories with keypoints"),
        (OWN | {"sigmas": [1]}, "sigmas"),
        (OWN | {"keypoints": 5}, '"keypoints" must be a list of names'),
        (OWN | {"flip_pairs": [["toe_l", "nose"]]}, "\"flip_pairs\" has 'nose'"),
    ],
)
def test_a_file_that_says_nothing_or_nonsense_is_refused_with_its_path(tmp_path, own, says):
    write_json(tmp_path / "own.json", own)
    with pytest.raises(BuildError, match=f"own.json.*{re.escape(says)}"):
        read_skeleton(tmp_path / "own.json")


@pytest.mark.parametrize(
    "categories",
    [
        [],
        [{"id": 3, "name": "car"}],
        [{"id": 3, "name": "car"}, {"id": 7, "name": "paw", "keypoints": []}],
        [{"id": 3, "name": "car"}, FIVE],
        [FIVE | {"keypoints": ["a", "b"]}],
        [FIVE | {"keypoints": [*FIVE["keypoints"], "more"]}],
    ],
)
def test_records_and_evaluation_have_the_same_instances_whatever_the_categories_say(
    folder, capsys, categories
):
    assert build(folder, OWN, categories) == 0
    manifest = read_manifest(folder / "records/train")
    assert (manifest.records, manifest.filtered, list(manifest.skeleton.keypoints)) == (
        4,
        {},
        OWN["keypoints"],
    )
    ground_truth = find_ground_truth(manifest, Path("nowhere"))
    assert (len(ground_truth.instances), ground_truth.category) == (4, 7)
    assert "k0" not in "".join(capsys.readouterr())


def test_what_is_no_annotation_file_stays_what_it_is():
    for content in ([1], {}, {"categories": None}, {"categories": "0"}):
        assert with_skeleton(content, OWN, "own.json") == content
    assert with_skeleton({"categories": [5, {"id": 1}]}, OWN, "own.json") == {"categories": [{"id": 1} | OWN]}


@pytest.mark.parametrize("own", [{"sigmas": [0.1, 0.2]}, {"flip_pairs": [["toe_l", "nose"]]}])
def test_a_file_of_other_keypoints_than_the_annotations_is_named(folder, capsys, own):
    assert build(folder, own) == 1
    assert f"--skeleton={folder / 'own.json'}: " in capsys.readouterr().err


def test_a_file_with_another_number_of_keypoints_is_not_called_the_category(folder, capsys):
    assert build(folder, {"keypoints": ["a", "b", "c"]}) == 1
    err = capsys.readouterr().err
    assert "the annotations have 5 keypoints each, the skeleton to take has 3" in err
