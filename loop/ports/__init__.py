"""Ports between the loop and the world, a file for each role: everything that may be asked of a connector.

A caller takes the smallest role that it needs.
"""

# `X as X` re-exports a name, for linters and type checkers as well.

from loop.ports.events import EventStore as EventStore
from loop.ports.events import Parsed as Parsed
from loop.ports.ledger import Ledger as Ledger
from loop.ports.log import Batch as Batch
from loop.ports.log import Entry as Entry
from loop.ports.log import Envelope as Envelope
from loop.ports.log import EventLog as EventLog
from loop.ports.log import Partition as Partition
from loop.ports.model import Generation as Generation
from loop.ports.model import Generator as Generator
from loop.ports.nights import LEASE_SECONDS as LEASE_SECONDS
from loop.ports.nights import NIGHT_LEASE as NIGHT_LEASE
from loop.ports.nights import Holder as Holder
from loop.ports.nights import Leases as Leases
from loop.ports.nights import NightStore as NightStore
from loop.ports.nights import Records as Records
from loop.ports.nights import Validator as Validator
from loop.ports.registry import BASE_MODEL as BASE_MODEL
from loop.ports.registry import DTYPE as DTYPE
from loop.ports.registry import RegisteredVersion as RegisteredVersion
from loop.ports.registry import Registry as Registry
from loop.ports.registry import Run as Run
from loop.ports.store import Store as Store
from loop.ports.work import Clock as Clock
from loop.ports.work import Progress as Progress
from loop.ports.work import silent as silent
