"""The recipes in train/recipes, read with the command's own flags."""

import re

import pytest
from absl import flags

from model.hrnet import ARCHITECTURES
from tests.shared import ROOT
from train.flags import define_flags, options_from
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
    assert options.model in ARCHITECTURES
    assert options.schedule.milestones[-1] < options.epochs or options.schedule.shape == "cosine"


@each_recipe
def test_a_recipe_says_what_it_reaches_and_where_that_is_published(path):
    comment = " ".join(line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#"))
    if path.stem != "synthetic_tiny":
        assert re.search(r"Expected.*\b\d+\.\d+", comment)
        assert "README of leoxiaobin" in comment or "CVPR 2019 paper" in comment


def test_without_flags_the_command_does_the_first_recipe_but_for_gpus():
    values = flags.FlagValues()
    define_flags(values)
    values(["train", "--gpus=4", "--input_size=192x256"])
    assert options_from(values) == read(ROOT / "train/recipes/coco_w32_256x192.cfg")


def test_flags_after_the_file_win():
    path = ROOT / "train/recipes/coco_w48_384x288.cfg"
    options = read(path, "--batch_size=3", "--lr_steps=5")
    assert (options.batch_size, options.schedule.milestones) == (3, (5,))


def test_the_defaults_of_the_options_are_the_paper_s_recipe():
    options = TrainOptions("coco", "records", "output")
    assert options.schedule == Schedule(1e-3, "step", (170, 200), 0.1, 0)
    assert (options.epochs, options.batch_size, options.sigma, options.codec) == (210, 32, 2.0, "standard")
