"""A workbench over a small bundle worked out by hand, on SQLite and on PostgreSQL."""

from __future__ import annotations

import functools
import getpass
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundle_factory import make_bundle

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from leukoscope.child import Child
from leukoscope.service.app import make_app
from leukoscope.service.people import accounts
from leukoscope.service.settings import Limits, ServiceSettings
from leukoscope.service.workbench import Workbench
from workbench_client import Guest, answered, cells_of, key, picture, put, sign

POSTGRES = Path("/usr/lib/postgresql")


@pytest.fixture(autouse=True)
def _quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that a test machine checks in a millisecond."""
    quick = functools.partial(accounts.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts, "PasswordHasher", quick)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server on a temporary folder, without the name of a database; or a skip that says why."""
    found = sorted(POSTGRES.glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    programs, root = found[-1].parent, os.geteuid() == 0
    user = "postgres" if root else getpass.getuser()
    home = Path(f"/tmp/leukoscope-postgres-{uuid.uuid4().hex[:8]}")
    home.mkdir(mode=0o700)
    if root:
        shutil.chown(home, user)

    def run(*arguments: str) -> None:
        command = ["runuser", "-u", user, "--", *arguments] if root else list(arguments)
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    run(f"{programs}/initdb", "-D", f"{home}/data", "-A", "trust", "-U", "leukoscope", "--no-sync")
    options = f"-k {home} -c listen_addresses= -c fsync=off"
    run(f"{programs}/pg_ctl", "-D", f"{home}/data", "-o", options, "-w", "-l", f"{home}/log", "start")
    try:
        yield f"postgresql://leukoscope@/{{name}}?host={home}"
    finally:
        run(f"{programs}/pg_ctl", "-D", f"{home}/data", "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def new_database(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes a database of PostgreSQL; its URL."""

    def make() -> str:
        psycopg = pytest.importorskip("psycopg")
        url: str = request.getfixturevalue("postgres")
        name = f"w{uuid.uuid4().hex}"
        with psycopg.connect(url.format(name="postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return url.format(name=name)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, new_database: Callable[[], str]) -> str | None:
    """None for SQLite in the folder of the workbench; the URL of a new database of PostgreSQL."""
    return None if request.param == "sqlite" else new_database()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The bundle that answers: a graph worked out by hand."""
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def settings(tmp_path: Path, database_url: str | None, bundle: Path) -> ServiceSettings:
    limits = Limits(requests_per_second=1e6)
    return ServiceSettings(data=tmp_path / "workbench", database=database_url, bundle=bundle, limits=limits)


@pytest.fixture(scope="session")
def children() -> Iterator[tuple[Child, Child]]:
    """The two processes of a workbench; all tests use the same, which take a second to start."""
    limits = Limits()
    made = Child(limits.child(limits.decode_seconds)), Child(limits.child(limits.decode_seconds))
    yield made
    for each in made:
        each.close()


@pytest.fixture
def bench(settings: ServiceSettings, children: tuple[Child, Child]) -> Iterator[Workbench]:
    made = Workbench(settings)
    own, (made.decoder, made.asker) = (made.decoder, made.asker), children
    yield made
    made.decoder, made.asker = own
    made.close()


@pytest.fixture
def signed(guest: Guest, make_case: MakeCase) -> list[str]:
    """Three signed cases of three subjects; half of the cells of each are called blast, one an artefact."""
    signer, cases = guest.as_("signer", login="first-signer"), []
    for shade, subject in enumerate(("P 1", "P 2", "=P 3"), 100):
        case = make_case(9 if subject == "P 1" else 5, shade=shade, subject=subject)
        for number, cell in enumerate(cells_of(signer, case)):
            label = "artefact" if number == 4 else "blast" if number % 2 else "monocyte"
            assert key(signer, case, cell["id"], label).status_code == 200
        assert signer.post(f"/api/v1/cases/{case}/complete", json={}).status_code == 200
        assert sign(signer, case).status_code == 201
        cases.append(case)
    return cases


@pytest.fixture
def guest(bench: Workbench) -> Iterator[Guest]:
    client = Guest(make_app(bench), base_url="http://127.0.0.1")
    client.bench = bench
    with client:
        yield client


MakeCase = Callable[..., str]


@pytest.fixture
def make_case(guest: Guest) -> MakeCase:
    """Makes a case with cells of so many colours of one shade, answered."""
    maker = guest.as_("reader", "manager", login="maker")

    def make(cells: int = 4, *, shade: int = 120, **protocol: object) -> str:
        told = {"order_no": "A 1", "subject": "P 1", **protocol}
        case = maker.post("/api/v1/cases", json=told).json()["id"]
        for number in range(cells):
            colour = (250 - 5 * (number % 40), 60 + number // 40, shade)
            assert put(maker, case, picture(colour), f"cell-{number}.png").status_code == 201
        answered(maker, case)
        return str(case)

    return make
