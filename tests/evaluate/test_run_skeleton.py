"""What an evaluation takes from the run, whatever the records say: flip pairs and sigmas."""

import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest

from evaluate.run import evaluate_run
from evaluate.run_inputs import other_facts
from model.networks import NETWORKS
from model.run_config import read_config
from model.run_folder import Progress, read_checkpoint
from records.skeletons import COCO
from tests.helpers.small_evaluations import small_evaluation
from tests.helpers.small_runs import SMALL, elsewhere, make_records, small_options
from train.loop import train
from train.validation import make_validator

FACE = replace(
    COCO,
    name="face",
    keypoints=COCO.keypoints[:5],
    flip_pairs=((1, 2),),
    limbs=(),
    upper_body=(),
    sigmas=(0.1,) * 5,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`TrainOptions` of a run of two epochs."""
    folder = tmp_path_factory.mktemp("skeleton")
    options = small_options(make_records(folder), folder / "run")
    with pytest.MonkeyPatch.context() as context:
        context.setitem(NETWORKS, SMALL.name, SMALL)
        train(options)
    return options


@pytest.fixture
def evaluation(run, monkeypatch):
    """A function: evaluates on the split val, whose manifest says otherwise what is given of the skeleton."""
    monkeypatch.setitem(NETWORKS, SMALL.name, SMALL)

    def evaluate(folder, **changes):
        records = change_records(run, folder, **changes)
        output = folder / "run"
        shutil.copytree(run.paths.checkpoints, output / "model_dump")
        evaluate_run(small_evaluation(elsewhere(run, output), records_dir=str(records), split="val"))
        return output / "result"

    return evaluate


def change_records(run, folder, **changes):
    """Copies a run's records and changes the skeleton of their split val; returns the folder."""
    records = folder / "records"
    shutil.copytree(run.paths.dataset.records_dir, records)
    path = records / "val/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["skeleton"] |= changes
    path.write_text(json.dumps(manifest))
    return records


def one_of(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


OTHER = {"flip_pairs": [], "sigmas": [0.5] * 17}


def test_records_without_the_run_s_flip_pairs_and_sigmas_change_no_number(tmp_path, evaluation, caplog):
    caplog.set_level(logging.INFO)
    expected = evaluation(tmp_path / "same")
    assert "note:" not in caplog.text
    received = evaluation(tmp_path / "other", **OTHER)
    notes = [line.removeprefix("note: ") for line in caplog.messages if line.startswith("note: ")]
    assert len(notes) == 2
    assert notes[0].startswith("the flip pairs of 16 keypoints are other ones in the records ('left_eye' ")
    assert notes[1].startswith("the sigmas of 17 keypoints are other ones in the records ('nose': 0.5 there")
    theirs, ours = (
        json.loads(one_of(folder, "*_metrics.json").read_text()) for folder in (expected, received)
    )
    assert (theirs.pop("notes"), ours.pop("notes")) == ([], notes)
    assert ours == theirs
    assert one_of(received, "*_results.json").read_bytes() == one_of(expected, "*_results.json").read_bytes()
    assert "the sigmas of 17 keypoints" in (received / "report.html").read_text()


def test_validation_while_training_takes_them_from_the_run_too(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(NETWORKS, SMALL.name, SMALL)
    config = read_config(run.paths.checkpoints)
    options = elsewhere(run, tmp_path / "run")
    places = replace(run.paths.dataset, records_dir=change_records(run, tmp_path, **OTHER))
    options = replace(options, paths=replace(options.paths, dataset=places))
    validators = [make_validator(replace(which, eval_every=1), config) for which in (run, options)]
    said = capsys.readouterr().err
    assert said.count("note: validation while training: the flip pairs of 16 keypoints are other ones") == 1
    _, learned = read_checkpoint(run.paths.checkpoints, Progress(2), ["model"])
    first, second = (validator(learned["model"], "weights") for validator in validators)
    assert first.values == second.values
    np.testing.assert_array_equal(first.image, second.image)


def test_what_decides_no_number_is_no_difference():
    assert other_facts(FACE, replace(FACE, name="other", limbs=((0, 1),), upper_body=(0,))) == []
    assert other_facts(FACE, replace(FACE, flip_pairs=((2, 1),))) == []
    (note,) = other_facts(FACE, replace(FACE, flip_pairs=((1, 2), (3, 4))))
    assert note == (
        "the flip pairs of 2 keypoints are other ones in the records ('left_ear' mirrors 'right_ear' there, "
        "itself in the run); the run's are taken"
    )
