"""Users' JSON files: every encoding and packing that is plain is read, whatever else it is has a name."""

import gzip
import io
import json
import tarfile
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evaluate.metrics.coco import evaluate_coco
from hrpose import json_text
from hrpose.json_text import parse_json
from pipelines.annotations.json_stream import read_json, read_long_json
from pipelines.errors import BuildError

DATA = {"images": [{"file_name": "ä.jpg"}], "info": "Ω"}
TEXT = json.dumps(DATA, ensure_ascii=False)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    """A zip archive of {name: content}."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def tarred():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.json"), io.BytesIO())
    return content.getvalue()


def each_reader(path, content):
    """What the evaluator, a conversion and a build read of the same file; the error's text in their place."""
    path.write_bytes(content)
    for read in (
        lambda: parse_json(path, content),
        lambda: read_json(path),
        lambda: read_long_json(path, {"images": lambda entry: entry}),
    ):
        try:
            read = read()
        except (ValueError, BuildError) as error:
            assert str(path) in str(error)  # noqa: PT017
            yield str(error)
            continue
        yield read | {"images": list(read["images"])}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_commands_read_all_of_jsons_encodings(tmp_path, encoding):
    assert list(each_reader(tmp_path / "a.json", TEXT.encode(encoding))) == [DATA] * 3
    assert evaluate_coco_reads(tmp_path, '{"a": 1}'.encode(encoding))


def evaluate_coco_reads(folder, content):
    """Whether a results file's JSON comes as far as to be looked at."""
    (folder / "results.json").write_bytes(content)
    with pytest.raises(ValueError, match="received a dict; expected a list of COCO result dicts"):
        evaluate_coco({"images": [], "annotations": [], "categories": []}, folder / "results.json")
    return True


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("pack", [gzip.compress, lambda text: zipped({"annotations/default.json": text})])
def test_all_commands_read_the_one_file_that_is_packed(tmp_path, encoding, pack):
    assert list(each_reader(tmp_path / "a.json", pack(TEXT.encode(encoding)))) == [DATA] * 3


def test_of_a_zip_archive_only_its_json_file_counts(tmp_path):
    content = zipped(
        {
            "images/1.jpg": "x",
            "a.JSON": TEXT,
            "__MACOSX/._a.json": "no",
            "b/._c.json": "no",
            "readme.txt": "{}",
        }
    )
    assert list(each_reader(tmp_path / "a.zip", content)) == [DATA] * 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"{", "Expecting property name"),
        (b'{"a": "\xff"}', "no text in UTF-8 or UTF-16 .* save it as UTF-8"),
        (zipped({}), "a zip archive with 0 .json files, expected one"),
        (
            zipped({"a.json": "{}", "b.json": "{}"}),
            r"a zip archive with 2 .json files \(a.json, b.json\), expected",
        ),
        (zipped({"a.json": zipped({"b.json": "{}"})}), "an archive within an archive; unpack it"),
        (zipped({"a.json": TEXT}, zipfile.ZIP_BZIP2), "a.json in it is compressed in an unusual way; unpack"),
        (zipped({"a.json": TEXT})[:-30], "a zip archive that cannot be read"),
        (gzip.compress(TEXT.encode())[:-9], "an archive that cannot be unpacked"),
        (gzip.compress(tarred()), "a tar archive; unpack it"),
        (tarred(), "a tar archive; unpack it"),
        (b"BZh91AY", "a bzip2 archive; unpack it"),
        (b"7z\xbc\xaf'\x1c", "a 7z archive"),
        (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        ("\ufeff\n <HTML><head>".encode("utf-16"), "an HTML page"),
        (b'<?xml version="1.0"?><annotations>', "XML; export the annotations as JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12\n", "a git-lfs pointer"),
    ],
)
def test_what_is_no_json_is_called_by_its_name_by_all_commands(tmp_path, content, says):
    for said in each_reader(tmp_path / "a.json", content):
        assert pytest.raises(ValueError, match=says).matches(ValueError(said)), said


def test_an_archive_may_not_unpack_to_more_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(json_text, "MAX_UNPACKED", len(TEXT.encode()))
    for pack in (gzip.compress, lambda text: zipped({"a.json": text})):
        assert list(each_reader(tmp_path / "a", pack(TEXT.encode()))) == [DATA] * 3
        for said in each_reader(tmp_path / "a", pack(TEXT.encode() + b" ")):
            assert "packed and has more than" in said
    assert list(each_reader(tmp_path / "a", TEXT.encode() + b" ")) == [DATA] * 3  # what is there is no bomb


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"{", "not valid JSON"), (b"\xff", "not valid JSON"), (b"", "not valid"), (b"[" * 10**5, "too deeply")],
)
def test_what_is_no_json_is_refused_with_its_path(content, says):
    with pytest.raises(ValueError, match=rf"^a/b\.json: .*{says}"):
        parse_json("a/b.json", content)


@settings(max_examples=300)
@given(
    start=st.sampled_from(
        [b"", gzip.compress(TEXT.encode()), zipped({"a.json": TEXT}), TEXT.encode("utf-16")]
    ),
    place=st.integers(0, 200),
    removed=st.integers(0, 40),
    added=st.binary(max_size=40),
)
@example(start=zipped({"a.json": TEXT}), place=6, removed=1, added=b"\1")  # says that it is encrypted
@example(start=zipped({"a.json": TEXT}), place=8, removed=1, added=b"\x63")  # an unknown compression
def test_any_bytes_are_read_or_refused(start, place, removed, added):
    content = start[:place] + added + start[place + removed :]
    try:
        parse_json("a.json", content)
    except ValueError as error:
        assert str(error).startswith("a.json: not ")  # noqa: PT017
