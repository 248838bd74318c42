"""The policy, section by section: what nightshift.toml may say, each key with its meaning under it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from loop.settings.bounds import Amount, Between, Count, Days, Matching, Share, Some

# What bounds a night: the first one of SmolLM2-135M is to end within two hours on two cores that know AVX2 alone, and
# takes half of that with AVX-512. Such cores train 70 tokens a second, read 500 and write 130, seen on quiet machines:
# `budget_tokens` is an hour; 200 items of 300 tokens in each of three suites, all answered to the last of
# `max_new_tokens` by two models, and 100 pairs read by both are 42 minutes; the rest is for everything else. Of longer
# prompts fewer items fit: the minutes are said before they pass.


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What is trained and under which name it is registered and served."""

    name: Annotated[str, Matching(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "assistant"
    """Registered model name (letters, digits, `.`, `_`, `-`); served models are called `name@version`."""
    base: Annotated[str, Matching(r"\S")] = "HuggingFaceTB/SmolLM2-135M-Instruct"
    """Folder, GGUF file or hub name of the base model."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the frozen base weights; adapters are always kept in float32."""


@dataclass(frozen=True, slots=True)
class CurationSettings:
    """Which feedback becomes which example, and whose."""

    maturity_hours: Annotated[float, Between(0.0, 876_000.0)] = 1.0
    """Feedback on an interaction younger than this waits for a later night."""
    window_days: Days = 90.0
    """Older interactions are left out."""
    max_examples: Count = 2_000
    """Only the newest so many train examples, about as many as `budget_tokens` is enough for; 0 for all."""
    replay: Share = 0.0
    """Share of `max_examples` left to older examples whose answer users approved, so that it is not forgotten."""
    half_life_days: Amount = 0.0
    """Branch weights halve for every so many days since the feedback was given; 0 is off."""
    per_user_cap: Count = 50
    """Examples one user can have in a snapshot, newest kept; 0 for no cap."""
    min_account_days: Days = 1.0
    """A user trains only after having been seen this long, or since the first day of the log."""
    burst_factor: Amount = 3.0
    """A day's new accounts are quarantined when they give so many times the usual day's feedback; 0 is off."""
    pairs_per_prompt: Count = 4
    """How many (better, worse) pairs the outcomes of one prompt make at most."""
    near_duplicate: Share = 0.9
    """Jaccard similarity of word 3-gram sets from which one user's examples are near duplicates; 1 is off."""
    max_chars: Count = 60_000
    """Longer examples (prompt and answers together) are dropped and counted."""
    dev_share: Share = 0.1
    """Share of users whose feedback only screens."""
    vault_share: Share = 0.2
    """Share of users whose feedback only judges candidates."""
    split_key: str = "nightshift"
    """Key of the HMAC that sends each user to train, dev or vault for ever; change it only on purpose."""
    scrub: bool = True
    """Replace e-mail addresses, phone and card numbers, IBANs, IP addresses and keys."""


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """Bounds of the expectation suite; a snapshot outside them is not trained on."""

    min_train_examples: Count = 16
    """Fewer train examples than this end the night as SKIPPED."""
    max_near_duplicate_share: Share = 0.5
    """Share of candidate examples that near-duplicate removal took out."""
    max_quarantined_share: Share = 0.2
    """Share of the last day's feedback in quarantine; above it an attack is on, or a launch needs a human look."""
    max_undesirable_share: Share = 0.95
    """Share of undesirable branches among unpaired examples."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The LoRA fine-tune."""

    rank: Some = 16
    """LoRA rank; alpha is 2 x rank and every linear layer is adapted."""
    learning_rate: Share = 2e-4
    """Peak of AdamW's schedule."""
    warmup_share: Share = 0.15
    """Share of the training with a rising learning rate."""
    decay_share: Share = 0.3
    """Share of the training, at its end, in which the rate falls as a cosine; before, it stays at its peak."""
    average_share: Share = 0.4
    """Share of the training, at its end, whose steps' mean is the adapter that it leaves; 0 leaves the last step's."""
    epochs: Annotated[float, Between(0.01)] = 2.0
    """Passes over the train split, as far as `budget_tokens` is enough for them."""
    min_steps: Count = 40
    """A train split too small for so many optimiser steps is shown more often than `epochs` says, up to eight times."""
    batch_examples: Some = 8
    """Examples per optimiser step."""
    micro_batch_tokens: Count = 0
    """Tokens of a forward pass, shared prefixes once, no more than fit; 0 for what is fast and leaves others room."""
    layout: Literal["tree", "rows"] = "tree"
    """Of a forward pass: shared prefixes once where the model allows it, or a padded row for each answer."""
    max_tokens: Some = 2_048
    """Prompt and answer together; prompts lose whole turns from the left, what still does not fit is dropped."""
    beta: Annotated[float, Between(0.001)] = 0.1
    """Of the pair losses, BCO and KTO."""
    pair_loss: Literal["dpo", "conservative", "robust", "ipo", "apo_zero", "simpo"] = "dpo"
    """Objective of pairs; `conservative` and `robust` are DPO for users who disagree."""
    disagreement: Annotated[float, Between(0.0, 0.49)] = 0.1
    """Share of pairs that are the wrong way round, for `conservative` and `robust`."""
    simpo_gap: Amount = 0.5
    """Reward by which SimPO wants the chosen answer to lead."""
    chosen_nll: Share = 0.2
    """Weight of the NLL on the chosen answer beside DPO."""
    edits: Literal["pair", "demonstration"] = "pair"
    """`pair`: DPO edited over original, NLL on what changed; `demonstration`: NLL on all of it, at half the cost."""
    unpaired_loss: Literal["bco", "kto"] = "bco"
    """Objective of thumbs, ratings and lone outcomes."""
    desirable_nll: Share = 0.3
    """Weight of the NLL on approved answers beside the unpaired objective."""
    anchor: Amount = 0.0
    """Weight of the KL to the champion in nats per token, beside the loss of pairs and unpaired examples."""
    max_grad_norm: Amount = 1.0
    """Clip of the global gradient norm of a batch of usual weight, others in proportion; 0 clips nothing."""
    weight_decay: Amount = 0.0
    """AdamW's."""
    autocast: Literal["auto", "bfloat16", "off"] = "auto"
    """`auto`: bfloat16 where CPU or GPU computes in it natively."""
    budget_minutes: Amount = 0.0
    """Wall-clock limit of one training's steps: what a busy machine cuts off is not learnt; 0 for none."""
    budget_tokens: Count = 250_000
    """Tokens that a training sees: all examples once before any twice, the oldest left out first; 0 for no limit."""
    consolidate_every: Count = 0
    """Every so many nights training begins at the base model instead of the champion; 0 for never."""
    quantize: Literal["none", "nf4"] = "none"
    """Frozen weights in four bits (QLoRA), by bitsandbytes; evaluation and serving have them whole."""
    activation_checkpoints: bool = False
    """Keep only each layer's input until backward and compute the layer again: less memory, more time."""
    checkpoint_minutes: Amount = 5.0
    """Between two checkpoints."""
    patience: Count = 0
    """Looks at the dev split without a lower loss that end a training with the best adapter; 0 never looks."""
    look_every: Some = 10
    """Steps between two looks."""
    processes: Some = 1
    """That share one training; where there are GPUs, each has its own."""
    shard: bool = False
    """Divide the layers' frozen weights over several processes, for a model too large for each; one holds them all."""
    seed: Annotated[int, Between(0, 2**32 - 1)] = 0
    """Of initialisation and shuffling."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How candidates answer held-out prompts."""

    max_items: Count = 200
    """Newest items per suite; 0 for all."""
    max_pairs: Count = 100
    """Newest pairs of the preference report, each two forward passes a model; 0 for all."""
    window_days: Days = 30.0
    """Only feedback of this many days before the newest judges: what was right long ago may be wrong; 0 for all."""
    max_new_tokens: Some = 160
    """Longest generated answer."""
    batch_prompts: Some = 32
    """Prompts generated together."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What evidence a promotion needs."""

    alpha: Annotated[float, Between(1e-6, 0.5)] = 0.05
    """One-sided level of the superiority test."""
    margin: Share = 0.02
    """A guard may be this much worse than the champion, at most."""
    anchor_margin: Share = 0.01
    """The candidate may be this much worse than the last human-approved champion, at most."""
    min_clusters: Some = 8
    """Fewer users than this are UNDERPOWERED whatever they say."""
    guards_from: Count = 0
    """A guard with fewer users than this is left out, and the decision says so; 0 leaves none out."""
    promote: bool = True
    """False: decide, but leave the promotion to a human."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The event log on Kafka; the embedded one needs none of this. The brokers' addresses come from the environment."""

    topic: Annotated[str, Matching(r"^[A-Za-z0-9._-]{1,200}$")] = "nightshift.events"
    """Events; what cannot be parsed goes to the topic of this name with `.dead-letters` behind it."""
    group: str = "nightshift-capture"
    """Consumer group of all capture processes that write into one store."""
    partitions: Some = 12
    """Of a new topic: so many capture processes can share the work."""
    replication_factor: Some = 3
    """Of a new topic."""
    min_insync_replicas: Some = 2
    """Of a new topic: so many brokers have an event before it counts as sent."""
    retention_days: Amount = 30.0
    """Of a new topic: capture may be away so long without losing anything."""
    compression: Literal["none", "gzip", "lz4", "zstd"] = "lz4"
    """Of what is produced."""
    session_seconds: Annotated[int, Between(2, 300)] = 30
    """A capture process silent for so long loses its partitions to the others."""
    batch_events: Some = 2_000
    """Most events of one transaction."""
