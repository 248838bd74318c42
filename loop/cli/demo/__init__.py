"""`nightshift demo`: parse, play, print."""

from pathlib import Path

import click

from loop.cli.session import Session
from loop.cli.verbs import Access, Verb


@click.command(cls=Verb, access=Access.ANYWHERE)
@click.option("--seed", default=1, show_default=True, help="Of the simulated help desk.")
@click.option("--days", type=click.IntRange(2), default=6, show_default=True, help="How many days and nights.")
@click.option("--folder", type=click.Path(path_type=Path), help="New project folder (default: .nightshift/demo-SEED).")
@click.pass_obj
def demo(session: Session, seed: int, days: int, folder: Path | None) -> None:
    """Watch a real model learn a simulated help desk.

    Night by night: a drift of policies, a night of hostile accounts, a bad promotion and its rollback; ends with a
    table and a report.
    """
    # Every command imports this module, and these two import the whole loop and numpy.
    from loop.cli.demo.play import play
    from loop.cli.demo.story import summary, table, write_page

    story = play(session, seed, days, folder or session.app.home / f"demo-{seed}")
    report = write_page(story)
    figures = {"seed": seed, "report": report, **story.figures()}
    session.show(f"\n{table(story)}\n\n{summary(story)}\nreport: {report}", figures)
