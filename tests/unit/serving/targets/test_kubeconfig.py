"""Ways into a cluster: contexts, tokens, certificates, programs that print credentials, a pod's own account."""

from __future__ import annotations

import base64
import json
import ssl
import stat
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mlops.errors import DeploymentError
from mlops.serving.targets import kubeconfig
from tests import kubernetes_api as fake
from tests.kubernetes_discovery import discovery


def test_the_named_context_the_current_one_and_close_names(tmp_path: Path) -> None:
    """The setting outranks the file; a mistyped one is told with what was meant."""
    path = fake.kubeconfig(tmp_path, "http://127.0.0.1:1")
    content = yaml.safe_load(path.read_text())
    content["contexts"].append({"name": "production", "context": {"cluster": "test", "user": "nobody"}})
    path.write_text(yaml.safe_dump(content))
    assert kubeconfig.find(str(path), "", {}).context == "test"
    assert kubeconfig.find("", "production", {"KUBECONFIG": str(path)}).context == "production"
    with pytest.raises(DeploymentError, match="Did you mean 'production'"):
        kubeconfig.find(str(path), "produktion", {})


def test_no_kubeconfig_and_no_kubeconfig_at_all(tmp_path: Path) -> None:
    """A missing file, and one that is none, are told; nothing else is tried."""
    with pytest.raises(DeploymentError, match="There is no kubeconfig at"):
        kubeconfig.find("", "", {"HOME": str(tmp_path)})
    for text in ("- a list", "contexts: [{name: x}]\ncurrent-context: x", "{"):
        (tmp_path / "config").write_text(text)
        with pytest.raises(DeploymentError, match=r"is no kubeconfig|no context"):
            kubeconfig.find(str(tmp_path / "config"), "", {})


def test_a_pod_finds_its_own_cluster(tmp_path: Path) -> None:
    """Without a kubeconfig, from within: the address of the environment, the token of the account."""
    environ = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    found = kubeconfig.find("", "", environ)
    assert (found.context, found.cluster["server"]) == ("in-cluster", "https://[fd00::1]:6443")
    assert found.user["tokenFile"] == "/var/run/secrets/kubernetes.io/serviceaccount/token"


def test_what_kubernetes_has_given_up_is_refused_in_words(tmp_path: Path) -> None:
    """Passwords and `auth-provider`; and a token is not sent in the clear."""
    for user, words in (
        ({"username": "a", "password": "b"}, "given up"),
        ({"auth-provider": {"name": "gcp"}}, "given up"),
        ({"token": "t"}, "in the clear"),
        ({"tokenFile": str(tmp_path / "nowhere")}, "cannot be read"),
    ):
        access = kubeconfig.find(str(fake.kubeconfig(tmp_path, "http://127.0.0.1:1", **user)), "", {})
        with pytest.raises(DeploymentError, match=words):
            kubeconfig.client(access)


# --- TLS --------------------------------------------------------------------------------------------------------------


def _certificate(name: str, issuer: tuple[Any, Any] | None) -> tuple[Any, Any]:
    """A certificate and its key; without an issuer its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    import ipaddress

    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    return made, key


def _pem(made: tuple[Any, Any]) -> tuple[bytes, bytes]:
    kind = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    key = made[1].private_bytes(serialization.Encoding.PEM, kind, plain)
    return made[0].public_bytes(serialization.Encoding.PEM), key


class _Handler(BaseHTTPRequestHandler):
    """Says who asks, and by what token."""

    def do_GET(self) -> None:
        """The subject of the client's certificate, and the token."""
        peer = self.connection.getpeercert()  # type: ignore[attr-defined]
        subject = dict(part[0] for part in peer["subject"])["commonName"] if peer else ""
        data = json.dumps({"subject": subject, "token": self.headers.get("Authorization")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the console."""


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """A server that asks for certificates of its authority: its address, the cluster's part and a user's part."""
    authority = _certificate("authority", None)
    server, client = _pem(_certificate("server", authority)), _pem(_certificate("ann", authority))
    for name, data in (("ca.pem", _pem(authority)[0]), ("server.pem", b"".join(server))):
        (tmp_path / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    data = [base64.b64encode(each).decode() for each in (_pem(authority)[0], *client)]
    user = {"client-certificate-data": data[1], "client-key-data": data[2]}
    try:
        yield f"https://127.0.0.1:{made.server_port}", {"certificate-authority-data": data[0]}, user
    finally:
        made.shutdown()
        made.server_close()


def _asked(tmp_path: Path, url: str, cluster: dict[str, Any], user: dict[str, Any]) -> Any:
    path = fake.kubeconfig(tmp_path, url, **user)
    content = yaml.safe_load(path.read_text())
    content["clusters"][0]["cluster"] |= cluster
    path.write_text(yaml.safe_dump(content))
    with kubeconfig.client(kubeconfig.find(str(path), "", {})) as client:
        return client.get("/").json()


def test_certificates_tokens_and_their_files(secured: Any, tmp_path: Path) -> None:
    """As data in the kubeconfig or in files beside it; the server is checked by the cluster's authority."""
    url, cluster, user = secured
    assert _asked(tmp_path, url, cluster, user) == {"subject": "ann", "token": None}
    assert _asked(tmp_path, url, {"certificate-authority": "ca.pem"}, {"token": "t0"})["token"] == "Bearer t0"
    (tmp_path / "token").write_text("t1\n")
    assert _asked(tmp_path, url, cluster, {"tokenFile": "token"})["token"] == "Bearer t1"
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        _asked(tmp_path, url, {}, user)
    assert _asked(tmp_path, url, {"insecure-skip-tls-verify": True}, user)["subject"] == "ann"


def test_a_program_that_prints_credentials_is_asked(secured: Any, tmp_path: Path) -> None:
    """Its token is sent; one that fails, or is not there, is told in its own words and with its hint."""
    url, cluster, _ = secured
    program = tmp_path / "login.py"
    credential = {"kind": "ExecCredential", "status": {"token": "from-a-program"}}
    program.write_text(
        f"import json, os\nassert json.loads(os.environ['KUBERNETES_EXEC_INFO'])['kind'] == 'ExecCredential'\n"
        f"assert os.environ['WHO'] == 'ann'\nprint({json.dumps(credential)!r})\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    plugin = {"command": sys.executable, "args": [str(program)], "env": [{"name": "WHO", "value": "ann"}]}
    assert _asked(tmp_path, url, cluster, {"exec": plugin})["token"] == "Bearer from-a-program"
    with pytest.raises(DeploymentError, match="AssertionError"):
        _asked(tmp_path, url, cluster, {"exec": plugin | {"env": [{"name": "WHO", "value": "bob"}]}})
    with pytest.raises(DeploymentError, match="get it at example"):
        _asked(tmp_path, url, cluster, {"exec": {"command": "/no/login", "installHint": "get it at example"}})


def test_the_fake_server_is_known_to_kubectl_by_its_discovery() -> None:
    """Every kind that the client asks for is one that the server tells of."""
    from mlops.serving.targets.kubernetes_api import PATHS

    for kind, path in PATHS.items():
        place, _, plural = path.strip("/").partition("/namespaces/{}/")
        told = discovery(place)
        assert told is not None
        assert {"name": plural, "kind": kind}.items() <= next(r for r in told["resources"] if r["kind"] == kind).items()
