"""`nightshift`: global options, the verbs in their groups, and the one place where errors become exit codes."""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

import click

from loop import __version__, settings
from loop.app import App
from loop.cli import capture, data, demo, night, pruning, setup, status, talk, terminal, versions
from loop.cli.progress import ERASE_LINE, ShownProgress
from loop.cli.session import Session
from loop.errors import NightshiftError, UsageError

GROUPS: Mapping[str, tuple[click.Command, ...]] = {
    "Set up": (setup.init, setup.doctor, demo.demo),
    "Data": (
        data.import_file,
        capture.capture,
        capture.topics,
        capture.dlq,
        data.schema,
        data.curate,
        data.validate,
    ),
    "Nights": (
        night.run,
        status.status,
        status.nights,
        night.train,
        night.register,
        night.evaluate,
        night.decide,
        pruning.prune,
    ),
    "Versions": (versions.promote, versions.rollback, versions.approve, versions.reconcile, versions.history),
    "Serving": (talk.ask, talk.chat),
}
"""Every verb under the heading where `--help` shows it."""
NEED_NO_SETTINGS = {"init", "schema"}
"""Verbs that help to mend a settings file, and so run without one."""
OURS = ("loop", "evals", "connectors", "nightshift")
SPINS = "10000"
"""Times that a waiting thread of torch's OpenMP looks for the others before it sleeps: some 20 microseconds.

OpenMP's default, hundreds of thousands, burns the time that a late thread needs where another program keeps the cores
busy: ten short answers took 58 seconds instead of 4. On a quiet machine it costs no more than two runs differ by.
"""


class Grouped(click.Group):
    """A group of commands that shows each below its heading, with the first line of its help."""

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one definition list below each heading, all with the same left column."""
        widest = max(map(len, self.commands))
        for heading, commands in GROUPS.items():
            with formatter.section(click.style(heading, bold=True)):
                shown = [(str(each.name).ljust(widest), summary(each)) for each in commands]
                formatter.write_dl(shown)


def summary(command: click.Command) -> str:
    """The first line of a command's help, without its full stop."""
    return (command.help or "").partition("\n")[0].removesuffix(".")


@click.group(cls=Grouped, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.option("--config", type=click.Path(path_type=Path), help="Settings file (default: nightshift.toml here).")
@click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one setting.")
@click.option("--json", "as_json", is_flag=True, help="Print results as JSON.")
@click.option("--verbose", "-v", is_flag=True, help="Log every stage to standard error.")
@click.version_option(__version__, prog_name="nightshift")
@click.pass_context
def cli(
    context: click.Context, config: Path | None, assignments: tuple[str, ...], as_json: bool, verbose: bool
) -> None:
    """Get an LLM better every night from its users, and never worse.

    Options for every command stand before it: nightshift --json status
    """
    _log_to_stderr(verbose=verbose)
    overrides = dict(_assignment(text) for text in assignments)
    # Somebody whose settings file cannot be read has to get help all the same.
    unread = context.invoked_subcommand in NEED_NO_SETTINGS or {"-h", "--help"} & set(sys.argv)
    loaded = settings.Settings() if unread else settings.load(config, overrides)
    configured = config is not None or Path(settings.SETTINGS_FILE).exists()
    app = App(loaded, configured=configured, progress=ShownProgress())
    context.obj = Session(app, as_json=as_json)
    # A Kafka consumer that ends without a word would keep its partitions from the others.
    context.call_on_close(app.close)


def _log_to_stderr(*, verbose: bool) -> None:
    """Log our stages with `verbose`, and warnings always."""
    handler = logging.StreamHandler(sys.stderr)
    clear = ERASE_LINE if sys.stderr.isatty() else ""  # where progress is shown, it is shown again below
    handler.setFormatter(logging.Formatter(f"{clear}%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    # Filtered at the handler, because some libraries set a level of their own, below warnings.
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith(OURS))
    # peft loads bitsandbytes wherever it is installed, which then advises kernels for inference.
    handler.addFilter(lambda record: not record.name.startswith("bitsandbytes."))
    # kafka-python warns of every try to connect, with tracebacks; the error at the end says it once.
    handler.addFilter(lambda record: verbose or not record.name.startswith("kafka."))
    logging.basicConfig(handlers=[handler])
    for package in OURS:
        logging.getLogger(package).setLevel(logging.INFO if verbose else logging.WARNING)


def _require_utf8(arguments: list[str]) -> None:
    for argument in arguments:
        # Bytes that are not UTF-8 reach sys.argv as lone surrogates (PEP 383), which no database or model takes.
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise UsageError(f"{argument!r} is not UTF-8", "set the terminal to UTF-8")


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise UsageError(f"--set {text!r} is not SECTION.KEY=VALUE", "for example: --set training.epochs=1")
    return key, value


for heading in GROUPS.values():
    for command in heading:
        cli.add_command(command)


def leave_room_for_neighbours(environment: MutableMapping[str, str]) -> None:
    """Set `SPINS`, unless `environment` says how threads wait; OpenMP reads it when torch is imported."""
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)


def main() -> None:
    """Run the command line and exit with the code that errors.py states."""
    # First of all: OpenMP reads its environment once, when a verb imports torch.
    leave_room_for_neighbours(os.environ)
    colours = terminal.colours()
    try:
        _require_utf8(sys.argv)
        # click raises instead of ending the process, so that all exit codes are given here.
        cli(standalone_mode=False, prog_name="nightshift", color=colours)
    except NightshiftError as error:
        _complain(str(error), colours)
        sys.exit(error.exit_code)
    except OSError as error:
        _complain(f"{error}\n  what to do: see that the path exists, may be written and has room", colours)
        sys.exit(1)
    except ModuleNotFoundError as error:
        # On a machine that only captures: elsewhere every module is there.
        _complain(f"{error.name} is not installed here\n  what to do: pip install nightshift-loop", colours)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.NoSuchOption) and any(error.option_name in option.opts for option in cli.params):
            click.echo(f"Options for every command stand before it: nightshift {error.option_name} ...", err=True)
        sys.exit(2)
    except click.Abort:
        click.echo("interrupted; run the same command again to go on", err=True)
        sys.exit(1)


def _complain(text: str, colours: bool | None) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True, color=colours)
