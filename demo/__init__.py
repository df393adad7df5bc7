"""Several nights in the life of the default model, through Airflow, on one machine: `python -m demo` or `make demo`."""
