# The book, its labs and its tests in a container. The environment comes from the same lock, by
# the same script, as on any other machine.
#   docker build -t recsys-lab .
#   docker run --rm -p 127.0.0.1:8888:8888 recsys-lab             JupyterLab on the labs
#   docker run --rm recsys-lab make test                          the tests
FROM python:3.11-slim-bookworm

RUN apt-get update \
 && apt-get install -y --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home learner && mkdir /book && chown learner /book
USER learner
WORKDIR /book

# Before the rest, so that a changed page does not install everything again.
COPY --chown=learner requirements/lock.txt requirements/assets.txt requirements/
COPY --chown=learner tools/bootstrap.py tools/
RUN PIP_NO_CACHE_DIR=1 python3 tools/bootstrap.py

COPY --chown=learner . .
EXPOSE 8888
CMD ["make", "lab", "ARGS=--ip=0.0.0.0 --no-browser"]
