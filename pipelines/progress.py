"""The progress of a build, whatever runs it."""

import contextlib
import threading
import time
from typing import Self, TextIO

from tqdm import tqdm

from pipelines.shard_job import ShardJob


class ShardProgress:
    """Shows finished instances and shards while any runner works, by looking at the side files."""

    def __init__(self, job: ShardJob, instances: int, stderr: TextIO) -> None:
        """Args: the `ShardJob`, the number of instances planned, and where to show the bar."""
        self.job = job
        self.bar = tqdm(
            total=instances,
            desc=job.split,
            unit=" instances",
            file=stderr,
            dynamic_ncols=True,
            mininterval=0.5,
        )
        self.rejected = 0
        self.waiting = set(range(job.count))
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop.set()
        self.thread.join()
        self.bar.close()

    def _watch(self):
        """Looks again and again, the last time when all is done, and for a tenth of the time at most."""
        while True:
            last, start = self.stop.is_set(), time.monotonic()
            with contextlib.suppress(Exception):  # of a store, or a file in the moment it is replaced
                self._look()
            if last:
                return
            self.stop.wait(max(0.5, 9 * (time.monotonic() - start)))

    def _look(self):
        for index, result in self.job.shard_results(sorted(self.waiting & self.job.written().keys())).items():
            if result is not None:
                self.waiting.discard(index)
                self.rejected += len(result["rejected"])
                done = f"{self.job.count - len(self.waiting)}/{self.job.count} shards"
                self.bar.set_postfix_str(f"{done}, {self.rejected} rejected", refresh=False)
                self.bar.update(result["records"] + len(result["rejected"]))
