"""Training: a snapshot's examples and the champion's adapter become a candidate adapter.

job        the input of a training, and the report of one optimiser step
launch     the engine in this process, or in several (ranks)
engine     the training loop, from a job to the last step (rate: the learning rate; spikes: gradients far above the
           usual; checkpoint: the state from which a killed training continues)
plan       every decision before the first step (preflight: the size of a pass; waiting: for memory; choices: as the
           manifest keeps them; size: the expected duration, announced)
batch/     examples -> token ids (tokens), who is compared with whom and with which weight (credit), the order of the
           steps (schedule), prefix trees (tree), passes of bounded size (packs)
weights/   the model, loaded once there is memory for it (loading), in which dtypes (precision); its adapter (adapters),
           a linear layer and its adapter as one operation (lora), activations that are computed again in backward
           (activations), the mean of the last steps (average)
forward/   examples -> one pass (layout) -> log-probability and NLL of every answer (logps), through the frozen head
           (head); every node of a tree sees its own prefix (attention): in spans of the stream, whole where it is
           small, in blocks on a GPU, whichever of them agrees with the stock forward pass (choice, rounding)
objective/ the champion's log-probabilities, once (reference); log-probabilities -> loss of one kind (losses), of mixed
           batches (mixed) as vectors (vectors); the gradient of one batch, over passes and processes (accumulate), and
           the metrics of a step (metrics)
finish     the candidate on disk, and its manifest (manifest) beside it
"""

from loop.training.engine import candidate
from loop.training.job import Job, Step
from loop.training.launch import train
from loop.training.manifest import finished

__all__ = ["Job", "Step", "candidate", "finished", "train"]
