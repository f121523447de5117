# The program in a small image: docker build -t streamer .
# Two stages, so that pip, sources and caches stay behind. Dependencies come with their hashes.
FROM python:3.11.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
RUN python -m venv /opt/streamer
COPY requirements/worker.lock /src/requirements/
RUN /opt/streamer/bin/pip install --require-hashes -r /src/requirements/worker.lock
COPY pyproject.toml README.md LICENSE /src/
COPY streamer /src/streamer
# setuptools is of the build alone: a venv of its own, then only the wheel goes over.
RUN python -m venv /build && /build/bin/pip wheel --no-deps --wheel-dir /wheels /src \
 && /opt/streamer/bin/pip install --no-deps --no-index /wheels/*.whl \
 && find /opt/streamer/lib -type d -name tests -prune -exec rm -rf {} + \
 && /opt/streamer/bin/python -m compileall -q /opt/streamer/lib \
 && /opt/streamer/bin/pip uninstall --quiet --yes pip setuptools

FROM python:3.11.13-slim-bookworm
# A number, so that Kubernetes can see that it is not root.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin streamer
COPY --from=build /opt/streamer /opt/streamer
# In a container 127.0.0.1 reaches nobody; which host port leads here, and from where, is the operator's word.
ENV PATH=/opt/streamer/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STREAMER_METRICS_HOST=0.0.0.0
# The root may be read-only: all that is written goes to /tmp, and little of it.
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["streamer"]
CMD ["worker"]
