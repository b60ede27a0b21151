"""Settings every test runs under: quiet TensorFlow, few threads, hypothesis without a clock."""

import os

from hypothesis import settings

# Native libraries read these when they are first imported, so they are set before any test module is.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "2")

# A busy machine may stall any example for a second; the same examples in every run make a failure repeatable.
settings.register_profile("hrpose", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("hrpose")
