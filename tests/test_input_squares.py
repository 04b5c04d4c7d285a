"""What a model's linear layers note of their inputs, for formats that weigh the errors of weights."""

import pytest
import torch

from inference.engine.compute.input_squares import digest_of, noted_input_squares
from tests.models import SHAPES


@pytest.mark.parametrize("shape", SHAPES)
def test_each_layer_notes_the_mean_squares_of_its_inputs(shape: str) -> None:
    model = SHAPES[shape]()
    ids = torch.arange(40)[None]
    with torch.inference_mode(), noted_input_squares(model) as squares:
        hidden = model(ids, output_hidden_states=True).hidden_states
        noted = dict(squares)
        model(ids)
    assert {len(of_layer) for of_layer in noted.values()} > {hidden[0].shape[-1]}
    # The last hidden states, after the norm, are what the LM head takes.
    torch.testing.assert_close(noted["lm_head"], hidden[-1][0].square().mean(0))
    assert digest_of(noted) == digest_of(squares)


def test_they_have_the_same_bits_on_any_number_of_threads() -> None:
    model = SHAPES["llama"]()
    before = torch.get_num_threads()
    digests = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with torch.inference_mode(), noted_input_squares(model) as squares:
            model(torch.arange(200)[None])
        assert torch.get_num_threads() == threads
        digests.add(digest_of(squares))
    torch.set_num_threads(before)
    assert len(digests) == 1


def test_afterwards_the_model_notes_nothing() -> None:
    model = SHAPES["gpt2"]()
    with noted_input_squares(model) as squares:
        pass
    model(torch.arange(5)[None])
    assert not squares


def test_other_inputs_have_another_digest() -> None:
    model, digests = SHAPES["gpt2"](), set()
    for first in range(3):
        with torch.inference_mode(), noted_input_squares(model) as squares:
            model(torch.arange(first, first + 9)[None])
        digests.add(digest_of(squares))
    assert len(digests) == 3
