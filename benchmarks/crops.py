"""How crops are stored: bytes an instance against fidelity of the network input, over real people.

The instances are the labeled ones of COCO's train split in `--dataset_dir` (by default ../shared/dataset/COCO
beside the repository); synthetic people stand in where it is absent, and the numbers are then not comparable.
The error is that of the input drawn from the record against the one drawn from the full image by the same
map, in gray levels, averaged over pixels, colors, views and instances. Run alone with
``python benchmarks/crops.py``.
"""

import contextlib
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import cv2
import numpy as np

from benchmarks.turns import COCO_DIR, argument_parser
from hrpose.command import import_tensorflow

INPUT_SIZE = (192, 256)
EPOCHS = range(3)  # draws of the official augmentation, seed 0
DECODE_ROUNDS = 3

SUBSAMPLED = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
FULL_COLOR = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_OPTIMIZE,
    1,
)
PROGRESSIVE = (*FULL_COLOR, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)

#: What is not the project's own: (name, quality for everybody, max_crop_scale, OpenCV's other settings).
OTHERS = (
    ("4:2:0", 90, 2.0, SUBSAMPLED),
    ("4:2:0", 95, 1.25, SUBSAMPLED),
    ("4:2:0", 95, 1.0, SUBSAMPLED),
    ("4:2:0", 95, 1e9, SUBSAMPLED),
    ("4:4:4", 90, 2.0, FULL_COLOR),
    ("4:4:4", 85, 2.0, FULL_COLOR),
    ("4:4:4", 88, 1.5, FULL_COLOR),
    ("4:4:4", 90, 1.25, FULL_COLOR),
    ("4:4:4, progressive", 90, 1.25, PROGRESSIVE),
)

#: The project's own: (encoding, quality, max_crop_scale).
OURS = (
    *(("jpeg", quality, scale) for scale in (1.0, 1.25, 1.5, 2.0) for quality in (75, 80, 85, 90)),
    ("exact", None, None),
)


@contextlib.contextmanager
def dataset(folder):
    """(annotation file, image folder) of the train split there; of a drawn one where it is absent."""
    from pipelines.synthetic.dataset import generate
    from pipelines.synthetic.options import SyntheticOptions

    annotations = folder / "annotations/person_keypoints_train2017.json"
    if annotations.exists():
        yield annotations, folder / "images/train2017"
        return
    print(f"{annotations} is not here: synthetic people instead, whose numbers are not in docs/records.md")
    with tempfile.TemporaryDirectory() as sampled:
        generate(Path(sampled), SyntheticOptions(train_images=40, val_images=1))
        yield f"{sampled}/annotations/person_keypoints_train.json", f"{sampled}/images/train"


def read_instances(annotations, images):
    """[(pixels, Image, Instance)] of everybody labeled."""
    from pipelines.annotations.coco import read_annotations, read_ground_truth
    from pipelines.images import read_image
    from records.skeletons import COCO

    instances = []
    for image in read_ground_truth(read_annotations(annotations), annotations, COCO).images:
        pixels = read_image(str(images), image)
        instances += [(pixels, image, instance) for instance in image.instances]
    return instances


def measure(instances, options, encode=None):
    """How one way of storing does.

    Args:
        instances: as `read_instances` returns them.
        options: `CropOptions`.
        encode: function of a crop (h, w, 3) that makes its bytes; the project's own by default.

    Returns:
        (mean bytes of a record in its file, mean error of the plain view, of augmented ones, decode seconds).
    """
    import tensorflow as tf

    from pipelines.crops import cut_crop, make_record
    from records.augment import Augmentation, augment
    from records.resample import warp_inputs
    from records.schema import parse_examples, to_example
    from records.skeletons import COCO
    from records.tfrecord import frame

    records = []
    for pixels, image, instance in instances:
        values = make_record(pixels, image, instance, COCO, options)
        if encode:
            crop, _ = cut_crop(pixels, values["center"], values["scale"], values["keypoints"], COCO, options)
            values["crop"] = encode(crop)
        records.append(to_example(values, COCO.num_keypoints))
    parsed = parse_examples(tf.constant(records), COCO.num_keypoints)
    batch = {name: tensor.numpy() for name, tensor in parsed.items()}

    errors = []
    for augmentation, epoch in [(None, 0), *((Augmentation(), epoch) for epoch in EPOCHS)]:
        input_affine, _ = augment(batch, augmentation, 0, epoch, COCO, INPUT_SIZE)
        inputs = warp_inputs(batch["crop"], batch["crop_affine"], input_affine, INPUT_SIZE)
        whole = [
            cv2.cvtColor(cv2.warpAffine(pixels, affine, INPUT_SIZE), cv2.COLOR_BGR2RGB)
            for (pixels, _, _), affine in zip(instances, input_affine, strict=True)
        ]
        errors.append(
            np.mean([cv2.absdiff(ours, theirs).mean() for ours, theirs in zip(inputs, whole, strict=True)])
        )

    crops = [np.frombuffer(crop, np.uint8) for crop in batch["crop"]]
    seconds = []
    for _ in range(DECODE_ROUNDS):
        start = time.perf_counter()
        for crop in crops:
            cv2.imdecode(crop, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        seconds.append(time.perf_counter() - start)
    return np.mean([len(frame(record)) for record in records]), errors[0], np.mean(errors[1:]), min(seconds)


def main():
    """Prints the table, in the form docs/records.md shows it, and the numbers of the defaults."""
    parser = argument_parser(__doc__)
    parser.add_argument("--dataset_dir", type=Path, default=COCO_DIR)
    arguments = parser.parse_args()
    import_tensorflow()
    cv2.setNumThreads(1)

    from pipelines.crops import CropOptions

    default = CropOptions(INPUT_SIZE)
    with dataset(arguments.dataset_dir) as (annotations, images):
        instances = read_instances(annotations, images)
    others, ours = OTHERS, OURS
    if arguments.smoke:
        instances, others, ours = instances[:3], OTHERS[:1], OURS[:1]
    print(f"Crops of {len(instances)} instances for {INPUT_SIZE[0]}x{INPUT_SIZE[1]} inputs\n")
    print("| encoding | quality | max. scale | KB an instance | plain | augmented | decoding |")
    print("|---|---|---|---|---|---|---|")
    stored, plain, augmented, base = measure(instances, default)

    def row(name, quality, scale, size, one, many, seconds):
        largest = "–" if scale is None or scale > 1e6 else f"{scale:g}"
        numbers = f"{size / 1e3:.1f} | {one:.2f} | {many:.2f} | {seconds / base:.2f}"
        print(f"| {name} | {quality or '–'} | {largest} | {numbers} |")

    for name, quality, scale, settings in others:
        flags = (cv2.IMWRITE_JPEG_QUALITY, quality, *settings)
        measured = measure(
            instances,
            replace(default, max_crop_scale=scale),
            lambda crop, flags=flags: cv2.imencode(".jpg", crop, flags)[1].tobytes(),
        )
        row(f"OpenCV {name}", quality, scale, *measured)
    for encoding, quality, scale in ours:
        changes = {"quality": quality, "max_crop_scale": scale} if encoding == "jpeg" else {}
        options = replace(default, encoding=encoding, **changes)
        mark = "**" if options == default else ""
        row(f"{mark}{encoding}{mark}", quality, scale, *measure(instances, options))
    print(f"\ncrop_kb_per_instance {stored / 1e3:.2f}")
    print(f"crop_error_plain {plain:.3f}\ncrop_error_augmented {augmented:.3f}\n")


if __name__ == "__main__":
    main()
