"""The built-in "synthetic" dataset; see `pipelines.synthetic.dataset`."""

from pipelines.synthetic.dataset import CATEGORY, SPLITS, SyntheticOptions, generate

__all__ = ["CATEGORY", "SPLITS", "SyntheticOptions", "generate"]
