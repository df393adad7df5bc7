-- Beside `airflow`, which the image makes: one database per part, so that each can be kept and restored by itself.
CREATE DATABASE mlflow;
CREATE DATABASE ledger;
CREATE DATABASE feast;
