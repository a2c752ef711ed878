# The control plane alone. Build from the repository's root:
#   docker build -f docker/control-plane.Dockerfile -t rlhf-service/control-plane:0.1.0 .
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY constraints.txt docker/control-plane.txt ./
RUN pip install -c constraints.txt -r control-plane.txt
COPY . .
# Its other requirements are those of workers.
RUN pip install --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home rlhf && mkdir /storage && chown rlhf /storage
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 RAY_AUTH_MODE=token RLHF_STORAGE=/storage \
    RLHF_HOST=0.0.0.0 MPLCONFIGDIR=/tmp/matplotlib
USER 10001
WORKDIR /tmp
VOLUME /storage
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["python", "-m", "api.serve"]
