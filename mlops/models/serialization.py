"""A scorer as bytes: skops, which builds only types that the reader trusts, or else a pickle, which runs code.

The reader's settings say what is trusted (GHSA-w582-9x45-8mpx: MLflow asks the model itself). Both formats are read
from a folder that was verified before.

One rule: a list of types that comes with a model is never read.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from mlops.errors import RegistryError, TrainingError, UntrustedTypeError
from mlops.models.trusted_types import TRUSTED_TYPES

SKOPS_FILE, PICKLE_FILE = "model.skops", "model.pkl"


def load(folder: Path, *, name: str, trusted_types: Sequence[str] = (), allow_pickle: bool = True) -> Any:
    """What a verified folder holds.

    Args:
        folder: verified; holds one of the two files.
        name: of the version, for messages.
        trusted_types: types trusted beside the packaged list.
        allow_pickle: whether a pickle may be loaded.

    Raises:
        UntrustedTypeError: it holds other types, or is a pickle that is not allowed.
        RegistryError: this code cannot read it.
    """
    there = [file for file in (SKOPS_FILE, PICKLE_FILE) if (folder / file).is_file()]
    if len(there) != 1:
        held = " and ".join(there) or "no model file"
        raise RegistryError(f"{name} has {held}, expected {SKOPS_FILE} or {PICKLE_FILE}.", hint="Train it again.")
    if there == [PICKLE_FILE]:
        if not allow_pickle:
            raise UntrustedTypeError(
                f"{name} is a pickle, which runs code when it is loaded; settings do not allow it.",
                hint="Train it again with its types among `trusted_types`, or set MLOPS_ALLOW_PICKLE=true.",
            )
        return _read(lambda: pickle.loads((folder / PICKLE_FILE).read_bytes()), name)
    return loads((folder / SKOPS_FILE).read_bytes(), name=name, trusted_types=trusted_types)


def loads(data: bytes, *, name: str, trusted_types: Sequence[str] = ()) -> Any:
    """What `dumps` gave, built from trusted types only.

    Args:
        data: as skops keeps it.
        name: for messages.
        trusted_types: types trusted beside the packaged list.

    Raises:
        UntrustedTypeError: it holds other types.
        RegistryError: this code cannot read it.
    """
    return _read(lambda: _from_skops(data, name, [*TRUSTED_TYPES, *trusted_types]), name)


def dumps(scorer: Any, trusted_types: Sequence[str] = ()) -> bytes:
    """A scorer as skops keeps it, after it was read again with the types that are trusted here.

    Args:
        scorer: fitted.
        trusted_types: types trusted beside the packaged list.

    Raises:
        TrainingError: it holds other types, or skops cannot hold it.
    """
    try:
        data = _written(scorer)
        _from_skops(data, scorer.algorithm, [*TRUSTED_TYPES, *trusted_types])
    except UntrustedTypeError as error:
        raise TrainingError(error.message, hint=f"{error.hint} Or set MLOPS_ALLOW_PICKLE=true.") from error
    except Exception as error:
        raise TrainingError(
            f"{scorer.algorithm} cannot be kept by skops: {error}.",
            hint="Set MLOPS_ALLOW_PICKLE=true to keep it as a pickle.",
        ) from error
    return data


def _written(scorer: Any) -> bytes:
    """What `skops.io.dumps` writes, without blanks: they cost it more time than all the rest, and half the file."""
    import skops.io

    try:
        from skops.io._utils import SaveContext, get_state
    except ImportError:  # another version, arranged otherwise
        return bytes(skops.io.dumps(scorer))
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as file:
        context = SaveContext(zip_file=file)
        state = get_state(scorer, context)
        state |= {"protocol": context.protocol, "_skops_version": skops.__version__}
        file.writestr("schema.json", json.dumps(state))
    return buffer.getvalue()


def _from_skops(data: bytes, name: str, trusted: list[str]) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.loads(data, trusted=trusted)
    except UntrustedTypesFoundException as error:
        others = sorted(set(skops.io.get_untrusted_types(data=data)) - set(trusted))
        raise UntrustedTypeError(
            f"{name} holds types that are not trusted here: {', '.join(others)}. It was not loaded.",
            hint="If you know and trust their code, add them to `trusted_types` in the settings (MLOPS_TRUSTED_TYPES).",
        ) from error


def _read(read: Callable[[], Any], name: str) -> Any:
    try:
        return read()
    except UntrustedTypeError:
        raise
    except Exception as error:
        raise RegistryError(
            f"{name} cannot be read by this code: {error}.", hint="It was made by other code or packages; retrain."
        ) from error
