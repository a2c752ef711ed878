"""Log-probs of chosen tokens without the whole softmax kept: the same numbers and gradient."""

from __future__ import annotations

import pytest
import torch

from rlhf_service.algorithms.logprobs import CHUNK, token_logprobs


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("rows", [1, CHUNK, 2 * CHUNK + 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_that_of_log_softmax(temperature, rows, dtype):
    torch.manual_seed(rows)
    tokens, slope = torch.randint(0, 11, (rows,)), torch.randn(rows)
    one = (3 * torch.randn(rows, 11)).to(dtype).requires_grad_()
    two = one.detach().clone().requires_grad_()
    found = token_logprobs(one, tokens, temperature)
    wanted = torch.log_softmax(two.float() / temperature, -1)[torch.arange(rows), tokens]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    (found * slope).sum().backward()
    (wanted * slope).sum().backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-5, atol=1e-6)
