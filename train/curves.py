"""TensorBoard's files: the numbers and images of a run as curves."""

import os

import tensorflow as tf


class CurvesError(Exception):
    """Curves that cannot be written. The message says where and why."""


class Curves:
    """Adds to TensorBoard's files in a folder.

    A file of their own is begun with the first numbers, and again after an error, so that what comes later
    has a chance.

    Args:
        folder: where. It need not exist.
    """

    def __init__(self, folder):
        self._folder, self._writer = folder, None

    def add(self, kind, epoch, values, keypoints, image=None):
        """Adds the numbers of an epoch; the arguments are those of `train.metrics_log.MetricLog.record`.

        Raises:
            CurvesError: if they cannot be written.
        """
        try:
            if self._writer is None:  # bytes, because a path need not be UTF-8
                self._writer = tf.summary.create_file_writer(os.fsencode(self._folder))
            with self._writer.as_default(step=epoch):
                for name, value in values.items():
                    if isinstance(value, int | float):
                        tf.summary.scalar(f"{kind}/{name}", value)
                for name, value in keypoints.items():
                    tf.summary.scalar(f"{kind}_accuracy/{name}", value)
                if image is not None:
                    tf.summary.image(f"{kind}/instances", image[None])
            self._writer.flush()
        except (OSError, UnicodeError, tf.errors.OpError) as error:  # Unicode: its message names such a path
            self._writer = None
            raise CurvesError(f"the curves in {self._folder} cannot be written: {_reason(error)}") from error

    def close(self):
        """Ends the file; what cannot be written any more is lost."""
        try:
            if self._writer is not None:
                self._writer.close()
        except (OSError, UnicodeError, tf.errors.OpError):
            pass


def _reason(error):
    """What TensorFlow says, without where in a graph: one line."""
    lines = str(getattr(error, "message", error)).splitlines() or [""]
    return lines[0].split("}} ")[-1][:200]
