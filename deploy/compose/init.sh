#!/bin/sh
# Before Airflow starts: its database is brought up to date, and the login is written where the API server reads it.
set -eu
umask 077
mkdir -p "$AIRFLOW_HOME"
python -c 'import json, os; print(json.dumps({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}))' \
  > "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
exec airflow db migrate
