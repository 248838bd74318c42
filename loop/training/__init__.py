"""Training: a snapshot's examples and the champion's adapter become a candidate adapter.

job        the input of a training, and the report of one optimiser step
launch     the engine in this process, or in several (ranks)
engine     the training loop, from a job to a candidate on disk (checkpoint, manifest beside it; spikes: gradients far
           above the usual)
plan       every decision before the first step (preflight: the size of a pass; waiting: for memory; size: announced)
batch/     examples -> who is compared with whom, and weights (credit); token ids (tokens), the order of the steps
           (schedule), prefix trees (tree), passes of bounded size (packs)
weights/   the adapter (adapters), a linear layer and its adapter as one operation (lora), the mean of the last steps
           (average), the dtypes in which they are held (precision)
forward/   examples -> one pass (layout) -> log-probability and NLL of every answer (logps); every node of a tree sees
           its own prefix (attention): in spans of the stream, whole where it is small, in blocks on a GPU
objective/ the champion's log-probabilities, once (reference); log-probabilities -> loss of one kind (losses), of mixed
           batches (mixed) as vectors (vectors), and the gradient of one batch, over passes and processes (accumulate)
"""

from loop.training.engine import candidate
from loop.training.job import Job, Step
from loop.training.launch import train
from loop.training.manifest import finished

__all__ = ["Job", "Step", "candidate", "finished", "train"]
