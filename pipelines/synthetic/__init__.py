"""The built-in "synthetic" dataset; see `pipelines.synthetic.dataset`."""

from pipelines.synthetic.dataset import CATEGORY, generate
from pipelines.synthetic.options import SPLITS, SyntheticOptions

__all__ = ["CATEGORY", "SPLITS", "SyntheticOptions", "generate"]
