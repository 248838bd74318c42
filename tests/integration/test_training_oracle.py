"""TRL's trainers as oracle: the same weights and batch give the same losses and gradients in float32."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from loop.settings import PairSettings, TrainingSettings
from loop.settings.constants import DISAGREEMENT
from loop.training.batch.credit import Credit
from loop.training.batch.tokens import Answer, Encoded
from loop.training.forward.logps import Scorer, score
from loop.training.objective import losses, mixed
from loop.training.objective.vectors import Batch, gather
from loop.training.weights.lora import fuse
from loop.types import Objective
from tests.tiny import adapted, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
CLOSE = 2e-5
BETA = 0.1
QUIET = {"report_to": "none", "use_cpu": True, "bf16": False, "activation_checkpointing": False, "disable_tqdm": True}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def adapter_over(base: Path) -> PeftModel:
    """The same each time."""
    return adapted(AutoModelForCausalLM.from_pretrained(base))


def tokens(length: int) -> tuple[int, ...]:
    return tuple(torch.randint(3, 300, (length,)).tolist())


def encoded(kind: Objective, *, desirable: bool, answers: tuple[int, ...]) -> Encoded:
    made = tuple(Answer(ids, (1.0,) * len(ids)) for ids in map(tokens, answers))
    scores = (1.0, -1.0)[: len(made)] if desirable else (-1.0,)
    return Encoded(tokens(12), made, Credit(kind, scores, weight=1.0, nll_share=0.0))


@pytest.fixture(scope="module")
def pairs() -> list[Encoded]:
    torch.manual_seed(1)
    return [encoded(Objective.PAIR, desirable=True, answers=lengths) for lengths in ((7, 4), (3, 9), (5, 5))]


@pytest.fixture(scope="module")
def thumbs() -> list[Encoded]:
    torch.manual_seed(2)
    verdicts = ((7, True), (4, False), (6, True), (5, False))
    return [encoded(Objective.UNPAIRED, desirable=verdict, answers=(length,)) for length, verdict in verdicts]


def reference(examples: list[Encoded]) -> list[list[float]]:
    """Stand-ins of the champion's log-probabilities."""
    return [[-5.5 * len(answer.ids) - i for answer in example.answers] for i, example in enumerate(examples)]


def ours(base: Path, examples: list[Encoded], loss: Callable[[Batch, Tensor, Tensor], Tensor]) -> tuple:
    model = adapter_over(base)
    fuse(model)
    scored = score(Scorer(model.get_base_model()), examples)
    batch = gather(examples, torch.device("cpu"))
    flat = torch.tensor([value for each in reference(examples) for value in each], dtype=torch.float64)
    return loss(batch, scored, flat), model


@pytest.mark.parametrize(
    ("loss_type", "chosen"), [("sigmoid", "dpo"), ("robust", "robust"), ("ipo", "ipo"), ("apo_zero", "apo_zero")]
)
def test_pair_losses_and_gradients_are_those_of_trl(base, pairs, tmp_path, loss_type, chosen):
    config = DPOConfig(
        output_dir=str(tmp_path),
        beta=BETA,
        loss_type=loss_type,
        label_smoothing=DISAGREEMENT if loss_type == "robust" else 0.0,
        precompute_ref_log_probs=True,
        max_length=None,
        **QUIET,
    )
    text = Dataset.from_list([{"prompt": "a b", "chosen": " c", "rejected": " d"}])
    trainer = made(DPOTrainer, model=adapter_over(base), args=config, train_dataset=text, base=base)
    rows = [
        {
            "prompt_ids": list(pair.prompt),
            "chosen_ids": list(pair.answers[0].ids),
            "rejected_ids": list(pair.answers[1].ids),
            "ref_chosen_logps": logps[0],
            "ref_rejected_logps": logps[1],
        }
        for pair, logps in zip(pairs, reference(pairs), strict=True)
    ]
    expected = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    settings = TrainingSettings(pair=PairSettings(type=chosen, beta=BETA))

    def loss(batch, scored, flat):
        return mixed.weighted_sum(mixed.example_losses(batch, scored, flat, 0.0, settings), batch) / len(pairs)

    assert_agree(*ours(base, pairs, loss), expected, trainer.model)


def test_kto_around_the_same_reference_point_is_that_of_trl(base, thumbs, tmp_path):
    config = KTOConfig(output_dir=str(tmp_path), beta=BETA, precompute_ref_log_probs=True, max_length=None, **QUIET)
    text = Dataset.from_list([{"prompt": "a b", "completion": " c", "label": i > 0} for i in range(2)])
    trainer = made(KTOTrainer, model=adapter_over(base), args=config, train_dataset=text, base=base)
    turned = [thumbs[i - 1] for i in range(len(thumbs))]
    rows = [
        {
            "prompt_ids": list(thumb.prompt),
            "completion_ids": list(thumb.answers[0].ids),
            "KL_completion_ids": list(other.answers[0].ids),
            "label": thumb.credit.approved,
            "ref_logps": logps[0],
            "ref_KL_logps": -6.5 * len(other.answers[0].ids),
        }
        for thumb, other, logps in zip(thumbs, turned, reference(thumbs), strict=True)
    ]
    expected = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    [point] = trainer._metrics["train"]["kl"] or trainer._metrics["eval"]["kl"]
    assert point > 0

    def loss(batch, scored, flat):
        return losses.kto(scored.logp, flat, batch.sides, BETA * point, BETA).mean()

    assert_agree(*ours(base, thumbs, loss), expected, trainer.model)


def made(kind: type, *, base: Path, **arguments: object):
    """A trainer of TRL's, its and peft's advice left unsaid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(processing_class=AutoTokenizer.from_pretrained(base), **arguments)


def assert_agree(loss: Tensor, model: PeftModel, expected: Tensor, oracle: PeftModel) -> None:
    assert loss.item() == pytest.approx(expected.item(), rel=CLOSE)
    loss.backward()
    expected.backward()
    wanted = {name: p.grad for name, p in oracle.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    largest = max(gradient.abs().max() for gradient in wanted.values())
    for name, gradient in wanted.items():
        assert (found[name] - gradient).abs().max() <= CLOSE * largest, name
