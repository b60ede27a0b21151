"""The check of a records folder: what it finds, what it shows, how it ends."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from hrpose.drawing import TILE_PAPER
from pipelines.build import build_records
from records.checking.cli import command
from records.checking.contact_sheet import BOX_COLOR, render_record
from records.checking.summary import keypoint_table, size_table
from records.checking.verify import Instances, check_shard, check_shards
from records.errors import RecordsError
from records.manifest import MANIFEST, Shard, read_manifest
from records.schema import to_example
from records.skeletons import COCO
from records.tfds_files import DATASET_INFO, FEATURES
from records.tfrecord import frame
from tests.helpers.builders import annotations, image, instance, make_build, make_dataset, write_split

SHARD = Shard("shard", records=1, size=0, sha256="")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """{path: content} of a folder with records of 12 images in 3 shards."""
    folder = tmp_path_factory.mktemp("built")
    make_dataset(folder / "data", images=12)
    manifest = build_records(make_build(folder / "data", folder / "records", instances_per_shard=12))
    assert len(manifest.shards) == 3
    return {path.name: path.read_bytes() for path in (folder / "records").iterdir()}


@pytest.fixture
def folder(built, tmp_path):
    """A copy of it to be damaged."""
    for name, content in built.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def shard_path(folder, index):
    return folder / read_manifest(folder, missing_ok=True).shards[index].name


def change_manifest(folder, change):
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data))


def check(capsys, *arguments):
    """(exit code, standard output, what standard error says besides the progress bar)."""
    code = command([*map(str, arguments)])
    output = capsys.readouterr()
    lines = [
        line
        for line in output.err.replace("\r", "\n").splitlines()
        if line and not line.startswith("check: ")
    ]
    return code, output.out, lines


def test_a_good_folder(folder, capsys):
    code, output, errors = check(capsys, folder, "--num_images=5")
    instances = read_manifest(folder).records
    assert (code, errors) == (0, [])
    assert re.search(rf"checked {instances} instances in 3 shards in .* s: all is well", output)
    assert re.search(rf"^left_wrist +{instances} 100\.0 % +0   0\.0 %", output, re.MULTILINE)
    assert "coco train, ground truth boxes, for inputs of 48x64, coco skeleton" in output
    sheet = cv2.imread(str(folder / "contact_sheet.png"))
    assert sheet.shape[1] > sheet.shape[0] > 280


def test_the_image_goes_where_it_is_wanted_or_nowhere(folder, capsys):
    path = folder / "elsewhere/people.png"
    assert check(capsys, folder, "--num_images=0")[0] == 0
    assert check(capsys, f"--contact_sheet={path}", folder)[0] == 0
    assert path.is_file()
    assert not (folder / "contact_sheet.png").exists()
    code, _, errors = check(capsys, folder, f"--contact_sheet={path}/below.png")
    assert code == 1
    assert re.search(r"below\.png cannot be written: .*--contact_sheet names another", errors[-1])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            flip_a_bit,
            r"SHA-256 \w{12}…, the manifest says \w{12}…; record \d+ at byte [\d,]+ has a wrong check",
        ),
        (
            lambda p: p.write_bytes(p.read_bytes()[:-7]),
            r"[\d,]+ bytes, the manifest says .* is cut off; \d+ rea",
        ),
        (
            lambda p: p.write_bytes(p.read_bytes() * 2),
            r"[\d,]+ bytes, the manifest .*; \d+ readable records, the",
        ),
        (
            lambda p: p.write_bytes(b""),
            r"0 bytes, the manifest says [\d,]+; 0 readable records, the manifest",
        ),
        (lambda p: p.unlink(), "missing$"),
        (lambda p: (p.unlink(), p.mkdir()), "cannot be read: Is a directory"),
    ],
    ids=["bit", "truncated", "doubled", "empty", "deleted", "folder"],
)
def test_a_damaged_shard_is_named_in_one_line(folder, capsys, damage, message):
    path = shard_path(folder, 1)
    damage(path)
    code, output, errors = check(capsys, folder)
    assert code == 1
    assert len(errors) == 1
    assert re.match(rf"{path.name}: {message}", errors[0])
    assert "1 damaged; build the records again" in output


def test_every_damaged_shard_has_its_line(folder, capsys):
    shard_path(folder, 0).unlink()
    flip_a_bit(shard_path(folder, 2))
    code, _, errors = check(capsys, folder)
    names = [shard.name for shard in read_manifest(folder, missing_ok=True).shards]
    assert code == 1
    assert [line.split(":")[0] for line in errors] == [names[0], names[2]]


def test_a_shard_that_the_manifest_does_not_name_is_named(folder, capsys):
    (folder / "coco-train.tfrecord-00000-of-00007").write_bytes(b"of another build")
    code, output, errors = check(capsys, folder, "--num_images=0")
    assert code == 1
    assert "for example coco-train.tfrecord-00000-of-00007: remove them" in errors[0]
    assert "1 other file amiss" in output
    assert "all is well" not in output


def change_json(change):
    def changed(path):
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return changed


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_text("{"), "is not JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe{"), "is not JSON"),
        (lambda path: path.write_text("[" * 10**5), "is not JSON"),
        (lambda path: path.write_text("{}"), "is not what the manifest asks for"),
        (change_json(lambda data: data.pop(max(data))), "is not what the manifest asks for"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
    ],
    ids=["missing", "cut", "no text", "deep", "empty", "less", "folder"],
)
@pytest.mark.parametrize("name", [FEATURES, DATASET_INFO])
def test_a_spoilt_file_of_tensorflow_datasets_is_named(folder, capsys, name, spoil, problem):
    spoil(folder / name)
    code, output, errors = check(capsys, folder, "--num_images=0")
    assert code == 1
    assert len(errors) == 1
    assert errors[0].startswith(f"{name}: {problem}; TensorFlow Datasets needs it")
    assert "1 other file amiss" in output


def test_descriptions_of_an_earlier_version_are_no_problem(folder, capsys):
    def describe(data):
        data["description"] = "Figures."

    change_json(describe)(folder / DATASET_INFO)
    assert check(capsys, folder, "--num_images=0")[::2] == (0, [])


def test_a_shard_that_is_named_twice_is_refused_where_the_manifest_is_read(folder, capsys):
    change_manifest(folder, lambda data: data["shards"].append(data["shards"][1]))
    told = r"the shard coco-train\.tfrecord-00001-of-00003 is named twice"
    with pytest.raises(RecordsError, match=told):
        read_manifest(folder)
    code, output, errors = check(capsys, folder)
    assert code == 1
    assert re.search(told, errors[0])
    assert "all is well" not in output


def test_instances_without_an_area_are_explained_when_they_are_most(folder, capsys):
    change_manifest(folder, lambda data: data["filtered"].update(no_area=5))
    assert "note:" not in check(capsys, folder, "--num_images=0")[1]
    change_manifest(folder, lambda data: data["filtered"].update(no_area=5000))
    assert "5,000, were filtered because their area is 0" in check(capsys, folder, "--num_images=0")[1]


def test_nothing_left_to_read_is_no_crash(folder, capsys):
    for index in range(3):
        shard_path(folder, index).unlink()
    code, output, errors = check(capsys, folder)
    assert code == 1
    assert len(errors) == 3
    assert "checked 0 instances" in output


def test_a_manifest_that_is_wrong_about_a_shard(folder, capsys):
    def change(data):
        data["shards"][0]["records"] += 1
        data["shards"][2]["sha256"] = "00" * 32

    change_manifest(folder, change)
    code, _, errors = check(capsys, folder)
    assert code == 1
    assert len(errors) == 2
    assert re.search(r"-00000-of-00003: \d+ readable records, the manifest says", errors[0])
    assert re.search(r"-00002-of-00003: SHA-256 .* the manifest says 0{12}…", errors[1])


def test_a_manifest_of_another_skeleton_finds_no_record_that_fits(folder, capsys):
    def change(data):
        names = data["skeleton"]["keypoints"][:5]
        data["skeleton"] |= {"keypoints": names, "sigmas": [0.1] * 5, "upper_body": []}
        data["skeleton"] |= {"flip_pairs": [], "limbs": []}

    change_manifest(folder, change)
    code, _, errors = check(capsys, folder)
    assert code == 1
    assert len(errors) == 3
    assert re.search(r"record 0: does not fit the schema: .*\(and \d+ more bad records\)$", errors[0])


def test_no_folder_or_none_of_records(tmp_path, capsys):
    code, _, errors = check(capsys, tmp_path)
    assert code == 1
    assert re.search(r"^python records/check\.py: no records in .*build_records\.py", errors[0])
    assert check(capsys)[0] == 2
    assert check(capsys, tmp_path, "another")[2][0].endswith("'another': every other option is a --flag")


@pytest.fixture(scope="module")
def record():
    """The values of a record: a crop of 60x40 pixels out of an image at (100, 50), half its size."""
    pixels = np.full((40, 60, 3), (40, 80, 120), np.uint8)
    return {
        "crop": cv2.imencode(".jpg", pixels)[1].tobytes(),
        "crop_affine": np.array([[0.5, 0, -50.25], [0, 0.5, -25.25]], np.float32),
        "box": np.array([120, 60, 40, 60], np.float32),
        "center": np.array([140, 90], np.float32),
        "scale": np.array([60, 80], np.float32),
        "keypoints": np.array([[130, 80, 2]] + [[0, 0, 0]] * 16, np.float32),
        "area": 2400.0,
        "score": 1.0,
        "image_id": 5,
        "instance_id": 7,
        "image_size": (300, 200),
        "file_name": b"a.jpg",
    }


def changed(array, value):
    array = array.copy()
    array.flat[-1] = value
    return array


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("crop", b"", "the crop is not an image"),
        ("crop", b"\xff\xd8 and nothing else", "the crop is not an image"),
        ("box", np.array([0, 0, np.nan, 1]), "box is not finite"),
        ("keypoints", "visibility", "a keypoint's visibility is 3"),
        ("scale", np.zeros(2), r"scale is \[0.0, 0.0\]"),
    ],
)
def test_a_record_that_parses_but_cannot_be_used(tmp_path, record, field, value, message):
    if field == "keypoints":
        value = changed(record["keypoints"], 3)
    payloads = [to_example(record | changes, 17) for changes in ({}, {field: value}, {})]
    (tmp_path / "shard").write_bytes(b"".join(map(frame, payloads)))
    size = (tmp_path / "shard").stat().st_size
    shard = replace(SHARD, records=3, size=size)
    report = check_shard(tmp_path, shard, 17, samples=9)
    assert re.fullmatch(rf"record 1: {message}, instance 7 in image 5, a\.jpg", report.problems[-1])
    assert len(report.instances) == len(report.samples) == 2


def test_bytes_that_are_no_example_are_found_among_others(tmp_path, record):
    payloads = [to_example(record, 17), b"\xff\xff\xff", to_example(record, 17)]
    (tmp_path / "shard").write_bytes(b"".join(map(frame, payloads)))
    report = check_shard(tmp_path, replace(SHARD, records=3), 17)
    assert report.problems[-1].startswith("record 1: does not fit the schema")
    assert len(report.instances) == 2


def test_reports_come_in_the_order_of_the_manifest_with_any_number_of_workers(folder):
    manifest = read_manifest(folder)
    for workers in (1, 3):
        reports = check_shards(folder, manifest, samples=2, workers=workers)
        assert [report.name for report in reports] == [shard.name for shard in manifest.shards]
        assert [len(report.instances) for report in reports] == [shard.records for shard in manifest.shards]
        assert all(len(report.samples) == 2 and report.problems == () for report in reports)


def test_tables_count_what_there_is():
    instances = Instances(
        box_sizes=np.array([[10, 20], [30, 40], [50, 60]], np.float32),
        visibility=np.array([[2, 1], [2, 0], [0, 0]], np.int8),
        crop_sizes=np.array([[5, 6], [5, 6], [5, 6]]),
        crop_bytes=np.array([1000, 2000, 3000]),
    )
    rows = {line[:22].strip(): line[22:].split() for line in size_table(instances).splitlines()[1:]}
    assert rows["box width (image px)"] == ["10.0", "12.0", "20.0", "30.0", "40.0", "48.0", "50.0", "30.0"]
    assert rows["crop size (kB)"][3] == "2.0"
    assert rows["labeled keypoints"] == ["0.0", "0.1", "0.5", "1.0", "1.5", "1.9", "2.0", "1.0"]
    table = [
        line.replace("%", "").split()
        for line in keypoint_table(("nose", "tail"), instances.visibility).splitlines()
    ]
    assert table[1] == ["nose", "2", "66.7", "0", "0.0", "1", "33.3"]
    assert table[2] == ["tail", "0", "0.0", "1", "33.3", "2", "66.7"]
    assert table[3] == ["all", "2", "33.3", "1", "16.7", "3", "50.0"]
    assert keypoint_table(("nose", "tail"), np.zeros((3, 2))) == "no keypoint is labeled"


def test_a_tile_shows_frame_box_keypoint_and_crop_where_they_are(record):
    # The frame covers x 110..170, y 50..130, the crop x 100..220, y 50..130: 2 px of the tile per image px.
    tile = render_record(record, COCO.limbs, ["left"] * 17, tile_size=(252, 300)).astype(int)
    assert tile.shape == (173, 252, 3)  # with 6 px of border

    def near(x_image, y_image):
        """(3, 3, 3): the pixels around a place."""
        x, y = round(6.5 + 2 * (x_image - 100)), round(6.5 + 2 * (y_image - 50))
        return tile[y - 1 : y + 2, x - 1 : x + 2]

    assert near(110, 110).min(axis=2).max() > 120
    assert near(140, 110).min(axis=2).max() < 60
    green = np.array(BOX_COLOR) - near(120, 100)
    assert np.abs(green).max(axis=2).min() < 80
    assert np.abs(near(130, 80) - (86, 180, 233)).max() < 10
    assert np.abs(near(150, 100) - (120, 80, 40)).max() < 6
    faded = 0.65 * np.array([120, 80, 40]) + 0.35 * np.array(TILE_PAPER)
    assert np.abs(near(200, 100) - faded).max() < 6
    assert tuple(tile[2, 2]) == TILE_PAPER


def test_the_frame_is_black_where_the_image_ends(record):
    tile = render_record(record | {"scale": np.array([60, 160], np.float32)}, COCO.limbs, ["left"] * 17)
    middle = tile[:, round(tile.shape[1] / 3)]
    assert (middle[10:20] == 0).all()
    assert (middle[-20:-10] == 0).all()


def test_instances_without_keypoints_and_far_outside_are_rendered_too(tmp_path):
    instances = [instance(1, 1, [-50, -40, 400, 300], [0] * 50 + [0]), instance(2, 1, [60, 40, 300, 3])]
    write_split(tmp_path, "train", annotations([image(1, 64, 48)], instances))
    manifest = build_records(make_build(tmp_path, tmp_path / "records"))
    (report,) = check_shards(tmp_path / "records", manifest, samples=5)
    for values in report.samples:
        far = values | {"keypoints": values["keypoints"] + [1e7, -1e7, 0]}
        assert render_record(far, COCO.limbs, ["left"] * 17).dtype == np.uint8
