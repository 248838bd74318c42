"""The policy: sections and keys of nightshift.toml, each key with its meaning under it.

A field whose type is a dataclass is a table within its section, `[training.pair]`; a tuple of them is an array of
tables, `[[suites]]`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from loop.settings.bounds import Amount, Between, Count, Days, Matching, Share, Some
from loop.types import SuiteRole

# Why the defaults bound a night as they do: the first one of SmolLM2-135M is to end within two hours on two cores with
# AVX2 alone, and takes half of that with AVX-512. Such cores train 70 tokens a second, read 500 and write 130, measured
# on quiet machines. `budget_tokens` then takes an hour; 200 items of 300 tokens in each of three suites, all answered
# with `max_new_tokens` tokens by two models, and 100 pairs read by both take 42 minutes; the rest is for everything
# else. With longer prompts fewer items fit into this time; a night says its minutes before they pass.


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The model that is trained, and the name under which it is registered and served."""

    name: Annotated[str, Matching(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "assistant"
    """Registered model name (letters, digits, `.`, `_`, `-`); served models are called `name@version`."""
    base: Annotated[str, Matching(r"\S")] = "HuggingFaceTB/SmolLM2-135M-Instruct"
    """Folder, GGUF file or hub name of the base model."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Number format of the frozen base weights; adapters are always kept in float32."""


@dataclass(frozen=True, slots=True)
class CurationSettings:
    """How feedback becomes examples, and which users train, screen and judge."""

    maturity_hours: Annotated[float, Between(0.0, 876_000.0)] = 1.0
    """Age of an interaction, in hours, from which its feedback counts; until then it waits for a later night."""
    window_days: Days = 90.0
    """Age of an interaction, in days, up to which its feedback counts; older ones are left out."""
    max_examples: Count = 2_000
    """Most train examples, the newest kept; about as many as `budget_tokens` is enough for; 0 for all."""
    replay: Share = 0.0
    """Share of `max_examples` for older examples whose answer users approved, so that it is not forgotten."""
    per_user_cap: Count = 50
    """Most examples of one user in a snapshot, the newest kept; 0 for no cap."""
    min_account_days: Days = 1.0
    """Days from a user's first event until their feedback counts; users of the log's first day count at once."""
    burst_factor: Amount = 3.0
    """A day's new accounts are quarantined when they give this many times a usual day's feedback; 0 is off."""
    dev_share: Share = 0.1
    """Share of users who neither train nor judge (the dev split): only suites that are read use what they say."""
    vault_share: Share = 0.2
    """Share of users whose feedback only judges candidates (the vault split)."""
    split_key: str = "nightshift"
    """Key of the HMAC that sends each user to train, dev or vault for ever; change it only on purpose."""
    scrub: bool = True
    """Whether e-mail addresses, phone and card numbers, IBANs, IP addresses and keys become placeholders."""


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """Bounds of the expectation suite; a snapshot outside them is not trained on."""

    min_train_examples: Count = 16
    """Fewest train examples to train on; with fewer the night ends as SKIPPED."""
    max_quarantined_share: Share = 0.2
    """Largest share of the last day's feedback in quarantine; above it, a person looks for an attack or a launch."""


@dataclass(frozen=True, slots=True)
class PairSettings:
    """The loss of pairs of a better and a worse answer."""

    type: Literal["dpo", "conservative", "robust", "ipo", "apo_zero", "simpo"] = "dpo"
    """Loss of pairs; `conservative` and `robust` are DPO for users who disagree."""
    beta: Annotated[float, Between(0.001)] = 0.1
    """Beta of the loss: the larger, the closer a candidate stays to the champion."""


@dataclass(frozen=True, slots=True)
class UnpairedSettings:
    """The loss of thumbs, ratings and lone outcomes."""

    type: Literal["bco", "kto"] = "bco"
    """Loss of answers that were approved of or not, without another to compare them with."""


@dataclass(frozen=True, slots=True)
class EditSettings:
    """The loss of answers that their users edited."""

    type: Literal["pair", "demonstration"] = "pair"
    """Loss of edits: `pair` is DPO with NLL on what changed; `demonstration` is NLL on the whole, at half the cost."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The LoRA fine-tune."""

    rank: Some = 16
    """LoRA rank; alpha is 2 x rank and every linear layer is adapted."""
    learning_rate: Share = 2e-4
    """Peak of AdamW's learning rate."""
    epochs: Annotated[float, Between(0.01)] = 2.0
    """Passes over the train split, as far as `budget_tokens` allows."""
    min_steps: Count = 40
    """Fewest optimiser steps: a train split too small for them is shown more often than `epochs`, up to eight times."""
    batch_examples: Some = 8
    """Examples per optimiser step."""
    max_tokens: Some = 2_048
    """Most tokens of prompt and answer; prompts lose whole turns from the left, what is still longer is dropped."""
    # No limit: a busy machine makes a night later, not worse. It bounds examples, steps and tokens instead.
    budget_minutes: Amount = 0.0
    """Minutes that the steps of a training may take; what a busy machine cuts off is not learnt; 0 for no limit."""
    budget_tokens: Count = 250_000
    """Most tokens that a training sees, all examples once before any twice, the oldest left out first; 0: no limit."""
    consolidate_every: Count = 0
    """Interval in nights at which a training begins at the base model instead of the champion; 0 for never."""
    quantize: Literal["none", "nf4"] = "none"
    """Four-bit format of the frozen weights in training (QLoRA, bitsandbytes); they are evaluated and served whole."""
    seed: Annotated[int, Between(0, 2**32 - 1)] = 0
    """Seed of the adapter's initialisation and of shuffling."""
    kl_coefficient: Amount = 0.0
    """Weight of the KL to the champion, in nats per token, beside the loss of pairs, rankings and unpaired examples."""
    pair: PairSettings = field(default_factory=PairSettings)
    unpaired: UnpairedSettings = field(default_factory=UnpairedSettings)
    edit: EditSettings = field(default_factory=EditSettings)


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How candidates answer held-out prompts."""

    max_items: Count = 200
    """Most items of a suite, the newest kept; 0 for all."""
    window_days: Days = 30.0
    """Days back from the newest feedback whose feedback judges: what was right long ago may be wrong; 0 for all."""
    max_new_tokens: Some = 160
    """Most tokens of a generated answer."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """The evidence that a promotion needs."""

    alpha: Annotated[float, Between(1e-6, 0.5)] = 0.05
    """One-sided level of the superiority test."""
    margin: Share = 0.02
    """Largest loss against the champion that a guard allows, in scores from 0 to 1."""
    anchor_margin: Share = 0.01
    """Largest loss against the last champion that a person approved, in scores from 0 to 1."""
    min_clusters: Some = 8
    """Fewest users for a test; with fewer it is UNDERPOWERED whatever they say."""
    guards_from: Count = 0
    """Fewest users for a guard; with fewer it is left out, and the decision says so; 0 leaves none out."""
    promote: bool = True
    """Whether a PROMOTE is carried out at once; false leaves it to a person."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The event log on Kafka; the embedded one needs none of this. The brokers' addresses come from the environment."""

    topic: Annotated[str, Matching(r"^[A-Za-z0-9._-]{1,200}$")] = "nightshift.events"
    """Topic of the events; those that cannot be parsed also go to the topic with `.dead-letters` behind this name."""
    group: str = "nightshift-capture"
    """Consumer group of all capture processes that write into one store."""
    partitions: Some = 12
    """Partitions of a new topic: as many capture processes can share the work."""
    # Three copies, of which two have to be written: one broker may be away, and nothing is lost with another.
    replication_factor: Some = 3
    """Replicas of each partition of a new topic."""
    min_insync_replicas: Some = 2
    """Brokers that must have an event of a new topic before it counts as sent."""
    retention_days: Amount = 30.0
    """Days for which a new topic keeps events: capture may be away so long without losing any."""


@dataclass(frozen=True, slots=True)
class SuiteSettings:
    """A suite of your own: the prompts of a file, answered and scored every night."""

    name: Annotated[str, Matching(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    """Name on the night's page and in MLflow (letters, digits, `_`, `-`)."""
    role: SuiteRole
    """`guard`: a loss beyond `margin` under [gate] blocks a promotion; `report`: to be read, decides nothing."""
    file: Annotated[str, Matching(r"\S")]
    """JSONL file beside this one, an item a line: `prompt`, with `reference`, `verifiers` or both."""
    scorer: Annotated[str, Matching(r"\S")] = "graded"
    """Scorer: `graded`, `exact`, `numeric`, `similarity`, `verified`, or your own function as `module:function`."""
