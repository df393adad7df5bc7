"""Model specs that are wrong, as an import error.

Airflow shows what this file raises on its front page, under "Dag Import Errors", and `airflow dags list-import-errors
-l` exits with 1. The DAGs of all other models load and run.
"""

from __future__ import annotations

from dags.factory import read_specs
from mlops.errors import SpecError

_, broken = read_specs()
if broken:
    raise SpecError("\n".join(str(error) for error in broken.values()), hint="\nThe other models are not affected.")
