"""Reading annotations, and what brings each dataset that is not in COCO format there."""

from collections.abc import Callable

from pipelines.annotations import mpii, posetrack, synthetic
from pipelines.annotations.conversion import ConversionTask, Filtered

#: Of each dataset that has to be brought to COCO format before a build, by name, what does it: the `prepare`
#: of its `pipelines.annotations.conversion.Conversion`, or a function that generates it.
CONVERSIONS: dict[str, Callable[[ConversionTask], Filtered]] = {
    "mpii": mpii.CONVERSION.prepare,
    "posetrack": posetrack.CONVERSION.prepare,
    "synthetic": synthetic.prepare,
}
