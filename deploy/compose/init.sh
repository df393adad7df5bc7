#!/bin/sh
# Before Airflow starts: its database is brought up to date, the login is written where the API server reads it, and
# there is a key to sign model versions with (the first start makes it).
set -eu
umask 077
mkdir -p "$AIRFLOW_HOME"
python -c 'import json, os; print(json.dumps({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}))' \
  > "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
mlops keys create
exec airflow db migrate
