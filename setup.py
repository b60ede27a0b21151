"""Builds the one native part, ``nms._kernels``; everything else is declared in pyproject.toml."""

from setuptools import Extension, setup

# setuptools hands .pyx files to Cython itself. The archive of the sources then holds this one, not the C made of it.
setup(ext_modules=[Extension("nms._kernels", ["nms/_kernels.pyx"], extra_compile_args=["-O3"])])
