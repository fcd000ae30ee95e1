"""Writes into the Kubernetes manifests what Serve runs: a config file with the changes of an overlay.

    python scripts/manifests.py [--check]

With --check nothing is written, and a manifest that is not as it would be written is an error. Mappings in
`serve-changes.yaml` are merged into those of the config file, and lists of what has a `name` by that name; all else
takes the place of what is there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIG_OF = {"kind": "local.yaml", "production": "serve.yaml"}


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where something would be written")
    options = parser.parse_args()
    is_stale = False
    for overlay in CONFIG_OF:
        path, text = manifest_of(overlay), patch_of(overlay)
        if path.exists() and path.read_text() == text:
            continue
        is_stale = True
        if not options.check:
            path.write_text(text)
        print(f"{path.relative_to(ROOT)}: {'not as make manifests writes it' if options.check else 'written'}")
    return int(options.check and is_stale)


def manifest_of(overlay: str) -> Path:
    return ROOT / "k8s" / "overlays" / overlay / "serve-config.yaml"


def patch_of(overlay: str) -> str:
    """The text of the kustomize patch that gives the RayService its `serveConfigV2`."""
    config = ROOT / "config" / CONFIG_OF[overlay]
    changes = manifest_of(overlay).with_name("serve-changes.yaml")
    merged = merge(yaml.safe_load(config.read_bytes()), yaml.safe_load(changes.read_bytes()))
    patch = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "easel"},
        "spec": {"serveConfigV2": _dump(merged)},
    }
    return f"# Made by `make manifests` from config/{config.name} and {changes.name}.\n{_dump(patch)}"


def merge(value: Any, change: Any) -> Any:
    if isinstance(value, dict) and isinstance(change, dict):
        return value | {key: merge(value.get(key), part) for key, part in change.items()}
    if _is_named(value) and _is_named(change):
        changed = {part["name"]: part for part in value}
        return list((changed | {part["name"]: merge(changed.get(part["name"]), part) for part in change}).values())
    return change


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, dict) and "name" in part for part in value)


class _Dumper(yaml.SafeDumper):
    """Texts of more than a line as they are, and everything where it is used: KubeRay need not know of anchors."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120)


if __name__ == "__main__":
    sys.exit(main())
