"""A streamed answer is the answer that generate gives, and no piece of it ends inside a character."""

from pathlib import Path

import pytest

from loop.models import LanguageModel, load
from loop.models.stream import UNFINISHED, pieces
from loop.types import Message, Sampling
from tests.tiny import tiny_model, tiny_tokenizer

TEXT = "Grüße 👋🏽 an 東京, it's 12 €!\n\n  done ."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return load(tiny_model(tmp_path_factory.mktemp("tiny")), dtype="float32")


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_the_pieces_are_the_answer_of_the_same_seed(model: LanguageModel, temperature, seed, top_p) -> None:
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed, max_tokens=40)
    prompt = [Message("system", "Be short."), Message("user", f"Where is order {seed}?")]
    streamed = [*model.stream(prompt, sampling)]
    assert "".join(streamed) == model.generate([prompt], sampling)[0].text
    assert all(streamed)


def test_the_real_model_streams_what_it_generates(real_model: Path) -> None:
    model = load(real_model, dtype="bfloat16")
    sampling = Sampling(temperature=0.8, seed=1, max_tokens=20)
    prompt = [Message("user", "Greet me in Japanese and with an emoji.")]
    streamed = [*model.stream(prompt, sampling)]
    assert "".join(streamed) == model.generate([prompt], sampling)[0].text
    assert len(streamed) > 5


def test_a_prompt_too_long_for_the_model_is_shortened_as_generate_does(model: LanguageModel) -> None:
    prompt = [Message("user", "Where is my parcel? " * 100)]
    sampling = Sampling(temperature=1.0, seed=1, max_tokens=30)
    assert "".join(model.stream(prompt, sampling)) == model.generate([prompt], sampling)[0].text


@pytest.mark.parametrize("by_words", [False, True])
def test_no_piece_ends_inside_a_character(by_words: bool) -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode(TEXT)
    found = [*pieces(ids, tokenizer.decode, by_words=by_words)]
    assert "".join(found) == tokenizer.decode(ids)
    assert not [piece for piece in found if UNFINISHED in piece]
    assert len(ids) > len(found) > 5


def test_bytes_that_never_become_a_character_come_at_the_end() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("ok 東")[:-1]
    assert "".join(pieces(ids, tokenizer.decode, by_words=False)) == tokenizer.decode(ids) == f"ok {UNFINISHED}"


def test_a_tokenizer_that_takes_spaces_away_is_shown_word_by_word() -> None:
    words = ["it", " '", " s", " late", " ."]
    whole = {"it ' s late .": "it's late."}

    def text(ids) -> str:
        joined = "".join(words[i] for i in ids)
        for spaced, cleaned in ((" ' s", "'s"), (" .", ".")):
            joined = joined.replace(spaced, cleaned)
        return joined

    assert "".join(pieces(range(len(words)), text, by_words=True)) == whole["".join(words)]
