"""Events and the nowcasters that did not see their network, for benchmarks that write a table of them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.layers import machine
from benchmarks.model import EVENTS, PAGE, SETTINGS, Event, Work, networks_of
from benchmarks.model_tables import table
from benchmarks.pages import fill


def arguments(program: str, description: str | None) -> argparse.Namespace:
    """Return ``work``, the folder of ``benchmarks.model``, and ``docs``, whether to write the table."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--work", type=Path, default=machine.ROOT / "runs" / "model")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/model.md")
    return parser.parse_args()


def left_out(folder: Path, names: Sequence[str]) -> list[tuple[Event, Path, Path]]:
    """Return events by name, each with its archive and the model that did not see its network."""
    work = Work(Path(), folder, SETTINGS)
    networks = networks_of(work)
    return [
        (event, work.verified(event), work.fold_without(event.name, networks) / "model.safetensors")
        for event in EVENTS
        if event.name in names
    ]


def write_table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table at its place in docs/model.md."""
    fill(PAGE, name, table(head, rows))
