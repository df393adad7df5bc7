"""Whether a service is well; exit code 0 or 1, for container health checks. Standard library only, so that it is cheap.

health.py http://host:port/path              answers with 200
health.py http://host:port/path scheduler    … and its JSON says that this component is healthy
health.py tcp://host:port                    accepts connections
"""

from __future__ import annotations

import json
import socket
import sys
import urllib.parse
import urllib.request

TIMEOUT_SECONDS = 5


def is_healthy(url: str, component: str = "") -> bool:
    """Whether the service at `url`, or one component that it reports on, is well."""
    address = urllib.parse.urlsplit(url)
    try:
        if address.scheme == "tcp":
            with socket.create_connection((address.hostname, address.port), TIMEOUT_SECONDS):
                return True
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
            return not component or json.load(answer)[component]["status"] == "healthy"
    except (OSError, ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    sys.exit(0 if is_healthy(*sys.argv[1:]) else 1)
