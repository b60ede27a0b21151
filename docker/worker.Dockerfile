# Workers of a record job on Flink, Spark or Dataflow: Beam's own image, whose entry point stays, with this project.
# Python and Beam have to be those of the host that submits the job: --build-arg PYTHON=3.12 for another than 3.11.
#
#   python setup.py sdist
#   docker build -f docker/worker.Dockerfile -t IMAGE .
ARG PYTHON=3.11
FROM apache/beam_python${PYTHON}_sdk:2.77.0

COPY constraints.txt dist/hrpose-*.tar.gz /tmp/hrpose/
# NumPy and OpenCV decide a record's bytes, so they are those of constraints.txt; the rest stays as Beam has it.
# The import shows that nothing is missing: the server build of OpenCV needs no libGL.
RUN cd /tmp/hrpose \
 && grep -E '^(numpy|opencv-python-headless)==' constraints.txt > pins.txt \
 && pip install --no-cache-dir -c pins.txt hrpose-*.tar.gz \
 && cd / && python -c 'import hrpose.worker, nms, pipelines.transforms' \
 && rm -r /tmp/hrpose
