"""A user's folder: functions made by `faas-cli new` and built by `faas-cli build`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from containers import build, captured, docker, require

ROOT = Path(__file__).resolve().parents[2]
FAAS_CLI = ROOT / ".tools/bin/faas-cli"
PREFIX = "rust-farm-trial"
EXAMPLES = ["mandelbrot", "imaging"]
# `docker build` colours single words.
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COMPILED = re.compile(r"Compiling ([\w-]+) v")


@dataclass
class Built:
    """One build of a function's image."""

    image: str
    seconds: float
    crates: list[str]
    log: str


class Workplace:
    """The folder, with a function of the template and the examples."""

    def __init__(self, folder: Path) -> None:
        """Pull the template from a repository, as a user does, and make the functions."""
        self.folder = folder / "functions"
        self.folder.mkdir()
        template = template_repository(folder / "template-repository")
        self.faas_cli("template", "pull", str(template))
        new = ["new", "--lang", "rust-farm", "--prefix", PREFIX]
        self.faas_cli(*new, "hello")
        # Releases differ in what they call the stack file.
        self.stack = next(self.folder.glob("*.y*ml")).name
        for name in EXAMPLES:
            self.faas_cli(*new, "--append", self.stack, name)
            shutil.rmtree(self.folder / name)
            shutil.copytree(ROOT / "examples" / name, self.folder / name)

    def faas_cli(self, *arguments: str) -> str:
        """Run the real faas-cli here."""
        done = captured([str(FAAS_CLI), *arguments], cwd=str(self.folder))
        require(not done.returncode, f"faas-cli {' '.join(arguments)}:\n{done.stdout}")
        return done.stdout

    def build(self, name: str, *arguments: str) -> Built:
        """Build one function's image anew, with build arguments `NAME=VALUE`."""
        options = [word for argument in arguments for word in ("-b", argument)]
        started = time.monotonic()
        log = self.faas_cli("build", "--no-cache", "-f", self.stack, "--filter", name, *options)
        seconds = time.monotonic() - started
        return Built(f"{PREFIX}/{name}:latest", seconds, compiled(log), log)

    def context(self, name: str) -> Path:
        """Return what faas-cli gave to Docker when it built the function."""
        return self.folder / "build" / name

    def slow_down(self, name: str, milliseconds: int) -> None:
        """Change the handler as a user might: every task takes so long."""
        main = self.folder / name / "src/main.rs"
        before = main.read_text()
        first = "let words = line"
        require(first in before, f"{main} is not as this trial knows it")
        pause = f"tokio::time::sleep(std::time::Duration::from_millis({milliseconds})).await;\n    "
        main.write_text(before.replace(first, pause + first))


def template_repository(folder: Path) -> Path:
    """Make a git repository that holds the template as it is here."""
    folder.mkdir()
    shutil.copytree(ROOT / "template", folder / "template")
    identity = ["-c", "user.name=trial", "-c", "user.email=trial@localhost"]
    commit = ["commit", "--quiet", "--message", "template"]
    for arguments in (["init", "--quiet"], ["add", "--all"], commit):
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)  # noqa: S607
    return folder


def compiled(log: str) -> list[str]:
    """List the crates that cargo compiled, each once."""
    return sorted(set(COMPILED.findall(COLOUR.sub("", log))))


def refused(context: Path, change: dict[str, str | None]) -> str:
    """Build a changed copy of a context, which must fail; return what was said.

    `change` has new contents by path; None removes the file.
    """
    copy = context.with_name(f"{context.name}-changed")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(context, copy)
    for path, text in change.items():
        if text is None:
            (copy / path).unlink()
        else:
            (copy / path).write_text(text)
    # A failed step leaves its container otherwise.
    done = build("--force-rm", str(copy))
    shutil.rmtree(copy)
    require(done.returncode != 0, f"a build that must fail did not: {sorted(change)}")
    return COLOUR.sub("", done.stdout)


def crates_within(image: str, folder: Path) -> dict[str, str]:
    """List the crates, with their versions, that the binary of an image says it was made of."""
    container = docker("create", image)
    docker("cp", f"{container}:/function", str(folder / "function"))
    docker("rm", container)
    section = folder / "section"
    extract = ["objcopy", "--dump-section", f".dep-v0={section}", str(folder / "function")]
    require(captured(extract).returncode == 0, f"{image}: its binary carries no list of crates")
    packages = json.loads(zlib.decompress(section.read_bytes()))["packages"]
    return {package["name"]: package["version"] for package in packages}
