"""What is said of each dataset, and where its files are looked for."""

from dataclasses import fields
from pathlib import Path

import pytest

from records.datasets import BOXES, DATASETS, SPLITS, dataset_paths
from records.skeletons import COCO, MPII, POSETRACK

each_dataset = pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))


def facts(name, *names):
    return tuple(getattr(DATASETS[name], field) for field in names)


@each_dataset
def test_an_entry_is_whole(dataset):
    assert DATASETS[dataset.name] is dataset
    assert dataset.evaluation_boxes in BOXES
    assert dataset.metrics
    assert set(dataset.splits) <= set(SPLITS)
    assert all(
        getattr(dataset, field.name) is not None for field in fields(dataset) if field.name != "skeleton"
    )
    assert len({option.name for option in dataset.options}) == len(dataset.options)


def test_what_each_dataset_has():
    about = "skeleton", "metrics", "evaluation_boxes", "input_size", "clean_boxes", "lenient"
    assert facts("coco", *about) == (COCO, ("coco",), "detections", (192, 256), True, False)
    assert facts("mpii", *about) == (MPII, ("pckh",), "ground_truth", (256, 256), False, False)
    assert facts("posetrack", *about) == (POSETRACK, ("posetrack",), "detections", (192, 256), True, False)
    assert facts("synthetic", *about) == (COCO, ("coco",), "detections", (192, 256), True, False)
    assert facts("custom", *about) == (None, ("coco",), "detections", (192, 256), True, True)
    assert [name for name, dataset in DATASETS.items() if dataset.user_data] == ["custom"]
    assert [name for name, dataset in DATASETS.items() if dataset.exif_orientation == "auto"] == ["custom"]
    options = {name: [option.name for option in dataset.options] for name, dataset in DATASETS.items()}
    assert {name: own for name, own in options.items() if own} == {
        "mpii": ["mpii_boxes", "validation_list"],
        "synthetic": ["train_images", "val_images", "seed"],
    }


def test_the_older_boxes_of_mpii_make_another_form_of_it():
    mpii = DATASETS["mpii"]
    assert mpii.adapted(mpii, {"mpii_boxes": "objpos"}) == mpii
    older = mpii.adapted(mpii, {"mpii_boxes": "keypoints"})
    assert (older.layout.name_prefix, older.clean_boxes) == ("images/", True)
    assert older.layout.annotations == mpii.layout.annotations


@pytest.mark.parametrize(
    ("name", "annotations", "images"),
    [
        ("coco", "COCO/annotations/person_keypoints_val2017.json", "COCO/images/val2017"),
        ("mpii", "MPII/annotations/val.json", "MPII/images"),
        ("posetrack", "PoseTrack/annotations/val2018.json", "PoseTrack/images"),
        ("synthetic", "Synthetic/annotations/person_keypoints_val.json", "Synthetic/images/val"),
        ("custom", "Custom/annotations/val.json", "Custom/images"),
    ],
)
def test_files_are_looked_for_where_users_have_them(name, annotations, images):
    paths, folder = dataset_paths(DATASETS[name]), Path("dataset") / images.split("/")[0]
    assert paths.dataset_dir == folder
    assert paths.annotations["val"] == Path("dataset") / annotations
    assert paths.images["val"] == Path("dataset") / images
    assert paths.detections == folder / "dets/human_detection.json"
    assert paths.records_dir == folder / "records"


def test_cocos_test_images_have_no_keypoints_file():
    assert dataset_paths(DATASETS["coco"]).annotations["test"].name == "image_info_test-dev2017.json"


def test_each_place_can_be_named():
    coco = DATASETS["coco"]
    assert dataset_paths(coco, dataset_dir="/d").images["train"] == Path("/d/images/train2017")
    assert dataset_paths(coco, images="/i").images == dict.fromkeys(SPLITS, Path("/i"))
    assert dataset_paths(coco, detections="/x.json").detections == Path("/x.json")
    elsewhere = dataset_paths(coco, dataset_dir="/d", annotations_dir="/a").annotations
    assert elsewhere["train"] == Path("/a/person_keypoints_train2017.json")
    named = dataset_paths(coco, annotations="/f.json", annotations_dir="/a").annotations
    assert named == dict.fromkeys(SPLITS, Path("/f.json"))
    assert dataset_paths(coco, dataset_dir="~/d").dataset_dir == Path.home() / "d"


def test_records_lie_in_a_folder_per_split_and_boxes():
    paths = dataset_paths(DATASETS["coco"], records_dir="/r")
    assert paths.records("val", "ground_truth") == Path("/r/val")
    assert paths.records("val", "detections") == Path("/r/val_detections")
