"""Arguments of ``model/export.py``."""

import argparse
import os
import sys
import textwrap
from pathlib import Path

from hrpose.command import CommandError, captured_stderr, prepare_process
from model.run_config import read_known_config
from model.run_folder import load_checkpoint
from model.weight_choice import add_weight_choice, choose_averaged, choose_epoch

NAME = "python model/export.py"

DESCRIPTION = """
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
USER_ERRORS = (CommandError, OSError)
ENDINGS = {"saved_model": "", "onnx": ".onnx", "litert": ".tflite"}
RUNTIMES = {"saved_model": "tensorflow", "onnx": "onnxruntime", "litert": "ai-edge-litert"}
#: Images per call; far above what any device's memory could take.
LARGEST_BATCH = 2**16
#: Images that int8 is measured on; the converter's guide asks for about 100 to 500.
CALIBRATION_IMAGES = 200


def example(file_format, path, input_size, decode, batch):
    """Five lines of Python that run an export.

    Args:
        file_format: a key of `EXAMPLES`.
        path: of the export.
        input_size: (width, height).
        decode, batch: as for the exporters.
    """
    text = EXAMPLES[file_format].format(
        path=str(path),
        shape=(batch or 1, input_size[1], input_size[0], 3),
        dtype="uint8" if decode else "float32",
        output="keypoints" if decode else "heatmaps",
    )
    return textwrap.indent(textwrap.dedent(text).strip(), "  ")


def _batch(text):
    if text == "any":
        return None
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:20]) <= LARGEST_BATCH:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 1 to {LARGEST_BATCH:,}, or any; received {text[:100]!r}"
        )
    return int(text)


def parser():
    """The command's arguments."""
    shown = [
        f"{name} (pip install {RUNTIMES[name]}):\n"
        + example(name, f"hrpose{ENDINGS[name]}", (192, 256), True, None)
        for name in EXAMPLES
    ]
    result = argparse.ArgumentParser(
        prog=NAME,
        description=DESCRIPTION,
        epilog="running an export of 192x256 written with --decode\n\n" + "\n\n".join(shown),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = result.add_argument
    add(
        "--run_dir",
        type=os.path.expanduser,
        default="output",
        metavar="DIR",
        help="what train/main.py calls --run_dir (default: output)",
    )
    add_weight_choice(result)
    add("--format", required=True, choices=tuple(EXAMPLES), help="what to write")
    add(
        "--to",
        type=os.path.expanduser,
        required=True,
        metavar="PATH",
        help="file to write (for saved_model a folder); .onnx or .tflite is added if missing",
    )
    add("--decode", action="store_true", help="put normalization and heatmap decoding into the graph")
    add(
        "--batch",
        type=_batch,
        default=0,
        metavar="N|any",
        help="images per call (default: any; for litert 1, because most accelerators need a fixed shape)",
    )
    add(
        "--precision",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="for litert: float16 halves the file; int8 quarters it and also rounds what is computed, and "
        "needs --images (default: float32)",
    )
    add(
        "--images",
        type=os.path.expanduser,
        metavar="DIR",
        help="for int8: images of instances like those the network will see; up to "
        f"{CALIBRATION_IMAGES} are read and cut to the input's shape, to measure how large activations get",
    )
    add("--overwrite", action="store_true", help="replace what is there")
    return result


def _parse(argv):
    command_parser = parser()
    options = command_parser.parse_args(argv)
    if options.batch == 0:  # not given
        options.batch = 1 if options.format == "litert" else None
    if options.precision != "float32" and options.format != "litert":
        command_parser.error(f"--precision={options.precision} is for --format=litert only")
    if options.precision == "int8" and options.decode:
        command_parser.error(
            "--precision=int8 is not available with --decode: x, y and score would be rounded to the same "
            "255 steps; leave one of them out"
        )
    if (options.precision == "int8") != (options.images is not None):
        command_parser.error("--precision=int8 and --images=DIR go together")
    ending = ENDINGS[options.format]
    if not Path(options.to).name:
        command_parser.error(f"--to={options.to}: expected a file to write, for example hrpose{ending}")
    options.to = Path(options.to if options.to.endswith(ending) else options.to + ending)
    return options


def _run(options):
    folder = Path(options.run_dir) / "model_dump"
    config = read_known_config(folder)
    epoch = choose_epoch(folder, options.epoch)
    averaged = choose_averaged(config, folder, options.averaged)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a conversion computes next to nothing
    with captured_stderr(USER_ERRORS):
        _export(options, config, folder, epoch, averaged)
    size = sum(path.stat().st_size for path in [options.to, *options.to.rglob("*")] if path.is_file())
    skeleton = f"{config.num_keypoints} keypoints of {config.skeleton['name']}"
    weights = ", averaged weights" if averaged else ""
    print(f"epoch {epoch} of {options.run_dir}{weights} ({config.model}, {config.dataset}, {skeleton})")
    print(f"wrote {options.to} ({size / 1e6:.1f} MB, {options.precision})")
    print(f"To run it: pip install {RUNTIMES[options.format]}, and for example")
    print(example(options.format, options.to, config.input_size, options.decode, options.batch))


def _export(options, config, folder, epoch, averaged):
    from model.exporting import formats
    from model.image_files import read_images

    model = config.network.build(config.input_size, config.num_keypoints)
    load_checkpoint(folder, epoch, model, ema=averaged)
    arguments = dict(
        model=model,
        config=config,
        epoch=epoch,
        path=options.to,
        decode=options.decode,
        batch=options.batch,
        overwrite=options.overwrite,
        averaged=averaged,
    )
    if options.format == "litert":
        images = None
        if options.images is not None:
            images = read_images(options.images, config.input_size, CALIBRATION_IMAGES)
        formats.export_litert(**arguments, precision=options.precision, images=images)
    else:
        export = {"saved_model": formats.export_saved_model, "onnx": formats.export_onnx}
        export[options.format](**arguments)


def command(argv=None):
    """Runs the command and returns its exit code."""
    prepare_process()
    try:
        _run(_parse(argv))
    except SystemExit as end:  # argparse has printed what is wrong (2), or the help (0)
        return end.code
    except USER_ERRORS as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{NAME}: interrupted", file=sys.stderr)
        return 130
    return 0
