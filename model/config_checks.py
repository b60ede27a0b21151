"""What a run configuration's JSON has to be before anything of it is believed."""

import json

from hrpose.flag_values import LARGEST_INPUT_SIDE
from hrpose.json_checks import is_whole, received
from model.codecs import check_sigma
from records.manifest_checks import wrong_skeleton


def wrong_config(data: object, version: int) -> str | None:
    """Why parsed JSON is no run configuration, or None.

    Args:
        data: should be a dict as `model.run_config.write_config` writes it. Whether there is a network and a
            codec of these names is for the caller to look up.
        version: the latest that can be read.
    """
    if not isinstance(data, dict):
        return received("the file", "an object", data)
    written = data.get("version", 1)
    if not is_whole(written) or not written:
        return received("version", "a number", written)
    if written > version:
        return f"it is of version {written}, which a later HRPose wrote; this one reads up to {version}"
    for name in ("dataset", "records", "model", "codec"):
        if not isinstance(data[name], str):
            return received(name, "a text", data[name])
    for name in ("skeleton", "recipe"):
        if not isinstance(data[name], dict):
            return received(name, "an object", data[name])
    size = data["input_size"]
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_side, size)):
        return received("input_size", "width and height, multiples of 32 pixels", size)
    try:
        check_sigma(data["sigma"])
    except ValueError as error:
        return str(error)
    if problem := wrong_skeleton(data["skeleton"]):
        return problem
    if problem := _wrong_text({name: value for name, value in data.items() if name != "provenance"}):
        return problem
    made = data.get("provenance", {})
    if not isinstance(made, dict) or not isinstance(made.get("flags", {}), dict):
        return received("provenance", "an object, and flags in it", made)
    if not isinstance(made.get("continued", []), list):
        return received("continued", "a list", made["continued"])
    every = made.get("validated_every", 1)
    if not is_whole(every) or not every:
        return received("validated_every", "a number of epochs", every)
    return None


def _wrong_text(data):
    """Why the texts of parsed JSON cannot be written down again, or None. Flags may: they name files."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 40) : error.start]
        return f"a text has half of a character (a surrogate) after {near!r}"
    return None


def _is_side(value):
    return is_whole(value) and 0 < value <= LARGEST_INPUT_SIDE and value % 32 == 0
