# The service with CPU torch, without a model; with BACKEND=upstream, without torch. What only the build needs (the
# compiler, pip, the parts of torch that the service never loads) stays in the stages before the last.

# Two builds of one commit with the same bases have the same files: the packages are locked by hashes, what the build
# writes has the time SOURCE_DATE_EPOCH, and byte code does not depend on the order of sets.
ARG SOURCE_DATE_EPOCH=1767225600

# --- The build tools. Trimming the packages needs `strip`.
FROM python:3.11.14-slim-bookworm AS builder

RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

# --- The native kernels: rebuilt when one of them changes. They need Python and no package.
FROM builder AS kernels

# An image in front of another engine has none.
ARG BACKEND=engine
WORKDIR /build/inference/engine/native
COPY inference/engine/native/*.cpp inference/engine/native/*.h inference/engine/native/build.py \
     inference/engine/native/__*.py ./
WORKDIR /build
RUN mkdir kernels \
    && { [ "$BACKEND" = upstream ] || KERNELS_DIR=kernels python -m inference.engine.native --required; }

# --- The packages. Only the requirements are copied, so a change of code does not rebuild this stage.
FROM builder AS packages

ARG SOURCE_DATE_EPOCH
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PYTHONHASHSEED=0
# A folder or page with torch's wheel, for networks that do not reach PyTorch's index.
ARG PIP_FIND_LINKS=
# `upstream`: for a service in front of another engine, without the packages that compute models.
ARG BACKEND=engine
# `1`: with OpenTelemetry.
ARG TRACING=
RUN python -m venv --without-pip /opt/venv
COPY requirements/cpu.txt requirements/lock/service.txt requirements/lock/base.txt requirements/lock/tracing.txt \
     /build/requirements/
RUN [ "$BACKEND" = upstream ] \
    || python -m pip --python /opt/venv/bin/python install --retries 2 --no-deps -r /build/requirements/cpu.txt
RUN python -m pip --python /opt/venv/bin/python install --no-deps --require-hashes \
    -r /build/requirements/$([ "$BACKEND" = upstream ] && echo service || echo base).txt \
    $([ -z "$TRACING" ] || echo -r /build/requirements/tracing.txt)
COPY docker/trim.sh docker/warm.py /build/docker/
RUN sh /build/docker/trim.sh /opt/venv/bin/python

# --- The project with its byte code and the compressed static files of all packages.
FROM packages AS project

ARG SOURCE_DATE_EPOCH
WORKDIR /app
COPY manage.py ./
COPY llmservice/ llmservice/
COPY accounts/ accounts/
COPY inference/ inference/
# Byte code that an import writes has the time of its source in it: with the times below it would never be used.
RUN mkdir staticfiles \
    && PYTHONDONTWRITEBYTECODE=1 SECRET_KEY=of-the-build VAR_DIR=/tmp \
       /opt/venv/bin/python manage.py collectstatic --no-input --ignore redoc --verbosity 0 \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash . \
    && find . -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

# --- The bill of materials of the packages (CycloneDX), by tools that the image does not have.
FROM packages AS materials

ARG SOURCE_DATE_EPOCH
COPY requirements/lock/supply-chain.txt /build/requirements/
RUN python -m venv /opt/tools && /opt/tools/bin/pip install --no-deps --require-hashes -r /build/requirements/supply-chain.txt \
    && /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-format JSON --output-file /sbom.json \
       /opt/venv/bin/python \
    && touch --date "@$SOURCE_DATE_EPOCH" /sbom.json

# --- The image that runs.
FROM python:3.11.14-slim-bookworm

LABEL org.opencontainers.image.title="llmservice" \
      org.opencontainers.image.description="Text from a language model over HTTP, on CPUs, behind API keys" \
      org.opencontainers.image.licenses="MIT"

ARG SOURCE_DATE_EPOCH
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data llmservice \
    && install --directory --owner llmservice --group llmservice --mode 700 /data /models \
    && touch --date "@$SOURCE_DATE_EPOCH" /data /models \
       /etc /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid
COPY --from=packages /opt/venv /opt/venv
COPY --from=kernels /build/kernels /opt/kernels
COPY --from=materials /sbom.json /app/sbom.json
COPY --from=project /app /app

WORKDIR /app
USER llmservice
ARG BACKEND=engine
# /data: the SQLite database and the secret key. /models: models from the Hugging Face hub.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 PORT=8000 VAR_DIR=/data HF_HOME=/models LOG_FORMAT=json KERNELS_DIR=/opt/kernels \
    LLM_BACKEND=$BACKEND
VOLUME ["/data", "/models"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=4)"]
# It becomes gunicorn, with the same process id.
CMD ["python", "manage.py", "serve"]
