"""The nouns of Nightshift, in the order of the data: frozen dataclasses on the standard library alone.

Ids are `<noun>_id`, times `<verb>_at` and always timezone-aware UTC. A field's meaning stands under the field.
"""

# `X as X` re-exports a name, for linters and type checkers as well.

from loop.types.decisions import Candidate as Candidate
from loop.types.decisions import Decision as Decision
from loop.types.decisions import Evidence as Evidence
from loop.types.decisions import PairedScore as PairedScore
from loop.types.decisions import SuiteEvidence as SuiteEvidence
from loop.types.decisions import SuiteRole as SuiteRole
from loop.types.decisions import TestResult as TestResult
from loop.types.decisions import Verdict as Verdict
from loop.types.events import DeadLetter as DeadLetter
from loop.types.events import Event as Event
from loop.types.events import Feedback as Feedback
from loop.types.events import FeedbackKind as FeedbackKind
from loop.types.events import Interaction as Interaction
from loop.types.events import Json as Json
from loop.types.events import Message as Message
from loop.types.events import Role as Role
from loop.types.events import Sampling as Sampling
from loop.types.events import ToolCall as ToolCall
from loop.types.events import Verifier as Verifier
from loop.types.events import VerifierKind as VerifierKind
from loop.types.examples import Branch as Branch
from loop.types.examples import Example as Example
from loop.types.examples import Objective as Objective
from loop.types.examples import Snapshot as Snapshot
from loop.types.examples import Split as Split
from loop.types.examples import Validation as Validation
from loop.types.nights import Night as Night
from loop.types.nights import NightStatus as NightStatus
from loop.types.nights import Outputs as Outputs
from loop.types.nights import Stage as Stage
from loop.types.nights import Without as Without
from loop.types.promotions import Action as Action
from loop.types.promotions import Promotion as Promotion
