"""Long JSON files, read an entry at a time: the same as `json.loads` for whatever a file holds."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hrpose.json_text import MAX_DEPTH
from pipelines.annotations import json_stream
from pipelines.annotations.coco import read_annotations
from pipelines.annotations.json_stream import Entries, read_json, read_long_json
from pipelines.annotations.source import read_source
from pipelines.errors import BuildError
from tests.helpers.builders import CATEGORY, annotations, image, instance, make_build, write_json
from tests.helpers.sources import an_image, annotation, anything, detection, some_of


def trim(entry):
    """What is kept of entries here: the value of "a", or the whole of what has none."""
    return entry["a"] if isinstance(entry, dict) and "a" in entry else entry


TRIMS = dict.fromkeys(("images", "annotations", None), trim)


def plain(path):
    """What `read_long_json` must read, by `json.loads`."""
    content = read_json(path)
    if isinstance(content, list):
        return list(map(trim, content))
    if isinstance(content, dict):
        return {
            key: list(map(trim, value)) if key in TRIMS and isinstance(value, list) else value
            for key, value in content.items()
        }
    return content


def listed(content):
    """With lists in place of `Entries`."""
    if isinstance(content, dict):
        return {key: listed(value) for key, value in content.items()}
    return list(content) if isinstance(content, Entries) else content


def attempt(read, path):
    """What a function reads, or its error; as text, in which NaN equals NaN and 1 is not 1.0."""
    try:
        return repr(read(path))
    except BuildError as error:
        return str(error)


def check(path, data, block):
    """Both ways of reading a file of these bytes come to the same."""
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "BLOCK", block)
        assert attempt(lambda p: listed(read_long_json(p, TRIMS)), path) == attempt(plain, path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "file.json"


entry = st.one_of(anything, some_of({"a": anything, "b": anything}))
content = st.one_of(
    anything,
    st.lists(entry, max_size=4),
    some_of({key: anything | st.lists(entry, max_size=4) for key in ("images", "annotations", "info", "a")}),
)
dumps = st.builds(
    lambda data, indent, ascii: json.dumps(data, indent=indent, ensure_ascii=ascii),
    content,
    st.sampled_from([None, 0, 3]),
    st.booleans(),
)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])


@settings(max_examples=300)
@given(text=dumps, block=st.integers(1, 40), encoding=encodings)
@example(
    text='[NaN, -Infinity, 1e400, -0, -0.0, 1E5, 0.1e-7, "\\ud83d", "\\ud83d\\ude00", null]',
    block=1,
    encoding="utf-8",
)
@example(text='{"images": [1], "images": [2, {"a": 1, "a": 2}], "a": 1, "a": 2}', block=1, encoding="utf-8")
@example(text='["\ud83d", {"a": "Ω"}]', block=1, encoding="utf-8")
@example(text=' \n{"annotations":[],"info":{}}\t\r', block=1, encoding="utf-16")
@example(text="[" + "9" * 4000 + "]", block=7, encoding="utf-8")
def test_a_file_of_anything_is_read_as_by_json_loads(path, text, block, encoding):
    check(path, text.encode(encoding, "surrogatepass"), block)


@settings(max_examples=500)
@given(
    text=dumps,
    place=st.integers(0, 400),
    removed=st.integers(0, 3),
    added=st.binary(max_size=2),
    block=st.integers(1, 40),
)
@example(text="[1, 2]", place=5, removed=1, added=b",]", block=1)
@example(text="[1, 2]", place=6, removed=0, added=b" 3", block=2)
@example(text='["a"]', place=2, removed=1, added=b"\n", block=1)
@example(text='["a"]', place=2, removed=1, added=b"\xff", block=1)
@example(text='{"images": [1]}', place=14, removed=1, added=b"", block=4)
@example(text='{"images": [1]}', place=1, removed=8, added=b"7", block=4)
@example(text="[01]", place=0, removed=0, added=b"", block=1)
@example(text="[" + "9" * 5000 + "]", place=0, removed=0, added=b"", block=7)
@example(text="[" * 100_000, place=0, removed=0, added=b"", block=40)
@example(text='{"images": [{"a": ' + "[" * 100_000, place=0, removed=0, added=b"", block=40)
def test_a_damaged_file_is_refused_in_the_words_of_json_loads_or_read_alike(
    path, text, place, removed, added, block
):
    data = text.encode(errors="surrogatepass")
    place = min(place, len(data))
    check(path, data[:place] + added + data[place + removed :], block)


@pytest.mark.parametrize("opening", ["", '{"images":', '{"annotations":', '{"info":'])
@pytest.mark.parametrize("signs", ["[]", "{}"])
def test_the_limit_of_nesting_is_the_same_an_entry_at_a_time(path, opening, signs):
    start, end = signs if signs == "[]" else ('{"b":', "}")
    room = MAX_DEPTH - bool(opening)
    for depth in (room, room + 1, 2 * MAX_DEPTH):
        text = f"{opening}[1, {start * (depth - 1)}0{end * (depth - 1)}]{'}' * bool(opening)}"
        check(path, text.encode(), 1 << 22)
        refused = "nested too deeply" in str(attempt(lambda p: read_long_json(p, TRIMS), path))
        assert refused == (depth > room)


@given(st.lists(entry))
def test_entries_come_back_as_they_were(entries):
    kept = Entries(entries)
    assert len(kept) == len(entries)
    assert repr(list(kept)) == repr(list(kept)) == repr(entries)


@pytest.mark.parametrize("missing", [0, 1])
def test_memory_is_for_what_is_kept_and_not_for_the_file(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(json_stream, "BLOCK", 1 << 16)
    polygon = [round(0.37 * n, 2) for n in range(2000)]
    instances = [instance(n, 1, [1, 2, 30, 40], segmentation=[polygon]) for n in range(300)]
    text = json.dumps(annotations([image(1)], instances))
    (tmp_path / "truth.json").write_text(text[: len(text) - missing])
    tracemalloc.start()
    try:
        message = attempt(lambda path: len(read_annotations(path)["annotations"]), tmp_path / "truth.json")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # json.loads needs 5 times the file; to say what is wrong with one, 2: its bytes and its text.
    assert peak < len(text) * (2.5 if missing else 0.25)
    assert message == "300" or (missing and "is not JSON: Expecting ',' delimiter: line 1" in message)


# ---- what is kept of annotation files and of a detector's


def test_of_an_instance_and_an_image_nothing_is_kept_that_nobody_asks_for(tmp_path):
    data = annotations(
        [image(1) | {"coco_url": "u"}], [instance(1, 1, [1, 2, 3, 4], segmentation=[[1, 2]], score=2)]
    )
    write_json(tmp_path / "truth.json", data)
    content = read_annotations(tmp_path / "truth.json")
    assert list(content["images"]) == [image(1)]
    (kept,) = content["annotations"]
    assert kept == {
        k: v for k, v in data["annotations"][0].items() if k not in ("segmentation", "num_keypoints")
    }
    assert content["categories"] == [CATEGORY]


def test_an_entry_of_images_that_lacks_something_is_shown_whole(tmp_path):
    wrong = {"id": 2, "filename": "b.jpg", "width": 3, "height": 4}
    write_json(tmp_path / "annotations/person_keypoints_train2017.json", annotations([image(1), wrong], []))
    with pytest.raises(BuildError, match=r"entry 1 is \{'id': 2, 'filename': 'b.jpg'"):
        read_source(make_build(tmp_path, tmp_path / "records"))


def sources(build, data, detections, monkeypatch):
    """What is read of a build's files, plainly and an entry at a time: a `Source`'s content or the error."""
    write_json(Path(build.annotations), data)
    write_json(Path(build.detections), detections)
    for read in (read_json, read_annotations):
        monkeypatch.setattr("pipelines.annotations.coco.read_annotations", read)
        try:
            source = read_source(build)
        except BuildError as error:
            yield str(error)
            continue
        images = [replace(image, instances=list(image.instances)) for image in source.images]
        yield repr([source.skeleton, source.filtered, source.rejected, images])


@settings(max_examples=150)
@given(
    images=st.lists(st.builds(image, st.integers(1, 3)) | an_image, max_size=3),
    instances=st.lists(annotation, max_size=4),
    detections=anything | st.lists(detection, max_size=4),
    boxes=st.sampled_from(["ground_truth", "detections"]),
)
def test_a_source_is_the_same_as_of_the_whole_parsed_file(path, images, instances, detections, boxes):
    build = make_build(path.parent, path.parent / "records", boxes=boxes)
    with pytest.MonkeyPatch.context() as monkeypatch:
        plainly, trimmed = sources(build, annotations(images, instances), detections, monkeypatch)
    assert plainly == trimmed or (
        "entry" in plainly and trimmed.split("; entry")[0] == plainly.split("; entry")[0]
    )
