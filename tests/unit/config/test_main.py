"""`python -m config check`: what it prints, where, and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.__main__ import main

FOLDER = Path(__file__).parents[3] / "config"
LOCAL = FOLDER / "local.yaml"


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.yaml"
    path.write_text(LOCAL.read_text().replace("http_options:", "http_option:").replace("torch_threads:", "threads:", 1))
    return path


def test_a_good_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(LOCAL)]) == 0
    assert capsys.readouterr() == (f"{LOCAL}: nothing is wrong\n", "")


def test_what_ray_will_give_up_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(LOCAL.read_text().replace("upscale_delay_s: 10", "metrics_interval_s: 1"))
    assert main(["check", str(path), "--against", str(path)]) == 0
    assert capsys.readouterr() == ("nothing changes\n", "")


def test_every_mistake_has_a_line(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(wrong)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        f"{wrong}: applications[1].args: unknown key 'threads'; did you mean 'torch_threads'?",
        f"{wrong}: the file: unknown key 'http_option'; did you mean 'http_options'?",
    ]


def test_what_would_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(LOCAL.read_text().replace("deadline_seconds: 240", "deadline_seconds: 120"))
    assert main(["check", str(new), "--against", str(LOCAL)]) == 0
    assert capsys.readouterr() == ("ingress: Ingress.user_config.deadline_seconds: in place\n", "")
    assert main(["check", str(new), "--against", str(new)]) == 0
    assert capsys.readouterr() == ("nothing changes\n", "")


def test_what_cannot_be_compared(wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(LOCAL), "--against", str(wrong)]) == 2
    assert capsys.readouterr().err.startswith(f"{wrong}: applications[1].args: unknown key")
    for arguments in ([str(tmp_path / "absent")], [str(LOCAL), "--against", str(tmp_path / "absent")]):
        assert main(["check", *arguments]) == 2
        assert capsys.readouterr().err.startswith(f"{tmp_path / 'absent'}: ")
    (tmp_path / "text").write_text("a: [")
    assert main(["check", str(tmp_path / "text")]) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'text'}: not YAML: ")


def test_a_file_of_keys_is_here_or_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(
        LOCAL.read_text().replace("deadline_seconds: 240", f"deadline_seconds: 240\n          keys_file: {tmp_path}/k")
    )
    assert main(["check", str(path)]) == 1
    assert f"keys_file: {tmp_path}/k: No such file" in capsys.readouterr().err
    assert main(["check", str(path), "--keys-elsewhere"]) == 0


@pytest.mark.parametrize("arguments", [[], ["check"], ["chek", str(LOCAL)], ["check", str(LOCAL), "--agianst", "x"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m config")
