"""What a run configuration's JSON has to be before anything of it is believed."""

import math

#: Pixels; far above what any network could take.
_LARGEST_SIDE = 2**14

#: The least and the largest width of a target Gaussian, in heatmap pixels. The published runs have 1 to 3;
#: float32 cannot work with the square of much smaller or larger ones.
SIGMAS = (0.1, 100.0)


def wrong_config(data):
    """Why parsed JSON is no run configuration, or None.

    Args:
        data: should be a dict as `dataclasses.asdict` makes it of a `model.runs.RunConfig`. Whether there is
            a network and a codec of these names is for the caller to look up.
    """
    if not isinstance(data, dict):
        return _received("the file", "an object", data)
    for name in ("dataset", "records", "model", "codec"):
        if not isinstance(data[name], str):
            return _received(name, "a text", data[name])
    for name in ("skeleton", "recipe"):
        if not isinstance(data[name], dict):
            return _received(name, "an object", data[name])
    size = data["input_size"]
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_side, size)):
        return _received("input_size", "width and height, multiples of 32 pixels", size)
    if not is_finite(data["sigma"]) or not SIGMAS[0] <= data["sigma"] <= SIGMAS[1]:
        return _received("sigma", "a number from {:g} to {:g} heatmap pixels".format(*SIGMAS), data["sigma"])
    if not isinstance(data["skeleton"]["name"], str):
        return _received("the skeleton's name", "a text", data["skeleton"]["name"])
    keypoints = data["skeleton"]["keypoints"]
    if not isinstance(keypoints, list) or not keypoints or not all(isinstance(k, str) for k in keypoints):
        return _received("the skeleton's keypoints", "a list of names", keypoints)
    made = data.get("provenance", {})
    if not isinstance(made, dict) or not isinstance(made.get("flags", {}), dict):
        return _received("provenance", "an object, and flags in it", made)
    if not isinstance(made.get("continued", []), list):
        return _received("continued", "a list", made["continued"])
    every = made.get("validated_every", 1)
    if not is_whole(every) or not every:
        return _received("validated_every", "a number of epochs", every)
    return None


def is_whole(value):
    """Whether a parsed JSON value is a whole number from 0 that int64 can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_finite(value):
    """Whether a parsed JSON value is a number that float64 can hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**1023
    return isinstance(value, float) and math.isfinite(value)


def _is_side(value):
    return is_whole(value) and 0 < value <= _LARGEST_SIDE and value % 32 == 0


def _received(what, expected, value):
    return f"{what} should be {expected}, received {repr(value)[:100]}"
