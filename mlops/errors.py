"""Everything that can go wrong on purpose, in one tree.

```
MLOpsError
├── ConfigError                 a setting or a file of settings is wrong
│   └── SpecError               a model spec is wrong
├── DataError                   the data is not what it should be
│   ├── SourceError             a source cannot be read
│   ├── SchemaError             a column is missing, of the wrong type, or a timestamp has no zone
│   └── NoDataError             nothing is there where something must be
├── FeatureError                a feature set is unknown, incomplete or lost rows
├── TrainingError               a candidate cannot be trained
│   └── UnknownAlgorithmError   no algorithm of that name
├── RegistryError               a model version is missing or not what was registered
│   ├── IntegrityError          bytes differ from what was signed or recorded
│   └── UntrustedTypeError      a model holds what the settings do not trust
├── PromotionError              a stage change that is not allowed
│   └── LeaseError              somebody else holds, or has taken over, the lease
├── LedgerError                 the ledger cannot be written, or its chain is broken
├── IncidentError               an incident is unknown, or cannot change that way
├── DeliveryError               a channel has not taken an alert
├── DeploymentError             a service did not come up, or its target refuses
├── StorageError                a table or file cannot be read or published
└── MissingDependencyError      an optional client is not installed
```

One rule: a message says what happened, what was expected, what was given and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MLOpsError(Exception):
    """A deliberate refusal. `hint` says what to do; it is part of the message."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class ConfigError(MLOpsError):
    """A setting or a file of settings is wrong."""


class SpecError(ConfigError):
    """A model spec is wrong."""


class DataError(MLOpsError):
    """The data is not what it should be."""


class SourceError(DataError):
    """A source cannot be read."""


class SchemaError(DataError):
    """A column is missing, of the wrong type, or a timestamp has no time zone."""


class NoDataError(DataError):
    """Nothing is there where something must be."""


class NotReadyError(DataError):
    """What another step makes is not there yet; it may come by itself."""


class FeatureError(MLOpsError):
    """A feature set is unknown, incomplete or lost rows."""


class TrainingError(MLOpsError):
    """A candidate cannot be trained."""


class UnknownAlgorithmError(TrainingError):
    """No algorithm of that name."""


class RegistryError(MLOpsError):
    """A model version is missing or not what was registered."""


class IntegrityError(RegistryError):
    """The bytes of an artifact differ from what was signed or registered, or nobody signed them."""


class UntrustedTypeError(RegistryError):
    """A model holds types, or is kept in a format, that the settings of who loads it do not trust."""


class PromotionError(MLOpsError):
    """A stage change that is not allowed."""


class LeaseError(PromotionError):
    """Somebody else holds, or has taken over, the lease."""


class LedgerError(MLOpsError):
    """The ledger cannot be written, or its chain is broken."""


class IncidentError(MLOpsError):
    """An incident is unknown, or cannot change that way."""


class DeliveryError(MLOpsError):
    """A channel has not taken an alert."""


class DeploymentError(MLOpsError):
    """A service did not come up where it was deployed, or the target refuses."""


class StorageError(MLOpsError):
    """A table or file cannot be read or published."""


class MissingDependencyError(MLOpsError):
    """An optional client is not installed."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Close matches for a mistyped name, as a sentence, or the known names if none is close.

    >>> did_you_mean("isolation_forrest", ["isolation_forest", "knn"])
    "Did you mean 'isolation_forest'?"
    >>> did_you_mean("zzz", ["b", "a"])
    'Known: a, b.'
    """
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=2, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(repr(name) for name in close)}?"
    return f"Known: {', '.join(names)}." if names else "None is known."
