"""The trainer: what a run leaves, how it goes on, what it refuses."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from evaluate.coco import evaluate_coco
from evaluate.inference import to_image
from evaluate.rescoring import to_results
from model.heatmaps import decode, encode
from model.runs import RunError, read_config, saved_epochs, write_config
from pipelines.job import build_records
from records.augment import Augmentation
from records.dataset import read_records
from records.shards import RecordsError
from tests.builders import make_build, make_dataset
from tests.shared import shared_data
from train.loop import train
from train.options import TrainOptions
from train.schedule import Schedule


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop")
    make_dataset(folder, images=12)
    build = make_build(folder, folder / "records", crop={"input_size": (32, 64)}, max_bad_fraction=1)
    build_records(build, say=lambda line: None)
    return folder / "records"


@pytest.fixture
def options(records, tmp_path):
    return TrainOptions(
        dataset="coco",
        records=str(records),
        output=str(tmp_path / "run"),
        model="w16_tiny",
        epochs=2,
        batch_size=8,
        gpus=0,
        # A step between the epochs: a run that forgot how far it was would take the wrong rate.
        schedule=Schedule(initial=1e-3, milestones=(1,), warmup_steps=5),
    )


def arrays(output, epoch):
    folder = f"{output}/model_dump/epoch-{epoch:04d}"
    return load_file(f"{folder}/model.safetensors") | load_file(f"{folder}/optimizer.safetensors")


@pytest.mark.slow
def test_a_run_that_was_continued_ends_as_one_that_was_not(options, tmp_path):
    steps = train(options)
    parts = replace(options, output=str(tmp_path / "parts"))
    assert train(replace(parts, epochs=1)) * 2 == steps
    assert train(replace(parts, resume=True)) == steps
    whole, continued = arrays(options.output, 2), arrays(parts.output, 2)
    assert len(whole) > 500
    assert whole.keys() == continued.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(continued[name], array, err_msg=name)
    assert any((arrays(options.output, 1)[name] != array).any() for name, array in whole.items())


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_ends_the_run_and_is_not_saved(options, tmp_path):
    train(replace(options, epochs=1))
    # Weights of 1e30 in the head make the squared error overflow.
    path = tmp_path / "run/model_dump/epoch-0001/model.safetensors"
    weights = load_file(path)
    weights["head.conv/kernel"] = np.full_like(weights["head.conv/kernel"], 1e30)
    save_file(weights, path)
    with pytest.raises(RunError, match=r"the loss became (inf|nan) in epoch 2, which is not saved"):
        train(replace(options, resume=True))
    assert saved_epochs(tmp_path / "run/model_dump") == [1]


def test_records_of_another_dataset_are_refused(options):
    with pytest.raises(RecordsError, match="holds records of coco, but --dataset=synthetic"):
        train(replace(options, dataset="synthetic"))


def test_more_augmentation_than_the_crops_have_room_for_is_refused_before_anything_is_written(
    options, tmp_path
):
    with pytest.raises(RecordsError, match="room"):
        train(replace(options, augmentation=Augmentation(scale_factor=0.5)))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_start_that_failed_early_does_not_stand_in_the_way_of_the_next(options, tmp_path):
    folder = tmp_path / "run/model_dump"
    train(replace(options, epochs=1))
    begun = read_config(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    write_config(folder, replace(begun, sigma=9.0))
    train(replace(options, epochs=1))
    assert read_config(folder).sigma == begun.sigma


def test_annotated_keypoints_survive_the_whole_way_but_the_network(tmp_path):
    """Records, network input, targets, decoding, mapping back, rescoring, NMS and metric fit together."""
    folder = shared_data("dataset", "COCO")
    size, heatmap_size = (192, 256), (48, 64)
    build_records(make_build(folder, tmp_path, split="val", crop={"input_size": size}), say=lambda line: None)
    (batch,) = read_records(tmp_path, 100)
    batch = {name: value.numpy() for name, value in batch.items()}
    heatmaps, _ = encode(batch["keypoints_input"], size, heatmap_size, 2.0)
    keypoints = to_image(np.asarray(decode(heatmaps)), batch["center"], batch["scale"], heatmap_size)
    results = to_results(keypoints, batch["scale"].prod(axis=1), batch["score"], batch["image_id"])
    metrics = evaluate_coco(folder / "annotations/person_keypoints_val2017.json", results)
    # Targets are centred on whole cells, which costs a little; measured 0.982.
    assert metrics["AP"] > 0.97
