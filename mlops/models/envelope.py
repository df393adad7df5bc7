"""What a signature says, once a key has verified it: a DSSE envelope around an in-toto statement about files.

The format is that of OpenSSF model signing, which makes the signatures here and verifies them as well. Its verifier
imports clients of three clouds first, which takes longer than a rollback may take; what a key pair needs of it is one
elliptic-curve signature over one byte string. The tests hold this reader against that verifier.

One rule: nothing of the payload is read before the signature over it was verified, and only the current format counts.

References:
    DSSE 1.0 (Dead Simple Signing Envelope), protocol.md; in-toto Statement v1; OpenSSF Model Signing Specification 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_CURVE = "secp256r1"


@dataclass(frozen=True, slots=True)
class Statement:
    """A verified statement about the files of a folder."""

    subject: str
    method: dict[str, Any]  # how the files were gathered
    files: dict[str, str]  # sha256 by relative path


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signature as it lies there, unverified.

    Args:
        hint: fingerprint of the key that it names; "" if it names none.
        payload: what was signed.
        signature: over the payload.
    """

    hint: str
    payload: bytes
    signature: bytes

    @classmethod
    def read(cls, raw: bytes) -> Envelope:
        """The envelope in a bundle.

        Raises:
            ValueError: it is none.
        """
        try:
            bundle = json.loads(raw)
            if bundle["mediaType"] != _BUNDLE:
                raise ValueError(f"its media type is {bundle['mediaType']!r}, not {_BUNDLE}")
            hint = bundle["verificationMaterial"]["publicKey"].get("hint") or ""
            envelope = bundle["dsseEnvelope"]
            if envelope["payloadType"] != _PAYLOAD:
                raise ValueError(f"its payload is {envelope['payloadType']!r}, not {_PAYLOAD}")
            (one,) = envelope["signatures"]
            return cls(str(hint), _decoded(envelope["payload"]), _decoded(one["sig"]))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is no signature bundle ({error})") from error

    def verified(self, public_key: Path) -> Statement:
        """What the envelope says, after this key has verified it.

        Raises:
            ValueError: the key did not make the signature, or the payload is no statement about files.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        key = load_pem_public_key(public_key.read_bytes())
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != _CURVE:
            raise ValueError(f"{public_key.name} is no public key of the curve {_CURVE}")
        signed = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(self.payload), self.payload)
        try:
            key.verify(self.signature, signed, ec.ECDSA(SHA256()))
        except InvalidSignature as error:
            raise ValueError("the signature does not fit") from error
        try:
            return _statement(json.loads(self.payload))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"it is no statement about files ({error})") from error


def _statement(payload: dict[str, Any]) -> Statement:
    if (payload["_type"], payload["predicateType"]) != (_STATEMENT, _PREDICATE):
        raise ValueError(f"it is a statement of type {payload['predicateType']!r}, not {_PREDICATE}")
    (subject,) = payload["subject"]
    resources = payload["predicate"]["resources"]
    files = {str(item["name"]): str(item["digest"]) for item in resources if item["algorithm"] == "sha256"}
    whole = hashlib.sha256(b"".join(bytes.fromhex(item["digest"]) for item in resources)).hexdigest()
    if len(files) != len(resources) or whole != subject["digest"]["sha256"]:
        raise ValueError("its list of files is not the one that its digest is over")
    return Statement(str(subject["name"]), dict(payload["predicate"]["serialization"]), files)


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
