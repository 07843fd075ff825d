"""The server of a team, as its one command starts it: PostgreSQL, passwords, artifacts on S3, several users at once."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mlflow_books import check_books, runs_by_trial
from s3_endpoint import s3_endpoint
from test_ui import served
from waiting import answers, wait_until

from segsweep.orchestrator.launching.ray_session import free_port
from segsweep.orchestrator.record.journal import SweepCreated, read_events
from segsweep.orchestrator.tracking.records import sweep_uid
from segsweep.orchestrator.tracking.writer import sync

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # of MLflow and boto3
]

ROOT = Path(__file__).parents[1]
SEGSWEEP = (sys.executable, "-c", "from segsweep.orchestrator.cli import main; main()")
SPACE = """\
datasets: [{{type: streets, size: [48, 80], train: 8, val: 4, test: 4}}]
models: [{{architecture: {architecture}, encoder: tu-mobilenetv3_small_050}}]
trials: 3
epochs: {epochs}
batch_size: 4
image_size: [48, 80]
"""
PASSWORDS = {"ada": "correct-horse-battery", "bob": "staple-and-%-sign"}


def processes(word: str) -> list[str]:
    """Command lines of this machine that have the word."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended meanwhile
    return [line for line in lines if word in line]


def ordinary_user() -> tuple[str, ...]:
    """What to put before a command so that it does not run as root, which PostgreSQL refuses. Skips where it cannot."""
    if not (shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    if os.geteuid() != 0:
        return ()
    prefix = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("PostgreSQL refuses root, and no user namespace may be made here")
    return prefix


@dataclass
class Team:
    folder: Path
    port: int
    log: Path
    environment: dict[str, str]
    s3: Any
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def command(self) -> list[str]:
        options = ["--port", str(self.port), "--workers", "1", "--artifacts-destination", "s3://runs/mlflow"]
        return [*self.prefix, str(ROOT / "team/team_server.sh"), str(self.folder), *options]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log)
        wait_until(lambda: answers(f"{self.uri}/health") or self.ended, "the server's start")
        assert not self.ended, self.log.read_text()

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def post(self, path: str, login: tuple[str, str], body: dict[str, str]) -> None:
        request = urllib.request.Request(f"{self.uri}/api/2.0/mlflow/{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Basic {b64encode(':'.join(login).encode()).decode()}")
        urllib.request.urlopen(request, timeout=30).close()

    def home(self, user: str, password: str | None = None) -> dict[str, str]:
        """The environment of a user of the team, whose password is in the file that MLflow reads."""
        home = self.folder.parent / user
        home.mkdir(exist_ok=True)
        (home / ".mlflow").mkdir(mode=0o700, exist_ok=True)
        credentials = home / ".mlflow/credentials"
        credentials.touch(mode=0o600)
        secret = (password or PASSWORDS[user]).replace("%", "%%")  # it is an INI file
        lines = ("[mlflow]", f"mlflow_tracking_username = {user}", f"mlflow_tracking_password = {secret}")
        credentials.write_text("\n".join(lines))
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "SEGSWEEP"))}
        return clean | {"HOME": str(home), "MLFLOW_TRACKING_URI": self.uri, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A bucket `runs` behind an S3 endpoint of this machine."""
    with s3_endpoint("runs") as client:
        yield client


@pytest.fixture(scope="module")
def team(s3: Any) -> Iterator[Team]:
    prefix = ordinary_user()
    base = Path(tempfile.mkdtemp(prefix="segsweep-team-"))  # short: the name of a socket has 107 bytes
    (base / "aws").write_text("[default]\naws_access_key_id=key\naws_secret_access_key=s3cret-of-the-bucket\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PG", "AWS"))}
    environment |= {
        "AWS_SHARED_CREDENTIALS_FILE": str(base / "aws"),
        "MLFLOW_S3_ENDPOINT_URL": s3.meta.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    team = Team(base / "it's the team's", free_port(), base / "server.log", environment, s3, prefix)
    try:
        team.start()
        admin = (team.folder / "admin_password").read_text().strip()
        for user, password in PASSWORDS.items():
            team.post("users/create", ("admin", admin), {"username": user, "password": password})
        yield team
    finally:
        if not team.ended:
            team.stop()
        left = processes(str(base))
        shutil.rmtree(base)
        assert left == []


@pytest.fixture(scope="module")
def sweeps(team: Team) -> dict[str, Path]:
    """Journals of the sweeps that ada and bob ran at the same time, each `tiny-1` in a folder of their own."""
    asked = {"ada": SPACE.format(architecture="unet", epochs=2), "bob": SPACE.format(architecture="linknet", epochs=3)}
    drivers = {}
    for user, space in asked.items():
        environment = team.home(user)
        home = Path(environment["HOME"])
        (home / "tiny.yaml").write_text(space)
        drivers[user] = subprocess.Popen(
            [*SEGSWEEP, "launch", "tiny.yaml", "--in-process"],
            cwd=home, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    for user, driver in drivers.items():
        out, err = driver.communicate(timeout=300)
        (team.folder.parent / f"{user}.log").write_text(out + err)
        assert driver.returncode == 0, err
    return {user: team.folder.parent / user / "sweeps/tiny-1/journal.jsonl" for user in asked}


def segsweep(team: Team, user: str, *arguments: str, password: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = team.home(user, password)
    return subprocess.run(
        [*SEGSWEEP, *arguments], cwd=environment["HOME"], env=environment, text=True, capture_output=True, check=False
    )


def created_in(journal: Path) -> SweepCreated:
    event = next(read_events(journal))[0]
    assert isinstance(event, SweepCreated)
    return event


@pytest.fixture
def as_ada(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process logs in as ada, to look at what the store has."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORDS["ada"])


@pytest.mark.usefixtures("as_ada")
def test_two_sweeps_of_one_name_at_once_do_not_mix(team: Team, sweeps: dict[str, Path]) -> None:
    for user, epochs in (("ada", 2), ("bob", 3)):
        assert check_books(sweeps[user]) > 3 * epochs
        runs = runs_by_trial(team.uri, sweep_uid(created_in(sweeps[user])))
        assert {run.data.params["model"] for trial, run in runs.items() if trial} == {
            f"{'unet' if user == 'ada' else 'linknet'}/tu-mobilenetv3_small_050"
        }


def test_one_leaderboard_reads_both_sweeps(team: Team, sweeps: dict[str, Path]) -> None:
    board = segsweep(team, "bob", "leaderboard")
    assert board.returncode == 0, board.stderr
    rows = {line.split()[0] for line in board.stdout.splitlines() if "/tu-" in line}  # a narrow table has two blocks
    assert sorted(rows) == ["linknet/tu-mobilenetv3_small_050", "unet/tu-mobilenetv3_small_050"]
    refused = segsweep(team, "bob", "leaderboard", "tiny-1")
    assert refused.returncode == 2
    uids = [sweep_uid(created_in(journal)) for journal in sweeps.values()]
    assert all(uid in refused.stderr for uid in uids)
    one = segsweep(team, "bob", "leaderboard", uids[0])
    assert "unet" in one.stdout
    assert "linknet" not in one.stdout


@pytest.mark.usefixtures("as_ada")
def test_artifacts_lie_in_the_bucket(team: Team, sweeps: dict[str, Path]) -> None:
    keys = [entry["Key"] for entry in team.s3.list_objects_v2(Bucket="runs")["Contents"]]
    for journal in sweeps.values():
        runs = runs_by_trial(team.uri, sweep_uid(created_in(journal)))
        source = next(key for key in keys if key.endswith(f"{runs[''].info.run_id}/artifacts/search_space.yaml"))
        stored = team.s3.get_object(Bucket="runs", Key=source)["Body"].read().decode()
        assert stored == created_in(journal).source
        finished = [run for run in runs.values() if run.data.tags["segsweep.status"] == "finished"]
        assert finished
        for run in finished:
            assert any(key.endswith(f"{run.info.run_id}/artifacts/confusions.npz") for key in keys)


@pytest.mark.parametrize("command", [("leaderboard",), ("launch", "tiny.yaml", "--name", "never")])
def test_a_wrong_password_is_one_clear_message(team: Team, sweeps: dict[str, Path], command: tuple[str, ...]) -> None:
    refused = segsweep(team, "ada", *command, password="guessed")
    assert refused.returncode == 2
    error = refused.stderr.splitlines()[-1]
    assert error.startswith(f"error: tracking URI {team.uri}: is not usable: the server does not take this user name")
    assert "~/.mlflow/credentials" in error
    assert "guessed" not in refused.stdout + refused.stderr
    assert not (sweeps["ada"].parents[1] / "never").exists()


def test_nobody_else_can_read_a_password(team: Team, sweeps: dict[str, Path]) -> None:
    admin = (team.folder / "admin_password").read_text().strip()
    secrets = [admin, (team.folder / "secret_key").read_text().strip(), "s3cret-of-the-bucket", *PASSWORDS.values()]
    assert all(len(secret) >= 16 for secret in secrets)
    assert not [line for secret in secrets for line in processes(secret)]  # what `ps` shows to everybody
    assert stat.S_IMODE(team.folder.stat().st_mode) == 0o700
    for name in ("admin_password", "secret_key", "basic_auth.ini"):
        assert stat.S_IMODE((team.folder / name).stat().st_mode) == 0o600
    told = [team.log, *team.folder.parent.glob("*.log")]
    told += [path for journal in sweeps.values() for path in journal.parent.rglob("*") if path.suffix != ".pt"]
    texts = {path: path.read_bytes() for path in told if path.is_file()}
    assert len(texts) > 6
    assert not [path for path, text in texts.items() if any(secret.encode() in text for secret in secrets)]


@pytest.mark.usefixtures("as_ada")
def test_nothing_that_mlflow_keeps_has_a_password(team: Team, sweeps: dict[str, Path]) -> None:
    for journal in sweeps.values():
        for run in runs_by_trial(team.uri, sweep_uid(created_in(journal))).values():
            assert not any(secret in f"{run.data.tags} {run.data.params}" for secret in PASSWORDS.values())


def new_database(team: Team, name: str) -> str:
    """Its URI, without the password that nobody is asked for here."""
    import psycopg

    user = "nobody" if team.prefix else getpass.getuser()
    with psycopg.connect(host=str(team.folder), user=user, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://{user}@/{name}?host={quote(str(team.folder))}"


def test_a_driver_may_write_to_the_database_itself(team: Team, sweeps: dict[str, Path], tmp_path: Path) -> None:
    uri = new_database(team, "direct")
    created = created_in(sweeps["bob"])
    (tmp_path / "journal.jsonl").write_text(sweeps["bob"].read_text().replace(created.tracking_uri, uri))
    sync(tmp_path)
    assert check_books(tmp_path / "journal.jsonl") > 9


def test_pages_show_the_sweeps_of_a_server_and_of_a_database_and_no_password(
    team: Team, sweeps: dict[str, Path], tmp_path: Path
) -> None:
    uri, secret = new_database(team, "other"), "s3cret-of-the-database"
    created, journal = created_in(sweeps["bob"]), tmp_path / "away/journal.jsonl"
    journal.parent.mkdir()
    text = sweeps["bob"].read_text().replace(created.tracking_uri, uri).replace('"tiny-1"', '"moved-1"')
    journal.write_text(text.replace(str(created.time), str(created.time + 1)))  # another uid
    sync(journal.parent)
    environment = team.home("ada") | {"MLFLOW_TRACKING_URI": uri.replace("@", f":{secret}@", 1)}
    with served(tmp_path, "--mlflow", "--tracking-uri", team.uri, "--tracking-uri", uri, **environment) as site:
        wait_until(lambda: site.get("/").text.count("/#/runs/") == 3, "MLflow's page of the database")
        page = site.get("/")
        for name, store in (("tiny-1", team.uri), ("tiny-1", team.uri), ("moved-1", uri)):
            assert re.search(rf">{name}</a><br><small>by .*</small><br><small>in {re.escape(store)}</small>", page.text)
        assert len(re.findall(r">(?:unet|linknet)/tu-", page.text.partition("Leaderboard")[2])) == 2
        link = re.findall(r'<a href="(/sweeps/\w+)">moved-1', page.text)[0]
        pages = [page.text, site.get(link).text]
        assert "linknet/tu-" in pages[1]
        assert not processes(secret)
        assert not [text for text in pages if secret in text or PASSWORDS["ada"] in text]
        site.process.terminate()
        assert site.process.communicate(timeout=30)[1] == ""


def test_a_second_server_in_the_folder_is_refused(team: Team) -> None:
    second = subprocess.run(team.command, env=team.environment, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "a server runs in it already" in second.stderr


@pytest.mark.usefixtures("as_ada")
def test_what_it_keeps_outlives_it(team: Team, sweeps: dict[str, Path]) -> None:
    assert team.stop() == 143
    assert processes(str(team.folder)) == []
    offline = segsweep(team, "ada", "leaderboard")
    assert "ago: " in offline.stdout  # what ada asked for last
    assert "no MLflow server answers there" in offline.stdout
    team.start()
    for journal in sweeps.values():
        assert check_books(journal) > 0
