# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled loops of `nms`. Arguments are trusted: `nms/__init__.py` checks them and documents the rules.

All arrays are C-contiguous: ``keypoints`` (N, K, 3), ``areas`` (N,), ``sigmas`` (K,), ``scores`` (N,) and
``boxes`` (N, 4) float64; ``order`` (N,) intp, the indices best first. ``min_visibility`` is -inf for "all
joints count".
"""

import numpy as np

from libc.math cimport exp

# Keeps a zero area from dividing by zero; pycocotools and the official code add the same np.spacing(1).
cdef double TINY = 2.0 ** -52


cdef double _oks(
    const double[:, :, ::1] keypoints,
    const double[::1] areas,
    const double[::1] sigmas,
    double min_visibility,
    double floor,
    Py_ssize_t i,
    Py_ssize_t j,
) noexcept nogil:
    """OKS of poses i and j over the joints whose score in pose j is above ``min_visibility``; 0 if none is.

    Returns 0 as well once the OKS cannot reach ``floor`` any more: most pairs of people are far apart, and a
    high floor decides them after two or three joints. A floor of 0 gives every value in full.
    """
    cdef Py_ssize_t k, counted = 0
    for k in range(keypoints.shape[1]):
        counted += keypoints[j, k, 2] > min_visibility
    if counted == 0:
        return 0.0
    cdef double dx, dy, width, similarity, total = 0
    cdef double twice_area = areas[i] + areas[j] + 2 * TINY  # 2 s^2, s^2 being the mean of the two areas
    # What the sum may miss until the mean is below the floor; the margin is far above rounding errors.
    cdef double to_lose = counted * (1 - floor) + 1e-9
    for k in range(keypoints.shape[1]):
        if keypoints[j, k, 2] > min_visibility:
            dx = keypoints[i, k, 0] - keypoints[j, k, 0]
            dy = keypoints[i, k, 1] - keypoints[j, k, 1]
            width = 2 * sigmas[k]
            similarity = exp(-(dx * dx + dy * dy) / (twice_area * width * width))
            total += similarity
            to_lose -= 1 - similarity
            if to_lose < 0:
                return 0.0
    return total / counted


def oks_matrix(
    const double[:, :, ::1] keypoints,
    const double[::1] areas,
    const double[::1] sigmas,
    double min_visibility,
):
    """(N, N) float64."""
    cdef Py_ssize_t i, j, count = keypoints.shape[0]
    result = np.empty((count, count))
    cdef double[:, ::1] out = result
    with nogil:
        for i in range(count):
            for j in range(count):
                out[i, j] = _oks(keypoints, areas, sigmas, min_visibility, 0, i, j)
    return result


def oks_nms(
    const double[:, :, ::1] keypoints,
    const double[::1] areas,
    const double[::1] sigmas,
    double min_visibility,
    const Py_ssize_t[::1] order,
    double threshold,
):
    """(M,) intp: kept indices, best first."""
    remaining_array = np.array(order)
    cdef Py_ssize_t[::1] remaining = remaining_array
    cdef Py_ssize_t kept = 0, end = order.shape[0], left, n
    cdef double oks
    # In place: remaining[:kept] is kept, remaining[kept:end] is still to be decided, best first.
    with nogil:
        while kept < end:
            left = kept + 1
            for n in range(kept + 1, end):
                oks = _oks(
                    keypoints, areas, sigmas, min_visibility, threshold, remaining[kept], remaining[n]
                )
                if oks <= threshold:
                    remaining[left] = remaining[n]
                    left += 1
            end = left
            kept += 1
    return remaining_array[:kept].copy()


def soft_oks_nms(
    const double[:, :, ::1] keypoints,
    const double[::1] areas,
    const double[::1] sigmas,
    double min_visibility,
    const double[::1] scores,
    double threshold,
    Py_ssize_t max_kept,
):
    """(min(N, max_kept),) intp: indices in the order taken."""
    cdef Py_ssize_t count = keypoints.shape[0], taken, j, best
    cdef Py_ssize_t wanted = min(count, max_kept)
    cdef double overlap
    kept_array = np.empty(wanted, np.intp)
    cdef Py_ssize_t[::1] kept = kept_array
    cdef double[::1] lowered = np.array(scores)
    cdef unsigned char[::1] is_taken = np.zeros(count, np.uint8)
    with nogil:
        for taken in range(wanted):
            best = -1
            for j in range(count):
                if not is_taken[j] and (best < 0 or lowered[j] > lowered[best]):
                    best = j
            is_taken[best] = 1
            kept[taken] = best
            for j in range(count):
                if not is_taken[j]:
                    overlap = _oks(keypoints, areas, sigmas, min_visibility, 0, best, j)
                    lowered[j] *= exp(-overlap * overlap / threshold)
    return kept_array


cdef double _iou(const double[:, ::1] boxes, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """Intersection over union of two boxes of inclusive pixels."""
    cdef double width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0]) + 1
    cdef double height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    cdef double area_i = (boxes[i, 2] - boxes[i, 0] + 1) * (boxes[i, 3] - boxes[i, 1] + 1)
    cdef double area_j = (boxes[j, 2] - boxes[j, 0] + 1) * (boxes[j, 3] - boxes[j, 1] + 1)
    return width * height / (area_i + area_j - width * height)


def box_nms(const double[:, ::1] boxes, const Py_ssize_t[::1] order, double threshold):
    """(M,) intp: kept indices, best first."""
    remaining_array = np.array(order)
    cdef Py_ssize_t[::1] remaining = remaining_array
    cdef Py_ssize_t kept = 0, end = order.shape[0], left, n
    with nogil:  # the same scheme as in oks_nms
        while kept < end:
            left = kept + 1
            for n in range(kept + 1, end):
                if _iou(boxes, remaining[kept], remaining[n]) <= threshold:
                    remaining[left] = remaining[n]
                    left += 1
            end = left
            kept += 1
    return remaining_array[:kept].copy()
