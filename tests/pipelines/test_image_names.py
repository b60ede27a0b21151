"""File names that are no paths below the image folder: whose they are, if that is plain."""

import json
import os
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import cli
from pipelines.image_names import locate_image, match_names
from pipelines.image_sizes import header_sizes
from pipelines.images import fetch_image
from pipelines.instances import AnnotatedImage
from tests.helpers.builders import annotations, image, instance, or_reason, write_json
from tests.helpers.releases import write_image


@pytest.fixture
def folder(tmp_path):
    """An image folder with a few files, beside another one."""
    for name in ("1.jpg", "my pic 2.jpg", "a%20b.jpg", "sub/3.jpg", "../other/9.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


def match(folder, *names):
    """(the names that images get, the warnings)."""
    images = [AnnotatedImage(number, name, 4, 4) for number, name in enumerate(names)]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        matched = match_names(images, str(folder))
    assert [image.image_id for image in matched] == list(range(len(names)))
    return [image.file_name for image in matched], [str(warning.message) for warning in warned]


@pytest.mark.parametrize(
    "name", ["1.jpg", "sub/3.jpg", "sub\\3.jpg", "a%20b.jpg", "none.jpg", "sub/none.jpg"]
)
def test_names_that_can_be_paths_below_the_folder_stay(folder, name):
    assert match(folder, name) == ([name], [])


@pytest.mark.parametrize("name", ["1.jpg", "sub/3.jpg", "/1.jpg"])
def test_an_absolute_path_inside_the_folder_is_the_path_below_it(folder, name, monkeypatch):
    below = name.lstrip("/")
    linked = folder.parent / "linked"
    linked.symlink_to(folder)
    for there, asked in ((folder, folder), (linked, linked), (folder, linked), (linked, folder)):
        assert match(asked, f"{there}/{name}") == ([below], [])
        assert match(asked, f"file://{there}/{name}") == ([below], [])
        assert match(asked, f"{there}/sub/../../photos/{name}") == ([below], [])
    monkeypatch.chdir(folder.parent)
    assert match("photos", f"{folder}/{name}") == ([below], [])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (r"C:\Users\me\photos\1.jpg", "1.jpg"),
        (r"D:\photos\sub\3.jpg", "sub/3.jpg"),
        (r"\\server\share\1.jpg", "1.jpg"),
        ("/home/somebody/else/photos/sub/3.jpg", "sub/3.jpg"),
        ("my%20pic%202.jpg", "my pic 2.jpg"),
        ("/data/local-files/?d=set/my%20pic%202.jpg", "my pic 2.jpg"),
        ("/data/local-files/?d=1.jpg", "1.jpg"),
        ("file:///home/me/my%20pic%202.jpg", "my pic 2.jpg"),
        ("photos/1.jpg", "1.jpg"),
        ("https://store.example/bucket/sub/3.jpg", "sub/3.jpg"),
    ],
)
def test_a_path_of_another_computer_is_the_file_that_is_called_alike(folder, name, found):
    names, (warning,) = match(folder, name, "other.jpg")
    assert names == [found, "other.jpg"]
    assert f"1 file names are no paths below {folder}" in warning
    assert repr(name) in warning
    assert or_reason(locate_image, str(folder), found)[1] is None


def test_names_are_counted_in_one_warning(folder):
    names, (warning,) = match(folder, "C:/a/1.jpg", "C:/a/3.jpg", "C:/a/sub/3.jpg", "C:/a/my pic 2.jpg")
    assert names == ["1.jpg", "C:/a/3.jpg", "sub/3.jpg", "my pic 2.jpg"]
    assert warning.startswith("3 file names")


@pytest.mark.parametrize(
    "names",
    [(r"C:\front\1.jpg", r"C:\back\1.jpg"), ("1.jpg", r"C:\a\1.jpg"), ("{folder}/1.jpg", "old/1.jpg")],
)
def test_a_file_that_several_names_could_mean_is_nobodys(folder, names):
    names = [name.format(folder=folder) for name in names]
    matched, (warning,) = match(folder, *names)
    assert matched[1] == names[1]
    assert "several names could mean the same" in warning
    assert or_reason(locate_image, str(folder), matched[1])[1] in ("unsafe_path", "missing_image")


@pytest.mark.parametrize(
    "name", ["{folder}/../other/9.jpg", "{other}/9.jpg", "../photos/1.jpg", "~/1.jpg", "", "/"]
)
def test_names_that_really_leave_the_folder_stay_unsafe(folder, name):
    name = name.format(folder=folder, other=folder.parent / "other")
    (matched,), warned = match(folder, name)
    assert warned == []
    assert or_reason(locate_image, str(folder), matched)[1] == "unsafe_path"


signs = ("..", "sub", "1.jpg", "3.jpg", "/", "\\", "~", ".", "\0", "\ud800", "%2e%2e", "%2F", "%00", "?d=")
starts = st.sampled_from(["", "/", "C:/", "C://", "http://", "GS://", "file://", "\\\\"])
paths = st.lists(st.sampled_from(signs), max_size=5).map("/".join)
names = st.text(max_size=12) | st.builds("".join, st.tuples(starts, paths))


@given(st.lists(names, max_size=3))
def test_whatever_the_names_are_nothing_outside_is_found(tmp_path_factory, names):
    folder = tmp_path_factory.getbasetemp() / "matched"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    for name in ("1.jpg", "sub/3.jpg", "../3.jpg"):
        (folder / name).write_bytes(b"x")
    matched, _ = match(folder, *names)
    for name in matched:
        path = or_reason(locate_image, str(folder), name)[0]
        assert path is None or Path(path).resolve().is_relative_to(folder.resolve())


# ---- links, and what is no file


def test_links_out_of_the_folder_are_followed_if_asked_for(folder):
    (folder / "link.jpg").symlink_to("../other/9.jpg")
    image = AnnotatedImage(1, "link.jpg", 4, 4)
    content, reason, detail = or_reason(fetch_image, str(folder), image)
    assert (content, reason) == (None, "unsafe_path")
    assert "--follow_links" in detail
    assert fetch_image(str(folder), image, follow_links=True) == (str(folder / "link.jpg"), b"x")
    for name in ("../other/9.jpg", str(folder.parent / "other/9.jpg")):  # by links, not by names
        assert or_reason(locate_image, str(folder), name, follow_links=True)[1] == "unsafe_path"


@pytest.mark.timeout(20)
def test_only_files_are_opened(folder):
    """A pipe would be waited for, a device read for ever."""
    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    for name, kind in (("pipe.jpg", "a pipe"), ("device.jpg", "a device"), ("sub", "a folder")):
        content, reason, detail = or_reason(
            fetch_image, str(folder), AnnotatedImage(1, name, 4, 4), follow_links=True
        )
        assert (content, reason) == (None, "unreadable_image")
        assert detail == f"{folder}/{name} is {kind}, not a file"
        assert header_sizes(folder)(name) is None


@pytest.mark.timeout(60)
def test_a_custom_build_takes_names_of_elsewhere_and_links_if_asked_for(tmp_path, capsys):
    write_image(tmp_path / "photos/1.jpg", seed=1)
    write_image(tmp_path / "cache/2.jpg", seed=2)
    (tmp_path / "photos/2.jpg").symlink_to(tmp_path / "cache/2.jpg")
    os.mkfifo(tmp_path / "photos/3.jpg")
    names = ("C:\\mine\\1.jpg", str(tmp_path / "photos/2.jpg"), "3.jpg")
    entries = [image(number, 160, 120, name) for number, name in enumerate(names, start=1)]
    entries[0] |= {"width": None, "height": None}  # read from the file that the name means
    instances = [instance(number, number, [10, 10, 90, 90]) for number in (1, 2, 3)]
    write_json(tmp_path / "train.json", annotations(entries, instances))
    flags = ["--dataset=custom", f"--annotations={tmp_path}/train.json", f"--images={tmp_path}/photos"]
    flags += ["--input_size=64x96", "--max_bad_fraction=1"]
    attempts = {"": ["unreadable_image", "unsafe_path"], "--follow_links": ["unreadable_image"]}
    for flag, reasons in attempts.items():
        more = [flag] if flag else []
        records = tmp_path / f"records{len(more)}"
        assert cli.command([*flags, f"--records_dir={records}", *more]) == 0
        said = "".join(capsys.readouterr())
        assert said.count("1 file names are no paths below") == 1
        manifest = json.loads((records / "train/manifest.json").read_text())
        assert sorted(manifest["rejected"]) == reasons
        assert manifest["records"] == 3 - len(reasons)
        assert manifest["options"].get("follow_links") == (True if more else None)
