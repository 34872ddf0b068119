"""``python -m benchmarks.layers``: the speed of the layers, compared with other implementations.

Every contender must first agree with the reference to rounding, in output and gradients. A contender which
does not is named and not timed. The others are timed in turn, A B A B, each in a process of its own, in
float32 and bfloat16, forward and backward (training) or only forward (inference). Results are written to
``benchmarks/results`` after each case, so that finished cases are not lost.

Exit status: 0 all equal and timed; 1 a contender was not equal; 2 nothing done.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.layers import machine, reporting
from benchmarks.layers.cases import DTYPES, MODES, Case, Doubling, FirstCall, Item, known
from benchmarks.layers.contenders import CONTENDERS, OURS, Contender
from benchmarks.layers.convolutions import operations
from benchmarks.layers.measuring import LEAST_ROUNDS, Entrant, How, first_calls, in_turn, truth
from benchmarks.layers.worker import Failed
from benchmarks.pages import fill
from stormcell.errors import OutputError

PAGE = machine.ROOT / "docs" / "speed.md"
PARTS = reporting.PARTS


def main(words: Sequence[str] | None = None) -> int:
    """Measure the given cases and write the results."""
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.list:
        _list()
        return 0
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: PyTorch sees no GPU")
    items = [known()[name] for name in arguments.case or known()]
    left_out, contenders = _present(arguments.contender)
    threads = arguments.threads or torch.get_num_threads()
    about = machine.about(arguments.device, threads)
    path = arguments.out / f"{machine.file_name(about)}.json"
    report: reporting.Report = {"about": about, "left_out": left_out}
    report |= {part: {} for part in PARTS}
    if path.exists():
        there = json.loads(path.read_text())
        if not arguments.resume or there["about"]["threads"] != threads:
            parser.error(f"{path} exists: --resume adds missing cases, --out writes elsewhere")
        report |= {part: there[part] for part in PARTS}
    if arguments.docs:
        fill(PAGE, arguments.docs, None)  # fails now rather than after the measurements
    for line in (machine.disturbed(about), *(f"left out: {n}: {why}" for n, why in left_out.items())):
        if line:
            print(line, file=sys.stderr)

    unknown: list[str] = []
    for item in items:
        part = report[PARTS[(Case, Doubling, FirstCall).index(type(item))]]
        if item.name in part:
            print(f"{item.name}: already measured")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            how = How(
                rounds=arguments.rounds,
                seconds=60 * arguments.minutes / (len(arguments.dtype) * len(arguments.mode)),
                device=arguments.device,
                threads=threads,
                scratch=Path(scratch),
                say=lambda line: print(line, flush=True),
            )
            try:
                part[item.name] = _measured(item, contenders, arguments.dtype, arguments.mode, how)
            except Failed as error:  # without it nothing can be compared
                unknown.append(f"{item.name}: reference: {error}")
                continue
        reporting.write(report, path)
    if arguments.docs:
        fill(PAGE, arguments.docs, reporting.markdown(report))
    print(path)
    refused = [*reporting.refused(report), *unknown]
    for line in refused:
        print(f"not equal: {line}", file=sys.stderr)
    return 1 if refused else 0


def _measured(
    item: Item, contenders: Sequence[Contender], dtypes: Sequence[str], modes: Sequence[str], how: How
) -> dict[str, Any]:
    """Measure a case with all contenders, or ours at all sizes, and return its part of the report."""
    how.say(f"{item.name}: reference")
    truths = [truth(case, how) for case in item.cases]
    ours = [Entrant(CONTENDERS[OURS], case, true) for case, true in zip(item.cases, truths, strict=True)]
    measured = []
    for mode in (mode for mode in item.cases[0].modes if mode in modes):
        for dtype in dtypes:
            how.say(f"{item.name}: {mode}, {dtype}")
            if isinstance(item, FirstCall):
                found = first_calls(ours[0], dtype, mode, how)
            elif isinstance(item, Doubling):
                found = in_turn({entrant.case.name: entrant for entrant in ours}, dtype, mode, how)
            else:
                able = [one for one in contenders if not one.refusal(item, mode)]
                found = in_turn({one.name: Entrant(one, item, truths[0]) for one in able}, dtype, mode, how)
            reporting.derive(found, operations(item, mode) if isinstance(item, Case) else None)
            measured.append(found)
    return {"cases": [dataclasses.asdict(case) for case in item.cases], "measured": measured}


def _present(asked: Sequence[str] | None) -> tuple[dict[str, str], list[Contender]]:
    """Return the reasons for contenders left out, and the other contenders; ours is always among them."""
    names = [n for n, c in CONTENDERS.items() if (n in asked if asked else c.by_default) or n == OURS]
    missing = {name: why for name in names if (why := CONTENDERS[name].missing())}
    return missing, [CONTENDERS[name] for name in names if name not in missing]


def _list() -> None:
    for name, item in known().items():
        first, *_, last = item.cases * 2
        print(f"{name:18}{first}" + ("" if first is last else f"; to {last.name}"))
    print()
    for name, contender in CONTENDERS.items():
        print(f"{name:22}{contender.what}" + ("" if contender.by_default else " (only on request)"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.layers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="list the cases and contenders, and exit")
    parser.add_argument("--case", nargs="+", choices=known(), metavar="NAME", help="measure only these cases")
    parser.add_argument(
        "--contender",
        nargs="+",
        choices=CONTENDERS,
        metavar="NAME",
        help="measure only these contenders, and ours",
    )
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=DTYPES, help="default: both")
    parser.add_argument("--mode", nargs="+", choices=MODES, default=MODES, help="default: both")
    parser.add_argument("--rounds", type=_at_least(LEAST_ROUNDS), default=5, help="default: %(default)s")
    parser.add_argument(
        "--minutes",
        type=float,
        default=1.0,
        help=f"time for the rounds of a case, at least {LEAST_ROUNDS}; default: %(default)s",
    )
    parser.add_argument("--threads", type=_at_least(1), help="default: as many as PyTorch uses")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=machine.ROOT / "benchmarks" / "results", help="folder for the results"
    )
    parser.add_argument("--resume", action="store_true", help="measure only cases which the results lack")
    parser.add_argument(
        "--docs",
        nargs="?",
        const="layers",
        metavar="PART",
        help="also write the tables to a part of docs/speed.md; default: %(const)s",
    )
    return parser


def _at_least(least: int) -> Any:
    def whole(word: str) -> int:
        if (number := int(word)) < least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, found {number}")
        return number

    return whole


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("stopped: the cases that were finished are in the results")
