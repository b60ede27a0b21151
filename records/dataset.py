"""The `tf.data` reader: shards in, augmented network inputs out."""

import numpy as np
import tensorflow as tf

from records.augment import augment
from records.files import local_folder
from records.resample import draw_inputs
from records.schema import parse_examples
from records.shards import RecordsError, read_manifest

#: Shards that are read at the same time, so that a batch mixes people of several.
_INTERLEAVED_SHARDS = 8

#: What decides where a person's crop lands in the network input.
_PLACING_FIELDS = ("crop_affine", "center", "scale", "keypoints", "image_size", "person_id")


def read_records(
    folder,
    batch_size,
    *,
    input_size=None,
    augmentation=None,
    seed=0,
    epoch=0,
    shuffle_buffer=0,
    drop_remainder=False,
    unbiased=False,
    part=(0, 1),
    skip_batches=0,
    num_batches=None,
    damage=(),
):
    """Streams one pass over a folder of records, or a number of batches.

    The order depends on (seed, epoch), the folder and TensorFlow's global seed, which `Dataset.shuffle` mixes
    in; the augmentation on (seed, epoch, person) alone.

    Args:
        folder: of one build, with its ``manifest.json``. Shards in a store (``gs://…``) are copied to this
            machine first, see `records.files.local_folder`.
        batch_size: people per batch.
        input_size: (width, height) of the network input in pixels; the build's own by default.
        augmentation: an `records.augment.Augmentation`, or None for the plain view of each person.
        seed, epoch: non-negative ints.
        shuffle_buffer: people to shuffle among; 0 keeps the order of the files.
        drop_remainder: whether to leave out a last batch that is not full.
        unbiased: the convention of the map onto the input, see `records.geometry.affine_to_input`: True for
            the codec "udp".
        part: (index, count): of so many readers, each of shards of its own, which this is.
        skip_batches: leaves out as many at the start, without decoding their crops.
        num_batches: ends after as many, counted with those left out, and starts over with the same people if
            one pass does not last; None for one pass.
        damage: from `records.damage.find_damage`: what it says is lost is not read.

    Returns:
        A `tf.data.Dataset` of dicts with, besides the fields of `records.schema` but "crop":

        * image: (B, height, width, 3) uint8, RGB; black outside of the picture.
        * keypoints_input: (B, K, 3) float32: x, y in input pixels and visibility; 0 where not labelled.
        * input_affine: (B, 2, 3) float32: image pixels -> input pixels.

    Raises:
        RecordsError: if the folder has no usable records, or they were built for crops of another shape or
            without room for augmentation.
    """
    manifest = read_manifest(folder, missing_ok=bool(damage))
    input_size = tuple(input_size or manifest.input_size)
    check_usable(manifest, input_size, augmentation)
    skeleton = manifest.skeleton
    rng = np.random.default_rng([seed, epoch])
    readable = usable_shards(manifest, damage)
    if shuffle_buffer:
        rng.shuffle(readable)
    index, readers = part
    folder = local_folder(folder, manifest, missing_ok=bool(damage))
    files = [f"{folder}/{name}" for name, _ in readable[index::readers]]
    counts = np.array([count for _, count in readable[index::readers]], np.int64)

    def resample(crops, *values):
        people = dict(zip(_PLACING_FIELDS, values, strict=True))
        input_affine, keypoints_input = augment(
            people, augmentation, seed, epoch, skeleton, input_size, unbiased
        )
        images = draw_inputs(crops, people["crop_affine"], input_affine, input_size)
        return images, keypoints_input, input_affine.astype(np.float32)

    def prepare(batch):
        crops = batch.pop("crop")
        images, keypoints_input, input_affine = tf.numpy_function(
            resample,
            [crops, *(batch[name] for name in _PLACING_FIELDS)],
            [tf.uint8, tf.float32, tf.float32],
            stateful=False,
        )
        size = crops.shape[0]
        return batch | {
            "image": tf.ensure_shape(images, (size, input_size[1], input_size[0], 3)),
            "keypoints_input": tf.ensure_shape(keypoints_input, (size, skeleton.num_keypoints, 3)),
            "input_affine": tf.ensure_shape(input_affine, (size, 2, 3)),
        }

    records = tf.data.Dataset.from_tensor_slices((files, counts)).interleave(
        lambda file, count: tf.data.TFRecordDataset(file).take(count), cycle_length=_INTERLEAVED_SHARDS
    )
    if shuffle_buffer:
        records = records.shuffle(shuffle_buffer, seed=int(rng.integers(2**31)))
    if num_batches is not None:
        records = records.repeat().take(num_batches * batch_size)
    return (
        records.batch(batch_size, drop_remainder=drop_remainder)
        .skip(skip_batches)
        .map(lambda serialized: parse_examples(serialized, skeleton.num_keypoints))
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def usable_shards(manifest, damage=()):
    """[(file name, number of records that can be read), …] of the shards of a manifest that have any.

    Args:
        manifest: the records' `Manifest`.
        damage: from `records.damage.find_damage`.
    """
    left = {part.shard: part.usable for part in damage}
    counted = [(shard.name, left.get(shard.name, shard.records)) for shard in manifest.shards]
    return [(name, count) for name, count in counted if count]


def check_usable(manifest, input_size, augmentation):
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
        have = "the plain view of each person only" if room is None else f"a scale factor up to {room}"
        raise RecordsError(
            f"the records' crops have room for {have}, but the augmentation asks for {needed}; build them "
            f"again with --boxes=ground_truth --scale_factor={needed} --overwrite, or augment less"
        )
    if augmentation is not None and augmentation.half_body_probability:
        room, needed = manifest.options["half_body_min_keypoints"], augmentation.half_body_min_keypoints
        if needed < room:
            raise RecordsError(
                f"the records' crops have room for half bodies of people with more than {room} keypoints, "
                f"but the augmentation asks for more than {needed}"
            )
    if not manifest.records:
        raise RecordsError("the records folder holds no people")


def resolution_note(manifest, input_size):
    """What a user shall know who asks for a larger network input than the records were built for, or None.

    Args:
        manifest: the records' `Manifest`.
        input_size: (width, height) asked for.
    """
    built, scale = manifest.input_size, manifest.options.get("max_crop_scale")
    exact = manifest.options.get("encoding") == "exact"
    if input_size[0] <= built[0] or exact or scale is None:
        return None
    stored = "x".join(str(round(side * scale)) for side in built)
    return (
        f"the records were built for inputs of {built[0]}x{built[1]} pixels and hold a person's box at up to "
        f"{stored}: an input of {input_size[0]}x{input_size[1]} can show no more than that. build_records.py "
        f"--input_size={input_size[0]}x{input_size[1]} stores more"
    )
