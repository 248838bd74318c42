"""The Ledger on a database of its own, so that a rollback works while everything else is down."""

from sqlalchemy import select

from connectors.sql.database import insert, open_database, reading, writing
from connectors.sql.rows import read, row_of
from connectors.sql.tables import IdentityRow, PromotionRow, table_of
from loop.errors import StaleChampionError
from loop.promotion.ledger import follow, verify
from loop.types import Promotion

PROMOTION = table_of(PromotionRow)
IDENTITY = table_of(IdentityRow)


class SqlLedger:
    """`loop.ports.Ledger` on the database at `url`; its table is made or migrated when it opens."""

    def __init__(self, url: str) -> None:
        self._engine = open_database(url, "ledger")

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def ledger_id(self) -> str:
        """The ledger's id, made together with its database: a copy of the database has the same one."""
        with reading(self._engine) as connection:
            return str(connection.execute(select(IDENTITY.c.ledger_id)).scalar_one())

    def entries(self) -> tuple[Promotion, ...]:
        """All promotions, oldest first. Raises IntegrityError naming the first row that does not fit the chain."""
        with reading(self._engine) as connection:
            found = tuple(read(connection, PROMOTION, Promotion, order=("sequence",)))
        # The database's triggers refuse changes, but not from somebody who drops them or edits the file.
        verify(found)
        return found

    def append(self, entry: Promotion) -> None:
        """Append one promotion. Raises StaleChampionError when its sequence is taken: another writer was first.

        Raises IntegrityError when `entry` does not continue the chain.
        """
        with writing(self._engine) as connection:
            previous = next(read(connection, PROMOTION, Promotion, PROMOTION.c.sequence == entry.sequence - 1), None)
            follow(previous, entry)
            # Of two writers that both read the same last row, the primary key lets one in and shows the other here.
            fresh = insert(connection, PROMOTION).values(row_of(entry)).on_conflict_do_nothing()
            if connection.execute(fresh).rowcount != 1:
                raise StaleChampionError(
                    f"ledger row {entry.sequence} is taken: somebody else moved the champion first",
                    "look at who serves now and decide again",
                )
