"""The program itself: its entry point, its help, its exit codes, the backends it lists, and what it shows under way."""

from __future__ import annotations

import importlib.metadata
import io
import os
import re
import resource
import subprocess
import sys

import pytest

from attent import Plan, plugins, teach
from attent.cli.progress import TimeLeft, lines, watching
from attent.judging.referee import Work
from attent.tests import cli_toy
from attent.tests.cli_toy import command, tiny

COMMANDS = ("teach", "plan", "report", "diff", "backends")


def test_the_entry_point_is_installed():
    (point,) = importlib.metadata.entry_points(group="console_scripts", name="attent")
    assert point.value == "attent.cli:main"
    from attent.cli import main

    assert point.load() is main


def test_the_version_is_told():
    assert command("--version") == (0, f"attent {importlib.metadata.version('attent')}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name):
    outcome = command(name, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: attent {name} [OPTIONS]")
    assert name in command("--help").out


@pytest.mark.parametrize("arguments", [("teach", "--epoch", "3"), ("tech",), ("diff", "one"), ("plan", "--n", "x")])
def test_a_misspelt_call_is_a_usage_error(arguments):
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Error: " in outcome.err


def test_help_is_fast_and_brings_no_numpy():
    script = (
        "import sys, atexit; from attent.cli import main; "
        "atexit.register(lambda: print([m for m in ('numpy', 'rich', 'pluggy') if m in sys.modules])); main()"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5  # 0.15 on a quiet machine


def test_a_name_that_the_output_cannot_show_does_not_end_a_run(tmp_path):
    arguments = ("teach", cli_toy.RECIPE, "--epochs", "2", "--against", "none", "--run", "wöche")
    script = [sys.executable, "-c", "from attent.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == r"Folder: w\xf6che"


def test_output_into_a_closed_pipe_is_no_traceback():
    script = "from attent.cli import main; main()"
    writer = subprocess.Popen(
        [sys.executable, "-c", script, "plan", "--n", "1000", "--epochs", "5000", "--batch-size", "8",
         "--ratio", "linear(0.1, 0.9)"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    writer.stdout.read(10)
    writer.stdout.close()
    assert b"Traceback" not in writer.stderr.read()
    writer.stderr.close()
    writer.wait()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a plugin: an importable module behind an entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._loaded.cache_clear()

    def add(name, code, distribution):
        (tmp_path / f"cli_plugin_{name}.py").write_text(code)
        info = tmp_path / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[attent]\n{name} = cli_plugin_{name}\n")

    yield add
    plugins._loaded.cache_clear()
    for module in [name for name in sys.modules if name.startswith("cli_plugin_")]:
        del sys.modules[module]


def test_backends_are_listed_and_a_broken_one_harms_no_other(install):
    install("broken", "import nothing_of_this_name", "broken-one")
    install(
        "extra",
        "import attent\n@attent.hookimpl\ndef attent_policies(): return {'lowest': print}\n"
        "@attent.hookimpl\ndef attent_recipes(): return {'mine': 'm:f'}",
        "extra-one",
    )
    outcome = command("backends")
    assert outcome.code == 0
    table, _, problem = outcome.out.partition("\n\n")
    rows = {line.split()[0]: line for line in table.splitlines()}
    assert rows["plugin"].split() == ["plugin", "distribution", "backend", "recipes"]
    assert rows["numpy"].split() == ["numpy", "attent", "0.1.0", "yes", "byte-gpt,", "known-digits,", "vit-digits"]
    assert rows["extra"].split() == ["extra", "extra-one", "1.0", "no", "mine;", "policies:", "lowest"]
    assert rows["broken"].endswith("cannot be loaded, see below")
    assert problem == (
        "plugin 'broken' (cli_plugin_broken of broken-one 1.0) cannot be imported: ModuleNotFoundError: "
        "No module named 'nothing_of_this_name'\n"
    )


def test_backends_of_another_name_or_without_their_packages_are_told(install):
    install("called", "import attent\n@attent.hookimpl\ndef attent_backend(): return attent.Backend('x', 'm:c')", "one")
    install(
        "bare",
        "import attent\n@attent.hookimpl\n"
        "def attent_backend(): return attent.Backend('bare', 'm:c', ('numpy', 'no_such_framework'))",
        "two",
    )
    table, *problems = command("backends").out.rstrip().split("\n\n")
    rows = {line.split()[0]: line for line in table.splitlines()}
    assert rows["called"].endswith("cannot be loaded, see below")
    assert rows["bare"].split() == ["bare", "two", "1.0", "yes", "-"]
    assert problems == [
        "backend 'bare' runs on no_such_framework, which is not installed here",
        "plugin 'called': its backend calls itself 'x'; both names must be one",
    ]


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self):
        return self.now


def test_the_time_left_counts_every_arm_and_no_pause_between_them():
    clock = Clock()
    left = TimeLeft(clock)
    left.begin(1.0, 3.0)
    assert left.update(0.5) is None  # a resumed arm begins in the middle
    clock.now = 10.0
    assert left.update(1.0) == pytest.approx(60.0)
    clock.now = 1000.0
    left.begin(3.0, 0.0)
    assert left.update(0.0) == pytest.approx(60.0)
    clock.now = 1040.0
    assert left.update(0.5) == pytest.approx(1.5 * 50 / 2)


def lines_told(plan, seconds, seeds=1):
    """Return the lines told of a run in which so many seconds pass before each look at its progress."""
    clock, told = Clock(), io.StringIO()
    listen = lines(told, clock)(Work("taught", plan, seeds, 1.0, 0.0))

    def tick(progress):
        clock.now += seconds
        listen(progress)

    teach(tiny(plan), plan, listeners=[tick], segment_steps=64)
    return told.getvalue().splitlines()


def test_lines_are_few_and_say_what_is_under_way():
    shown = lines_told(Plan.default(epochs=4, batch_size=8), 2.0)
    assert len(shown) == 1  # after 6 seconds
    assert shown[0].startswith("taught: epoch 3/4, loss ")
    assert shown[0].endswith(", 0:05 left")
    (one,) = lines_told(Plan.default(epochs=4, batch_size=8, seed=7), 2.0, seeds=5)
    assert one.startswith("taught: seed 7, epoch 3/4, loss ")


@pytest.mark.parametrize(
    ("plan", "starts"),
    [
        (
            Plan.auto(epochs=4, batch_size=8),
            ["pass 1/9, loss ", "pass 2/9, loss ", "pass 9/9, loss "],
        ),
        (Plan.full(epochs=4, batch_size=8), ["epoch 1/4, loss ", "epoch 2/4, loss ", "epoch 4/4, loss "]),
    ],
)
def test_what_is_counted_is_called_what_it_is(plan, starts):
    shown = lines_told(plan, 6.0)
    for line, start in zip((shown[0], shown[1], shown[-1]), starts, strict=True):
        assert line.startswith(f"taught: {start}")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_on_a_terminal_there_is_a_bar_per_arm_on_a_line(monkeypatch, columns):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal, plan = Terminal(), Plan.default(epochs=3, batch_size=8)
    with watching(terminal) as (tell, watch):
        for name in ("taught", "full-0.55"):
            teach(tiny(plan), plan, listeners=[watch(Work(name, plan, 5, 1.0, 2.0))])
            tell(f"seed 0, {name}: done")
    shown = terminal.getvalue()
    for part in ("taught", "full-0.55", "seed 0, epoch 3/3, loss", "seed 0, taught: done\n"):
        assert part in shown
    drawn = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))
    assert max(map(len, drawn)) <= columns


@pytest.mark.parametrize("arguments", [(), ("teach",)])
def test_what_to_type_next_is_said_in_a_few_lines(arguments):
    outcome = command(*arguments)
    said = outcome.out + outcome.err
    assert outcome.code == (2 if arguments else 0)
    assert "attent teach known-digits" in said
    assert len(said.splitlines()) <= 10


def test_on_a_terminal_an_error_is_wrapped_between_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(cli_toy.Captured, "isatty", lambda self: True)
    lines = command("teach", "nope").err.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 60
    assert "package.module:function" in " ".join(lines)
