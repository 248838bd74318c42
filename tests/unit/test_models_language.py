import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from loop.models import LanguageModel, load, prompt_ids, response_ids
from loop.models.decode import decode, draw
from loop.models.quiet import quiet
from loop.models.rows import PIECE_TOKENS, pieces
from loop.types import Message, Sampling
from tests.tiny import adapted, tiny_model

PROMPTS = [[Message("user", text)] for text in ("hi", "Where is my parcel? Order 4711 is late.", "refund", "What?")]
WARM = Sampling(temperature=1.0, max_tokens=12, seed=7)
GREEDY = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = tmp_path_factory.mktemp("adapter")
    adapted(AutoModelForCausalLM.from_pretrained(folder), seed=3).save_pretrained(saved)
    return saved


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load(folder, dtype="float32")


def test_the_same_seed_gives_the_same_answers_and_another_seed_others(model: LanguageModel) -> None:
    assert model.generate(PROMPTS, WARM) == model.generate(PROMPTS, WARM)
    other = Sampling(temperature=1.0, max_tokens=12, seed=8)
    assert [a.token_ids for a in model.generate(PROMPTS, WARM)] != [a.token_ids for a in model.generate(PROMPTS, other)]


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_answers_do_not_depend_on_who_shares_the_batch(folder: Path, model: LanguageModel, sampling: Sampling) -> None:
    one_by_one = load(folder, dtype="float32", batch=1).generate(PROMPTS, sampling)
    assert [a.token_ids for a in one_by_one] == [a.token_ids for a in model.generate(PROMPTS, sampling)]


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_long_and_short_prompts_that_share_a_batch_are_answered_as_alone(folder: Path, sampling: Sampling) -> None:
    system = Message("system", "You are a helpful assistant.")
    asked = [[system, Message("user", "Where is order 4711? " * times)] for times in (1, 40, 2, 25, 60, 1, 3)]
    lengths = [len(prompt_ids(load(folder, dtype="float32").tokenizer, prompt)) for prompt in asked]
    assert max(lengths) > PIECE_TOKENS["cpu"] / 2 > 6 * min(lengths)
    together, alone = (load(folder, dtype="float32", batch=batch).generate(asked, sampling) for batch in (7, 1))
    assert [a.token_ids for a in together] == [a.token_ids for a in alone]


def test_a_sliding_window_sees_the_same_tokens_in_a_batch_as_alone() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = MistralConfig(vocab_size=60, num_hidden_layers=2, sliding_window=6, initializer_range=0.3, **sizes)
    model = MistralForCausalLM(config).eval()
    prompts = [[*range(5, 5 + length)] for length in (40, 12, 5, 3, 2)]
    alone = [drawn(model, [prompt]) for prompt in prompts]
    assert drawn(model, prompts) == [answer for [answer] in alone]


def drawn(model: MistralForCausalLM, prompts: list[list[int]]) -> list[tuple[int, ...]]:
    uniforms, stop = torch.zeros(len(prompts), 12, dtype=torch.float64), torch.tensor([0])
    return [ids for ids, _ in decode(model, prompts, GREEDY, uniforms=uniforms, pad=0, stop=stop)]


def test_pieces_of_neighbours_hold_their_padded_tokens_or_one_row() -> None:
    lengths = [90, 50, 40, 30, 10, 10, 10]
    cut = [lengths[piece] for piece in pieces(lengths, 100)]
    assert cut == [[90], [50, 40], [30, 10, 10], [10]]


def test_long_prompts_share_a_batch_only_as_far_as_their_cache_may_grow(model: LanguageModel, monkeypatch) -> None:
    sizes: list[tuple[int, int]] = []

    def watched(model, prompts, sampling, **others):
        sizes.append((len(prompts), max(map(len, prompts)) + sampling.max_tokens))
        return decode(model, prompts, sampling, **others)

    monkeypatch.setattr("loop.models.language.decode", watched)
    whole = model.generate(PROMPTS, GREEDY)
    monkeypatch.setattr("loop.models.language.CACHED_TOKENS", 2 * sizes[0][1])
    sizes.clear()
    assert [a.token_ids for a in model.generate(PROMPTS, GREEDY)] == [a.token_ids for a in whole]
    assert sum(rows for rows, _ in sizes) == len(PROMPTS)
    assert all(rows * tokens <= 2 * sizes[0][1] for rows, tokens in sizes)


def test_greedy_answers_are_those_of_transformers(model: LanguageModel) -> None:
    for prompt, answer in zip(PROMPTS, model.generate(PROMPTS, GREEDY), strict=True):
        ids = torch.tensor([prompt_ids(model.tokenizer, prompt)])
        theirs = model.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert list(answer.token_ids) == theirs[0, ids.shape[1] :].tolist()


def test_reported_log_probabilities_are_the_raw_ones_of_a_full_forward(model: LanguageModel) -> None:
    hot = Sampling(temperature=3.0, top_p=0.9, max_tokens=12, seed=1)
    for prompt, answer in zip(PROMPTS, model.generate(PROMPTS, hot), strict=True):
        start = prompt_ids(model.tokenizer, prompt)
        with torch.inference_mode():
            logits = model.model(torch.tensor([[*start, *answer.token_ids]])).logits[0, len(start) - 1 : -1]
        expected = logits.log_softmax(-1).gather(-1, torch.tensor(answer.token_ids)[:, None])[:, 0]
        assert answer.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_an_answer_ends_with_its_end_of_turn_and_the_text_leaves_it_out(model: LanguageModel) -> None:
    long = Sampling(temperature=1.0, max_tokens=200, seed=0)
    answers = model.generate(PROMPTS * 8, long)
    eos = model.tokenizer.eos_token_id
    ended = [answer for answer in answers if len(answer.token_ids) < 200]
    assert ended
    assert all(answer.token_ids[-1] == eos and eos not in answer.token_ids[:-1] for answer in ended)
    assert not any("<|im_end|>" in answer.text for answer in answers)


def test_scores_are_summed_log_probabilities_whatever_the_batch(model: LanguageModel) -> None:
    responses = [Message("assistant", text) for text in ("yes", "It is on its way, order 4711.", "", "no")]
    expected = []
    for prompt, response in zip(PROMPTS, responses, strict=True):
        start, answer = prompt_ids(model.tokenizer, prompt), response_ids(model.tokenizer, response)
        with torch.inference_mode():
            logits = model.model(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1].double()
        expected.append(float(logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).sum()))
    assert model.score(list(zip(PROMPTS, responses, strict=True))) == pytest.approx(expected, abs=1e-3)


def test_an_over_long_prompt_is_answered(model: LanguageModel) -> None:
    endless = [Message("user", "order 4711 " * 300)]
    assert len(model.generate([endless], GREEDY)) == 1
    assert math.isfinite(model.score([(endless, Message("assistant", "sorry"))])[0])


def test_nothing_asked_is_nothing_answered(model: LanguageModel) -> None:
    assert model.generate([], GREEDY) == []
    assert model.score([]) == []


def test_an_adapter_changes_answers_and_fingerprint(folder: Path, adapter: Path, model: LanguageModel) -> None:
    adapted = load(folder, dtype="float32", adapter=adapter)
    assert adapted.fingerprint != model.fingerprint
    assert adapted.generate(PROMPTS, GREEDY) != model.generate(PROMPTS, GREEDY)
    assert load(folder, dtype="float32").fingerprint == model.fingerprint


def test_models_of_one_base_share_its_weights_and_no_adapter_changes_them(folder: Path, adapter: Path) -> None:
    base = load(folder, dtype="float32")
    before = base.generate(PROMPTS, WARM)
    merged = load(folder, dtype="float32", adapter=adapter)
    embeddings = [each.model.get_input_embeddings().weight.data_ptr() for each in (base, merged)]
    assert embeddings[0] == embeddings[1]
    assert merged.generate(PROMPTS, WARM) != before
    assert load(folder, dtype="float32").generate(PROMPTS, WARM) == before


def test_an_adapter_that_stays_apart_computes_what_peft_does(folder: Path, adapter: Path) -> None:
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    from loop.models.adapted import Adapted, adapt

    with quiet():
        ours = adapt(AutoModelForCausalLM.from_pretrained(folder), adapter, merge=False).eval()
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter).eval()
    replaced = [sum(isinstance(module, kind) for module in ours.modules()) for kind in (Adapted, LoraLayer)]
    assert replaced == [sum(isinstance(module, LoraLayer) for module in theirs.modules()), 0]
    ids = torch.arange(3, 60)[None]
    with torch.inference_mode():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_merging_keeps_the_log_probabilities_of_the_adapter(folder: Path, adapter: Path) -> None:
    from peft import PeftModel

    merged = load(folder, dtype="float32", adapter=adapter)
    with quiet():
        apart = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter).eval()
    ids = torch.tensor([prompt_ids(merged.tokenizer, PROMPTS[1])])
    with torch.inference_mode():
        torch.testing.assert_close(merged.model(ids).logits, apart(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_draw_is_the_first_token_whose_cumulative_weight_passes_its_random_number() -> None:
    logits = 3 * torch.randn(500, 1_000, generator=torch.Generator().manual_seed(1))
    logits[:, ::3] = -math.inf
    uniforms = torch.rand(500, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    uniforms[:2] = torch.tensor([0.0, 1 - 2**-53])
    found, _ = draw(logits, Sampling(temperature=0.7), uniforms)
    cumulative = (logits / 0.7).softmax(-1, dtype=torch.float64).cumsum(-1)
    assert found.tolist() == torch.searchsorted(cumulative, uniforms[:, None], right=True)[:, 0].tolist()


def test_draws_follow_the_tempered_and_truncated_distribution() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -3.0]])
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = logits.expand(len(uniforms), -1)
    drawn, _ = draw(rows, Sampling(temperature=2.0), uniforms)
    expected = (logits[0] / 2).softmax(-1)
    torch.testing.assert_close(drawn.bincount(minlength=4) / len(uniforms), expected, atol=0.015, rtol=0)
    drawn, _ = draw(rows, Sampling(temperature=1.0, top_p=0.7), uniforms)
    nucleus = logits[0, :2].softmax(-1)
    torch.testing.assert_close(drawn.bincount(minlength=2) / len(uniforms), nucleus, atol=0.015, rtol=0)
