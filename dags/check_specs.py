"""Model specs and experiments that are wrong, as an import error.

Airflow shows what this file raises on its front page, under "Dag Import Errors", and `airflow dags list-import-errors
-l` exits with 1. The DAGs of all other models load and run.
"""

from __future__ import annotations

from dags.factory import read_experiments, read_specs
from mlops.errors import SpecError

wrong = [*read_specs()[1].values(), *read_experiments()[1].values()]
if wrong:
    raise SpecError("\n".join(map(str, wrong)), hint="\nThe other models are not affected.")
