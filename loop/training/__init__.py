"""Training: a snapshot's examples and the champion's adapter become a candidate adapter.

tokens     examples -> token ids with loss weights
plan       all that is decided before the first step (preflight: the size of a pass; waiting: for memory; size: said)
packs      examples -> forward passes of bounded size
tree       token sequences -> one prefix tree
attention  every node of a tree sees its own prefix: in spans of the stream, whole where it is small, in blocks on a GPU
lora       a linear layer and its adapter as one operation
layout     examples -> the tokens of one forward pass
logps      that pass -> log-probability and NLL of every answer
reference  the champion's log-probabilities, once
losses     log-probabilities -> loss of one kind of example
objective  mixed batches: all kinds together, and their metrics
accumulate the gradient of one batch, over passes and processes (ranks)
average    the mean of the adapter over the last steps
engine     the steps, from a job to a candidate on disk (adapters, checkpoint, manifest beside it)
launch     the engine in this process, or in several
"""

from loop.training.engine import candidate
from loop.training.job import Job, Step
from loop.training.launch import train
from loop.training.manifest import finished

__all__ = ["Job", "Step", "candidate", "finished", "train"]
