"""Builds the one native part, ``nms._kernels``; everything else is declared in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [
            Extension(
                "nms._kernels",
                ["nms/_kernels.pyx"],
                extra_compile_args=["-O3"],
            )
        ],
        language_level=3,
    )
)
