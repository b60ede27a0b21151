"""What a run shows: progress bar, output/log/train.log, output/log/metrics.jsonl and TensorBoard."""

import contextlib
import json
import os
import threading
import time
from pathlib import Path

from tqdm import tqdm

from train.curves import Curves, CurvesError

METRICS = "metrics.jsonl"


class MetricLog:
    """Writes down how a run goes. What cannot be shown or written does not end it: that is worth more.

    Args:
        folder: for train.log, metrics.jsonl and TensorBoard's files.
        instances, done: instances to learn from in all and so far, for the bar.
        write: whether it is on this host to write; on the others nothing is shown either.
    """

    def __init__(self, folder, instances, done, write=True):
        self._folder, self._write, self._instances = Path(folder), write, instances
        self._bar = tqdm(
            total=instances,
            initial=done,
            unit=" instances",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=1,
            disable=not write,
        )
        self._curves = Curves(self._folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._show(self._bar.close)
        self._curves.close()

    def say(self, line):
        """Shows a line above the bar and keeps it in train.log."""
        if not self._write:
            return
        self._show(self._bar.write, line)
        self._keep("train.log", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", "the line above")

    def _keep(self, name, line, what):
        """Adds a line to a file; if it cannot, that is shown and what is lost."""
        path = self._folder / name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _append(path, line)
        except OSError as error:
            self._show(self._bar.write, f"note: {path} lacks {what}: {error.strerror or error}")

    def _show(self, action, *arguments, **more):
        """Does something on the terminal, which may be gone, or what the output was piped into."""
        try:
            action(*arguments, **more)
        except OSError:
            self._bar.disable = True
            # Where writing fails, tqdm's own lock stays held: bars in other threads would wait for ever.
            tqdm.set_lock(threading.RLock())

    def begin_epoch(self, text):
        """What the bar says in front."""
        self._show(self._bar.set_description, text)

    def update(self, totals, loss):
        """Moves the bar by one update; a loss that was read is shown behind it with how it goes."""
        self._show(self._bar.update, totals.instances)
        if loss is not None:
            self._show(
                self._bar.set_postfix,
                loss=f"{loss:.5f}",
                lr=f"{totals.learning_rate:.2g}",
                waiting=f"{totals.waiting_share:.0%}",
                refresh=False,
            )

    def end_epoch(self, epoch, summary):
        """Records what `EpochTotals.summary` gave."""
        values, per_keypoint = summary
        self.record("train", epoch, values, per_keypoint)
        if values["loss"] is None:
            self.say(f"epoch {epoch}: nothing was learnt, every update was left out")
            return
        accuracy = "unknown" if values["accuracy"] is None else f"{values['accuracy']:.3f}"
        self.say(
            f"epoch {epoch}: loss {values['loss']:.6f}, accuracy {accuracy}, "
            f"learning rate {values['learning_rate']:.2g}, {values['instances_per_second']:.0f} people/s, "
            f"{values['waiting_for_data']:.1%} of the time waiting for data"
        )

    def record(self, kind, epoch, values, per_keypoint=None, image=None):
        """Keeps an epoch's numbers, as one line of metrics.jsonl and as curves.

        Args:
            kind: "train" or "validation".
            epoch: number of epochs done.
            values: {name: number or None}; shown as ``<kind>/<name>``.
            per_keypoint: {keypoint: number}, shown as ``<kind>_accuracy/<keypoint>``; none where it is NaN.
            image: (h, w, 3) uint8 RGB for TensorBoard, or None.
        """
        if not self._write:
            return
        keypoints = {name: value for name, value in (per_keypoint or {}).items() if value == value}
        line = {"kind": kind, "epoch": epoch, **values} | ({"accuracy_of": keypoints} if keypoints else {})
        self._keep(METRICS, json.dumps(line), f"the numbers of epoch {epoch}, {kind}")
        try:
            self._curves.add(kind, epoch, values, keypoints, image)
        except CurvesError as error:
            self.say(f"note: {error}")


def _append(path, line):
    """Adds a line, and first ends one that was being written when the process was killed."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            file.write(b"" if file.read(1) == b"\n" else b"\n")
        file.write(line.encode(errors="backslashreplace") + b"\n")  # a path need not be UTF-8


def read_metrics(folder):
    """The lines of metrics.jsonl in a `MetricLog`'s folder: dicts with "kind" and "epoch".

    Lines that are none, as one that was being written when the process was killed, are left out.
    """
    try:
        text = (Path(folder) / METRICS).read_text(errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
            data = json.loads(line)
            lines.append(data | {"kind": str(data["kind"]), "epoch": int(data["epoch"])})
    return lines


class EpochTotals:
    """Adds up what the updates of an epoch give, on the device; reading it waits for the device.

    Args:
        instances: per update.

    Attributes:
        instances: per update.
        learning_rate: of the last update.
    """

    def __init__(self, instances):
        self.instances, self.learning_rate = instances, 0.0
        self._updates, self._waited, self._sums = 0, 0.0, None
        self._started = self._first_done = time.monotonic()

    def add(self, seen):
        """Takes what `train.train_step.make_train_step` gives."""
        self._sums = seen if self._sums is None else {name: self._sums[name] + seen[name] for name in seen}
        self._updates += 1
        if self._updates == 1:
            self._first_done = time.monotonic()

    @contextlib.contextmanager
    def waiting(self):
        """Counts the time of its body as spent waiting for data."""
        asked = time.monotonic()
        yield
        self._waited += time.monotonic() - asked

    @property
    def waiting_share(self):
        """Share of the time so far spent waiting for data."""
        return self._waited / max(time.monotonic() - self._started, 1e-9)

    @property
    def seconds_per_update(self):
        """Of all but the first, which compiles, unless it is the only one; 0 if there was none."""
        if self._updates < 2:
            return (time.monotonic() - self._started) * self._updates
        return (time.monotonic() - self._first_done) / (self._updates - 1)

    def summary(self, keypoints):
        """({name: number}, {keypoint: accuracy}) of the epoch, or of what was done of it.

        Args:
            keypoints: names. The accuracy of one that nobody showed is NaN; their mean leaves it out.
        """
        nan = float("nan")
        nobody = [0] * len(keypoints)
        sums = self._sums or {"loss": nan, "hits": nobody, "counted": nobody, "gradient_norm": nan}
        loss, norm = (float(sums[name]) / max(self._updates, 1) for name in ("loss", "gradient_norm"))
        pairs = zip(keypoints, sums["hits"], sums["counted"], strict=True)
        per_keypoint = {name: float(hits / counted) if counted else nan for name, hits, counted in pairs}
        shown = [value for value in per_keypoint.values() if value == value]
        seconds = time.monotonic() - self._started
        values = {
            "loss": loss if loss == loss else None,
            "accuracy": sum(shown) / len(shown) if shown else None,
            "gradient_norm": norm if norm == norm else None,
            "learning_rate": self.learning_rate,
            "instances_per_second": self.instances * self._updates / seconds,
            "waiting_for_data": self.waiting_share,
        }
        return values, per_keypoint
