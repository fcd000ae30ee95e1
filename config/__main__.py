"""Commands about Serve config files: `python -m config check FILE [--against OLD]`.

Tells what is wrong with a file before it is deployed, and what a deploy of it would do to the service that runs. It
neither needs nor reaches a cluster.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from config.changes import changes
from config.check import mistakes_in
from config.mistakes import ConfigError, read_yaml

_STATUS = "Exit status: 0 if nothing is wrong, 1 if the file has mistakes, 2 if a file cannot be read or compared."


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m config", description=__doc__.split("\n\n")[1])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="check a file before it is deployed", epilog=_STATUS)
    check.add_argument("file", metavar="FILE", type=Path, help="a Serve config file, as config/serve.yaml")
    check.add_argument("--against", metavar="OLD", type=Path, help="the file in force: tell what each change would do")
    check.add_argument(
        "--keys-elsewhere", action="store_true", help="the ingress's keys_file need not be on this machine"
    )
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's, of keys that it will give up: they are no mistakes
        return _check(options.file, options.against, keys_are_here=not options.keys_elsewhere)


def _check(file: Path, against: Path | None, *, keys_are_here: bool) -> int:
    contents = []
    for path in filter(None, (file, against)):
        try:
            contents.append(read_yaml(path))
        except (OSError, ConfigError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
    if mistakes := mistakes_in(contents[0], keys_are_here=keys_are_here):
        _say_wrong(file, mistakes)
        return 1
    if against is None:
        print(f"{file}: nothing is wrong")
        return 0
    if mistakes := mistakes_in(contents[1], keys_are_here=False):
        _say_wrong(against, mistakes)
        return 2
    print("\n".join(changes(contents[1], contents[0])) or "nothing changes")
    return 0


def _say_wrong(path: Path, mistakes: Sequence[str]) -> None:
    for mistake in mistakes:
        print(f"{path}: {mistake}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
