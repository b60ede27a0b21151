"""The types of `nms/_kernels.pyx`, which says what the arguments are. All arrays are contiguous."""

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]

def oks_matrix(
    keypoints: _Floats, areas: _Floats, spreads: _Floats, min_visibility: float, counted: _Indices
) -> _Floats: ...
def oks_nms(
    keypoints: _Floats,
    areas: _Floats,
    spreads: _Floats,
    min_visibility: float,
    counted: _Indices,
    scores: _Floats,
    members: _Indices,
    ends: _Indices,
    threshold: float,
) -> _Indices: ...
def soft_oks_nms(
    keypoints: _Floats,
    areas: _Floats,
    spreads: _Floats,
    min_visibility: float,
    counted: _Indices,
    scores: _Floats,
    members: _Indices,
    ends: _Indices,
    threshold: float,
    max_kept: int,
) -> _Indices: ...
def box_nms(boxes: _Floats, order: _Indices, threshold: float) -> _Indices: ...
