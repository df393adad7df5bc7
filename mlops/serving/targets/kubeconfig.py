"""Which cluster, and how to log in: from a kubeconfig as `kubectl` reads it, or from within a pod.

Taken: client certificates, tokens (also from a file), and programs that print credentials (`exec`, as EKS, GKE and AKS
use them). Other ways in are refused in words.

One rule: a credential is read when a client is made, and kept nowhere.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from mlops.errors import DeploymentError, did_you_mean

IN_CLUSTER = "in-cluster"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_PLUGIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Access:
    """One cluster and one way in."""

    context: str  # its name in the kubeconfig, or in-cluster
    cluster: Mapping[str, Any]  # as the kubeconfig has it
    user: Mapping[str, Any]
    folder: Path  # that relative paths start from


def find(kubeconfig: str, context: str, environ: Mapping[str, str]) -> Access:
    """The cluster that the settings, or else the environment, name.

    Args:
        kubeconfig: path; default: $KUBECONFIG, ~/.kube/config, then the pod's own service account.
        context: default: the current one.
        environ: environment variables.

    Raises:
        DeploymentError: there is none, or it is no kubeconfig.
    """
    home = Path(environ.get("HOME") or Path.home())
    named = kubeconfig or environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    path = Path(named).expanduser() if named else home / ".kube" / "config"
    if not path.exists():
        if not named and not context and "KUBERNETES_SERVICE_HOST" in environ:
            return _in_cluster(environ)
        raise DeploymentError(
            f"There is no kubeconfig at {path}.",
            hint="Set deployment.kubeconfig, or KUBECONFIG, to that of the cluster.",
        )
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        contexts = {each["name"]: each["context"] for each in read.get("contexts") or []}
        clusters = {each["name"]: each["cluster"] for each in read.get("clusters") or []}
        users = {each["name"]: each.get("user") or {} for each in read.get("users") or []}
        name = context or read.get("current-context") or ""
        if name not in contexts:
            raise DeploymentError(f"{path} has no context {name!r}.", hint=did_you_mean(name, contexts))
        chosen = contexts[name]
        return Access(name, clusters[chosen["cluster"]], users.get(chosen.get("user", ""), {}), path.parent)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DeploymentError(f"{path} is no kubeconfig: {error!r}.", hint="Try: kubectl config view") from error


def client(access: Access) -> httpx.Client:
    """A client of the cluster, logged in.

    Raises:
        DeploymentError: the credentials are of a kind that is not taken, or cannot be read.
    """
    user = dict(access.user)
    if "exec" in user:
        user |= _plugin(access, user["exec"])
    if other := {"auth-provider", "username"} & set(user):
        raise DeploymentError(
            f"Context {access.context!r} logs in by {min(other)!r}, which Kubernetes has given up.",
            hint="Use a client certificate, a token or an exec plugin.",
        )
    headers = {"User-Agent": "mlops"}
    try:
        token = user.get("token") or (_path(access, user["tokenFile"]).read_text() if "tokenFile" in user else "")
        if token:
            headers["Authorization"] = f"Bearer {token.strip()}"
        verify = _tls(access, user)
    except (OSError, ValueError) as error:
        raise DeploymentError(f"The credentials of context {access.context!r} cannot be read: {error}.") from error
    server = str(access.cluster["server"])
    if token and server.startswith("http://"):
        raise DeploymentError(
            f"Context {access.context!r} would send a token in the clear to {server}.", hint="Use https."
        )
    return httpx.Client(base_url=server, headers=headers, verify=verify, timeout=_TIMEOUT)


def _in_cluster(environ: Mapping[str, str]) -> Access:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    cluster = {"server": f"https://{host}:{port}", "certificate-authority": str(_ACCOUNT / "ca.crt")}
    return Access(IN_CLUSTER, cluster, {"tokenFile": str(_ACCOUNT / "token")}, _ACCOUNT)


def _tls(access: Access, user: Mapping[str, Any]) -> ssl.SSLContext | bool:
    cluster = access.cluster
    if not str(cluster["server"]).startswith("https"):
        return False
    context = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif "certificate-authority-data" in cluster:
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    elif "certificate-authority" in cluster:
        context = ssl.create_default_context(cafile=str(_path(access, cluster["certificate-authority"])))
    # Authorities of clusters often lack the key identifiers that Python 3.13 asks for; kubectl does not ask for them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    certificate, key = (_pem(access, user, f"client-{name}") for name in ("certificate", "key"))
    if certificate and key:
        with tempfile.TemporaryDirectory() as folder:  # OpenSSL reads them from files only; 0700, gone at once
            paths = [Path(folder) / name for name in ("certificate", "key")]
            for path, pem in zip(paths, (certificate, key), strict=True):
                path.write_bytes(pem)
            context.load_cert_chain(*map(str, paths))
    return context


def _pem(access: Access, user: Mapping[str, Any], name: str) -> bytes:
    if given := user.get(f"{name}-data"):
        return base64.b64decode(given)
    return _path(access, user[name]).read_bytes() if name in user else b""


def _path(access: Access, name: str) -> Path:
    return access.folder / Path(name).expanduser()


def _plugin(access: Access, plugin: Mapping[str, Any]) -> dict[str, Any]:
    """What a program that prints credentials says."""
    command = [str(plugin["command"]), *map(str, plugin.get("args") or [])]
    version = plugin.get("apiVersion", "client.authentication.k8s.io/v1")
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = os.environ | {each["name"]: each["value"] for each in plugin.get("env") or []}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(asked)
    try:
        found = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_PLUGIN_SECONDS, check=True
        )
        status = json.loads(found.stdout)["status"]
    except subprocess.CalledProcessError as error:
        raise DeploymentError(f"{command[0]} gave no credentials: {error.stderr.strip() or error}.") from error
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        raise DeploymentError(
            f"{command[0]} gave no credentials for context {access.context!r}: {error}.",
            hint=str(plugin.get("installHint") or "Does `kubectl get pods` work in this context?"),
        ) from error
    made = {"token": status.get("token")}
    for name, key in (("client-certificate", "clientCertificateData"), ("client-key", "clientKeyData")):
        if key in status:
            made[f"{name}-data"] = base64.b64encode(status[key].encode()).decode()
    return {name: value for name, value in made.items() if value}
