# Stands in for postgres:16.10-bookworm where no registry can be reached: Debian's own server, with the
# official image's variables. Good for a test.
#   podman build -f tests/images/postgres.Dockerfile -t docker.io/library/postgres:16.10-bookworm tests/images
FROM docker.io/library/python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends postgresql && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data LANG=C.UTF-8
RUN install -d -o postgres -g postgres -m 700 "$PGDATA"
COPY postgres.sh /postgres.sh
USER postgres
VOLUME /var/lib/postgresql/data
CMD ["sh", "/postgres.sh"]
