"""Constants of curation, validation, training, evaluation and capture: no user wants another value, or none was better.

Each was a setting once. What follows from the machine stands in `loop.machine`, what losses and models bring along
beside their code. Figures are in tests/benchmarks/README.md.
"""

# Curation

PAIRS_PER_PROMPT = 4
"""Most pairs of a better and a worse answer that the outcomes of one prompt make.

One prompt with many attempts would otherwise fill a training with products of the same few answers.
"""
NEAR_DUPLICATE = 0.9
"""Jaccard similarity of word 3-grams from which one user's examples are near duplicates.

Texts of a hundred words that differ in three words or so; lower, other questions of one template would go with them.
"""
MAX_CHARS = 60_000
"""Most characters of an example, prompt and answers together: some 15,000 tokens, beyond what most bases can read.

One pasted file would otherwise take the memory of curation and the time of everybody's similarity.
"""

# Validation

MAX_NEAR_DUPLICATE_SHARE = 0.5
"""Largest share of drafts that may be removed as near duplicates: above it something repeats itself, not its users."""
MAX_UNDESIRABLE_SHARE = 0.95
"""Largest share of train examples that are complaints alone: they say what not to answer, and nothing instead."""

# Training

WARMUP_SHARE = 0.15
"""Share of a training, at its beginning, in which the learning rate rises to its peak.

With .05 a rate of 2e-3 diverged in one night of twelve; .15 at 1.4e-3 was best of three nights.
"""
DECAY_SHARE = 0.3
"""Share of a training, at its end, in which the learning rate falls as a cosine; until then it is at its peak.

Three stored nights: 73 % satisfied, and 55 % where it fell all the time.
"""
AVERAGE_SHARE = 0.4
"""Share of a training, at its end, over whose steps the adapter is averaged.

Three stored nights, the last step and the mean: 16 and 26 % satisfied, wanted answers .407 and .422, .557 and .566.
"""
MAX_GRAD_NORM = 1.0
"""Global gradient norm to which a batch of usual weight is clipped, others in proportion: the field's usual one."""
WEIGHT_DECAY = 0.0
"""Weight decay of AdamW: a training of some forty steps is too short for it; 1 was worse (.467 and not .53)."""
CHOSEN_NLL = 0.2
"""Weight of the NLL on the best answer beside the loss of pairs and rankings, without which DPO may lower all."""
DESIRABLE_NLL = 0.3
"""Weight of the NLL on approved answers beside the unpaired loss, so that what users like stays likely."""
UNPAIRED_BETA = 0.1
"""Beta of BCO and of KTO; with .01 a disapproved answer is pushed away without end (four nights of four desks)."""
DISAGREEMENT = 0.1
"""Share of pairs that `conservative` and `robust` take to be the wrong way round: people agree on nine of ten."""
SIMPO_GAP = 0.5
"""Reward by which SimPO wants the chosen answer to lead: the paper's ratio to beta is between .3 and 1.6."""

# Log

COMPRESSION = "lz4"
"""Compression of the events that are sent: the fastest that every client reads."""
SESSION_SECONDS = 30
"""Seconds of silence after which a capture process loses its partitions to the others: longer than any stored batch."""
