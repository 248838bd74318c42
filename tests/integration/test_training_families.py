"""Every family of models that transformers builds on plain attention: a tree gives what separate answers give."""

from dataclasses import replace
from types import MethodType

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from loop.settings import PairSettings, UnpairedSettings
from loop.training.batch.credit import Credit
from loop.training.batch.tokens import Answer, Encoded
from loop.training.forward.choice import choose_layout
from loop.training.forward.logps import Scored, Scorer, score
from loop.training.forward.spans import spans
from loop.training.forward.whole import whole
from loop.training.weights.lora import fuse
from loop.types import Objective
from tests.tiny import adapted
from tests.unit.test_training_logps import SETTINGS, gradients, loss_of, plainly

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out"),  # peft sets it for GPT-2 by itself and says so
]
SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
}
FAMILIES: dict[str, dict[str, object]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {},
    "Mistral": {"sliding_window": None},
    "Gemma": {},
    "GPT2": {"n_positions": 512, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "GPTNeoX": {},
    "Phi": {},
}
REAL, REAL_LAYERS = "SmolLM2-135M", 4
LOSSES = [
    *({"pair": PairSettings(type=name)} for name in ("dpo", "conservative", "robust", "ipo", "apo_zero", "simpo")),
    *({"unpaired": UnpairedSettings(type=name)} for name in ("bco", "kto")),
    {"kl_coefficient": 0.5},
]


def exactly(model: PreTrainedModel) -> Scorer:
    """`model` in float64 under a random adapter."""
    exact = adapted(model).double().get_base_model()
    for module in exact.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = MethodType(_norm, module)
    return Scorer(exact.eval())


def tiny(family: str, **different: object) -> PreTrainedModel:
    """A random model of a family."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES | different)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return model


def _norm(self: nn.Module, hidden: Tensor) -> Tensor:
    """Root mean square in float64: the models' own compute it in float32, whose rounding is all that would be seen."""
    scale = 1 + self.weight if "Gemma" in type(self).__name__ else self.weight
    epsilon = getattr(self, "variance_epsilon", None) or self.eps
    return scale * hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + epsilon)


def conversation(draw: torch.Generator, system: tuple[int, ...], turns: int) -> list[Encoded]:
    """A pair at every turn, the logged answer first; each prompt has all of the turns before."""

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 300, (length,), generator=draw).tolist())

    prompt, found = system, []
    for turn in range(turns):
        prompt += tokens(5)
        logged, other = Answer(tokens(6), (0.05, *[1.0] * 5)), Answer(tokens(4 + turn), (1.0,) * (4 + turn))
        credit = Credit(Objective.PAIR, (1.0, -1.0), weight=0.5 + turn, nll_share=0.3)
        found.append(Encoded(prompt, (logged, other), credit))
        prompt += logged.ids
    return found


def log() -> list[Encoded]:
    """Two conversations under one system prompt with all kinds of feedback, and four ranked answers to one question."""
    draw = torch.Generator().manual_seed(1)
    system = tuple(range(10, 22))
    one, two = conversation(draw, system, 3), conversation(draw, system, 2)
    thumb = Encoded(one[1].prompt, one[1].answers[:1], Credit(Objective.UNPAIRED, (-1.0,), 1.5, nll_share=0.0))
    shown = Encoded(two[1].prompt, two[1].answers[1:], Credit(Objective.DEMONSTRATION, (1.0,), 1.5, nll_share=1.0))
    again = [replace(two[0], answers=conversation(draw, (), 1)[0].answers) for _ in range(2)]
    four = again[0].answers + again[1].answers
    ranked = Encoded(two[0].prompt, four, Credit(Objective.RANKING, (1.0, 0.5, 0.5, -1.0), 1.5, nll_share=0.3))
    return [*one, *two, thumb, shown, *again, ranked]


@pytest.fixture(scope="module", params=[*FAMILIES, REAL])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    if request.param == REAL:
        real = AutoModelForCausalLM.from_pretrained(request.getfixturevalue("real_model"))
        # All layers run the same code: in float64 those behind would only take minutes.
        real.model.layers = real.model.layers[:REAL_LAYERS]
        return exactly(real)
    return exactly(tiny(request.param, **FAMILIES[request.param]))


@pytest.fixture(scope="module")
def both(scorer) -> tuple[Scored, Scored]:
    """The log scored as one tree by fused layers, and every answer alone as peft and transformers do it."""
    alone = plainly(scorer.model, log())
    fuse(scorer.model)
    return score(scorer, log()), alone


def test_every_loss_over_a_tree_has_the_value_and_the_gradients_of_separate_answers(scorer, both):
    over_tree, apart = ([loss_of(scored, log(), replace(SETTINGS, **chosen)) for chosen in LOSSES] for scored in both)
    for chosen, found, wanted in zip(LOSSES, over_tree, apart, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12), chosen
    # One backward pass for all; with unlike weights no two faults cancel.
    weights = torch.linspace(1, 2, len(LOSSES), dtype=torch.float64)
    assert_equal(scorer.model, torch.stack(over_tree) @ weights, torch.stack(apart) @ weights)


def assert_equal(model: PreTrainedModel, loss: Tensor, expected: Tensor) -> None:
    assert abs(loss - expected).item() <= 1e-12 * max(1.0, abs(expected.item()))
    found, wanted = (gradients(model, each) for each in (loss, expected))
    largest = max(gradient.abs().max() for gradient in wanted)
    assert max((a - b).abs().max() for a, b in zip(found, wanted, strict=True)) <= 1e-8 * largest


def test_a_tree_attended_to_whole_has_the_value_and_the_gradients_of_separate_answers(scorer, both):
    at_once = score(replace(scorer, attention=whole), log())
    assert_equal(scorer.model, *(loss_of(scored, log()) for scored in (at_once, both[1])))


def test_a_family_on_plain_attention_is_found_to_share_its_prefixes(scorer):
    assert choose_layout(scorer, log()).attention is spans


def test_neither_the_order_of_a_batch_nor_its_cuts_change_what_an_answer_scores(scorer, both):
    examples = log()
    turned = score(scorer, examples[::-1]).logp.split([len(example.answers) for example in examples[::-1]])
    assert torch.allclose(torch.cat(turned[::-1]), both[0].logp, rtol=0, atol=1e-12)
    for budget in (1, 40, 80):
        groups = scorer.passes(examples, budget)
        assert len(groups) > 1
        scored = {i: logps for group in groups for i, logps in zip(group, pieces(scorer, examples, group), strict=True)}
        assert torch.allclose(torch.cat([scored[i] for i in range(len(examples))]), both[0].logp, rtol=0, atol=1e-12)


def pieces(scorer: Scorer, examples: list[Encoded], group: list[int]) -> tuple[Tensor, ...]:
    chosen = [examples[i] for i in group]
    return score(scorer, chosen).logp.split([len(example.answers) for example in chosen])


def test_changing_one_branch_leaves_its_siblings_bit_for_bit(scorer, both):
    examples = log()
    changed = tuple(300 - token for token in examples[0].answers[1].ids)
    other = replace(examples[0].answers[1], ids=changed)
    examples[0] = replace(examples[0], answers=(examples[0].answers[0], other))
    now, before = score(scorer, examples).logp, both[0].logp
    assert now[1] != before[1]
    untouched = torch.arange(len(now)) != 1
    assert torch.equal(now[untouched], before[untouched])


def test_a_sliding_window_gets_one_row_per_answer_and_says_so(caplog):
    windows = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 8}
    found = choose_layout(exactly(tiny("Gemma3Text", **windows)), log())
    assert found.attention is None
    assert "Gemma3ForCausalLM" in caplog.text
    assert_equal(
        found.model, *(loss_of(scored, log()) for scored in (score(found, log()), plainly(found.model, log())))
    )
