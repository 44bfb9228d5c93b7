"""The page of models and formats says what the tables and the tests say."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")
pytest.importorskip("torch")

from scripts import models_page


def test_the_page_is_up_to_date() -> None:
    text = models_page.PAGE.read_text(encoding="utf-8")
    assert text == models_page.renewed(text), "run python -m scripts.models_page"


@pytest.mark.parametrize(
    ("model_class", "name"),
    [("LlamaForCausalLM", "Llama"), ("GPT2LMHeadModel", "GPT2"), ("MarianMTModel", "Marian")],
)
def test_names_of_models(model_class: str, name: str) -> None:
    assert models_page.plain_name(model_class) == name


def test_components_stand_behind_their_tower() -> None:
    found = models_page.by_tower({"q_proj", "vision.q_proj", "decoder.cross.k_proj"})
    assert found == "`q_proj`; decoder: `cross.k_proj`; vision: `q_proj`"
    assert models_page.by_tower(set()) == "nothing: `unrecognised`"
