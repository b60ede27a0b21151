"""What a run writes down."""

import errno
import io
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tqdm import tqdm

from hrpose import logs
from hrpose.logs import log_file
from train.metrics_log import EpochTotals, MetricLog, read_metrics
from train.signals import interrupted, stop_on_signals


def seen(loss, hits, counted):
    return {
        "loss": tf.constant(loss),
        "hits": tf.constant(hits),
        "counted": tf.constant(counted),
        "gradient_norm": tf.constant(4 * loss),
    }


def events(folder):
    """{tag: value or image's size} of TensorBoard's files."""
    found = {}
    for path in folder.glob("events.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
                tensor = tf.make_ndarray(value.tensor)
                found[value.tag] = tensor[:2].tolist() if tensor.dtype == object else float(tensor)
    return found


def test_an_epoch_is_a_line_of_json_and_curves(tmp_path):
    with MetricLog(tmp_path / "log", instances=10, done=0) as metric_log:
        image = np.zeros((4, 6, 3), np.uint8)
        metric_log.record("validation", 3, {"AP": 0.5, "AP (L)": None}, image=image)
        metric_log.record("train", 4, {"loss": 0.25}, per_keypoint={"nose": 0.5, "knee": float("nan")})
    lines = [json.loads(line) for line in (tmp_path / "log/metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"kind": "validation", "epoch": 3, "AP": 0.5, "AP (L)": None},
        {"kind": "train", "epoch": 4, "loss": 0.25, "accuracy_of": {"nose": 0.5}},
    ]
    assert events(tmp_path / "log") == {
        "validation/AP": 0.5,
        "validation/instances": [b"6", b"4"],
        "train/loss": 0.25,
        "train_accuracy/nose": 0.5,
    }


def test_a_continued_run_adds_to_what_is_there(tmp_path):
    for epoch in (1, 2):
        with MetricLog(tmp_path, instances=10, done=0) as metric_log:
            metric_log.record("train", epoch, {"loss": 1.0})
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_worker_that_is_not_the_first_writes_nothing(tmp_path, capsys):
    with MetricLog(tmp_path / "log", instances=10, done=0, write=False) as metric_log:
        metric_log.begin_epoch("epoch 1")
        metric_log.record("train", 1, {"loss": 1.0})
        metric_log.update(EpochTotals(5), 0.1)
    assert not (tmp_path / "log").exists()
    assert capsys.readouterr() == ("", "")


def test_totals_are_means_over_updates_and_shares_of_the_keypoints_shown():
    totals = EpochTotals(instances=8)
    totals.learning_rate = 0.1
    totals.add(seen(0.5, [1.0, 0.0, 0.0], [2.0, 4.0, 0.0]))
    totals.add(seen(0.25, [2.0, 1.0, 0.0], [4.0, 0.0, 0.0]))
    values, per_keypoint = totals.summary(["nose", "knee", "ear"])
    assert values["loss"] == 0.375
    assert values["gradient_norm"] == 1.5
    assert per_keypoint["nose"] == 0.5
    assert per_keypoint["knee"] == 0.25
    assert np.isnan(per_keypoint["ear"])
    assert values["accuracy"] == 0.375
    assert values["learning_rate"] == 0.1
    assert values["instances_per_second"] > 0


def test_an_epoch_without_updates_has_no_loss():
    values, per_keypoint = EpochTotals(8).summary(["nose"])
    assert (values["loss"], values["accuracy"], values["gradient_norm"]) == (None, None, None)
    json.dumps(values)
    assert np.isnan(per_keypoint["nose"])


def test_an_epoch_without_updates_says_that_nothing_was_learned(tmp_path, capsys):
    with MetricLog(tmp_path, instances=8, done=0) as metric_log:
        metric_log.end_epoch(3, EpochTotals(8).summary(["nose"]))
    assert "epoch 3: nothing was learned, every update was skipped\n" in capsys.readouterr().err


def test_instances_without_keypoints_have_no_accuracy(tmp_path, capsys):
    totals = EpochTotals(instances=8)
    totals.add(seen(0.5, [0.0], [0.0]))
    with MetricLog(tmp_path, instances=8, done=0) as metric_log:
        metric_log.end_epoch(1, totals.summary(["nose"]))
    assert "loss 0.500000, accuracy unknown" in capsys.readouterr().err


def test_a_line_that_a_kill_cut_short_is_ended_and_passed_over(tmp_path):
    assert read_metrics(tmp_path) == []
    for epoch in (1, 2, 3):
        with MetricLog(tmp_path, instances=10, done=0) as metric_log:
            metric_log.record("train", epoch, {"loss": 1.0})
        if epoch == 2:
            path = tmp_path / "metrics.jsonl"
            path.write_bytes(path.read_bytes()[:-7])
    assert [line["epoch"] for line in read_metrics(tmp_path)] == [1, 3]


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"3", b"{}", b'{"kind": "train", "epoch": []}', b"\xff", b"[" * 9999]
)
def test_lines_that_are_no_metrics_are_passed_over(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_bytes(line + b'\n{"kind": "train", "epoch": 1}\n' + line)
    assert read_metrics(tmp_path) == [{"kind": "train", "epoch": 1}]


@pytest.mark.parametrize("what", ["a file", "full"])
def test_a_folder_that_cannot_be_written_costs_notes_and_no_run(tmp_path, capsys, monkeypatch, what):
    if what == "a file":
        (tmp_path / "log").write_text("")
    else:

        def full_disk(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "open", full_disk)
        monkeypatch.setattr(tf.summary, "create_file_writer", full_disk)
    with MetricLog(tmp_path / "log", instances=10, done=0) as metric_log:
        metric_log.end_epoch(1, EpochTotals(8).summary(["nose"]))
        metric_log.record("validation", 1, {"AP": 0.5}, image=np.zeros((4, 6, 3), np.uint8))
    said = capsys.readouterr().err
    reason = "File exists" if what == "a file" else "No space left on device"
    assert f"warning: {tmp_path}/log/metrics.jsonl lacks the numbers of epoch 1, train: {reason}" in said
    assert f"warning: the curves in {tmp_path}/log cannot be written: " in said
    assert "epoch 1: nothing was learned" in said


def test_curves_that_failed_once_are_tried_again_with_the_next_numbers(tmp_path, monkeypatch, capsys):
    make, failing = tf.summary.create_file_writer, [True]

    def sometimes(folder):
        if failing.pop():
            failing.append(False)
            raise tf.errors.ResourceExhaustedError(
                None, None, "{{node x}} /log/events: No space left on device"
            )
        return make(folder)

    monkeypatch.setattr(tf.summary, "create_file_writer", sometimes)
    with MetricLog(tmp_path, instances=10, done=0) as metric_log:
        for epoch in (1, 2):
            metric_log.record("train", epoch, {"loss": float(epoch)})
    assert events(tmp_path) == {"train/loss": 2.0}
    said = f"the curves in {tmp_path} cannot be written: /log/events: No space left on device\n"
    assert said in capsys.readouterr().err


def test_a_folder_whose_name_is_no_utf_8_has_curves_too(tmp_path):
    folder = tmp_path / os.fsdecode(b"l\xff")
    with MetricLog(folder, instances=10, done=0) as metric_log:
        metric_log.record("train", 1, {"loss": 0.5})
    assert sorted(path.name[:6] for path in folder.iterdir()) == ["events", "metric"]


class Watched(io.StringIO):
    """A terminal that is closed, or a pipe whose reader leaves, as soon as there is a number of an error."""

    number = None

    def write(self, text):
        if self.number is not None:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)

    def flush(self):
        self.write("")


@pytest.mark.parametrize("number", [errno.EIO, errno.EPIPE])
def test_a_terminal_or_a_pipe_that_is_gone_does_not_end_the_run(tmp_path, monkeypatch, number):
    out, err = Watched(), Watched()
    with monkeypatch.context() as context:
        context.setattr("sys.stdout", out)
        context.setattr("sys.stderr", err)
        logs.start()
        with log_file(tmp_path / "train.log"), MetricLog(tmp_path, instances=10, done=0) as metric_log:
            out.number = err.number = number
            metric_log.begin_epoch("epoch 1")
            for _ in range(3):
                metric_log.update(EpochTotals(5), 0.5)
            metric_log.end_epoch(3, EpochTotals(8).summary(["nose"]))
    assert " epoch 3: nothing was learned" in (tmp_path / "train.log").read_text()
    other = threading.Thread(target=tqdm([]).refresh, daemon=True)
    other.start()
    other.join(10)
    assert not other.is_alive()  # bars of other threads go on


def test_the_share_of_waiting_is_of_all_the_time():
    totals = EpochTotals(8)
    with totals.waiting():
        time.sleep(0.05)
    time.sleep(0.01)
    assert 0 < totals.waiting_share < 1


@pytest.fixture
def hearing():
    """Whoever runs the tests may ignore SIGHUP, as nohup does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hearing")
def test_a_terminal_that_closes_asks_and_may_do_so_again(tmp_path):
    before = signal.getsignal(signal.SIGHUP)
    with stop_on_signals() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        error = interrupted(stop, tmp_path, 5)
    assert error.exit_code == 129
    assert str(error).startswith("SIGHUP: stopped after update 5")
    assert signal.getsignal(signal.SIGHUP) == before


def test_what_ignores_sighup_goes_on_doing_so(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_acts_as_ever(number, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert signal.getsignal(number) == before[number == signal.SIGTERM]
        error = interrupted(stop, tmp_path, 1234)
    assert error.exit_code == 128 + number
    assert "stopped after update 1,234" in str(error)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
