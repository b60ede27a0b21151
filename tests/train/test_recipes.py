"""The recipes in train/recipes, read with the command's own flags."""

import re

import pytest
from absl import flags

from model.networks import NETWORKS
from pipelines.flags import define_flags as define_build_flags
from records.datasets import DATASETS
from tests.helpers.shared import ROOT
from train.cli import options_from
from train.flags import define_flags
from train.options import TrainOptions
from train.schedule import Schedule

RECIPES = sorted((ROOT / "train/recipes").glob("*.cfg"))

each_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)


def read(path, *more):
    values = flags.FlagValues()
    define_flags(values)
    values(["train", f"--flagfile={path}", *more])
    return options_from(values)


def test_the_recipes_are_there():
    assert {path.stem for path in RECIPES} == {
        "coco_w32_256x192",
        "coco_w48_384x288",
        "mpii_w32_256x256",
        "posetrack_w48_384x288",
        "synthetic_tiny",
    }


@each_recipe
def test_a_recipe_is_read_by_the_command_s_flags_and_is_what_its_name_says(path):
    options = read(path)
    named = re.fullmatch(r"(\w+?)_(w\d+)_(\d+)x(\d+)", path.stem)
    if named:  # as published: height x width
        assert (options.dataset, options.model) == (named[1], named[2])
        assert options.input_size == (int(named[4]), int(named[3]))
    assert options.model in NETWORKS
    assert options.schedule.milestones[-1] < options.epochs or options.schedule.shape == "cosine"


@each_recipe
def test_a_recipe_says_what_it_reaches_and_where_that_is_published(path):
    comment = " ".join(line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#"))
    if path.stem != "synthetic_tiny":
        assert re.search(r"Expected.*\b\d+\.\d+", comment)
        assert "README of leoxiaobin" in comment or "CVPR 2019 paper" in comment


@pytest.mark.parametrize(
    ("arguments", "recipe"),
    [
        (["--input_size=192x256"], "coco_w32_256x192"),
        (
            ["--dataset=mpii", "--input_size=256x256", "--run_dir=output/mpii_w32_256x256"],
            "mpii_w32_256x256",
        ),
    ],
)
def test_without_flags_the_command_does_the_dataset_s_recipe_but_for_gpus(arguments, recipe):
    values = flags.FlagValues()
    define_flags(values)
    values(["train", "--gpus=4", *arguments])
    assert options_from(values) == read(ROOT / f"train/recipes/{recipe}.cfg")
    assert values.dataset != "mpii" or options_from(values).input_size == DATASETS["mpii"].input_size


@each_recipe
def test_a_recipe_of_a_dataset_has_the_augmentation_that_the_dataset_brings(path):
    options = read(path)
    if path.stem != "synthetic_tiny":
        assert options.augmentation == DATASETS[options.dataset].recipe.augmentation


def test_the_recipe_for_mpii_names_what_its_number_needs_and_the_flag_exists():
    values = flags.FlagValues()
    define_build_flags(values)
    text = (ROOT / "train/recipes/mpii_w32_256x256.cfg").read_text()
    assert "--validation_list" in text
    assert "validation_list" in values


def test_flags_after_the_file_win():
    path = ROOT / "train/recipes/coco_w48_384x288.cfg"
    options = read(path, "--batch_size=3", "--lr_steps=5")
    assert (options.batch_size, options.schedule.milestones) == (3, (5,))


def test_the_defaults_of_the_options_are_the_paper_s_recipe():
    options = TrainOptions("coco", "records", "output")
    assert options.schedule == Schedule(1e-3, "step", (170, 200), 0.1, 0)
    assert (options.epochs, options.batch_size, options.sigma, options.codec) == (210, 32, 2.0, "msra")
