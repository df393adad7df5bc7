"""Patches as the API server understands them: lists of containers, ports and the like are merged by their key."""

from __future__ import annotations

import copy
from typing import Any

Object = dict[str, Any]
Path = tuple[Any, ...]
_KEYS = {
    "containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath", "ports": "name",
    "topologySpreadConstraints": "topologyKey",
}  # fmt: skip


def leaves(value: Any, at: Path = ()) -> list[Path]:
    """Paths of all values; items of keyed lists are found by their key."""
    if isinstance(value, dict) and value:
        return [path for name, inner in value.items() for path in leaves(inner, (*at, name))]
    key = _key_of(at, value)
    if key is not None:
        return [path for item in value for path in leaves(item, (*at, (key, item[key])))]
    return [at]


def merged(base: Any, patch: Any, at: Path = ()) -> Any:
    """`base` with what `patch` says."""
    if isinstance(base, dict) and isinstance(patch, dict):
        found = dict(base)
        for name, value in patch.items():
            if value is None:
                found.pop(name, None)
            elif not name.startswith("$"):
                found[name] = merged(base.get(name), value, (*at, name))
        return found
    key = _key_of(at, patch)
    if key is None or not isinstance(base, list):
        return copy.deepcopy(patch)
    items = {item.get(key): item for item in base}
    for item in patch:
        items[item[key]] = merged(items.get(item[key]), item)
    return list(items.values())


def without(base: Object, before: list[Path], now: list[Path], others: dict[str, list[Path]]) -> Object:
    """`base` less what a manager set before, does not set now, and nobody else sets."""
    kept = {path for paths in others.values() for path in paths} | set(now)
    found = copy.deepcopy(base)
    for path in before:
        if path not in kept:
            _remove(found, path)
    return found


def conflicts(live: Object, config: Object, others: dict[str, list[Path]]) -> list[tuple[str, Path]]:
    """Who owns what `config` would change."""
    return [
        (who, path)
        for path in leaves(config)
        for who, owned in others.items()
        if path in owned and _at(live, path) != _at(config, path)
    ]


def patched(there: Object, body: Any, content: str) -> Object:
    """A JSON patch, a merge patch or a strategic merge patch, carried out."""
    if not content.startswith("application/json-patch"):
        return dict(merged(there, body))
    made = copy.deepcopy(there)
    for step in body:
        *above, last = (part.replace("~1", "/").replace("~0", "~") for part in step["path"].strip("/").split("/"))
        place = made
        for part in above:
            place = place[part]
        if step["op"] == "remove":
            del place[last]
        else:
            place[last] = step["value"]
    return made


def _key_of(at: Path, value: Any) -> str | None:
    key = _KEYS.get(at[-1]) if at and isinstance(at[-1], str) else None
    usable = key and isinstance(value, list) and value and all(isinstance(i, dict) and key in i for i in value)
    return key if usable else None


def _step(place: Any, part: Any) -> Any:
    if isinstance(part, tuple):
        return next((item for item in place or [] if item.get(part[0]) == part[1]), None)
    return place.get(part) if isinstance(place, dict) else None


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = _step(value, part)
    return value


def _remove(value: Any, path: Path) -> None:
    place = _at(value, path[:-1])
    if isinstance(place, dict):
        place.pop(path[-1], None)
        if not place and len(path) > 1:
            _remove(value, path[:-1])
    elif isinstance(place, list) and isinstance(path[-1], tuple):
        place[:] = [item for item in place if item.get(path[-1][0]) != path[-1][1]]
