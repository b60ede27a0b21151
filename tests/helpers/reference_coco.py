"""COCO's ten numbers as its own tool, pycocotools, computes them: the reference for
`evaluate.metrics.coco`.
"""

import contextlib
import copy
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def official_metrics(ground_truth, results, sigmas=None, image_ids=None):
    """(10,) float64, in pycocotools' order.

    Args:
        ground_truth: parsed annotation file. Instances need an "id" other than 0, which pycocotools takes for
            no match.
        results: list of COCO result dicts.
        sigmas: (K,) float; None: COCO's.
        image_ids: the images to look at; None: all.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth_index = COCO()
        ground_truth_index.dataset = copy.deepcopy(ground_truth)
        ground_truth_index.createIndex()
        # loadRes fails on an empty list; an index of nothing is what it would have to make of it.
        result_index = ground_truth_index.loadRes(copy.deepcopy(results)) if results else COCO()
        evaluation = COCOeval(ground_truth_index, result_index, "keypoints")
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, np.float64)
        if image_ids is not None:
            evaluation.params.imgIds = sorted(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.array(evaluation.stats)
