"""Importing this makes a process a worker of ours: `records`, `pipelines` and so on are HRPose's there.

pip installs these packages inside of `hrpose`, because others have packages of the same names: a process that
has HRPose and Hugging Face's `evaluate` finds the latter under that name. A worker runs nothing but our work.
Beam's workers import this module before they unpack it (the option --beam_plugins), Dask's with ``--preload
hrpose.worker``; for all others ``PYTHONPATH=$(python -m hrpose.worker)`` does the same.

In a checkout the folder is the repository's root.
"""

import sys

from hrpose import PACKAGES

sys.path[:] = [str(PACKAGES), *(path for path in sys.path if path != str(PACKAGES))]

if __name__ == "__main__":
    print(PACKAGES)
