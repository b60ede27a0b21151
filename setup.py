"""Builds the one native part, ``nms._kernels``; everything else is declared in pyproject.toml."""

from setuptools import Extension, setup

# setuptools hands it to Cython itself, so an archive of the sources holds this file and no C made of it.
setup(ext_modules=[Extension("nms._kernels", ["nms/_kernels.pyx"], extra_compile_args=["-O3"])])
