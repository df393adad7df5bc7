"""The measures of this project: `python -m benchmarks [name …]`, each a table with medians. None is a test."""
