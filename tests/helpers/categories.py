"""Categories with keypoints of their own, as users have them."""

#: A paw print: names that say left and right, sigmas, an upper half.
FIVE = {
    "id": 7,
    "name": "paw",
    "keypoints": ["pad", "left_inner", "right_inner", "left_outer", "right_outer"],
    "skeleton": [[1, 2], [1, 3], [1, 4], [1, 5]],
    "sigmas": [0.05, 0.06, 0.06, 0.07, 0.07],
}

#: A ladder: as a labeling tool may leave it, with nothing but names.
TWENTY_THREE = {
    "id": 1,
    "name": "ladder",
    "keypoints": ["top", *[f"rung{n}{side}" for n in range(11) for side in "LR"]],
}
