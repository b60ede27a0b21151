"""MPII's training part divided by a list: exactly as the list says, or refused."""

import json

import pytest

from pipelines.mpii import convert, divide, read_list
from pipelines.mpii_release import Entry, Rect
from pipelines.people import BuildError


def made_up(people_per_picture, split="train"):
    entries, person_id = [], 0
    for index, count in enumerate(people_per_picture):
        rects = [Rect(person_id + i, i, (), (5.0, 5.0), 1.0, None) for i in range(count)]
        entries.append(Entry(index, f"{index}.jpg", split, tuple(rects)))
        person_id += count
    return entries


def write_list(folder, content):
    path = folder / "list.json"
    path.write_text(json.dumps(content))
    return path


def test_a_list_of_pictures_moves_everybody_in_them(tmp_path):
    entries, left_out = divide(made_up([2, 1, 3]), read_list(write_list(tmp_path, ["2.jpg"])), "list.json")
    converted = convert(entries, lambda name: (9, 9))
    assert left_out == []
    assert [a["id"] for a in converted["train"]["annotations"]] == [0, 1, 2]
    assert [a["id"] for a in converted["val"]["annotations"]] == [3, 4, 5]
    assert [image["id"] for image in converted["val"]["images"]] == [2]


def test_a_list_of_people_keeps_its_rows_and_leaves_their_neighbours_out(tmp_path):
    listed = read_list(write_list(tmp_path, [["2.jpg", 2], ["0.jpg", 1], ["2.jpg", 0]]))
    entries, left_out = divide(made_up([2, 1, 3]), listed, "list.json")
    converted = convert(entries, lambda name: (9, 9))
    assert [a["id"] for a in converted["train"]["annotations"]] == [2]
    assert {a["id"]: a["list_row"] for a in converted["val"]["annotations"]} == {1: 1, 3: 2, 5: 0}
    assert [rect.person_id for rect in left_out] == [0, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a JSON list"),
        ([], "expected a JSON list"),
        ([3], "received 3"),
        ([["a.jpg"]], "received"),
        ([["a.jpg", "0"]], "received"),
        ([["a.jpg", True]], "received"),
        ([["a.jpg", None]], "received"),
        (["a.jpg", "a.jpg"], "'a.jpg' twice"),
        ([["a.jpg", 1], ["a.jpg", 1]], "'a.jpg' twice, with person 1"),
        ([["a.jpg", 1], "a.jpg"], "'a.jpg' twice"),
        (["a.jpg", ["a.jpg", 1]], "'a.jpg' twice"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, content, message):
    with pytest.raises(BuildError, match=message) as error:
        read_list(write_list(tmp_path, content))
    assert "list.json" in str(error.value)


@pytest.mark.parametrize(
    ("entries", "listed", "message"),
    [
        (
            made_up([1]),
            [("5.jpg", None)],
            "1 of its pictures are not in the release's training part.*'5.jpg'",
        ),
        (made_up([1], "test"), [("0.jpg", None)], "training part"),
        (made_up([2]), [("0.jpg", 2)], "person 2 \\(counted from 0\\) of '0.jpg', which has 2 people"),
    ],
)
def test_a_list_for_another_release_is_refused(entries, listed, message):
    with pytest.raises(BuildError, match=f"mine.json.*{message}"):
        divide(entries, listed, "mine.json")
