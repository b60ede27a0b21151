"""Top-down human pose estimation: the public API, each name loaded when it is first used.

>>> import hrpose
>>> center, scale = hrpose.box_to_center_scale([10, 20, 30, 40], input_size=(192, 256))

The packages behind it (`records`, `evaluate`, …) have names that others' packages have too. In a checkout
they are at the top; pip installs them inside of this package, where only workers see them (`hrpose.worker`).
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__version__ = "0.2.0"

_INSTALLED = Path(__file__).resolve().parent / "_packages"

#: The folder with the packages: inside this one where pip has installed them, beside it in a checkout.
PACKAGES = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1]

#: {public name: module:name there}.
_API = {
    "COCO": "records.skeletons:COCO",
    "MPII": "records.skeletons:MPII",
    "POSETRACK": "records.skeletons:POSETRACK",
    "Skeleton": "records.skeletons:Skeleton",
    "affine_to_input": "records.geometry:affine_to_input",
    "box_nms": "nms:box_nms",
    "box_to_center_scale": "records.geometry:box_to_center_scale",
    "build_hrnet": "model.hrnet:build_hrnet",
    "codec": "model.codecs:codec",
    "evaluate_coco": "evaluate.metrics.coco:evaluate_coco",
    "evaluate_posetrack": "evaluate.metrics.posetrack:evaluate_posetrack",
    "load_ground_truth": "evaluate.metrics.mpii_files:load_ground_truth",
    "load_state_dict": "model.official_weights:load_state_dict",
    "oks_matrix": "nms:oks_matrix",
    "oks_nms": "nms:oks_nms",
    "pckh": "evaluate.metrics.pckh:pckh",
    "read_records": "records.reader:read_records",
    "skeleton_from_coco_category": "records.coco_category:skeleton_from_coco_category",
    "soft_oks_nms": "nms:soft_oks_nms",
    "to_results": "evaluate.rescoring:to_results",
    "transform_points": "records.geometry:transform_points",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})


def __getattr__(name: str) -> Any:
    """Loads a public name.

    Raises:
        AttributeError: if there is no such name.
        ImportError: if this process sees another package in place of the one it is from, or none.
    """
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _API[name].partition(":")
    _check_ours(name, module.partition(".")[0])
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def _check_ours(name: str, package: str) -> None:
    """Makes sure that an import of one of our packages finds that one."""
    if PACKAGES != _INSTALLED and str(PACKAGES) not in sys.path:
        sys.path.append(str(PACKAGES))  # a checkout, used from somewhere else
    spec = find_spec(package)
    found = spec and spec.origin
    if found and Path(found).resolve().parent == PACKAGES / package:
        return
    reason = f"{found} is in its way" if found else "pip installs it for workers only (hrpose.worker)"
    raise ImportError(
        f"hrpose.{name} is from HRPose's own package {package!r}, and {reason}; "
        "use the API from a checkout, in an environment of its own"
    )
