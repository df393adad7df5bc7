"""Writes the settings of docker-compose.yaml with new secrets: `python3 deploy/compose/make_env.py > .env`.

Run it once: with a new POSTGRES_PASSWORD an existing database does not open, and with a new AIRFLOW_FERNET_KEY stored
connections cannot be read. Standard library only.
"""

from __future__ import annotations

import secrets
import sys
from base64 import urlsafe_b64encode

TEMPLATE = """\
# Settings of docker-compose.yaml. Keep this file private, and keep it: the databases open only with these.

# PostgreSQL's role `mlops` (letters and digits only: it stands in URLs).
POSTGRES_PASSWORD={postgres}
# The login of Airflow's UI: user admin.
AIRFLOW_ADMIN_PASSWORD={admin}
# The login of Grafana: user admin. It counts on the first start; later it is changed in Grafana.
GRAFANA_ADMIN_PASSWORD={grafana}
# Encrypts connections and variables in Airflow's database.
AIRFLOW_FERNET_KEY={fernet}
# Signs the tokens between Airflow's components, and those of the API.
AIRFLOW_JWT_SECRET={jwt}
# Signs Airflow's sessions and requests for logs.
AIRFLOW_API_SECRET_KEY={api}

# Ports on this machine (loopback only).
AIRFLOW_PORT=8080
MLFLOW_PORT=5000
# Where Grafana listens.
GRAFANA_PORT=3000
# Where champions answer: mlops serve.
SERVING_PORT=8000
# Processes that answer there.
SERVING_WORKERS=1
# Tasks that run at once.
AIRFLOW_WORKER_CONCURRENCY=2
# Git commit of the code in the image, for lineage: MLOPS_CODE_VERSION=$(git rev-parse HEAD)
MLOPS_CODE_VERSION=
# Tag of the image that is built.
MLOPS_IMAGE_TAG=local
# Where tables and artifacts are kept: a folder in the volume `var`, or s3://bucket/prefix.
MLOPS_VAR=/opt/mlops/var
MLFLOW_ARTIFACTS=/opt/mlops/var/mlflow/artifacts
"""


def environment() -> str:
    """The text of a new .env file."""
    return TEMPLATE.format(
        postgres=secrets.token_hex(16),
        admin=secrets.token_urlsafe(12),
        grafana=secrets.token_urlsafe(12),
        fernet=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        jwt=secrets.token_urlsafe(48),
        api=secrets.token_urlsafe(48),
    )


if __name__ == "__main__":
    sys.stdout.write(environment())
