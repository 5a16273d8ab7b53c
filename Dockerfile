# The `textclf` command in a container, for CPUs; with --build-arg DEVICE=cuda12 (or cuda13) for NVIDIA GPUs. How to build
# and run it: docs/install.md
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY configs configs
COPY textclf_jax textclf_jax
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
ARG EXTRAS=torch,report,parquet,serve
ARG DEVICE
# an index with torch for CPUs alone: its usual wheel brings some gigabytes for GPUs, which nothing here uses
ARG PIP_EXTRA_INDEX_URL
RUN python -m venv /opt/textclf \
    && /opt/textclf/bin/python -m pip install --no-cache-dir --constraint requirements.lock \
        "$(echo /wheels/*.whl)[${EXTRAS}${DEVICE:+,${DEVICE}}]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/textclf /opt/textclf
RUN useradd --uid 1000 --home-dir /project textclf && install --directory --owner=textclf /project
# set, it also holds for other users: compiled programs are kept in its .cache, beside the experiments
ENV HOME=/project PATH=/opt/textclf/bin:${PATH} PYTHONUNBUFFERED=1
USER textclf
WORKDIR /project
VOLUME /project
EXPOSE 8000
ENTRYPOINT ["textclf"]
CMD ["--help"]
