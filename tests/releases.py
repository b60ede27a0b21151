"""Made-up releases in the datasets' own forms: MPII's MATLAB struct and PoseTrack's files."""

import numpy as np
from scipy.io import savemat

EMPTY = np.zeros((0, 0))
#: The head's top, a joint.
POINT = {"x": np.uint8(30), "y": np.int16(40), "id": np.uint8(9), "is_visible": "1"}


def structs(elements):
    """A MATLAB struct array; a field that an element lacks is empty there, as in MATLAB."""
    if not elements:
        return EMPTY
    names = list(dict.fromkeys(name for element in elements for name in element))
    array = np.empty((1, len(elements)), dtype=[(name, object) for name in names])
    for column, element in enumerate(elements):
        array[0, column] = tuple(element.get(name, EMPTY) for name in names)
    return array


def rect(points=(), **changes):
    """One element of MPII's `annorect`, a person."""
    fields = {"x1": np.uint8(10), "y1": np.int16(-5), "x2": 50.0, "y2": np.uint8(45), "scale": 2.0}
    fields |= {"objpos": {"x": np.uint8(40), "y": np.int16(50)}}
    fields |= {"annopoints": {"point": structs(list(points))}} if points else {}
    return {name: value for name, value in (fields | changes).items() if value is not None}


def write_release(folder, pictures, img_train=None, name="release.mat", **changes):
    """An MPII release of [(file name, list of rects)]; by default everything is of the training part."""
    annolist = structs([{"image": {"name": name}, "annorect": structs(rects)} for name, rects in pictures])
    img_train = np.ones((1, len(pictures)), np.uint8) if img_train is None else np.array([img_train])
    path = folder / name
    savemat(
        path, {"RELEASE": {"annolist": annolist, "img_train": img_train} | changes}, long_field_names=True
    )
    return path
