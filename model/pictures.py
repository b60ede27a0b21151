"""Pictures from a folder, as the network's input."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from model.export import ExportError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


def read_pictures(folder, input_size, limit):
    """Reads pictures, each cut about its middle to the shape of the network input and resized to it.

    Args:
        folder: with files that end in `ENDINGS`; others are passed over.
        input_size: (width, height) of the network input.
        limit: how many to read at most, in the order of their names.

    Returns:
        (N, height, width, 3) uint8, RGB, N > 0.

    Raises:
        ExportError: if there is none, or one cannot be read.
    """
    files = [path for path in sorted(Path(folder).glob("*")) if path.suffix.lower() in ENDINGS]
    if not files:
        raise ExportError(f"no pictures in {folder}: expected files that end in {', '.join(ENDINGS)}")
    return np.stack([_read(path, input_size) for path in files[:limit]])


def _read(path, input_size):
    width, height = input_size
    try:
        picture = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        raise ExportError(f"{path} is not a picture that can be read: {error.message[:100]}") from error
    rows, columns = picture.shape[:2]
    scale = min(columns / width, rows / height)
    cut = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (rows - cut[0]) // 2, (columns - cut[1]) // 2
    picture = picture[top : top + cut[0], left : left + cut[1]]
    picture = tf.image.resize(picture, (height, width), antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(picture), 0, 255), tf.uint8).numpy()
