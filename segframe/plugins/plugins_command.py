"""`python -m segframe plugins`: every installed name by kind, with who offers it."""

from __future__ import annotations

from segframe.hooks import hookimpl
from segframe.verb_parser import VerbParser


@hookimpl
def segframe_commands():
    return {"plugins": ("list every installed model, loss, optimizer, ... with who offers it", run)}


def run(argv: list[str]) -> int:
    """Print the table; exit code 1 if an installed plugin is broken."""
    VerbParser(prog="python -m segframe plugins", description=__doc__).parse_args(argv)
    from segframe import __version__
    from segframe.catalog import HOOKS, offers
    from segframe.manager import plugin_manager

    plugins = plugin_manager()
    rows = [("KIND", "NAME", "DISTRIBUTION", "PLUGIN")]
    for kind, hook in {**HOOKS, "command": "segframe_commands"}.items():
        for name, (_, plugin) in sorted(offers(plugins, hook).items()):
            rows.append((kind, name, plugins.distributions.get(plugin, f"segframe {__version__}"), plugin))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    for broken in plugins.broken:
        print(f"\nleft out: {broken.name} of {broken.distribution}: {broken.error}")
    return 1 if plugins.broken else 0
