"""The command: fast to start, honest exit codes, errors without tracebacks."""

import io
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from connectors.imports import decoders
from connectors.sql.ledger import SqlLedger
from loop import errors, settings
from loop.app import App
from loop.cli.data import FORMATS
from loop.cli.demo import play
from loop.cli.main import SPINS, cli, leave_room_for_neighbours
from loop.cli.progress import ERASE_LINE, ShownProgress
from loop.cli.session import Session
from loop.promotion import promote
from loop.testing import MemoryRegistry
from tests import forked
from tests.candidates import make_candidate

HEAVY = {"torch", "transformers", "peft", "mlflow", "great_expectations", "sqlalchemy", "kafka", "pandas", "matplotlib"}


def nightshift(*arguments: str, cwd) -> subprocess.CompletedProcess[str]:
    return forked.completed(arguments, cwd, os.environ)


@pytest.fixture
def project(tmp_path):
    """A folder with settings that say nothing, so that every verb works there."""
    (tmp_path / "nightshift.toml").touch()
    return tmp_path


def test_starting_the_command_imports_nothing_heavy():
    code = "import sys, loop.cli.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_threads_wait_patiently_unless_the_environment_says_how_they_wait():
    plain: dict[str, str] = {}
    chosen = {"OMP_WAIT_POLICY": "active"}
    counted = {"GOMP_SPINCOUNT": "5"}
    for environment in (plain, chosen, counted):
        leave_room_for_neighbours(environment)
    assert plain == {"GOMP_SPINCOUNT": SPINS}
    assert chosen == {"OMP_WAIT_POLICY": "active"}
    assert counted == {"GOMP_SPINCOUNT": "5"}


def test_the_command_says_how_threads_wait_before_torch_is_loaded(project):
    code = (
        "import os, sys\nfrom loop.cli import main\nsys.argv = ['nightshift', '--version']\n"
        "try:\n    assert 'torch' not in sys.modules; main()\n"
        "finally:\n    print(os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP_WAIT"))}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert told.stdout.split()[-1] == SPINS


@pytest.mark.parametrize("verb", ["status", "nights", "history", "dlq list"])
def test_a_look_at_a_project_imports_nothing_heavy_but_the_database(project, verb):
    code = f"import sys; sys.argv = ['nightshift', *{verb.split()}]; from loop.cli.main import main; main()"
    told = f"{code}; print('', *sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", told], cwd=project, capture_output=True, text=True, check=True)
    assert not (HEAVY - {"sqlalchemy"}) & {*done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_verb_explains_itself(name):
    shown = CliRunner().invoke(cli, [name, "--help"], prog_name="nightshift")
    assert shown.exit_code == 0
    assert shown.output.startswith(f"Usage: nightshift {name}")
    assert len(shown.output.splitlines()[2].strip()) > 10


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("no-such-verb",), 2, "No such command"),
        (("--set", "epochs=1", "status"), 2, "SECTION.KEY=VALUE"),
        (("--set", "training.epoch=1", "status"), 2, "training.epoch"),
        (("--config", "absent.toml", "status"), 2, "absent.toml"),
        (("promote", "3"), 2, "--decision"),
        (("rollback",), 4, "nothing is before it"),
        (("import", "absent.jsonl"), 2, "absent.jsonl"),
        (("--set", "training.kl_coefficient=inf", "status"), 2, "training.kl_coefficient"),
        (("--set", "curation.window_days=1000000", "status"), 2, "curation.window_days"),
        (("--set", "training.epochs=0", "status"), 2, "training.epochs"),
        (("curate", "--as-of", "0001-01-01"), 2, "between 1970"),
        (("curate", "--until", "9" * 20), 2, "--until"),
        (("ask", "--max-tokens", "-1", "hi"), 2, "--max-tokens"),
        (("ask", "caf\udce9"), 2, "UTF-8"),
    ],
)
def test_a_wrong_call_says_what_to_do_and_ends_with_its_code(project, arguments, code, message):
    done = nightshift(*arguments, cwd=project)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


class Terminal(io.StringIO):
    """A screen that somebody watches."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        """What was written since the last look."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def test_progress_is_a_line_a_minute_where_nobody_watches_also_of_work_without_a_word(caplog):
    show = ShownProgress(io.StringIO(), pause=0.05)
    for step in (1, 2, 3):
        show("train", step, 9, "loss 1.0")
    deadline = time.monotonic() + 30
    while len(caplog.records) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    show("train", 1, 1, "ended")
    assert re.match(r"train 3/9 loss 1.0 \d+ s left", caplog.records[0].message)
    assert re.fullmatch(r"train 3/9 loss 1.0 \d+ s left  \(0 min ago\)", caplog.records[1].message)
    time.sleep(0.1)
    told = len(caplog.records)
    time.sleep(0.2)
    assert len(caplog.records) == told


def test_progress_on_a_terminal_is_one_line_that_is_gone_at_the_end(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    screen = Terminal()
    show = ShownProgress(screen, pause=60.0)
    show.title = "day 3/6"
    show("curate", 0, 1, "begins")
    assert re.search(r"day 3/6 curate     \S  0 s$", screen.shown())
    show("train", 0, 8, "loss 1.0")
    assert screen.shown().endswith(f"train      {'·' * 20}  0/8  loss 1.0")
    show("train", 5, 8, "loss 0.5")
    assert re.search(r"train      █{12}▌·{7}  5/8  loss 0.5  \d+ s left$", screen.shown())
    show("train", 5, 8, "loss " * 40)
    assert len(screen.shown().removeprefix(ERASE_LINE)) == 79
    show("train", 1, 1, "ended")
    assert screen.shown() == ERASE_LINE


def test_the_seconds_left_follow_the_pace_since_the_work_began_or_went_on():
    screen, now = Terminal(), iter([10.0, 10.0, 20.0, 20.0, 20.0, 20.0])
    show = ShownProgress(screen, pause=60.0, clock=lambda: next(now))
    show("train", 40, 80, "")
    show("train", 45, 80, "")
    assert screen.shown().endswith("45/80  70 s left")
    show("train", 1, 1, "ended")


def test_processes_that_start_together_share_one_user_key(tmp_path):
    app = App(replace(settings.load(), addresses=settings.Addresses(home=tmp_path / "home")))
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: app.user_secret, range(64)))
    assert [len(secret) for secret in secrets] == [64]
    assert [(path.name, oct(path.stat().st_mode & 0o777)) for path in app.home.iterdir()] == [("user.key", "0o600")]


@pytest.mark.parametrize("verb", ["curate", "rollback"])
def test_a_home_that_cannot_be_made_is_named(project, monkeypatch, verb):
    (project / "file").touch()
    monkeypatch.setenv("NIGHTSHIFT_HOME", "file/home")
    done = nightshift(verb, cwd=project)

    assert done.returncode != 0
    assert "NIGHTSHIFT_HOME" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_another_models_ledger_is_refused_by_every_verb_that_reads_it(tmp_path):
    registry = MemoryRegistry(tmp_path / "registry")
    version = registry.register(make_candidate(tmp_path / "c", "c"), tmp_path / "c", {})
    ledger = SqlLedger(f"sqlite:///{tmp_path}/.nightshift/ledger.db")
    promote(
        ledger,
        registry,
        version=version,
        decision=None,
        model="helpdesk",
        actor="ann",
        reason="by hand",
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )
    ledger.close()
    for arguments in (("rollback",), ("rollback", "--to", "0"), ("reconcile",), ("status",)):
        refused = nightshift(*arguments, cwd=tmp_path)
        assert refused.returncode == 2
        assert "belongs to the model helpdesk" in refused.stderr


def test_a_promotion_of_the_serving_version_says_that_it_did_nothing(tmp_path):
    registry = MemoryRegistry(tmp_path / "registry")
    here = replace(settings.load(), addresses=settings.Addresses(home=tmp_path / "home"))
    session = Session(App(here, ports={"registry": registry}))
    version = registry.register(make_candidate(tmp_path / "c", "c"), tmp_path / "c", {})
    asked = ["promote", str(version), "--force", "--reason", "by hand"]
    first, second = (CliRunner().invoke(cli.commands[asked[0]], asked[1:], obj=session).stdout for _ in range(2))
    assert first == "promote: assistant@0 -> assistant@1  ledger row 1\n"
    assert second == f"nothing to do, assistant@1 serves already; {first}"
    session.app.ledger.close()


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(errors.UsageError, match="no demo made"):
        play.project(tmp_path, "base")
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    for _ in range(2):
        play.project(tmp_path / "new", "base")


def test_a_settings_file_that_cannot_be_read_does_not_hide_how_it_should_look(tmp_path):
    (tmp_path / "nightshift.toml").write_text("x=")
    assert nightshift("init", "--print", cwd=tmp_path).returncode == 0
    assert nightshift("run", "--help", cwd=tmp_path).returncode == 0
    assert nightshift("status", cwd=tmp_path).returncode == 2
    (tmp_path / "nightshift.toml").write_text("gate = 5")
    refused = nightshift("--set", "gate.alpha=0.1", "status", cwd=tmp_path)
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)


def test_a_database_in_a_place_that_is_no_folder_is_an_error_without_a_traceback(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NIGHTSHIFT_STORE_URL", f"sqlite:///{tmp_path}/file/x.db")
    done = nightshift("curate", cwd=tmp_path)
    assert done.returncode == 1
    assert "what to do" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_in_another_encoding_are_refused_and_a_byte_order_mark_is_not(tmp_path):
    file = tmp_path / "nightshift.toml"
    file.write_text("[training]\nepochs = 3\n", "utf-8-sig")
    assert nightshift("history", cwd=tmp_path).returncode == 0
    file.write_bytes("[training]\nepochs = 3 # é".encode("latin-1"))
    refused = nightshift("history", cwd=tmp_path)

    assert refused.returncode == 2
    assert "UTF-8" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_file_of_another_format_fails_and_its_lines_are_kept(project):
    (project / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n' * 3)
    failed = nightshift("import", "pairs.jsonl", "--format", "openai-chat", cwd=project)

    assert failed.returncode == 2
    assert "--format" in failed.stderr
    assert len(nightshift("dlq", "list", cwd=project).stdout.splitlines()) == 3
    assert nightshift("import", "pairs.jsonl", "--format", "pairs", cwd=project).returncode == 0


def test_a_file_refused_again_is_refused_for_todays_reason(project):
    (project / "file.jsonl").write_text('{"a": 1}\n')
    first, second = (nightshift("import", "file.jsonl", "--format", name, cwd=project) for name in ("gsm8k", "otel"))
    assert "question" in first.stderr
    assert "question" not in second.stderr
    assert "resourceSpans" in second.stderr


def test_import_offers_the_formats_there_are_decoders_for():
    assert tuple(decoders) == FORMATS


def test_init_writes_a_file_once(tmp_path):
    assert nightshift("init", cwd=tmp_path).returncode == 0
    again = nightshift("init", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_the_drawn_tree_names_every_error_with_its_exit_code():
    drawn = {name: int(code) for name, code in re.findall(r"(\w+Error) +(\d)", errors.__doc__)}
    defined = {name: kind.exit_code for name, kind in vars(errors).items() if name.endswith("Error")}
    assert drawn == defined
