"""What the trainer's flags make of each other."""

import json
from dataclasses import replace

import pytest
from absl import flags

from hrpose.command import UsageError
from hrpose.flag_values import input_size_note
from model.weight_import.readers import WeightsError
from pipelines.cli import command as build_command
from records.augment import Augmentation
from train.cli import command as train_command
from train.cli import initial_weights, main, options_from, provenance
from train.flags import define_flags
from train.options import recipe_line


def parse(*arguments):
    values = flags.FlagValues()
    define_flags(values)
    values(["train", *arguments])
    return values


def test_the_learning_rate_is_never_scaled_silently():
    for arguments in (("--gpus=8",), ("--batch_size=256",), ("--gradient_accumulation_steps=4",)):
        assert options_from(parse(*arguments)).schedule.initial == 1e-3


def test_lr_per_256_scales_by_the_instances_of_an_update():
    values = parse("--lr_per_256=2e-3", "--gpus=4", "--batch_size=16", "--gradient_accumulation_steps=2")
    assert options_from(values).schedule.initial == pytest.approx(1e-3)
    assert options_from(values, workers=3).schedule.initial == pytest.approx(3e-3)
    cpu = parse("--lr_per_256=2e-3", "--gpus=0", "--batch_size=32")
    assert options_from(cpu).schedule.initial == pytest.approx(2.5e-4)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("mpii", Augmentation(0.25, 30, 0.6, 0.5, 0.0)),
        ("coco", Augmentation(0.35, 45, 0.6, 0.5, 0.3)),
        ("posetrack", Augmentation(0.35, 45, 0.6, 0.5, 0.3)),
        ("custom", Augmentation(0.35, 45, 0.6, 0.5, 0.3)),
    ],
)
def test_a_dataset_brings_its_published_augmentation_and_flags_override_it(dataset, expected):
    options = options_from(parse(f"--dataset={dataset}"))
    assert (options.augmentation, options.batch_size) == (expected, 32)
    changed = options_from(parse(f"--dataset={dataset}", "--rotation_factor=0", "--batch_size=7"))
    assert (changed.augmentation, changed.batch_size) == (replace(expected, rotation_factor=0), 7)


def test_the_help_says_which_dataset_brings_what():
    assert parse()["scale_factor"].help.endswith(
        "recipe has: 0.35 for coco, posetrack, synthetic, custom; 0.25 for mpii."
    )
    assert parse()["batch_size"].help.endswith("what the dataset's published recipe has: 32.")


def test_what_is_in_force_is_said_with_what_differs_from_the_publication():
    said = recipe_line(options_from(parse("--dataset=mpii")))
    assert said == (
        "augmentation: scale 1 ± 0.25, rotation 30° in 60%, mirrored 50%, half body 0%; batch size 32: as "
        "MPII's published recipe"
    )
    arguments = ("--scale_factor=0.35", "--batch_size=8", "--coarse_dropout_probability=0.5")
    said = recipe_line(options_from(parse("--dataset=mpii", *arguments)))
    assert said.startswith("augmentation: scale 1 ± 0.35, ")
    assert said.endswith(
        "half body 0%, rectangles 50%; batch size 8: MPII's published recipe has scale_factor=0.25, "
        "batch_size=32"
    )


@pytest.mark.parametrize("sigma", ["1e300", "1e-300", "101"])
def test_a_sigma_that_float32_cannot_work_with_is_a_usage_error(sigma):
    with pytest.raises(flags.Error, match=r"sigma=.* in the range \[0.1, 100.0\]"):
        parse(f"--sigma={sigma}")


@pytest.mark.parametrize(
    "flag", ["shuffle_buffer=100000000000000000000", "clip_norm=1e300", "rotation_factor=1e9"]
)
def test_numbers_that_tensorflow_cannot_hold_are_usage_errors(flag):
    with pytest.raises(flags.Error, match=r"--.*=1.* in the range"):
        parse(f"--{flag}")


def test_two_learning_rates_are_a_usage_error():
    with pytest.raises(UsageError, match="--learning_rate and --lr_per_256"):
        options_from(parse("--lr_per_256=1e-3", "--learning_rate=1e-3"))


def test_left_out_updates_are_numbers_from_1():
    assert options_from(parse("--skip_steps=3,17")).skip_steps == (3, 17)
    with pytest.raises(UsageError, match="skip_steps=0"):
        options_from(parse("--skip_steps=0"))


def test_weights_are_found_by_the_network_s_name_and_their_absence_is_told(tmp_path, capsys):
    options = options_from(parse("--model=w48"))
    assert initial_weights(options, tmp_path) is None
    assert "hrnet_w48* does not exist, so a new run starts from random weights" in capsys.readouterr().err
    (tmp_path / "hrnet_w32.safetensors").touch()
    assert initial_weights(options, tmp_path) is None
    (tmp_path / "hrnet_w48-imagenet.safetensors").touch()
    capsys.readouterr()
    assert initial_weights(options, tmp_path) == str(tmp_path / "hrnet_w48-imagenet.safetensors")
    (tmp_path / "hrnet_w48.safetensors").touch()
    with pytest.raises(WeightsError, match="several files for w48"):
        initial_weights(options, tmp_path)
    assert capsys.readouterr().err == ""


def test_weights_that_are_named_are_taken_and_none_are_none(tmp_path):
    (tmp_path / "hrnet_w32.safetensors").touch()
    assert initial_weights(options_from(parse("--initial_weights=a.pth")), tmp_path) == "a.pth"
    assert initial_weights(options_from(parse("--initial_weights=none")), tmp_path) is None


def test_the_configuration_names_every_flag_and_the_versions():
    made = json.loads(json.dumps(provenance(parse("--sigma=3", "--lr_steps=1,2"))))
    assert made["flags"]["sigma"] == 3.0
    assert made["flags"]["lr_steps"] == ["1", "2"]
    assert set(parse()) - {"?", "help", "flagfile", "undefok"} <= set(made["flags"])
    assert set(made["versions"]) == {"tensorflow", "keras", "numpy", "python"}
    assert made["commit"] is None or len(made["commit"].rstrip("+")) == 40


def test_weights_that_are_named_are_told_from_those_that_are_found(monkeypatch, tmp_path, capsys):
    trained = []
    monkeypatch.setattr("train.loop.train", trained.append)
    found = tmp_path / "hrnet_w32.safetensors"
    found.touch()
    monkeypatch.setattr(initial_weights, "__defaults__", (tmp_path,))
    for arguments in ((), ("--initial_weights=none",), ("--initial_weights=a.pth",)):
        main(parse("--continue", *arguments))
    expected = [(str(found), False), (None, True), ("a.pth", True)]
    assert [(options.initial_weights, options.weights_given) for options in trained] == expected


def test_the_help_says_what_keeping_one_checkpoint_costs():
    assert "none to fall back to" in parse()["max_to_keep"].help


def test_an_input_that_is_wider_than_high_is_noted_by_build_and_trainer(capsys):
    note = input_size_note((256, 192))
    assert note.endswith("a publication's 256x192 is height x width, and is --input_size=192x256 here")
    assert input_size_note((192, 256)) is input_size_note((256, 256)) is None
    for command, place in (
        (train_command, ["--records_dir=nowhere", "--gpus=0"]),
        (build_command, ["--dataset_dir=nowhere"]),
    ):
        for size, noted in (("256x192", True), ("192x256", False)):
            assert command([f"--input_size={size}", *place, "--dataset=coco"]) == 1
            assert (note in capsys.readouterr().err) == noted
