"""The container, its compose file, the proxy and the unit: read as their programs read them, their commands run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import ssl
import subprocess
import time
import tomllib
import urllib.request
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest
import yaml

from bundle_factory import make_bundle
from leukoscope.cli import main
from workbench_client import PASSWORD, Served

HOME = Path(__file__).parents[2]
DEPLOY = HOME / "deploy"


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, in their order."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def test_the_container_runs_as_nobody_special_from_a_pinned_base() -> None:
    found = instructions()
    known = {"FROM", "COPY", "RUN", "USER", "VOLUME", "ENV", "HEALTHCHECK", "CMD"}
    assert {name for name, _ in found} <= known
    bases = [words.split()[0] for name, words in found if name == "FROM"]
    assert bases
    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+-slim", base) for base in bases)  # a version, never `latest`
    last = [name for name, _ in found]
    users = [words for name, words in found if name == "USER"]
    assert users[-1] not in ("root", "0")
    assert last.index("USER") < last.index("CMD")
    (installs,) = (words for name, words in found if name == "RUN" and "pip install" in words)
    assert "-c /src/constraints.txt" in installs
    assert "--no-cache-dir" in installs
    assert not any(re.search(r"\b(sudo|curl|wget|apt-get upgrade)\b", words) for _, words in found)


def test_the_container_is_built_from_the_source_alone() -> None:
    """Docker reads NAME.dockerignore beside a Dockerfile of another name than the context's own."""
    kept_out = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    assert {".git", ".venv*", "runs", "cache", "data", "shared"} <= set(kept_out)
    wanted = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", "src/leukoscope/_version.py")
    for name in wanted:
        assert (HOME / name).exists()
        assert not any(fnmatch(name.partition("/")[0], line) for line in kept_out if line and line[0] != "#")


def test_the_commands_of_the_container_serve_and_find_themselves_well(tmp_path: Path) -> None:
    told = dict(instructions())
    command = json.loads(told["CMD"])
    assert command[:2] == ["leukoscope", "serve"]
    check = json.loads(told["HEALTHCHECK"].partition("CMD ")[2])
    port = command[command.index("--port") + 1]
    options = command[2:]
    options[options.index("--data") + 1] = str(tmp_path / "data")
    server = Served(tmp_path / "data", make_bundle(tmp_path / "bundle"))
    server.kill()
    server.command = [*server.command[:4], *options, "--bundle", str(tmp_path / "bundle")]
    server.command[server.command.index("--port") + 1] = str(server.port)
    server.start()
    try:
        line = [word.replace(f":{port}/", f":{server.port}/") for word in check]
        assert subprocess.run([*server.command[:1], *line[1:]], check=False).returncode == 0
    finally:
        server.kill()
    assert subprocess.run([*server.command[:1], *line[1:]], check=False, capture_output=True).returncode == 1


def test_the_compose_file_keeps_the_workbench_to_itself() -> None:
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    bench, proxy = told["services"]["workbench"], told["services"]["proxy"]
    assert (DEPLOY / bench["build"]["context"] / bench["build"]["dockerfile"]).is_file()
    assert bench["read_only"] is True
    assert bench["cap_drop"] == ["ALL"]
    assert bench["volumes"] == ["data:/data"]
    assert proxy["network_mode"] == "service:workbench"
    inside = bench["ports"][0].partition(":")[2]
    assert f"listen {inside} ssl" in (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert not re.search(r":latest\b", proxy["image"])
    for volume in proxy["volumes"]:
        assert volume.endswith(":ro")
    assert (DEPLOY / "nginx.conf").is_file()


def test_the_files_agree_on_ports_folders_and_names() -> None:
    """What one file names stands in the others, and in the command line; another port or folder in one alone fails."""
    told = dict(instructions())
    command = json.loads(told["CMD"])
    port = command[command.index("--port") + 1]
    proxy = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    unit = (DEPLOY / "leukoscope.service").read_text(encoding="utf-8")
    assert re.findall(r"proxy_pass http://127\.0\.0\.1:(\d+)/;", proxy) == [port]
    assert re.findall(r"http://127\.0\.0\.1:(\d+)/", told["HEALTHCHECK"]) == [port]
    assert re.findall(r"--port (\d+)", unit) == [port]
    for line in (command[1:], shlex.split(re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)[0])[1:]):
        verb = main.get_command(click.Context(main), line[0])
        assert verb is not None
        verb.make_context("serve", line[1:])  # parses, and runs nothing

    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    folder = command[command.index("--data") + 1]
    volume, _, place = services["workbench"]["volumes"][0].partition(":")
    assert (volume in compose["volumes"], place, told["VOLUME"]) == (True, folder, folder)
    assert f"/{told['ENV'].partition('HOME=/')[2]}" in services["workbench"]["tmpfs"]  # all else is read-only
    assert set(services["proxy"]["depends_on"]) | {services["proxy"]["network_mode"].partition(":")[2]} <= set(services)
    inside = [each.split(":")[1] for each in services["proxy"]["volumes"]]
    named = re.findall(r"^\s*ssl_certificate(?:_key)? (\S+);", proxy, re.MULTILINE)
    assert len(named) == 2
    assert {str(Path(each).parent) for each in named} <= set(inside)
    extra = re.findall(r"/src\[(\w+)\]", " ".join(words for name, words in instructions() if name == "RUN"))
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra
    assert set(extra) <= set(project["optional-dependencies"])
    base = next(words for name, words in instructions() if name == "FROM")
    assert f"Programming Language :: Python :: {base.split(':')[1].split('-')[0]}" in project["classifiers"]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed: apt-get install nginx-light")
@pytest.mark.parametrize("prefix", ["", "/leukoscope"])
def test_behind_nginx_with_tls_as_the_file_says(tmp_path: Path, prefix: str) -> None:
    server = Served(tmp_path / "data", make_bundle(tmp_path / "bundle"), *(["--root-path", prefix] if prefix else []))
    port = server.port + 1 if server.port < 65000 else server.port - 1
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1",
         "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    told = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    told = told.replace("/etc/nginx/tls", str(tmp_path)).replace("listen 8443", f"listen 127.0.0.1:{port}")
    told = told.replace(":8765/", f":{server.port}/").replace("location / {", f"location {prefix}/ {{")
    paths = "".join(
        f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; daemon off; error_log {tmp_path}/error.log; events {{}} "
        f"http {{ access_log off; {paths} {told} }}"
    )
    nginx = subprocess.Popen(["nginx", "-c", str(tmp_path / "nginx.conf")], stderr=subprocess.DEVNULL)
    trust = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    trust.check_hostname = False
    home = f"https://127.0.0.1:{port}{prefix}"

    def ask(path: str, body: dict | None = None, **headers: str):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(home + path, data, {"content-type": "application/json", **headers})
        return urllib.request.urlopen(request, context=trust, timeout=30)

    try:
        until = time.monotonic() + 60
        while True:
            try:
                assert b"leukoscope" in ask("/").read().lower()
                break
            except OSError:
                assert time.monotonic() < until, (tmp_path / "error.log").read_text()
                time.sleep(0.1)
        first = {"token": server.first_token(), "login": "a", "name": "A", "password": PASSWORD, "roles": ["reader"]}
        with ask("/api/v1/first", first, origin=f"https://127.0.0.1:{port}") as answer:
            cookie = answer.headers["set-cookie"].partition(";")[0]
        assert cookie.startswith("__Host-leukoscope=")
        with ask("/api/v1/session", cookie=cookie) as answer:
            assert json.loads(answer.read())["login"] == "a"
        with ask("/web/main.mjs") as answer:
            assert "javascript" in answer.headers["content-type"]
    finally:
        nginx.terminate()
        nginx.wait()
        server.kill()


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = (DEPLOY / "leukoscope.service").read_text(encoding="utf-8")
    start = shlex.split(re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)[0])
    assert start[1:3] == ["serve", "--data"]
    assert start[3] == "/var/lib/" + re.findall(r"^StateDirectory=(.*)$", text, re.MULTILINE)[0]
    for line in ("ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateTmp=yes"):
        assert f"\n{line}\n" in text
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed; the lines were read")
    unit = tmp_path / "leukoscope.service"
    unit.write_text(text.replace(start[0], "/bin/true").replace("User=leukoscope", "User=daemon"))
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if unit.name in line]
    assert told == [], done.stderr
