"""What the operators' pages say: commands that need no cluster are run as they stand, and what is named exists."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import yaml

from deployments.metrics import OF_INGRESS, OF_MODEL

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("operating", "kubernetes", "monitoring", "sizing", "troubleshooting")
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text() for name in NAMES}
ALERTS = {
    rule["alert"]
    for group in yaml.safe_load((ROOT / "k8s" / "monitoring" / "alerts.yaml").read_bytes())["spec"]["groups"]
    for rule in group["rules"]
}


def blocks(page: str) -> list[str]:
    """Its code."""
    return re.findall(r"^```\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


def block(page: str, word: str) -> str:
    (found,) = [each for each in blocks(page) if word in each]
    return found


def run(command: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(*commands: str) -> pytest.MarkDecorator:
    lacking = [command for command in commands if shutil.which(command) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"{', '.join(lacking)} not installed")


class TestCommands:
    @needs("openssl", "sha256sum")
    def test_a_key_is_made_and_its_hash_is_taken(self, tmp_path: Path) -> None:
        key, line = run(block("operating", "sha256sum"), tmp_path).splitlines()
        told = line.split()[0]
        assert told == hashlib.sha256(key.encode()).hexdigest()
        config = yaml.safe_load((ROOT / "config" / "local.yaml").read_bytes())
        config["applications"][0]["deployments"][0]["user_config"]["keys_file"] = str(tmp_path / "keys.yaml")
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        entry = block("operating", "5e88…").replace("5e88…", told)
        (tmp_path / "keys.yaml").write_text(entry)
        check = f"cd {ROOT} && {sys.executable} -m config check {tmp_path}/config.yaml"
        assert run(check, tmp_path).endswith("nothing is wrong\n")
        (tmp_path / "keys.yaml").write_text(entry.replace(told, told[1:]))
        with pytest.raises(AssertionError, match=r"\[0\].sha256"):
            run(check, tmp_path)

    @pytest.mark.parametrize("page", PAGES)
    def test_config_files_are_checked(self, page: str, tmp_path: Path) -> None:
        """With what is in git now in the place of older files; `new.yaml` is a copy."""
        shutil.copytree(ROOT / "config", tmp_path / "config")
        shutil.copy(ROOT / "config" / "serve.yaml", tmp_path / "new.yaml")
        for code in blocks(page):
            for command in code.splitlines():
                if shown := re.fullmatch(r"git show HEAD(?:~1)?:(\S+) > (\S+)", command):
                    shutil.copy(tmp_path / shown[1], tmp_path / shown[2])
                elif command.startswith(".venv/bin/python -m config check"):
                    told = run(command.replace(".venv/bin/python", f"PYTHONPATH={ROOT} {sys.executable}"), tmp_path)
                    assert told in ("nothing changes\n", "config/serve.yaml: nothing is wrong\n")

    @needs("yq", "promtool")
    def test_the_rules_of_the_alerts_are_taken_out(self, tmp_path: Path) -> None:
        shutil.copytree(ROOT / "k8s" / "monitoring", tmp_path / "k8s" / "monitoring")
        assert f"{len(ALERTS)} rules found" in run(block("monitoring", "promtool"), tmp_path)

    def test_prometheus_configuration_is_yaml(self) -> None:
        (job,) = yaml.safe_load(block("monitoring", "scrape_configs"))["scrape_configs"]
        assert job.keys() == {"job_name", "file_sd_configs"}

    @needs("nginx")
    def test_nginx_knows_what_is_in_front(self, tmp_path: Path) -> None:
        server = "server { listen 127.0.0.1:8443; location / { proxy_pass http://127.0.0.1:8000; } }"
        settings = block("operating", "large_client_header_buffers")
        main = f"pid {tmp_path}/nginx.pid; error_log stderr; events {{}}"
        (tmp_path / "nginx.conf").write_text(f"{main}\nhttp {{ access_log off;\n{settings}{server} }}\n")
        # It goes on to make folders below /var.
        run(f"nginx -t -p {tmp_path} -c {tmp_path}/nginx.conf 2>&1 | grep 'syntax is ok'", tmp_path)


class TestNames:
    @pytest.mark.parametrize("page", PAGES)
    def test_metrics_exist(self, page: str) -> None:
        ours = {metric.name for metric in (*OF_INGRESS, *OF_MODEL)}
        assert set(re.findall(r"\b(?:ray_)?(easel_[a-z_]+)", PAGES[page])) <= ours
        source = "".join(path.read_text() for path in (Path(ray.__file__).parent / "serve" / "_private").glob("*.py"))
        for name in re.findall(r"\bray_(serve_[a-z_]+)`", PAGES[page]):
            assert f'"{name}"' in source, name

    @pytest.mark.parametrize("page", PAGES)
    def test_alerts_exist(self, page: str) -> None:
        assert set(re.findall(r"\bEasel[A-Z]\w+", PAGES[page])) <= ALERTS

    def test_what_to_do_is_told_of_every_alert(self) -> None:
        assert {name for name in ALERTS if f"`{name}`" not in PAGES["troubleshooting"]} == set()

    def test_what_to_do_is_told_of_every_error_that_an_operator_may_mend(self) -> None:
        rows = re.findall(r"^\| (\d{3}) \| ([^|]+) \|", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
        codes = {status: set(re.findall(r"`(\w+)`", told)) for status, told in rows if status != "403"}
        mendable = set().union(*(codes[status] for status in ("401", "410", "429", "500", "503", "504")))
        assert {code for code in mendable if f"`{code}`" not in PAGES["troubleshooting"]} == set()

    def test_errors_have_their_status(self) -> None:
        table = (ROOT / "docs" / "api.md").read_text()
        for status, code in re.findall(r"(\d{3}) `(\w+)`", PAGES["troubleshooting"]):
            assert re.search(rf"^\| {status} \|[^|]*`{code}`", table, re.MULTILINE), code

    def test_messages_are_those_of_the_code(self) -> None:
        folders = [*(ROOT / name for name in ("config", "deployments", "serve_app"))]
        folders += [Path(ray.__file__).parent / "serve" / "_private", Path(ray.__file__).parent / "_private"]
        sources = [path.read_text() for folder in folders for path in sorted(folder.rglob("*.py"))]
        joined = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
        quoted = re.findall(r'"([A-Za-z][^"`|]+)"', re.sub(r"```.*?```", "", PAGES["troubleshooting"], flags=re.DOTALL))
        assert len(quoted) > 20
        fragments = {fragment.strip() for message in quoted for fragment in message.split("…")}
        assert {fragment for fragment in fragments if fragment not in joined} == set()
