"""Predictions kept in parts, so that an evaluation that was interrupted can go on.

    output/result/parts/NAME/part-00000.npz     of the first 1,024 instances, by default, and so on

A part appears under its name only when it is complete, and one evaluation at a time has the folder (see
`hrpose.lock`). It says what decides its content, and holds arrays
and nothing that could run. Parts stay when the evaluation is done: another rescoring threshold needs no other
predictions, and they are smaller than the poses in ``NAME_results.json``. The next evaluation of the same
name takes their place, so there is never more than one set of them for each file of results.
"""

import io
import itertools
import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.predictions import Predictions, join
from hrpose.atomic_files import write_whole
from model.run_folder import RunError

log = logging.getLogger(__name__)

#: See `PredictionCache.complete`.
PredictBatches = Callable[[int, int], Iterator[Predictions]]

#: About how many instances make a part: some seconds on a GPU, some minutes on a CPU.
INSTANCES_PER_PART = 1024

#: What numpy, zipfile and json raise on content that is damaged.
_DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, MemoryError, RecursionError),
    *(RuntimeError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class PredictionCache:
    """The parts of one evaluation.

    Attributes:
        folder: where they are.
        settings: {name: value}, JSON-ready: what decides the predictions, besides the fields below.
        instances: how many there are in all.
        batch_size: instances per batch.
        num_keypoints: K.
        instances_per_part: about how many instances make a part, which are whole batches and at least one.
    """

    folder: Path
    settings: Mapping[str, Any]
    instances: int
    batch_size: int
    num_keypoints: int
    instances_per_part: int

    @property
    def batches(self) -> int:
        """How many batches make a part; the last one may have fewer."""
        return max(1, self.instances_per_part // self.batch_size)

    @property
    def sizes(self) -> list[int]:
        """The number of instances in each part."""
        size = self.batches * self.batch_size
        return [min(size, self.instances - first) for first in range(0, self.instances, size)]

    def path(self, number: int) -> Path:
        """Of a part's file, by its number from 0."""
        return self.folder / f"part-{number:05d}.npz"

    def begin(self, resume: bool) -> dict[int, Predictions]:
        """Prepares the folder, and takes what an interrupted evaluation has left.

        Args:
            resume: whether to take it; otherwise it is removed.

        Returns:
            {number of the part: `Predictions`} of those that are done.

        Raises:
            RunError: if they were made with other settings, or cannot be read or removed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove("part-*.partial" if resume else "part-*")
        if not resume:
            return {}
        done = {}
        for number, instances in enumerate(self.sizes):
            path = self.path(number)
            if not path.is_file():
                continue
            try:
                content = path.read_bytes()
            except OSError as error:  # of a network disk, for a moment: nothing is wrong with the part
                raise RunError(
                    f"{path} cannot be read: {error.strerror or error}; try again, or leave out --continue "
                    "to begin anew"
                ) from error
            try:
                done[number] = self._read(path, content, instances)
            except _DAMAGE as error:
                log.warning("%s is damaged (%r) and is predicted again", path, error)
        then = "going on" if len(done) < len(self.sizes) else "nothing is left to predict"
        log.info("%s of %s parts are done, %s", f"{len(done):,}", f"{len(self.sizes):,}", then)
        return done

    def _remove(self, pattern: str) -> None:
        """Removes files of the folder, which itself stays: it may be a link, and the lock is in it."""
        try:
            for path in sorted(self.folder.iterdir()):
                if path.match(pattern):
                    path.unlink()
        except OSError as error:
            raise RunError(
                f"an earlier evaluation's {error.filename} could not be removed: {error.strerror}; remove "
                f"{self.folder} to begin anew"
            ) from error

    def complete(self, done: dict[int, Predictions], predict: PredictBatches) -> Predictions:
        """Predicts and saves the parts that are missing.

        Args:
            done: from `begin`; gets the others.
            predict: called with two numbers of batches, those to leave out and those to predict after them;
                gives the `Predictions` of each batch.

        Returns:
            The `Predictions` of everybody.
        """
        missing = [number for number in range(len(self.sizes)) if number not in done]
        # Parts that follow each other are read in one go.
        for _, pairs in itertools.groupby(enumerate(missing), key=lambda pair: pair[1] - pair[0]):
            numbers = [number for _, number in pairs]
            predicted = predict(numbers[0] * self.batches, len(numbers) * self.batches)
            for number in numbers:
                done[number] = join(list(itertools.islice(predicted, self.batches)))
                self._write(number, done[number])
        return join([done[number] for number in range(len(self.sizes))])

    def _fingerprint(self) -> dict[str, Any]:
        return {
            **self.settings,
            "batch_size": self.batch_size,
            "instances_per_part": self.instances_per_part,
        }

    def _write(self, number: int, predictions: Predictions) -> None:
        content = io.BytesIO()
        np.savez(content, fingerprint=np.array(json.dumps(self._fingerprint())), **vars(predictions))
        write_whole(self.path(number), content.getvalue())

    def _read(self, path: Path, content: bytes, instances: int) -> Predictions:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            theirs, ours = json.loads(str(file["fingerprint"])), self._fingerprint()
            if differences := [
                f"{name}: {theirs.get(name)} → {ours.get(name)}"
                for name in {**theirs, **ours}
                if theirs.get(name) != ours.get(name)
            ]:
                raise RunError(
                    f"{path} was predicted with other settings ({'; '.join(differences)}); use its settings "
                    "to continue that evaluation, or leave out --continue to begin anew"
                )
            arrays = {field.name: file[field.name] for field in fields(Predictions)}
        for name, array in arrays.items():
            shape = (instances, self.num_keypoints, 3) if name == "keypoints" else (instances,)
            dtype = np.int64 if name.endswith("_ids") else np.float64
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {dtype.__name__} {shape}")
        return Predictions(**arrays)
