"""The verb that gives disk space back: prune."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from loop.cli.session import Session
from loop.cli.verbs import Access, Verb

if TYPE_CHECKING:
    from loop.nights.prune import Unneeded


@click.command(cls=Verb, access=Access.WRITES)
@click.option(
    "--keep", type=click.IntRange(1), required=True, metavar="N", help="The newest N nights keep all they have."
)
@click.option("--dry-run", is_flag=True, help="Say what would go and remove nothing.")
@click.pass_obj
def prune(session: Session, keep: int, dry_run: bool) -> None:
    """Remove files that no night and no rollback needs.

    Candidates, jobs with their checkpoints, snapshots with their data docs, caches and downloads below the home that
    neither a ledger row, nor one of the newest N nights, nor an open night needs. The databases, the pages of the
    nights, the base models and all that MLflow keeps stay: a version can be fetched and rolled back to as before. No
    night runs meanwhile.
    """
    found = session.loop.prune(keep, dry_run=dry_run)
    session.show(
        _table(found, "would go" if dry_run else "removed"),
        {
            "removed": not dry_run,
            "bytes": sum(each.bytes for each in found),
            "found": [{"folder": each.folder, "name": each.path.name, "bytes": each.bytes} for each in found],
        },
    )


def _table(found: Sequence["Unneeded"], what: str) -> str:
    """A line for each folder with its number of entries and its size, and a line with their sums."""
    if not found:
        return "nothing to remove"
    entries, sizes = Counter(each.folder for each in found), Counter[str]()
    for each in found:
        sizes[each.folder] += each.bytes
    lines = [f"{folder:16} {entries[folder]:6d}  {sizes[folder] / 1e6:12,.1f} MB" for folder in entries]
    lines.append(f"{what:16} {len(found):6d}  {sizes.total() / 1e6:12,.1f} MB")
    return "\n".join(lines)
