"""One optimiser step of DPO on the same batch, as three trainers take it: ours, TRL's, and a careful loop by hand.

Each has the same base weights, LoRA, optimiser, numbers and batch, and the champion's log-probabilities beforehand.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from loop.settings import PairSettings, TrainingSettings
from loop.training.batch.packs import padded
from loop.training.batch.tokens import Encoded
from loop.training.forward.choice import backends, use_liger
from loop.training.forward.logps import Scorer
from loop.training.objective.accumulate import weighted_loss
from loop.training.weights import adapters

BETA = 0.1
TRL_TOKENS = 1_024
"""Tokens of a pass of TRL's on a CPU, padding counted: its fastest there; 4,096 took twice as long."""
Step = Callable[[Sequence[Encoded]], float]
"""Takes one optimiser step on a batch and returns its loss."""


@dataclass(frozen=True, slots=True)
class Bed:
    """What all trainers are given."""

    folder: Path
    """Of the base model and its tokenizer; a model without weights gets random ones."""
    autocast: bool
    """bfloat16 products over bfloat16 weights, else float32 throughout."""
    budget: int
    """Tokens of a forward pass."""
    rank: int = 16

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.autocast else torch.float32

    def numbers(self) -> torch.autocast:
        return torch.autocast(device(), torch.bfloat16, enabled=self.autocast)


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def nightshift(bed: Bed) -> Step:
    """Ours: one tree a pass."""
    model = adapters.begin(_base(bed), rank=bed.rank, seed=0)
    use_liger(model.get_base_model())
    [attention, *_] = backends(torch.device(device()))
    scorer = Scorer(model.get_base_model(), bed.autocast, attention)
    settings = TrainingSettings(pair=PairSettings(beta=BETA))

    def losses(batch: Sequence[Encoded]) -> Iterator[Tensor]:
        for group in scorer.passes(batch, bed.budget):
            examples = [batch[i] for i in group]
            loss, _ = weighted_loss(scorer, examples, map(_reference, examples), 0.0, settings)
            yield loss / len(batch)

    return _step(model, losses)


def by_hand(bed: Bed) -> Step:
    """A careful loop over peft's model: answers without padding one by one, logits of completion tokens alone."""
    torch.manual_seed(0)
    model = get_peft_model(_base(bed), _lora(bed))
    use_liger(model.get_base_model())

    def losses(batch: Sequence[Encoded]) -> Iterator[Tensor]:
        for example in batch:
            with bed.numbers():
                logps = [_completion(model, example, which) for which in (0, 1)]
            yield _dpo(torch.stack(logps), _reference(example)) / len(batch)

    return _step(model, losses)


def trl(bed: Bed) -> Step:
    """TRL 1.16's DPOTrainer: reference log-probabilities beforehand, no activation checkpoints, rows of like length."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    text = Dataset.from_list([{"prompt": "a b", "chosen": " c", "rejected": " d"}])
    tokenizer = AutoTokenizer.from_pretrained(bed.folder)
    config = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        beta=BETA,
        max_length=None,
        precompute_ref_log_probs=True,
        activation_checkpointing=False,
        bf16=bed.autocast,
        use_cpu=device() == "cpu",
        report_to="none",
        disable_tqdm=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = DPOTrainer(
            _base(bed), args=config, train_dataset=text, processing_class=tokenizer, peft_config=_lora(bed)
        )

    budget = bed.budget if device() == "cuda" else min(bed.budget, TRL_TOKENS)
    use_liger(trainer.accelerator.unwrap_model(trainer.model).get_base_model())

    def losses(batch: Sequence[Encoded]) -> Iterator[Tensor]:
        for group in padded(batch, budget):
            rows = trainer.data_collator([_row(batch[i]) for i in group])
            inputs = trainer._prepare_inputs(rows)
            with bed.numbers():
                loss = trainer.compute_loss(trainer.model, inputs) * len(group) / len(batch)
            yield loss

    return _step(trainer.model.train(), losses)


TRAINERS: dict[str, Callable[[Bed], Step]] = {"nightshift": nightshift, "by_hand": by_hand, "trl": trl}


def _lora(bed: Bed) -> LoraConfig:
    return LoraConfig(r=bed.rank, lora_alpha=2 * bed.rank, target_modules="all-linear", task_type="CAUSAL_LM")


def _base(bed: Bed) -> PreTrainedModel:
    how = {"dtype": bed.dtype, "attn_implementation": "sdpa"}
    if (bed.folder / "model.safetensors").exists():
        model = AutoModelForCausalLM.from_pretrained(bed.folder, **how).to(device())
    else:
        torch.manual_seed(0)
        with torch.device(device()):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(bed.folder), **how)
    return cast("PreTrainedModel", model)


def _step(model: nn.Module, losses: Callable[[Sequence[Encoded]], Iterator[Tensor]]) -> Step:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0.0, fused=True)

    def step(batch: Sequence[Encoded]) -> float:
        total = 0.0
        for loss in losses(batch):
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return total

    return step


def _completion(model: nn.Module, example: Encoded, which: int) -> Tensor:
    count = len(example.answers[which].ids)
    ids = torch.tensor([example.sequences[which]], device=device())
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=count + 1).logits[0, :-1]
    return logits.float().log_softmax(-1).gather(1, ids[0, -count:, None]).sum()


def _dpo(logps: Tensor, reference: Sequence[float]) -> Tensor:
    margin = (logps[0] - reference[0]) - (logps[1] - reference[1])
    return -logsigmoid(BETA * margin)


def _reference(example: Encoded) -> list[float]:
    """Stand-ins of the champion's log-probabilities, the same for all trainers."""
    return [-2.0 * len(answer.ids) for answer in example.answers]


def _row(example: Encoded) -> dict[str, object]:
    reference = _reference(example)
    chosen, rejected = (list(answer.ids) for answer in example.answers)
    return {
        "prompt_ids": list(example.prompt),
        "chosen_ids": chosen,
        "rejected_ids": rejected,
        "ref_chosen_logps": reference[0],
        "ref_rejected_logps": reference[1],
    }
