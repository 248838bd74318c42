"""`nightshift`: global options, the verbs in their groups, and the one place where errors become exit codes."""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

import click

from loop import __version__, settings
from loop.cli import capture, data, demo, night, pruning, setup, status, talk, terminal, versions
from loop.cli.progress import ERASE_LINE
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
"""How often a thread of torch's OpenMP looks whether the others have come before it sleeps: some 20 microseconds.

Its own hundred thousands burn the time that a late thread would need where something else keeps the cores busy: ten
short answers took 58 seconds instead of 4. On a quiet machine it costs no more than two runs differ by.
"""


class Grouped(click.Group):
    """A group of commands that shows each below its heading, with the first line of its help."""

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """One definition list a heading, all with the same left column."""
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
    unread = context.invoked_subcommand in NEED_NO_SETTINGS or {"-h", "--help"} & {*sys.argv}
    loaded = settings.Settings() if unread else settings.load(config, overrides)
    configured = config is not None or Path(settings.SETTINGS_FILE).exists()
    context.obj = Session(loaded, as_json=as_json, configured=configured)
    context.call_on_close(context.obj.close)


def _log_to_stderr(*, verbose: bool) -> None:
    """Our stages when `verbose`, warnings always; libraries that set a level of their own are held to warnings.

    kafka-python warns of every try to connect, with tracebacks; the error it ends in says it once. Bitsandbytes, which
    peft loads wherever it is installed, advises kernels for inference.
    """
    handler = logging.StreamHandler(sys.stderr)
    clear = ERASE_LINE if sys.stderr.isatty() else ""  # where progress is shown, it is shown again below
    handler.setFormatter(logging.Formatter(f"{clear}%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith(OURS))
    handler.addFilter(lambda record: not record.name.startswith("bitsandbytes."))
    handler.addFilter(lambda record: verbose or not record.name.startswith("kafka."))
    logging.basicConfig(handlers=[handler])
    for package in OURS:
        logging.getLogger(package).setLevel(logging.INFO if verbose else logging.WARNING)


def _require_utf8(arguments: list[str]) -> None:
    for argument in arguments:
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
    leave_room_for_neighbours(os.environ)
    colours = terminal.colours()
    try:
        _require_utf8(sys.argv)
        cli(standalone_mode=False, prog_name="nightshift", color=colours)
    except NightshiftError as error:
        _complain(str(error), colours)
        sys.exit(error.exit_code)
    except OSError as error:
        _complain(f"{error}\n  what to do: see that the path exists, may be written and has room", colours)
        sys.exit(1)
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
