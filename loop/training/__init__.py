"""Training: a snapshot's examples and the champion's adapter become a candidate adapter.

tokens     examples -> token ids with loss weights
tree       token sequences -> one prefix tree
logps      trees in rows -> log-probability and NLL of every answer
reference  the champion's log-probabilities, once
losses     log-probabilities -> loss of one kind of example
objective  mixed batches: all kinds together, and their metrics
engine     the steps, from a job to a candidate on disk (adapters, checkpoint, manifest beside it)
"""

from loop.training.engine import candidate, train
from loop.training.job import Job, Step

__all__ = ["Job", "Step", "candidate", "train"]
