"""What a run shows and writes in numbers: progress bar, output/log/metrics.jsonl and TensorBoard's curves."""

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

METRICS = "metrics.jsonl"

log = logging.getLogger(__name__)


class MetricLog:
    """Writes down how a run goes. What cannot be shown or written does not end it: that is worth more.

    A file of curves is begun with the first numbers, and again after an error, so that what comes later has a
    chance.

    Args:
        folder: for metrics.jsonl and TensorBoard's files.
        instances, done: instances to learn from in all and so far, for the bar.
        write: whether it is on this worker to write; the others show no bar either.
    """

    def __init__(self, folder: Path, instances: int, done: int, write: bool = True) -> None:
        self._folder, self._write = folder, write
        self._bar = tqdm(
            total=instances,
            initial=done,
            unit=" instances",
            unit_scale=True,
            dynamic_ncols=True,
            mininterval=1,
            disable=not write,
        )
        self._curves: tf.summary.SummaryWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(self._bar.close)
        if self._curves is not None:
            with contextlib.suppress(OSError, UnicodeError, tf.errors.OpError):  # what is left is lost
                self._curves.close()

    def _show(self, action: Callable[..., object], *arguments: Any, **more: Any) -> None:
        """Does something on the terminal, which may be gone, or what the output was piped into."""
        try:
            action(*arguments, **more)
        except OSError:
            self._bar.disable = True
            # Where writing fails, tqdm's own lock stays held: bars in other threads would wait for ever.
            tqdm.set_lock(threading.RLock())

    def begin_epoch(self, text: str) -> None:
        """What the bar says in front."""
        self._show(self._bar.set_description, text)

    def update(self, totals: "EpochTotals", loss: float | None) -> None:
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

    def end_epoch(self, epoch: int, summary: tuple[Mapping[str, float | None], Mapping[str, float]]) -> None:
        """Records what `EpochTotals.summary` gave."""
        values, per_keypoint = summary
        self.record("train", epoch, values, per_keypoint)
        if values["loss"] is None:
            log.info("epoch %d: nothing was learned, every update was skipped", epoch)
            return
        accuracy = "unknown" if values["accuracy"] is None else f"{values['accuracy']:.3f}"
        log.info(
            "epoch %d: loss %.6f, accuracy %s, learning rate %.2g, %.0f instances/s, "
            "%s of the time waiting for data",
            epoch,
            values["loss"],
            accuracy,
            values["learning_rate"],
            values["instances_per_second"],
            f"{values['waiting_for_data']:.1%}",
        )

    def record(
        self,
        kind: str,
        epoch: int,
        values: Mapping[str, float | None],
        per_keypoint: Mapping[str, float] | None = None,
        image: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Keeps an epoch's numbers, as one line of metrics.jsonl and as curves.

        Args:
            kind: "train" or "validation".
            epoch: number of epochs done.
            values: {name: number or None}; shown as ``<kind>/<name>``.
            per_keypoint: {keypoint: number}, shown as ``<kind>_accuracy/<keypoint>``; none where it is NaN.
            image: (h, w, 3) RGB for TensorBoard, or None.
        """
        if not self._write:
            return
        keypoints = {name: value for name, value in (per_keypoint or {}).items() if value == value}
        line = {"kind": kind, "epoch": epoch, **values} | ({"accuracy_of": keypoints} if keypoints else {})
        path = self._folder / METRICS
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _append(path, json.dumps(line))
        except OSError as error:
            reason = error.strerror or error
            log.warning("%s lacks the numbers of epoch %d, %s: %s", path, epoch, kind, reason)
        curves = {f"{kind}/{name}": value for name, value in values.items() if isinstance(value, int | float)}
        curves |= {f"{kind}_accuracy/{name}": value for name, value in keypoints.items()}
        try:
            if self._curves is None:  # bytes, because a path need not be UTF-8
                self._curves = tf.summary.create_file_writer(os.fsencode(self._folder))
            with self._curves.as_default(step=epoch):
                for name, value in curves.items():
                    tf.summary.scalar(name, value)
                if image is not None:
                    tf.summary.image(f"{kind}/instances", image[None])
            self._curves.flush()
        except (OSError, UnicodeError, tf.errors.OpError) as error:  # Unicode: its message names such a path
            self._curves = None
            log.warning("the curves in %s cannot be written: %s", self._folder, _reason(error))


def _reason(error: Exception) -> str:
    """What TensorFlow says, without where in a graph: one line."""
    lines = str(getattr(error, "message", error)).splitlines() or [""]
    return lines[0].split("}} ")[-1][:200]


def _append(path: Path, line: str) -> None:
    """Adds a line, and first ends one that was being written when the process was killed."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            file.write(b"" if file.read(1) == b"\n" else b"\n")
        file.write(line.encode() + b"\n")


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
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

    def __init__(self, instances: int) -> None:
        self.instances, self.learning_rate = instances, 0.0
        self._updates, self._waited = 0, 0.0
        self._sums: dict[str, tf.Tensor] | None = None
        self._started = self._first_done = time.monotonic()

    def add(self, seen: dict[str, tf.Tensor]) -> None:
        """Takes what `train.train_step.make_train_step` gives."""
        self._sums = seen if self._sums is None else {name: self._sums[name] + seen[name] for name in seen}
        self._updates += 1
        if self._updates == 1:
            self._first_done = time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time of its body as spent waiting for data."""
        asked = time.monotonic()
        yield
        self._waited += time.monotonic() - asked

    @property
    def waiting_share(self) -> float:
        """Share of the time so far spent waiting for data."""
        return self._waited / max(time.monotonic() - self._started, 1e-9)

    @property
    def seconds_per_update(self) -> float:
        """Of all but the first, which compiles, unless it is the only one; 0 if there was none."""
        if self._updates < 2:
            return (time.monotonic() - self._started) * self._updates
        return (time.monotonic() - self._first_done) / (self._updates - 1)

    def summary(self, keypoints: Sequence[str]) -> tuple[dict[str, float | None], dict[str, float]]:
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
