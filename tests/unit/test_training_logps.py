"""Shared prefixes against the plain way: one unpadded row per answer through the stock forward pass, in float64."""

import warnings
import weakref
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from loop.errors import TrainingError
from loop.settings import TrainingSettings
from loop.training.batch.credit import Credit
from loop.training.batch.tokens import Answer, Encoded
from loop.training.batch.tree import Chain, Tree, grow
from loop.training.forward.attention import select
from loop.training.forward.blocks import BLOCK, blocks
from loop.training.forward.choice import choose_layout
from loop.training.forward.head import HEAD_POSITIONS, FrozenHeadLogProb
from loop.training.forward.layout import lay_out
from loop.training.forward.logps import Scored, Scorer, score
from loop.training.forward.spans import Spans, spans
from loop.training.forward.whole import Whole, whole
from loop.training.objective import mixed
from loop.training.objective.vectors import gather
from loop.types import Objective
from tests.tiny import adapted, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = TrainingSettings()


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> Scorer:
    """A tiny model in float64 with an adapter that already does something."""
    base = tiny_model(tmp_path_factory.mktemp("base"))
    return Scorer(adapted(AutoModelForCausalLM.from_pretrained(base)).double().get_base_model())


def encoded(prompt: int, *answers: int, kind: Objective = Objective.PAIR, seed: int = 0, common: int = 2) -> Encoded:
    """Random tokens of the given lengths; answers have their first `common` tokens in common."""
    draw = torch.Generator().manual_seed(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 300, (length,), generator=draw).tolist())

    shared = tokens(common)
    made = tuple(Answer(shared + tokens(length - common), (0.05, *[1.0] * (length - 1))) for length in answers)
    scores = tuple(1.0 - 0.5 * place for place in range(len(made)))
    return Encoded(tokens(prompt), made, Credit(kind, scores, weight=0.5 + seed, nll_share=0.3))


EXAMPLES = [
    encoded(20, 9, 5, seed=0),
    encoded(3, 4, 12, seed=1),
    encoded(11, 7, kind=Objective.UNPAIRED, seed=2),
    encoded(6, 8, kind=Objective.DEMONSTRATION, seed=3),
]


def plainly(model: LlamaForCausalLM, examples: list[Encoded]) -> Scored:
    """The oracle: every answer alone, all logits, no padding, no mask of ours."""
    select(model, tree=False)
    logps, nlls = [], []
    for example in examples:
        for sequence, answer in zip(example.sequences, example.answers, strict=True):
            logits = model(input_ids=torch.tensor([sequence])).logits[0, :-1]
            tokens = logits.log_softmax(-1)[range(len(sequence) - 1), list(sequence[1:])][-len(answer.ids) :]
            weights = tokens.new_tensor(answer.nll_weights)
            logps.append(tokens.sum())
            nlls.append(-(tokens * weights).sum() / weights.sum())
    return Scored(torch.stack(logps), torch.stack(nlls))


def loss_of(scored: Scored, examples: list[Encoded], settings: TrainingSettings = SETTINGS) -> torch.Tensor:
    batch = gather(examples, torch.device("cpu"))
    reference = torch.linspace(-60, -20, len(scored.logp), dtype=torch.float64)
    parts = mixed.example_losses(batch, scored, reference, 0.1, settings)
    return mixed.weighted_sum(parts, batch) / batch.weights.sum()


def gradients(model: LlamaForCausalLM, loss: torch.Tensor) -> list[torch.Tensor]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return list(torch.autograd.grad(loss, trained, retain_graph=True))


RANKED = [*EXAMPLES, encoded(9, 6, 4, 7, 5, kind=Objective.RANKING, seed=4)]


def straight_loss(model: LlamaForCausalLM, examples: list[Encoded]) -> torch.Tensor:
    """The mean loss as the papers write it, answer by answer: DPO, Plackett-Luce, BCO and NLL."""
    scored = plainly(model, examples)
    rewards = 0.1 * (scored.logp - torch.linspace(-60, -20, len(scored.logp), dtype=torch.float64))
    total, place = torch.zeros((), dtype=torch.float64), 0
    for example in examples:
        own = rewards[place : place + len(example.answers)]
        loss = example.credit.nll_share * scored.nll[place]
        if example.credit.objective is Objective.UNPAIRED:
            loss = loss - torch.log(torch.sigmoid(own[0] - 0.1))
        # One choice after the other from the answers that are left; of a pair there is one.
        for first in range(len(own) - 1):
            loss = loss - torch.log(own[first].exp() / own[first:].exp().sum())
        total = total + example.credit.weight * loss
        place += len(example.answers)
    return total / sum(example.credit.weight for example in examples)


@pytest.mark.parametrize("backend", [spans, whole, None])
@pytest.mark.parametrize("examples", [EXAMPLES, RANKED[-1:], RANKED], ids=["pairs and thumbs", "four ranked", "all"])
def test_losses_and_gradients_are_those_of_the_papers_in_a_tree_and_in_rows(scorer, backend, examples):
    expected = straight_loss(scorer.model, examples)
    loss = loss_of(score(replace(scorer, attention=backend), examples), examples)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    for found, wanted in zip(gradients(scorer.model, loss), gradients(scorer.model, expected), strict=True):
        assert ((found - wanted).norm() / wanted.norm()).item() <= 1e-6


def test_four_answers_to_one_prompt_compute_it_once():
    layout = lay_out(RANKED[-1:], spans, torch.empty(0))
    assert layout.tokens.shape == (1, 9 + 2 + 4 + 2 + 5 + 3)


@pytest.mark.parametrize("backend", [spans, None])
def test_losses_and_gradients_are_those_of_separate_answers(scorer, backend):
    expected = loss_of(plainly(scorer.model, EXAMPLES), EXAMPLES)
    loss = loss_of(score(replace(scorer, attention=backend), EXAMPLES), EXAMPLES)
    assert abs(loss - expected).item() <= 1e-12
    for found, wanted in zip(gradients(scorer.model, loss), gradients(scorer.model, expected), strict=True):
        # The model itself normalises in float32, so rounding of the inputs shows at 1e-8.
        assert ((found - wanted).norm() / wanted.norm()).item() <= 1e-7


def test_a_whole_tree_scores_as_its_spans_do(scorer):
    found = [score(replace(scorer, attention=backend), EXAMPLES) for backend in (whole, spans)]
    losses = [loss_of(scored, EXAMPLES) for scored in found]
    assert torch.allclose(found[0].logp, found[1].logp, rtol=0, atol=1e-12)
    for one, other in zip(*(gradients(scorer.model, loss) for loss in losses), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-8 * other.abs().max().item())


class OneAtATime(TorchFunctionMode):
    """Fails where a linear layer's result is made while an earlier one still exists."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref[torch.Tensor]] = []

    def __torch_function__(self, func, _types, args=(), kwargs=None):
        if func is not linear:
            return func(*args, **(kwargs or {}))
        assert not any(logits() is not None for logits in self.made)
        logits = func(*args, **(kwargs or {}))
        self.made.append(weakref.ref(logits))
        return logits


def test_logits_of_few_positions_exist_at_a_time():
    hidden = torch.randn(2 * HEAD_POSITIONS + 1, 8, requires_grad=True)
    with OneAtATime() as watch:
        FrozenHeadLogProb.apply(
            hidden, torch.randn(32, 8), None, torch.zeros(len(hidden), dtype=torch.long)
        ).sum().backward()
    assert len(watch.made) == 3


@pytest.mark.parametrize("margin", [2, 6, 12])
def test_the_head_s_gradient_is_as_exact_in_bfloat16_where_the_model_is_sure(margin):
    draw = torch.Generator().manual_seed(0)
    head = torch.randn(128, 64, generator=draw).bfloat16()
    targets = torch.arange(32)
    own = head[targets].double()
    hidden = (margin * own / own.square().sum(-1, keepdim=True)).bfloat16()
    exactly = hidden.double().requires_grad_()
    expected = torch.nn.functional.linear(exactly, head.double()).log_softmax(-1)[range(32), targets]
    weights = torch.rand(32, generator=draw)
    (wanted,) = torch.autograd.grad(expected, exactly, weights.double())
    hidden.requires_grad_()
    found = FrozenHeadLogProb.apply(hidden, head, None, targets)
    (rounded,) = torch.autograd.grad(found, hidden, weights)
    assert ((found - expected).abs() <= 0.02 * expected.abs() + 0.02).all()
    assert ((rounded - wanted).norm(dim=-1) <= 0.04 * wanted.norm(dim=-1)).all()


@pytest.mark.parametrize(("answer", "kind"), [(100, Whole), (300, Spans)])
def test_a_small_tree_is_attended_to_whole_in_bfloat16(answer, kind):
    tree = grow(encoded(20, answer, 30).sequences)
    assert type(spans(tree, torch.empty(0, dtype=torch.bfloat16))) is kind
    assert type(spans(tree, torch.empty(0))) is Spans


def test_blocks_of_a_tree_score_as_its_spans_do(scorer):
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        found, expected = (score(replace(scorer, attention=each), EXAMPLES).logp for each in (blocks, spans))
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", [(40, 30, 20), (3 * BLOCK, 7, 2 * BLOCK), (5, 4 * BLOCK, BLOCK)])
def test_a_block_is_left_out_only_where_nobody_sees_it_and_unmasked_only_where_everybody_does(sizes):
    tree = grow([sequence for seed in range(3) for sequence in encoded(*sizes, seed=seed).sequences])
    mask = blocks(tree, torch.empty(0)).mask
    size = len(tree.tokens)
    sees = torch.zeros(mask.kv_indices.shape[-2] * BLOCK, mask.kv_indices.shape[-1] * BLOCK, dtype=torch.bool)
    for chain, part in enumerate(tree.chains):
        before = [node for i in tree.path(chain)[:-1] for node in range(tree.chains[i].start, tree.chains[i].end)]
        for node in range(part.start, part.end):
            sees[node, [*before, *range(part.start, node + 1)]] = True
    some = sees.unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK)).any(3).any(1)
    sees[size:] = True
    every = sees.unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK)).all(3).all(1)
    whole = torch.zeros_like(every)
    for row, (count, order) in enumerate(zip(mask.full_kv_num_blocks[0, 0], mask.full_kv_indices[0, 0], strict=True)):
        whole[row, order[:count]] = True
    assert torch.equal(mask.to_dense()[0, 0].bool() | whole, some)
    assert torch.equal(whole, every)
    assert all(table.is_contiguous() for table in (mask.kv_indices, mask.full_kv_indices))
    query, key = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    assert torch.equal(mask.mask_mod(None, None, query, key), sees[:size, :size])


def test_every_token_is_computed_once():
    example = encoded(20, 9, 5, common=2)
    shared = lay_out([example], spans, torch.empty(0))
    assert shared.tokens.shape == (1, 20 + 9 + 5 - 2)
    apart = lay_out([example], None, torch.empty(0))
    assert apart.tokens.shape == (2, 20 + 9)


def test_a_beginning_common_to_all_examples_is_computed_once():
    system = tuple(range(3, 33))
    examples = [replace(e, prompt=system + e.prompt) for e in EXAMPLES]
    layout = lay_out(examples, spans, torch.empty(0))
    own = [20 + 9 + 5 - 2, 3 + 4 + 12 - 2, 11 + 7, 6 + 8]
    assert layout.tokens.shape == (1, len(system) + sum(own))


def test_an_ordinary_model_gets_shared_prefixes(scorer):
    assert choose_layout(scorer, EXAMPLES).attention is spans


def test_a_backend_that_fails_or_sees_too_much_gives_way_to_the_next(scorer, caplog):
    def fails(_tree: Tree, _like: torch.Tensor) -> Spans:
        raise RuntimeError("no kernel for this head")

    def sees_everything(tree: Tree, like: torch.Tensor) -> Spans:
        return spans(replace(tree, chains=(Chain(0, len(tree.tokens), 0, -1),)), like)

    assert choose_layout(scorer, EXAMPLES, (fails, sees_everything, spans)).attention is spans
    assert "no kernel for this head" in caplog.text
    assert "sees_everything" in caplog.text


def test_a_backend_that_fails_for_small_trees_only_gives_way_too(scorer, caplog):
    def fails_below_twenty(tree: Tree, like: torch.Tensor) -> Spans:
        if len(tree.tokens) < 20:
            raise RuntimeError("no kernel for so few")
        return spans(tree, like)

    assert choose_layout(scorer, EXAMPLES, (fails_below_twenty, spans)).attention is spans
    assert "no kernel for so few" in caplog.text


def test_a_model_with_another_formula_for_logits_is_refused():
    from transformers import CohereConfig, CohereForCausalLM

    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        logit_scale=0.0625,
        initializer_range=0.5,
    )
    with pytest.raises(TrainingError, match="logits"):
        choose_layout(Scorer(CohereForCausalLM(config).double()), EXAMPLES[:1])
