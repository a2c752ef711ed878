# GPU workers. Build from the repository's root:
#   docker build -f docker/worker-cuda.Dockerfile -t rlhf-service/worker-cuda:0.1.0 .
FROM nvidia/cuda:12.8.1-cudnn-devel-ubuntu22.04 AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3.11 python3.11-venv python3.11-dev \
    && rm -rf /var/lib/apt/lists/* \
    && python3.11 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt torch
# vLLM, whose pins differ, in an environment of its own; rollout actors of jobs that ask for it run there.
COPY docker/vllm-cuda.txt ./
RUN python3.11 -m venv /opt/vllm && /opt/vllm/bin/pip install --no-deps -r vllm-cuda.txt
COPY . .
RUN pip install -c constraints.txt . && /opt/vllm/bin/pip install --no-deps .

# The development image: DeepSpeed compiles its operators on first use, Triton its kernels.
FROM nvidia/cuda:12.8.1-cudnn-devel-ubuntu22.04
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3.11 python3.11-dev g++ bubblewrap wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home rlhf && mkdir /storage && chown rlhf /storage
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/vllm /opt/vllm
# Names of modes, no secrets.
# hadolint ignore=DL3064
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 RAY_AUTH_MODE=token \
    TOKENIZERS_PARALLELISM=false
USER 10001
WORKDIR /home/rlhf
VOLUME /storage
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["ray", "health-check"]
CMD ["ray", "start", "--block", "--address=ray-head:6379"]
