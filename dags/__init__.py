"""Airflow's side of the nightly work: when each step runs and what it hands over. What it does is `mlops.pipelines`."""
