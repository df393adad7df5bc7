# One image for all of Airflow's processes and for MLflow: they share the lock, and so the versions.
FROM python:3.12.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    UV_SYSTEM_PYTHON=1 \
    UV_NO_CACHE=1 \
    UV_COMPILE_BYTECODE=1

RUN useradd --uid 50000 --gid 0 --create-home --shell /usr/sbin/nologin mlops
WORKDIR /opt/mlops

# The lock first: code changes do not install it anew.
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check "$(grep '^uv==' requirements.txt | cut -d' ' -f1)" \
 && uv pip install --requirement requirements.txt

COPY pyproject.toml README.md ./
COPY mlops ./mlops
COPY dags ./dags
COPY plugins ./plugins
COPY feature_repo ./feature_repo
COPY config ./config
COPY deploy ./deploy
RUN uv pip install --no-deps --editable . \
 && install --directory --owner=mlops --group=0 --mode=0775 /opt/mlops/var

ARG CODE_VERSION=""
ENV MLOPS_CODE_VERSION=${CODE_VERSION} \
    MLOPS_HOME=/opt/mlops
USER mlops
