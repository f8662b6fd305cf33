# lumi server web in a container: docs/serving.md.
#
#   docker build -t luminoth .                                   # for CPUs, with the small checkpoint `toytown`
#   docker build -t luminoth --build-arg EXTRA=gpu .             # for NVIDIA's GPUs: docker run --gpus all
#   docker build -t luminoth --build-arg CHECKPOINT=accurate .   # with a checkpoint to be downloaded now
FROM python:3.12-slim AS build
# gpu: TensorFlow with NVIDIA's libraries, some 3 GB. Empty: for CPUs.
ARG EXTRA=""
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY luminoth luminoth
RUN python -m venv /opt/luminoth \
    && /opt/luminoth/bin/pip install --no-cache-dir ".${EXTRA:+[$EXTRA]}"

FROM python:3.12-slim
ARG CHECKPOINT=toytown
COPY --from=build /opt/luminoth /opt/luminoth
ENV PATH=/opt/luminoth/bin:$PATH LUMI_HOME=/var/lib/luminoth PYTHONUNBUFFERED=1 PORT=5000 CHECKPOINT=$CHECKPOINT
RUN useradd --system --home-dir /var/lib/luminoth --create-home luminoth
USER luminoth
# `toytown` is part of the package.
RUN [ "$CHECKPOINT" = toytown ] || lumi checkpoint download "$CHECKPOINT"
EXPOSE 5000
HEALTHCHECK --start-period=90s CMD python -c "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz')"
# `exec`, so that SIGTERM reaches the server and not the shell. Without options of one's own: the image's checkpoint.
ENTRYPOINT ["/bin/sh", "-c", "[ $# -gt 0 ] || set -- --checkpoint \"$CHECKPOINT\"; exec lumi server web --host 0.0.0.0 --port \"$PORT\" --log-format json \"$@\"", "lumi"]
