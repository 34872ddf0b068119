"""``demo --live`` on small frames: the map is there, follows the rain, and ends when it is interrupted."""

import _thread
import json
import signal
import threading
import time
from urllib.error import HTTPError
from urllib.request import urlopen

from typer.testing import CliRunner

from stormcell.cli import demo_live
from stormcell.cli.main import app


class Visitor:
    """Opens the address that a browser would, waits for two issues, and presses Ctrl-C."""

    def __init__(self) -> None:
        self.page = b""
        self.issues: list[str] = []

    def open(self, address: str) -> None:
        threading.Thread(target=self._visit, args=(address,), daemon=True).start()

    def _visit(self, address: str) -> None:
        end = time.monotonic() + 120
        try:
            with urlopen(address) as answer:
                self.page = answer.read()
            while len(self.issues) < 2 and time.monotonic() < end:
                issue = _latest(address)
                if issue is not None and issue not in self.issues:
                    self.issues.append(issue)
                time.sleep(0.05)
        finally:
            _thread.interrupt_main()


def _latest(address: str) -> str | None:
    try:
        with urlopen(f"{address}latest.json") as answer:
            return json.load(answer)["issue"]
    except HTTPError as error:  # nothing is published yet
        error.close()
        return None


def test_demo_live_shows_one_issue_after_another_and_ends_when_interrupted(
    request, monkeypatch, capsys, tmp_path
):
    visitor = Visitor()
    monkeypatch.setattr("webbrowser.open", visitor.open)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    assert demo_live.run(tmp_path, port=0, browser=True, shape=(32, 32), model="extrapolation") == 0
    assert b"Stormcell" in visitor.page
    assert visitor.issues == sorted(visitor.issues)
    assert len(visitor.issues) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.zarr", "feed", "published"]
    assert "Ctrl-C ends it" in capsys.readouterr().out


def test_demo_live_into_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    done = CliRunner().invoke(app, ["demo", "--live", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "expected an empty folder" in done.stderr


def test_demo_live_with_files_is_refused():
    done = CliRunner().invoke(app, ["demo", "--live", "--data", "radar"])
    assert done.exit_code == 2
    assert "expected no --data" in done.stderr
