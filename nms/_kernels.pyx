# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled loops of `nms`. Arguments are trusted: `nms/__init__.py` checks them and documents the rules.

All arrays are C-contiguous: ``keypoints`` (N, K, 3), ``areas`` (N,), ``spreads`` (K,), ``scores`` (N,) and
``boxes`` (N, 4) float64. ``spreads`` are (2 sigma)^2, the k^2 of the OKS. ``counted`` (N,) intp says how many
keypoints of a pose have a score above ``min_visibility``, which is -inf for "all keypoints count".

``members`` (N,) intp are the indices of all poses, image by image and rising within one; ``ends`` (I,) intp say
where in them each image's poses end.
"""

import numpy as np

from libc.math cimport exp

# Keeps a zero area from dividing by zero; pycocotools and the official code add the same np.spacing(1).
cdef double TINY = 2.0 ** -52


cdef double _oks(
    const double[:, :, ::1] keypoints,
    const double[::1] areas,
    const double[::1] spreads,
    double min_visibility,
    const Py_ssize_t[::1] counted,
    Py_ssize_t i,
    Py_ssize_t j,
) noexcept nogil:
    """OKS of poses i and j over the keypoints whose score in pose j is above ``min_visibility``; 0 if none is."""
    if counted[j] == 0:
        return 0.0
    cdef Py_ssize_t k
    cdef double dx, dy, total = 0
    cdef double twice_area = areas[i] + areas[j] + 2 * TINY  # 2 s^2, s^2 being the mean of the two areas
    for k in range(keypoints.shape[1]):
        if keypoints[j, k, 2] > min_visibility:
            dx = keypoints[i, k, 0] - keypoints[j, k, 0]
            dy = keypoints[i, k, 1] - keypoints[j, k, 1]
            total += exp(-(dx * dx + dy * dy) / (twice_area * spreads[k]))
    return total / counted[j]


cdef bint _surely_unlike(
    const double[:, :, ::1] keypoints,
    const double[::1] areas,
    const double[::1] spreads,
    double min_visibility,
    const Py_ssize_t[::1] counted,
    double threshold,
    Py_ssize_t i,
    Py_ssize_t j,
) noexcept nogil:
    """Whether a few keypoints show already that the OKS of poses i and j is not above the threshold.

    Most pairs of instances are far apart, and a high threshold decides them after two keypoints without a single
    exponential: 1 + x <= e^x, so that a keypoint with exp(-x) takes at least 1 - 1 / (1 + x) = x / (1 + x) from
    the sum. Where numbers overflow, every comparison with NaN is false, so that the answer is "not sure".
    """
    cdef Py_ssize_t k
    cdef double dx, dy, squared
    cdef double twice_area = areas[i] + areas[j] + 2 * TINY
    # What the sum may miss until the mean is below the threshold; the margin is far above rounding errors.
    cdef double to_lose = counted[j] * (1 - threshold + 1e-9)
    for k in range(keypoints.shape[1]):
        if keypoints[j, k, 2] > min_visibility:
            dx = keypoints[i, k, 0] - keypoints[j, k, 0]
            dy = keypoints[i, k, 1] - keypoints[j, k, 1]
            squared = dx * dx + dy * dy
            to_lose -= squared / (squared + twice_area * spreads[k])
            if to_lose < 0:
                return True
    return False


def oks_matrix(
    const double[:, :, ::1] keypoints,
    const double[::1] areas,
    const double[::1] spreads,
    double min_visibility,
    const Py_ssize_t[::1] counted,
):
    """(N, N) float64."""
    cdef Py_ssize_t i, j, count = keypoints.shape[0]
    result = np.empty((count, count))
    cdef double[:, ::1] out = result
    with nogil:
        for i in range(count):
            for j in range(count):
                out[i, j] = _oks(keypoints, areas, spreads, min_visibility, counted, i, j)
    return result


def oks_nms(
    const double[:, :, ::1] keypoints,
    const double[::1] areas,
    const double[::1] spreads,
    double min_visibility,
    const Py_ssize_t[::1] counted,
    const double[::1] scores,
    const Py_ssize_t[::1] members,
    const Py_ssize_t[::1] ends,
    double threshold,
):
    """(M,) intp: kept indices, image by image, best first."""
    kept_array = np.empty(len(members), np.intp)
    cdef Py_ssize_t[::1] kept = kept_array
    cdef Py_ssize_t[::1] remaining = np.array(members)
    cdef Py_ssize_t image, start = 0, end, left, n, j, place, best, taken, count = 0
    with nogil:
        for image in range(ends.shape[0]):
            end = ends[image]
            place = start  # of the best of remaining[start:end], the poses still to be decided
            for n in range(start + 1, end):
                if scores[remaining[n]] > scores[remaining[place]]:
                    place = n
            while start < end:
                best, taken = remaining[place], place
                kept[count] = best
                count += 1
                left = place = start
                for n in range(start, end):
                    j = remaining[n]
                    if n == taken or not (
                        _surely_unlike(
                            keypoints, areas, spreads, min_visibility, counted, threshold, best, j
                        )
                        or _oks(keypoints, areas, spreads, min_visibility, counted, best, j) <= threshold
                    ):
                        continue
                    remaining[left] = j
                    if scores[j] > scores[remaining[place]]:
                        place = left
                    left += 1
                end = left
            start = ends[image]
    return kept_array[:count].copy()


def soft_oks_nms(
    const double[:, :, ::1] keypoints,
    const double[::1] areas,
    const double[::1] spreads,
    double min_visibility,
    const Py_ssize_t[::1] counted,
    const double[::1] scores,
    const Py_ssize_t[::1] members,
    const Py_ssize_t[::1] ends,
    double threshold,
    Py_ssize_t max_kept,
):
    """(M,) intp: at most ``max_kept`` indices an image, image by image, in the order taken."""
    kept_array = np.empty(len(members), np.intp)
    cdef Py_ssize_t[::1] kept = kept_array
    cdef Py_ssize_t[::1] remaining = np.array(members)
    cdef double[::1] lowered = np.array(scores)
    cdef Py_ssize_t image, start = 0, end, last, n, place, best, count = 0
    cdef double overlap
    with nogil:
        for image in range(ends.shape[0]):
            end = ends[image]
            last = start + min(end - start, max_kept)
            for start in range(start, last):
                place = start
                for n in range(start + 1, end):
                    if lowered[remaining[n]] > lowered[remaining[place]]:
                        place = n
                best = remaining[place]
                # Moved along one by one, so that of equal scores the lower index stays in front.
                for n in range(place, start, -1):
                    remaining[n] = remaining[n - 1]
                remaining[start] = best
                kept[count] = best
                count += 1
                for n in range(start + 1, end):
                    overlap = _oks(
                        keypoints, areas, spreads, min_visibility, counted, best, remaining[n]
                    )
                    lowered[remaining[n]] *= exp(-overlap * overlap / threshold)
            start = end
    return kept_array[:count].copy()


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
    # In place: remaining[:kept] is kept, remaining[kept:end] is still to be decided, best first.
    with nogil:
        while kept < end:
            left = kept + 1
            for n in range(kept + 1, end):
                if _iou(boxes, remaining[kept], remaining[n]) <= threshold:
                    remaining[left] = remaining[n]
                    left += 1
            end = left
            kept += 1
    return remaining_array[:kept].copy()
