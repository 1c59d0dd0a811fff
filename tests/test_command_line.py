"""Modes as words, configs by name, --help: the same program from every start."""

import re
import subprocess
import sys

import pytest
from absl import flags
from programs import ROOT, run

from defect_jax import command_line, main
from defect_jax.command_help import help_text
from defect_jax.command_line import CONFIGS, config_names, parse_flags


@pytest.fixture
def parsed(monkeypatch):
    """What `flags.FLAGS` is given."""
    seen = []

    class Config:
        value = None

    monkeypatch.setattr(command_line.flags, "FLAGS", lambda argv: seen.extend(argv) or [])
    monkeypatch.setattr(command_line, "CONFIG", Config)
    return lambda *arguments: (
        seen.clear() or parse_flags(["main", *arguments], "help", main.RUN) or seen[1:]
    )


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        (["train", "--strict"], ["--mode=train", "--strict"]),
        (["--strict"], ["--strict"]),
        (["--config=folder:cpu"], [f"--config={CONFIGS}/folder.py:cpu"]),
        (["-config", "folder"], ["-config", f"{CONFIGS}/folder.py"]),
        (
            ["check", "--config", "ksdd2:lite"],
            ["--mode=check", "--config", f"{CONFIGS}/ksdd2.py:lite"],
        ),
        (["--config=configs/folder.py:cpu"], ["--config=configs/folder.py:cpu"]),
        (["--config=lite_ablation:cpu"], [f"--config={CONFIGS}/lite_ablation.py:cpu"]),
        (["--config.data.root=folder"], ["--config.data.root=folder"]),
    ],
)
def test_modes_are_words_and_configs_have_names(parsed, given, becomes, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert parsed(*given) == becomes


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["trian"], "unknown mode 'trian': there are train, evaluate, predict,"),
        (["train", "--mode=check"], "the mode is given twice: leave out train or --mode"),
        (["--config=foldr"], "no config 'foldr'; there are bsdata, folder, ksdd2,"),
        (["--config=base"], "no config 'base'; there are"),
        (
            ["--config=no/folder.py:cpu"],
            "no/folder.py is not there; the one that comes with defect_jax is --config=folder:cpu",
        ),
        (["--config=no/mine.py:cpu"], "--config: no/mine.py is not there"),
    ],
)
def test_what_is_not_there_is_one_line(parsed, given, says, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(*given)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and says in line
    assert not line.endswith("=mine:cpu")


@pytest.mark.parametrize("given", [[], ["--help"], ["-h"], ["help"], ["train", "--help"]])
def test_help_is_for_whoever_asks_and_for_no_arguments(parsed, given, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(*given)
    assert end.value.code == 0 and capsys.readouterr().out == "help\n"


def test_help_names_all_modes_and_configs_and_flags_that_there_are():
    text = help_text(main.RUN)
    assert all(re.search(rf"^  {mode} +[A-Z].*\.$", text, re.M) for mode in main.RUN)
    assert all(name in text for name in config_names())
    named = set(re.findall(r"--(\w+)", text)) - {"help", "helpfull"}  # those are absl's
    assert named <= set(flags.FLAGS)
    assert max(map(len, text.splitlines())) <= 100 + len(str(CONFIGS))


def test_every_config_is_found_by_its_name():
    files = {path.stem for path in (ROOT / "configs").glob("*.py")}
    assert {"folder", "synthetic", "magnetic_tile"} < set(config_names()) < files
    assert (CONFIGS / "folder.py").samefile(ROOT / "configs" / "folder.py")


def test_the_program_starts_without_arguments():
    result = run()
    assert result.returncode == 0 and result.stdout.startswith("defect_jax decides")


def test_another_program_without_a_help_text_starts_without_arguments():
    code = "from defect_jax import command_line; command_line.start(lambda: print('ran'))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "ran\n")


def test_windows_is_told_to_use_wsl():
    code = "import sys; sys.platform = 'win32'; import defect_jax"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1 and "run it in WSL 2" in result.stderr.splitlines()[-1]
