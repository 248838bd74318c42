"""Settings from nightshift.toml (policy), the environment (addresses, secrets) and flags, as one frozen object.

No other module reads the environment. Nothing heavy is imported, so that training on a bare GPU machine can take its
settings from here; pydantic is needed only when a file is loaded.
"""

# `X as X` re-exports a name, for linters and type checkers as well.

from loop.settings.environment import Addresses as Addresses
from loop.settings.environment import KafkaAccess as KafkaAccess
from loop.settings.environment import addresses as addresses
from loop.settings.environment import without_addresses as without_addresses
from loop.settings.file import SETTINGS_FILE as SETTINGS_FILE
from loop.settings.file import Settings as Settings
from loop.settings.file import at_home as at_home
from loop.settings.file import differences as differences
from loop.settings.file import load as load
from loop.settings.file import policy as policy
from loop.settings.file import require_current as require_current
from loop.settings.file import restored as restored
from loop.settings.file import told as told
from loop.settings.older import Older as Older
from loop.settings.recipe import hashed_training as hashed_training
from loop.settings.recipe import of_curation as of_curation
from loop.settings.recipe import of_training as of_training
from loop.settings.sections import CurationSettings as CurationSettings
from loop.settings.sections import EditSettings as EditSettings
from loop.settings.sections import EvaluationSettings as EvaluationSettings
from loop.settings.sections import GateSettings as GateSettings
from loop.settings.sections import LogSettings as LogSettings
from loop.settings.sections import ModelSettings as ModelSettings
from loop.settings.sections import PairSettings as PairSettings
from loop.settings.sections import SuiteSettings as SuiteSettings
from loop.settings.sections import TrainingSettings as TrainingSettings
from loop.settings.sections import UnpairedSettings as UnpairedSettings
from loop.settings.sections import ValidationSettings as ValidationSettings
