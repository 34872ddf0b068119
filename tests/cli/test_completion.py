"""Shell completion, installed and used as a user would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="bash is not installed")


def bash(script: str, home: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"HOME": str(home), "PATH": path}
    words = [BASH, "--norc", "-c", script]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


def test_install_completion_in_bash_completes_a_verb(tmp_path):
    # The second command keeps bash alive as the parent process, by which the shell is detected.
    assert "bash completion installed" in bash("stormcell --install-completion; true", tmp_path)
    completed = bash(
        "source ~/.bashrc; COMP_WORDS=(stormcell fore); COMP_CWORD=1; "
        '"$(complete -p stormcell | sed "s/.*-F \\([^ ]*\\).*/\\1/")" stormcell; echo "${COMPREPLY[@]}"',
        tmp_path,
    )
    assert completed.strip() == "forecast"
