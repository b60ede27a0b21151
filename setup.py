"""What pip installs: `hrpose`, and inside it the packages that workers need. The rest is in pyproject.toml.

In a checkout these packages are at the top (`records`, `evaluate`, …). Installed there, they would overwrite
those of others file by file: Hugging Face's `evaluate`, and the `records` of the Python Package Index. So
they go to `hrpose/_packages/`, which is on no path but a worker's (`hrpose.worker`).
"""

import shutil

from setuptools import Extension, find_packages, setup
from setuptools.command.build import build

#: `train` is for checkouts only.
FOR_WORKERS = ("records", "pipelines", "model", "nms", "evaluate")
INSIDE = "hrpose._packages"


class FreshBuild(build):
    """Into an empty folder: whatever an earlier build left there, a `records` at the top, is packed too."""

    def run(self):
        """Removes what is there, and builds."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


packages = find_packages(include=[pattern for name in FOR_WORKERS for pattern in (name, f"{name}.*")])
setup(
    packages=[*find_packages(include=["hrpose", "hrpose.*"]), *(f"{INSIDE}.{name}" for name in packages)],
    package_dir={f"{INSIDE}.{name}": name for name in FOR_WORKERS},
    cmdclass={"build": FreshBuild},
    # setuptools hands it to Cython itself, so an archive of the sources holds this file and no C made of it.
    ext_modules=[Extension(f"{INSIDE}.nms._kernels", ["nms/_kernels.pyx"], extra_compile_args=["-O3"])],
)
