from pathlib import Path

import pytest

from loop.models import LanguageModel, find, load, prompt_ids, response_ids
from loop.types import Message, Sampling

QUESTION = [Message("user", "What is the capital of France?")]


@pytest.fixture(scope="module")
def smollm(real_model: Path) -> LanguageModel:
    return load(real_model)


def test_the_converted_tokenizer_keeps_template_and_special_tokens(smollm: LanguageModel) -> None:
    tokenizer = smollm.tokenizer
    text = "Order 4711: don't  panic,\n\n\té 123!"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.decode([tokenizer.eos_token_id]) == "<|im_end|>"
    assert tokenizer.decode(prompt_ids(tokenizer, QUESTION)).endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert response_ids(tokenizer, Message("assistant", "Paris"))[-1] == tokenizer.eos_token_id


def test_the_converted_model_answers_sensibly_and_stops(smollm: LanguageModel) -> None:
    (answer,) = smollm.generate([QUESTION], Sampling(max_tokens=24))
    assert "Paris" in answer.text
    assert len(answer.token_ids) < 24
    (score,) = smollm.score([(QUESTION, Message("assistant", answer.text))])
    assert score == pytest.approx(sum(answer.logprobs), abs=0.3)


def test_a_found_model_is_not_converted_again(smollm: LanguageModel) -> None:
    folder = Path(smollm.tokenizer.name_or_path)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert find("HuggingFaceTB/SmolLM2-135M-Instruct", folder.parent) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
