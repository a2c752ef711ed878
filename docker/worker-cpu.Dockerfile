# Ray's head and CPU workers. Build from the repository's root:
#   docker build -f docker/worker-cpu.Dockerfile -t rlhf-service/worker-cpu:0.1.0 .
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DS_ACCELERATOR=cpu
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
# Where the usual index has torch with CUDA only, name one with CPU builds:
#   --build-arg PIP_EXTRA_INDEX_URL=…
ARG PIP_EXTRA_INDEX_URL=
RUN pip install -c constraints.txt torch
COPY . .
RUN pip install -c constraints.txt .

FROM python:3.11-slim-bookworm
# A compiler for DeepSpeed's operator, bubblewrap for python graders, wget for KubeRay's probes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ bubblewrap wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home rlhf && mkdir /storage && chown rlhf /storage
COPY --from=build /opt/venv /opt/venv
# Names of modes, no secrets.
# hadolint ignore=DL3064
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DS_ACCELERATOR=cpu HF_HUB_OFFLINE=1 \
    RAY_AUTH_MODE=token GOMP_SPINCOUNT=30000 TOKENIZERS_PARALLELISM=false
USER 10001
WORKDIR /home/rlhf
VOLUME /storage
# Of Ray's head; a worker that lost it ends by itself.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["ray", "health-check"]
CMD ["ray", "start", "--head", "--block", "--num-cpus=0", "--dashboard-host=0.0.0.0"]
