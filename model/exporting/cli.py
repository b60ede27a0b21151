"""The command ``model/export.py``."""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from hrpose.command import CommandError, UsageError, captured_stderr, import_tensorflow, run
from model.run_config import RunConfig, read_known_config
from model.run_folder import checkpoints_folder, load_checkpoint
from model.weight_choice import choose_averaged, choose_epoch, define_weight_flags

NAME = "python model/export.py"

_ABOUT = """
Writes a trained network for programs that do not have this project: as SavedModel (TensorFlow), ONNX
(onnxruntime and many others) or LiteRT (.tflite: phones, edge devices).

  python model/export.py --run_dir output --format onnx --decode --to hrpose.onnx
  python model/export.py --run_dir output --epoch 210 --format litert --precision float16 --to hrpose.tflite

The input, called image, is a batch of RGB crops of one instance each, of the size the network was trained at,
as (N, height, width, 3). With --decode it is uint8, and the output, keypoints, is (N, K, 3) float32: x, y in
pixels of that crop (the center of the first pixel is 0, 0) and the score. Without, it is float32, normalized
as (value / 255 - mean) / std, and the output, heatmaps, is (N, height / 4, width / 4, K) float32.

Each export says in JSON what it expects and means: sizes, mean and std, keypoint names, flip pairs, sigmas,
codec, epoch, and whether the weights are averaged. It is assets.extra/hrpose.json of a SavedModel, the
metadata property hrpose of an ONNX file, and hrpose.json in the ZIP archive at the end of a .tflite file
(unzip -p FILE hrpose.json).

Exits with 0 if the export is written, 2 for wrong usage, 1 if it cannot be made.
"""

EXAMPLES = {
    "saved_model": """
        import numpy as np, tensorflow as tf
        image = np.zeros({shape}, "{dtype}")
        network = tf.saved_model.load({path!r}).signatures["serving_default"]
        {output} = network(image=tf.constant(image))["{output}"].numpy()
        print({output}.shape)
    """,
    "onnx": """
        import numpy as np, onnxruntime
        image = np.zeros({shape}, "{dtype}")
        network = onnxruntime.InferenceSession({path!r})
        {output} = network.run(None, {{"image": image}})[0]
        print({output}.shape)
    """,
    "litert": """
        import numpy as np, ai_edge_litert.interpreter as litert
        image = np.zeros({shape}, "{dtype}")
        network = litert.Interpreter({path!r}).get_signature_runner()
        {output} = network(image=image)["{output}"]
        print({output}.shape)
    """,
}
ENDINGS = {"saved_model": "", "onnx": ".onnx", "litert": ".tflite"}
RUNTIMES = {"saved_model": "tensorflow", "onnx": "onnxruntime", "litert": "ai-edge-litert"}
#: Images per call; far above what any device's memory could take.
LARGEST_BATCH = 2**16
#: Images that int8 is measured on; the converter's guide asks for about 100 to 500.
CALIBRATION_IMAGES = 200


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Attributes:
        run_dir: the run's folder, with model_dump/.
        epoch: which checkpoint: a number, "best" for the one that validated best, None for the last.
        averaged: whether to take the moving average of the weights; None for where the run keeps one.
        file_format: a key of `EXAMPLES`.
        path: what to write.
        decode: whether normalization and decoding are inside the graph.
        batch_size: images per call; None for any number.
        precision: "float32", "float16" or "int8".
        images: folder of images that int8 is measured on, or None.
        overwrite: whether to replace what is there.
    """

    run_dir: str
    epoch: int | str | None
    averaged: bool | None
    file_format: str
    path: Path
    decode: bool
    batch_size: int | None
    precision: str
    images: str | None
    overwrite: bool


def example(
    file_format: str, path: Path | str, input_size: Sequence[int], decode: bool, batch_size: int | None
) -> str:
    """Five lines of Python that run an export.

    Args:
        file_format: a key of `EXAMPLES`.
        path: of the export.
        input_size: (width, height).
        decode: whether normalization and decoding are inside the graph.
        batch_size: images per call; None for any number.
    """
    text = EXAMPLES[file_format].format(
        path=str(path),
        shape=(batch_size or 1, input_size[1], input_size[0], 3),
        dtype="uint8" if decode else "float32",
        output="keypoints" if decode else "heatmaps",
    )
    return textwrap.indent(textwrap.dedent(text).strip(), "  ")


DESCRIPTION = "\n\n".join(
    [
        _ABOUT.strip(),
        "Running an export of 192x256 written with --decode:",
        *(
            f"{name} (pip install {RUNTIMES[name]}):\n"
            + example(name, f"hrpose{ENDINGS[name]}", (192, 256), True, None)
            for name in EXAMPLES
        ),
    ]
)


class _BatchParser(flags.ArgumentParser[int]):
    """Images per call; "any" is -1."""

    def parse(self, argument: str) -> int:
        if argument == "any":
            return -1
        if not (argument.isascii() and argument.isdecimal()) or not 1 <= int(argument[:20]) <= LARGEST_BATCH:
            raise ValueError(
                f"expected a whole number from 1 to {LARGEST_BATCH:,}, or any; received {argument[:100]!r}"
            )
        return int(argument)

    def flag_type(self) -> str:
        return "a number, or any"


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags in an absl `FlagValues`."""
    flags.DEFINE_string(
        "run_dir", "output", "The run's folder, as train/main.py calls it.", flag_values=values
    )
    define_weight_flags(values)
    flags.DEFINE_enum("format", None, tuple(EXAMPLES), "What to write.", flag_values=values)
    flags.DEFINE_string(
        "to",
        None,
        "File to write (for saved_model a folder); .onnx or .tflite is added if missing.",
        flag_values=values,
    )
    flags.DEFINE_bool("decode", False, "Put normalization and decoding into the graph.", flag_values=values)
    flags.DEFINE(
        _BatchParser(),
        "batch_size",
        None,
        "Images per call: a number, or any; by default any, and 1 for litert, because most accelerators need "
        "a fixed shape.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ("float32", "float16", "int8"),
        "For litert: float16 halves the file; int8 quarters it and also rounds what is computed, and needs "
        "--images.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "images",
        None,
        "For int8: a folder of images of instances like those the network will see; up to "
        f"{CALIBRATION_IMAGES} are read and cut to the input's shape, to measure how large activations get.",
        flag_values=values,
    )
    flags.DEFINE_bool("overwrite", False, "Replace what is there.", flag_values=values)


def options_from(values: flags.FlagValues) -> ExportOptions:
    """The `ExportOptions` that flags ask for.

    Raises:
        UsageError: naming the flags that do not go together, or the one that is wrong.
    """
    for flag, what in (("format", "|".join(EXAMPLES)), ("to", "what to write")):
        if values[flag].value is None:
            raise UsageError(f"--{flag} is missing: {what}")
    if values.precision != "float32" and values.format != "litert":
        raise UsageError(f"--precision={values.precision} is for --format=litert only")
    if values.precision == "int8" and values.decode:
        raise UsageError(
            "--precision=int8 is not available with --decode: x, y and score would be rounded to the same "
            "255 steps; leave one of them out"
        )
    if (values.precision == "int8") != (values.images is not None):
        raise UsageError("--precision=int8 and --images=DIR go together")
    ending = ENDINGS[values.format]
    if not Path(values.to).name:
        raise UsageError(f"--to={values.to}: expected a file to write, for example hrpose{ending}")
    batch_size = values.batch_size or (1 if values.format == "litert" else -1)
    return ExportOptions(
        run_dir=values.run_dir,
        epoch=values.epoch,
        averaged=values.averaged,
        file_format=values.format,
        path=Path(values.to if values.to.endswith(ending) else values.to + ending),
        decode=values.decode,
        batch_size=None if batch_size < 0 else batch_size,
        precision=values.precision,
        images=values.images,
        overwrite=values.overwrite,
    )


def main(values: flags.FlagValues) -> None:
    """Exports what the flags ask for, and shows how to run it."""
    options = options_from(values)
    folder = checkpoints_folder(options.run_dir)
    config = read_known_config(folder)
    epoch = choose_epoch(folder, options.epoch)
    averaged = choose_averaged(config, folder, options.averaged)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a conversion computes next to nothing
    import_tensorflow()
    with captured_stderr((CommandError, OSError)):
        _export(options, config, folder, epoch, averaged)
    path = options.path
    size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
    skeleton = f"{config.num_keypoints} keypoints of {config.skeleton['name']}"
    weights = ", averaged weights" if averaged else ""
    print(f"epoch {epoch} of {options.run_dir}{weights} ({config.model}, {config.dataset}, {skeleton})")
    print(f"wrote {path} ({size / 1e6:.1f} MB, {options.precision})")
    print(f"To run it: pip install {RUNTIMES[options.file_format]}, and for example")
    print(example(options.file_format, path, config.input_size, options.decode, options.batch_size))


def _export(options: ExportOptions, config: RunConfig, folder: Path, epoch: int, averaged: bool) -> None:
    from model.exporting import formats
    from model.image_files import read_images

    model = config.network.build(config.input_size, config.num_keypoints)
    load_checkpoint(folder, epoch, model, ema=averaged)
    arguments = dict(
        model=model,
        config=config,
        epoch=epoch,
        path=options.path,
        decode=options.decode,
        batch=options.batch_size,
        overwrite=options.overwrite,
        averaged=averaged,
    )
    if options.file_format == "litert":
        images = None
        if options.images is not None:
            images = read_images(options.images, config.input_size, CALIBRATION_IMAGES)
        formats.export_litert(**arguments, precision=options.precision, images=images)
    else:
        export = {"saved_model": formats.export_saved_model, "onnx": formats.export_onnx}
        export[options.file_format](**arguments)


def command(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv)
