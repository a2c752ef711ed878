"""The LSTM language model: padding and packing change nothing, its state is all of the past."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlhf_service.events import StepCompleted
from rlhf_service.models.load import load_causal_lm
from rlhf_service.models.lstm import LstmConfig, LstmForCausalLM, LstmForSequenceClassification
from rlhf_service.spec import JobSpec, ScratchModel
from rlhf_service.stages.pipeline import run_pipeline

ROWS = ([1, 2, 3, 4, 5, 6], [7, 8, 9], [10, 11, 12, 13])


@pytest.fixture(scope="module")
def model() -> LstmForCausalLM:
    torch.manual_seed(0)
    return LstmForCausalLM(LstmConfig(vocab_size=20, hidden_size=12)).eval()


def alone(model):
    return [model(torch.tensor([row])).logits[0] for row in ROWS]


def grid(side):
    width = max(map(len, ROWS))
    ids, mask = torch.zeros(len(ROWS), width, dtype=torch.long), torch.zeros(len(ROWS), width)
    for index, row in enumerate(ROWS):
        at = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[index, at], mask[index, at] = torch.tensor(row), 1
    return ids, mask.long()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(model, side):
    ids, mask = grid(side)
    logits = model(ids, mask).logits
    for index, wanted in enumerate(alone(model)):
        torch.testing.assert_close(logits[index][mask[index].bool()], wanted)
    # What stands in the padding does not matter.
    other = torch.where(mask.bool(), ids, torch.tensor(5))
    assert torch.equal(model(other, mask).logits[mask.bool()], logits[mask.bool()])


@pytest.mark.parametrize("side", ["left", "right"])
def test_gradients_are_those_of_each_row_alone(model, side):
    ids, mask = grid(side)
    together = gradients(model, model(ids, mask).logits[mask.bool()].square().sum())
    apart = gradients(model, sum(logits.square().sum() for logits in alone(model)))
    for one, two in zip(together, apart, strict=True):
        torch.testing.assert_close(one, two)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters()]


def test_packed_rows_start_anew(model):
    ids = torch.tensor([[token for row in ROWS for token in row]])
    positions = torch.cat([torch.arange(len(row)) for row in ROWS])[None]
    logits = model(ids, position_ids=positions).logits[0]
    torch.testing.assert_close(logits, torch.cat(alone(model)))
    assert not torch.allclose(model(ids).logits[0], logits), "one long row is another thing"


def test_the_state_is_all_of_the_past(model):
    ids, mask = grid("left")
    whole = model(ids, mask).logits[:, -1]
    first = model(ids[:, :-2], mask[:, :-2], use_cache=True)
    second = model(
        ids[:, -2:-1], mask[:, :-1], past_key_values=first.past_key_values, use_cache=True
    )
    third = model(ids[:, -1:], mask, past_key_values=second.past_key_values, use_cache=True)
    torch.testing.assert_close(third.logits[:, -1], whole)
    kept = second.past_key_values
    kept.batch_select_indices(torch.tensor([2, 0]))
    again = model(ids[[2, 0], -1:], mask[[2, 0]], past_key_values=kept, use_cache=True)
    torch.testing.assert_close(again.logits[:, -1], whole[[2, 0]])


def test_generate_agrees_with_the_whole_pass(model):
    ids = torch.tensor([ROWS[0]])
    written = model.generate(ids, max_new_tokens=5, do_sample=False, eos_token_id=None)
    logits = model(written).logits[0, len(ROWS[0]) - 1 : -1]
    assert written[0, len(ROWS[0]) :].tolist() == logits.argmax(dim=-1).tolist()


def test_logits_to_keep_and_the_forget_gate(model):
    ids, mask = grid("right")
    whole = model(ids, mask).logits
    assert torch.equal(model(ids, mask, logits_to_keep=2).logits, whole[:, -2:])
    columns = torch.tensor([0, 3])
    torch.testing.assert_close(model(ids, mask, logits_to_keep=columns).logits, whole[:, columns])
    assert model.model.lstm.bias_ih_l0[12:24].eq(1).all()
    assert model.model.lstm.bias_ih_l0[:12].eq(0).all()
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_saved_folder_loads_to_the_same_numbers(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = load_causal_lm(tmp_path, torch.float32)
    ids, mask = grid("right")
    assert torch.equal(loaded(ids, mask).logits, model(ids, mask).logits)


def test_the_classifier_reads_the_last_token():
    torch.manual_seed(0)
    scorer = LstmForSequenceClassification(
        LstmConfig(vocab_size=20, hidden_size=12, num_labels=1)
    ).eval()
    ids, mask = grid("right")
    single = torch.cat([scorer(torch.tensor([row])).logits for row in ROWS])
    torch.testing.assert_close(scorer(ids, mask).logits, single)


def test_what_was_read_reaches_the_output_of_a_new_network():
    """Otherwise training stays at the tokens' frequencies for hundreds of steps."""
    torch.manual_seed(0)
    trunk = LstmForCausalLM(LstmConfig(vocab_size=512, hidden_size=128)).model
    outputs = trunk(torch.randint(0, 512, (64, 16))).last_hidden_state
    assert outputs[:, -1].std(dim=0).mean() > 0.03


def test_the_language_is_learnt():
    torch.manual_seed(0)
    model = LstmForCausalLM(LstmConfig(vocab_size=20, hidden_size=48))
    adam = torch.optim.Adam(model.parameters(), lr=2e-2)
    ids = torch.tensor([ROWS[0], ROWS[0][::-1]])
    for _ in range(200):
        logits = model(ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.1, "each row has one continuation"


def test_heads_are_no_matter_to_an_lstm():
    ScratchModel(architecture="lstm", hidden_size=9, num_heads=4)
    with pytest.raises(ValueError, match="hidden_size 9 is not divisible"):
        ScratchModel(architecture="llama", hidden_size=9, num_heads=4)


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_the_whole_pipeline_on_an_lstm(pipeline_spec, make_context, tmp_path, layout):
    plain = pipeline_spec.model_dump(mode="json", exclude_unset=True)
    plain["model"] |= {"architecture": "lstm"}
    plain["learner"] = {"layout": layout}
    context = make_context(JobSpec.model_validate(plain), tmp_path / "job")
    run_pipeline(context)
    reports = [
        e.report for e in context.sink.events if isinstance(e, StepCompleted) and e.stage == "ppo"
    ]
    assert abs(reports[0].kl) < 1e-5
    assert max(r.sampler_difference_max for r in reports) < 1e-4
    policy = AutoModelForCausalLM.from_pretrained(context.folder.model)
    assert isinstance(policy, LstmForCausalLM)
    AutoModelForSequenceClassification.from_pretrained(context.folder.stage_model("reward"))
