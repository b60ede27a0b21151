"""Small real-world files that once went wrong, from `../shared/cases`, each with its outcome of today.

Each kind has tests of its own that need nothing; these hold the files as they were found.
"""

import functools
import hashlib
import json
import re
import shutil

import pytest

from pipelines.cli import command
from records.checking import cli as check
from records.manifest import read_manifest
from records.tfrecord import frame, unframe
from tests.helpers import commands
from tests.helpers.builders import write_json
from tests.helpers.commands import call, call_here, fails
from tests.helpers.shared import shared_data

succeeds = functools.partial(commands.succeeds, call=call_here)

#: What is built from each: folder, annotation file, instances, what is said (with .* across lines).
BUILT = (
    ("01-several-categories", "train.json", 2, "hand"),
    ("02-categories-that-share-their-keypoints", "train.json", 2, ""),
    ("03-skeleton-line-out-of-range", "train.json", 2, r"warning: .*5"),
    ("04-category-without-keypoint-names", "train.json", 2, r"warning: .*--skeleton"),
    ("05-picture-size-not-stated", "train.json", 3, r"warning: .*3 images have no width and height"),
    ("06-byte-order-mark", "train.json", 2, ""),
    ("07-exif-orientation", "train.json", 3, r"warning: .*EXIF"),
    ("08-box-missing", "train.json", 3, r"warning: .*box"),
    ("10-keypoints-of-2K-numbers-or-triples", "train.json", 2, r"warning: .*labeled"),
    ("11-visibility-and-blanks", "train.json", 4, "warning: "),
    ("14-float-ids", "train.json", 2, ""),
    ("14c-image-ids-text", "train.json", 2, r"warning: .*2 images have an id that is no whole number"),
    ("15-absolute-file-names", "train.json", 2, ""),
    ("15b-windows-path-and-percent", "train.json", 2, "warning: "),
    ("19-zip", "train.json", 2, ""),
    ("b06-keypoints-elsewhere", "normalised.json", 8, "outside.*fraction"),
    ("b06-keypoints-elsewhere", "zero-zero-2.json", 8, r"outside.*\(?0, 0"),
    ("b06-keypoints-elsewhere", "xyxy.json", 8, "x1"),
    ("b08-half-recognised-sides", "names.json", 8, ""),
)


@pytest.fixture
def case(request, tmp_path):
    """A copy of a case's folder, which may be changed."""
    folder = shutil.copytree(shared_data("cases", request.param), tmp_path / request.param)
    for path in folder.glob("*.json"):  # a byte order mark and the like stay as they are
        content = path.read_bytes()
        if b"@IMAGES@" in content:
            path.chmod(0o644)
            path.write_bytes(content.replace(b"@IMAGES@", str(folder / "photos").encode()))
    return folder


def build(folder, annotations, *arguments):
    where = f"--annotations={folder / annotations}", f"--images={folder / 'photos'}"
    records = f"--records_dir={folder / 'R'}"
    return command(["--dataset=custom", *where, records, "--input_size=64x64", *arguments])


@pytest.mark.parametrize(
    ("case", "annotations", "instances", "said"),
    BUILT,
    ids=[f"{c[0]}-{c[1]}" for c in BUILT],
    indirect=["case"],
)
def test_a_file_of_this_kind_is_built(case, annotations, instances, said, capsys):
    assert build(case, annotations) == 0
    out = capsys.readouterr()
    manifest = read_manifest(case / "R" / "train")
    assert (manifest.records, manifest.rejected) == (instances, {})
    assert re.search(said, out.out + out.err, re.DOTALL), out.out
    assert check.command([str(case / "R" / "train")]) == 0
    if case.name.startswith("b06"):
        assert "outside" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["13-category-id-mismatch"], indirect=True)
def test_annotations_of_another_category_name_both_ids(case, capsys):
    assert build(case, "train.json") == 1
    assert re.search(r"category.*\b0\b.*\b1\b|category.*\b1\b.*\b0\b", capsys.readouterr().err)


@pytest.mark.parametrize("case", ["16-more-names-than-numbers"], indirect=True)
def test_more_names_than_numbers_is_one_message_with_both_counts(case, capsys):
    assert build(case, "train.json") == 1
    error = capsys.readouterr().err
    assert re.search(r"\b3\b", error)
    assert re.search(r"\b5\b", error)


@pytest.mark.parametrize("case", ["18-detections-with-text-image-ids"], indirect=True)
def test_detections_with_text_ids_are_matched_by_number(case, capsys):
    arguments = ("--split=val", "--boxes=detections", f"--detections={case / 'dets.json'}")
    assert build(case, "train.json", *arguments) == 0
    assert re.search(r"warning: .*text", "".join(capsys.readouterr()))
    assert read_manifest(case / "R" / "val_detections").records == 2


@pytest.mark.parametrize("case", ["b13-ids-of-detections"], indirect=True)
@pytest.mark.parametrize(
    ("detections", "said"),
    [
        ("text-ids.json", r"warning: .*text"),
        ("mixed.json", r"warning: .*text"),
        ("fractions.json", "fraction"),
    ],
)
def test_ids_and_boxes_of_detections(case, detections, said, capsys):
    arguments = ("--split=val", "--boxes=detections", f"--detections={case / detections}")
    assert build(case, "val.json", *arguments) == 0
    assert re.search(said, "".join(capsys.readouterr()))
    assert read_manifest(case / "R" / "val_detections").records == 8


@pytest.mark.parametrize("case", ["b08-half-recognised-sides"], indirect=True)
def test_sides_are_paired_where_it_is_plain_and_listed_where_not(case, capsys):
    assert build(case, "names.json") == 0
    skeleton = read_manifest(case / "R" / "train").skeleton
    names = skeleton.keypoints
    paired = {names[index] for pair in skeleton.flip_pairs for index in pair}
    sided = {name for name in names if re.match(r"l|r", name, re.IGNORECASE)}
    said = "".join(capsys.readouterr())
    assert all(name in paired or name in said for name in sided)
    assert paired >= {name for name in names if "shoulder" in name.lower()}


@pytest.mark.parametrize("case", ["a03-mat-that-ends-the-process"], indirect=True)
def test_a_mat_that_ends_the_process_ends_in_one_line(case):
    arguments = ("--dataset=mpii", f"--dataset_dir={case / 'dataset'}", f"--records_dir={case / 'R'}")
    fails(1, r"mpii_human_pose_v1_u12_1\.mat", case, "pipelines/build_records.py", *arguments)


def to_version_2(folder):
    """Makes records of schema version 1 what version 2 calls them, the damaged ones with their damage."""
    data = json.loads((folder / "manifest.json").read_text())
    data |= {"schema_version": 2, "filtered": data.pop("dropped")}
    for shard in data["shards"]:
        path = folder / shard["name"]
        if path.exists():
            content = b"".join(frame(with_new_name(payload)) for payload in unframe(path.read_bytes()))
            path.write_bytes(content)
            shard |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_json(folder / "manifest.json", data)


def with_new_name(payload):
    """A serialized example with "instance_id" for "person_id": two letters more, in two lengths."""
    head, _, tail = payload.partition(b"\n\tperson_id")
    end = next(place for place in range(1, 10) if head[place] < 0x80) + 1
    length = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(head[1:end])) + 2
    sizes = [(length >> 7 * place) & 0x7F for place in range(end - 1)]
    varint = bytes([*(size | 0x80 for size in sizes[:-1]), sizes[-1]])
    return head[:1] + varint + head[end:-1] + bytes([head[-1] + 2]) + b"\n\x0binstance_id" + tail


@pytest.mark.parametrize("case", ["a04-record-that-ends-the-process"], indirect=True)
def test_a_record_that_ends_the_process_is_named_by_check_and_by_the_reader(case):
    records = case / "records"
    fails(
        1,
        "schema version 1.*build_records.py --dataset=coco --split=train",
        case,
        "records/check.py",
        records,
    )
    to_version_2(records)
    checked = call(case, "records/check.py", records)
    assert checked.returncode == 1, checked.stderr
    assert re.search(r"coco-train\.tfrecord-00001-of-00009: .*record 8", checked.stderr)
    (case / "train").symlink_to(records)
    train = ("train/main.py", "--gpus=0", "--model=w24_tiny", "--batch_size=4", "--epochs=1")
    where = (f"--records_dir={case}", f"--run_dir={case / 'run'}")
    fails(1, r"coco-train\.tfrecord-00001-of-00009: record 8", case, *train, *where)
    went_on = succeeds(case, *train, *where, "--skip_damaged").stderr
    assert re.search(r"coco-train\.tfrecord-00001-of-00009: .*instances are left out", went_on)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["06-byte-order-mark"], indirect=True)
def test_all_three_commands_read_a_byte_order_mark(case):
    assert build(case, "train.json") == build(case, "train.json", "--split=val") == 0
    where = (f"--records_dir={case / 'R'}", f"--run_dir={case / 'O'}")
    train = (
        "train/main.py",
        "--dataset=custom",
        "--model=w24_tiny",
        "--epochs=1",
        "--batch_size=2",
        "--gpus=0",
    )
    trained = succeeds(case, *train, *where)
    assert "not validated" not in trained.stderr
    assert "no validation" not in trained.stderr
    assert "AP" in succeeds(case, "evaluate/main.py", *where, "--gpus=0").stdout


@pytest.mark.slow
@pytest.mark.parametrize("case", ["b01-flip-pairs-of-the-run"], indirect=True)
def test_flip_pairs_are_those_of_the_run_and_a_difference_is_named(case):
    generated = ("--train_images=16", "--val_images=60", "--input_size=64x96")
    data = ("--dataset=synthetic", f"--dataset_dir={case / 'data'}")
    succeeds(case, "pipelines/build_records.py", *data, *generated, "--split=train")
    images = f"--images={case / 'data/images/val'}"
    for name in ("with", "without"):
        custom = ("--dataset=custom", f"--annotations={case / name}.json", images, "--split=val")
        records = f"--records_dir={case / name}"
        succeeds(case, "pipelines/build_records.py", *custom, records, "--input_size=64x96")
    images = f"--images={case / 'data/images/train'}"
    train = f"--annotations={case / 'data/annotations/person_keypoints_train.json'}"
    where = ("--dataset=custom", train, images, f"--records_dir={case / 'with'}", "--input_size=64x96")
    succeeds(case, "pipelines/build_records.py", *where)
    run = (
        "--dataset=custom",
        "--gpus=0",
        "--model=w24_tiny",
        "--batch_size=8",
        "--epochs=1",
        "--eval_every=0",
    )
    succeeds(case, "train/main.py", *run, f"--records_dir={case / 'with'}")
    said, poses = {}, {}
    for name in ("with", "without"):
        evaluation = succeeds(case, "evaluate/main.py", "--gpus=0", f"--records_dir={case / name}")
        said[name] = evaluation.stdout + evaluation.stderr
        (results,) = (case / "output" / "result").glob("*_results.json")
        poses[name] = json.loads(results.read_text())
        results.unlink()
    assert poses["with"] == poses["without"] != []
    assert "flip pairs" in said["without"]
    assert "flip pairs" not in said["with"]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["b13-ids-of-detections"], indirect=True)
def test_predict_takes_boxes_of_the_category_that_the_run_is_of(case):
    data = json.loads((case / "val.json").read_text())
    for entry in (*data["categories"], *data["annotations"]):
        entry["id" if "keypoints" in entry and "name" in entry else "category_id"] = 7
    write_json(case / "seven.json", data)
    assert build(case, "seven.json") == 0
    run = ("--dataset=custom", "--gpus=0", "--model=w24_tiny", "--batch_size=4", "--epochs=1")
    succeeds(case, "train/main.py", *run, f"--records_dir={case / 'R'}")
    where = (
        f"--image={case / 'photos'}",
        f"--run_dir={case / 'output'}",
        f"--output_dir={case / 'seen'}",
    )
    predicted = succeeds(case, "evaluate/predict.py", *where, f"--detections={case / 'category7.json'}")
    assert "8 instances" in predicted.stdout
