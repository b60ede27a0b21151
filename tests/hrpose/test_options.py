"""Options of a dataset's or metric's own become flags, and go back to their owner."""

import pytest
from absl import flags

from hrpose.command import UsageError, format_help
from hrpose.options import Option, define_options, options_of

TENTH = Option("tenth", False, "Takes 0.11.")
SIDE = Option("side", 3, "How long.", least=1, most=9)
SHARE = Option("share", 0.5, "How much.", least=0)
KIND = Option("kind", "dots", "Which kind.", choices=("dots", "lines"))
NAMES = Option("names", None, "A file with names.")
OWNERS = {"first": (TENTH, SIDE, KIND), "second": (SHARE, KIND), "third": (NAMES,), "plain": ()}


def parsed(*arguments):
    values = flags.FlagValues()
    define_options(values, OWNERS)
    values(["test", *arguments])
    return values


def test_each_option_is_a_flag_of_its_kind_and_goes_to_its_owner():
    values = parsed("--tenth", "--side=4", "--kind=lines", "--share=0.25", "--names=a.txt")
    every = {"tenth": True, "side": 4, "kind": "lines", "share": 0.25, "names": "a.txt"}
    assert options_of(values, OWNERS, ["first", "second", "third"], "owner") == every
    assert options_of(parsed("--side=4"), OWNERS, ["first"], "owner") == {
        "tenth": False,
        "side": 4,
        "kind": "dots",
    }
    assert options_of(parsed(), OWNERS, ["plain"], "owner") == {}


def test_help_says_whose_an_option_is():
    text = format_help("test", "", parsed())
    assert "first: Takes 0.11." in text
    assert "--kind=dots|lines\n        first, second: Which kind. (default: dots)" in text


@pytest.mark.parametrize("wrong", ["--side=0", "--side=10", "--side=many", "--share=-1", "--kind=none"])
def test_what_an_option_cannot_be_is_refused(wrong):
    with pytest.raises(flags.Error, match=wrong.split("=")[0]):
        parsed(wrong)


def test_an_option_of_others_is_refused_by_name():
    with pytest.raises(UsageError, match=r"^--share is for --owner=second, here it is first; leave it out$"):
        options_of(parsed("--share=1"), OWNERS, ["first"], "owner")
    with pytest.raises(UsageError, match=r"^--kind is for --owner=first or second, here it is third, plain;"):
        options_of(parsed("--kind=lines"), OWNERS, ["third", "plain"], "owner")
    # What two share is nobody else's.
    assert options_of(parsed("--kind=lines"), OWNERS, ["second"], "owner")["kind"] == "lines"
