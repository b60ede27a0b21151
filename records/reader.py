"""The `tf.data` reader: shards in, augmented network inputs out."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hrpose.storage import local_folder
from records.augment import Augmentation, Instances, augment
from records.errors import RecordsError
from records.examine import Damage, examine_once
from records.manifest import Manifest, read_manifest
from records.resample import NoImageError, warp_inputs
from records.schema import parse_examples

#: Shards that are read at the same time, so that a batch mixes instances of several.
_INTERLEAVED_SHARDS = 8

#: What decides where an instance's crop lands in the network input, in the order in which `resample` takes
#: it.
_PLACING_FIELDS = ("crop_affine", "center", "scale", "keypoints", "image_size", "instance_id")


class Batch(TypedDict):
    """What the reader gives of B instances: the fields of `records.schema` but "crop", and three more.

    Attributes:
        image: (B, height, width, 3) uint8, RGB; black outside of the image.
        keypoints_input: (B, K, 3) float32: x, y in input pixels and visibility; 0 where not labeled.
        input_affine: (B, 2, 3) float32: image pixels -> input pixels.
    """

    image: tf.Tensor
    keypoints_input: tf.Tensor
    input_affine: tf.Tensor
    crop_affine: tf.Tensor
    box: tf.Tensor
    center: tf.Tensor
    scale: tf.Tensor
    keypoints: tf.Tensor
    area: tf.Tensor
    score: tf.Tensor
    image_id: tf.Tensor
    instance_id: tf.Tensor
    image_size: tf.Tensor
    file_name: tf.Tensor


def read_records(
    folder: Path | str,
    batch_size: int,
    *,
    input_size: tuple[int, int] | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    epoch: int = 0,
    shuffle_buffer: int = 0,
    drop_remainder: bool = False,
    unbiased: bool = False,
    part: tuple[int, int] = (0, 1),
    skip_batches: int = 0,
    num_batches: int | None = None,
    damage: Collection[Damage] = (),
    fingerprint: str | None = None,
) -> tf.data.Dataset:
    """Streams one pass over a folder of records, or a number of batches.

    The order depends on (seed, epoch), the folder and TensorFlow's global seed, which `Dataset.shuffle` mixes
    in; the augmentation on (seed, epoch, instance) alone.

    Args:
        folder: of one build, with its ``manifest.json``. Shards in a store (``gs://…``) are copied to this
            host first, see `hrpose.storage.local_folder`.
        batch_size: instances per batch, at least 1.
        input_size: (width, height) of the network input in pixels; the build's own by default.
        augmentation: None for the plain view of each instance.
        seed, epoch: non-negative ints.
        shuffle_buffer: instances to shuffle among; 0 keeps the order of the files, and more than there are is
            the same as all of them.
        drop_remainder: whether to leave out a last batch that is not full.
        unbiased: the convention of the map onto the input, see `records.geometry.affine_to_input`: True for
            the codec "udp".
        part: (index, count), 0 <= index < count: of so many readers, each of shards of its own, which this
            is.
        skip_batches: leaves out as many at the start, without decoding their crops.
        num_batches: ends after as many, counted with those left out, and starts over with the same instances
            if one pass does not last; None for one pass.
        damage: from `records.checking.damage.find_damage`: what it says is lost is not read.
        fingerprint: of the records that shall be there, as for `records.manifest.read_manifest`.

    Returns:
        Of `Batch`.

        Reading a damaged shard raises a `tf.errors.InvalidArgumentError` that names the record, or what the
        file system says of it, before TensorFlow opens it; `records.checking.damage.damage_reported` makes
        one line of these.

    Raises:
        ValueError: for an argument that has no sensible reading.
        RecordsError: if the folder has no usable records, or they are other ones than shall be there, or they
            were built for crops of another shape or without room for augmentation.
    """
    _check_arguments(batch_size, input_size, seed, epoch, shuffle_buffer, part, skip_batches, num_batches)
    manifest = read_manifest(folder, missing_ok=bool(damage), fingerprint=fingerprint)
    width, height = input_size or manifest.input_size
    size = width, height
    check_usable(manifest, size, augmentation)
    skeleton = manifest.skeleton
    rng = np.random.default_rng([seed, epoch])
    readable = usable_shards(manifest, damage)
    if shuffle_buffer:
        rng.shuffle(readable)
    index, readers = part
    readable = readable[index::readers]
    folder = local_folder(folder, manifest, missing_ok=bool(damage))

    def resample(
        crops: npt.NDArray[np.object_], *values: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        crop_affine, center, scale, keypoints, image_size, instance_id = values
        instances = Instances(
            center=center, scale=scale, keypoints=keypoints, image_size=image_size, instance_id=instance_id
        )
        input_affine, keypoints_input = augment(
            instances, augmentation, seed, epoch, skeleton, size, unbiased
        )
        try:
            images = warp_inputs(crops, crop_affine, input_affine, size)
        except NoImageError as error:
            raise ValueError(f"the crop of instance {instance_id[error.row]} is no image") from error
        return images, keypoints_input, input_affine.astype(np.float32)

    def prepare(batch: dict[str, tf.Tensor]) -> Batch:
        crops = batch.pop("crop")
        images, keypoints_input, input_affine = tf.numpy_function(
            resample,
            [crops, *(batch[name] for name in _PLACING_FIELDS)],
            [tf.uint8, tf.float32, tf.float32],
            stateful=False,
        )
        count = crops.shape[0]
        prepared = batch | {
            "image": tf.ensure_shape(images, (count, height, width, 3)),
            "keypoints_input": tf.ensure_shape(keypoints_input, (count, skeleton.num_keypoints, 3)),
            "input_affine": tf.ensure_shape(input_affine, (count, 2, 3)),
        }
        return cast("Batch", prepared)

    records = serialized_records(folder, manifest, readable, damage)
    if shuffle_buffer:
        # TensorFlow sets aside room for as many as it is told.
        some = min(shuffle_buffer, max(1, sum(count for _, count in readable)))
        records = records.shuffle(some, seed=int(rng.integers(2**31)))
    if num_batches is not None:
        records = records.repeat().take(num_batches * batch_size)
    return (
        records.batch(batch_size, drop_remainder=drop_remainder)
        .skip(skip_batches)
        .map(lambda serialized: parse_examples(serialized, skeleton.num_keypoints))
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def serialized_records(
    folder: Path | str,
    manifest: Manifest,
    readable: Sequence[tuple[str, int]],
    damage: Collection[Damage] = (),
) -> tf.data.Dataset:
    """The records of some shards as they are stored, several shards in turn.

    Args:
        folder: on this host, with the shards.
        manifest: the records'.
        readable: from `usable_shards`, or some of them in any order.
        damage: what is known to be wrong with the shards.

    Returns:
        A `tf.data.Dataset` of string tensors (). No shard is opened before `records.examine` has looked it
        through; if more is wrong with it than `damage` says, that is an InvalidArgumentError.
    """
    shards = {f"{folder}/{shard.name}": shard for shard in manifest.shards}
    known = {*damage}

    def examined(file: bytes) -> bytes:
        path = file.decode()
        try:
            found = examine_once(path, shards[path], manifest.skeleton.num_keypoints)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        if found is not None and found not in known:
            raise ValueError(f"{path}: {found.problem}")
        return file

    def open_shard(file: tf.Tensor, count: tf.Tensor) -> tf.data.Dataset:
        file = tf.ensure_shape(tf.numpy_function(examined, [file], tf.string), ())
        return tf.data.TFRecordDataset(file).take(count)

    files = tf.constant([f"{folder}/{name}" for name, _ in readable], tf.string)
    counts = np.array([count for _, count in readable], np.int64)
    return tf.data.Dataset.from_tensor_slices((files, counts)).interleave(
        open_shard, cycle_length=_INTERLEAVED_SHARDS
    )


def _check_arguments(
    batch_size: int,
    input_size: tuple[int, int] | None,
    seed: int,
    epoch: int,
    shuffle_buffer: int,
    part: tuple[int, int],
    skip_batches: int,
    num_batches: int | None,
) -> None:
    """Refuses numbers of which `tf.data` would make nobody, everybody or an endless pass."""
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
        ("epoch", epoch, 0),
        ("shuffle_buffer", shuffle_buffer, 0),
        ("skip_batches", skip_batches, 0),
        ("num_batches", 0 if num_batches is None else num_batches, 0),
    ):
        if not _is_whole(value) or not least <= value < 2**63:
            raise ValueError(f"{name}: received {value!r}; expected a whole number of at least {least}")
    if not _are_whole(part) or not 0 <= part[0] < part[1]:
        raise ValueError(f"part: received {part!r}; expected (index, count) with 0 <= index < count")
    if input_size is not None and (not _are_whole(input_size) or min(input_size) < 1):
        raise ValueError(f"input_size: received {input_size!r}; expected (width, height) in pixels")


def _are_whole(pair: object) -> bool:
    return isinstance(pair, tuple | list) and len(pair) == 2 and all(map(_is_whole, pair))


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def usable_shards(manifest: Manifest, damage: Collection[Damage] = ()) -> list[tuple[str, int]]:
    """[(file name, number of records that can be read), …] of the shards of a manifest that have any.

    Args:
        manifest: the records'.
        damage: from `records.checking.damage.find_damage`.
    """
    left = {part.shard: part.usable for part in damage}
    counted = [(shard.name, left.get(shard.name, shard.records)) for shard in manifest.shards]
    return [(name, count) for name, count in counted if count]


def check_usable(manifest: Manifest, input_size: tuple[int, int], augmentation: Augmentation | None) -> None:
    """Refuses records whose crops do not hold what the reader would have to draw from them.

    Raises:
        RecordsError: naming both sides.
    """
    built = manifest.input_size
    if built[0] * input_size[1] != built[1] * input_size[0]:
        raise RecordsError(
            f"the records were built for inputs of {built[0]}x{built[1]} pixels, but {input_size[0]}x"
            f"{input_size[1]} has another aspect ratio; build them again with "
            f"--input_size={input_size[0]}x{input_size[1]} --overwrite"
        )
    room = manifest.options["scale_factor"]
    needed = 0.0 if augmentation is None else augmentation.scale_factor
    if augmentation is not None and (room is None or needed > room):
        have = "the plain view of each instance only" if room is None else f"a scale factor up to {room}"
        raise RecordsError(
            f"the records' crops have room for {have}, but the augmentation asks for {needed}; build them "
            f"again with --boxes=ground_truth --scale_factor={needed} --overwrite, or augment less"
        )
    if augmentation is not None and augmentation.half_body_probability:
        room, needed = manifest.options["half_body_min_keypoints"], augmentation.half_body_min_keypoints
        if needed < room:
            raise RecordsError(
                f"the records' crops have room for half bodies of instances with more than {room} keypoints, "
                f"but the augmentation asks for more than {needed}"
            )
    if not manifest.records:
        reasons = {**manifest.filtered, **manifest.rejected}
        why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        raise RecordsError(f"the records folder holds no instances{f'; filtered: {why}' if why else ''}")


def resolution_note(manifest: Manifest, input_size: tuple[int, int]) -> str | None:
    """What a user shall know who asks for a larger network input than the records were built for, or None.

    Args:
        manifest: the records'.
        input_size: (width, height) asked for.
    """
    built, scale = manifest.input_size, manifest.options.get("max_crop_scale")
    exact = manifest.options.get("encoding") == "exact"
    if input_size[0] <= built[0] or exact or scale is None:
        return None
    stored = "x".join(str(round(side * scale)) for side in built)
    return (
        f"the records were built for inputs of {built[0]}x{built[1]} pixels and hold an instance's box at "
        f"up to {stored}: an input of {input_size[0]}x{input_size[1]} can show no more than that. "
        f"build_records.py --input_size={input_size[0]}x{input_size[1]} stores more"
    )
