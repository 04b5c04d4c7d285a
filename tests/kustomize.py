"""The part of Kustomize that the overlays of `deploy/kubernetes` use, so that its tests need no `kubectl`.

Where `kubectl` is installed, a test holds the two equal.
"""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]

KNOWN_FIELDS = {"apiVersion", "kind", "resources", "patches", "images"}


def render(folder: Path) -> list[Resource]:
    """The resources of a kustomization."""
    (kustomization,) = _documents(folder / "kustomization.yaml")
    if unknown := kustomization.keys() - KNOWN_FIELDS:
        raise NotImplementedError(f"{folder}: {unknown}")
    resources: list[Resource] = []
    for name in kustomization["resources"]:
        path = folder / name
        resources += render(path) if path.is_dir() else _documents(path)
    for patch in kustomization.get("patches", ()):
        for change in _documents(folder / patch["path"]):
            (place,) = (i for i, resource in enumerate(resources) if identity(resource) == identity(change))
            resources[place] = merged(resources[place], change)
    images = {image["name"]: image for image in kustomization.get("images", ())}
    for resource in resources:
        for container in pod_spec(resource).get("containers", ()):
            if image := images.get(container["image"]):
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return resources


def identity(resource: Resource) -> tuple[str, str]:
    """Kind and name."""
    return resource["kind"], resource["metadata"]["name"]


def pod_spec(resource: Resource) -> Resource:
    """The specification of the pods that it creates; empty if it creates none."""
    spec: Resource = resource.get("spec", {}).get("template", {}).get("spec", {})
    return spec


def merged(value: Any, change: Any) -> Any:
    """A strategic merge: maps field by field, lists of named elements by name; other lists are replaced."""
    if isinstance(value, dict) and isinstance(change, dict):
        return value | {name: merged(value.get(name), field) for name, field in change.items()}
    if _named(value) and _named(change):
        elements = {element["name"]: element for element in value}
        elements |= {one["name"]: merged(elements.get(one["name"]), one) for one in change}
        return list(elements.values())
    return change


def in_order(value: Any) -> Any:
    """The same with named elements by name, because Kustomize has an order of its own."""
    if isinstance(value, dict):
        return {name: in_order(field) for name, field in value.items()}
    if isinstance(value, list):
        elements = [in_order(element) for element in value]
        return sorted(elements, key=lambda element: str(element["name"])) if _named(elements) else elements
    return value


def _named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and "name" in one for one in value)


def _documents(path: Path) -> list[Resource]:
    return copy.deepcopy(_parsed(path))


@cache
def _parsed(path: Path) -> list[Resource]:
    return list(yaml.safe_load_all(path.read_text()))
