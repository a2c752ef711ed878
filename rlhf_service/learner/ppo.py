"""The Learner port over a policy's engine, a critic and a frozen reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rlhf_service.algorithms import kl as kl_maths
from rlhf_service.algorithms import losses
from rlhf_service.algorithms.aggregation import token_shares
from rlhf_service.algorithms.logprobs import token_logprobs, token_logprobs_and_entropy
from rlhf_service.annealing import entropy_coef_at
from rlhf_service.batch import Credit, ExperienceBatch, Recall, UpdateStats
from rlhf_service.errors import NonFiniteLoss
from rlhf_service.learner.base import Engine, Network
from rlhf_service.learner.critic import Critic
from rlhf_service.learner.inputs import NetworkInputs, network_inputs
from rlhf_service.learner.microbatches import microbatches
from rlhf_service.learner.schedule import learning_rate
from rlhf_service.learner.stopwatch import Stopwatch
from rlhf_service.models.digest import digests
from rlhf_service.ports import Group, WeightSnapshot
from rlhf_service.spec.learner import LearnerSpec
from rlhf_service.spec.stages import PpoStage


@dataclass(frozen=True, slots=True)
class PpoLearner:
    """Policy, critic and reference of one rank."""

    policy: Engine
    critic: Critic
    reference: Network
    """The policy as the stage found it, frozen: a copy, or the policy without its adapter."""
    stage: PpoStage
    learner: LearnerSpec
    group: Group
    device: torch.device
    seed: int
    parts: int = 1
    """Of this rank's rows, shuffled each for itself, so that minibatches are the same rows whatever
    the number of ranks."""

    @torch.no_grad()
    def annotate(self, batch: ExperienceBatch) -> Recall:
        shape = batch.response_ids.shape
        old_grid, ref_grid, value_grid, entropy_grid = (torch.zeros(shape) for _ in range(4))
        for rows in self._microbatches(batch, list(range(batch.num_rows))):
            inputs = self._inputs(batch.rows(rows))
            logits = self._logits(self.policy.module, inputs)
            old, entropy = token_logprobs_and_entropy(logits, inputs.tokens, batch.temperature)
            logits = self._logits(self.reference, inputs)
            ref = token_logprobs(logits, inputs.tokens, batch.temperature)
            values = self.critic.values(inputs)
            width = inputs.shape[1]
            old_grid[rows, :width] = inputs.scatter(old).cpu()
            ref_grid[rows, :width] = inputs.scatter(ref).cpu()
            value_grid[rows, :width] = inputs.scatter(values).cpu()
            entropy_grid[rows, :width] = inputs.scatter(entropy).cpu()
        mask = batch.response_mask
        return Recall(old_grid * mask, ref_grid * mask, value_grid * mask, entropy_grid * mask)

    def update(
        self, batch: ExperienceBatch, recall: Recall, credit: Credit, *, step: int, kl_coef: float
    ) -> UpdateStats:
        ppo = self.stage.ppo
        rates = self._rates(step)
        weights = LossWeights(kl_coef, entropy_coef_at(self.stage, step - 1))
        warming = ppo.warms_up(step)
        tally, steps = Tally(), Stopwatch(self.device)
        for epoch in range(ppo.epochs):
            for rows in self._minibatches(batch.num_rows, step, epoch):
                whole = self._whole_step(batch, rows)
                sums = self._accumulate(batch, recall, credit, rows, whole, weights, warming)
                sums = self._whole(sums)
                with steps:
                    policy_norm = 0.0 if warming else self.policy.step(rates[0])
                    critic_norm = self.critic.step(rates[1])
                tally.add(sums, policy_norm, critic_norm)
            if ppo.target_kl is not None and tally.last_approx_kl > ppo.target_kl:
                break
        return tally.stats(*rates, tally.count / ppo.minibatches, steps.seconds)

    def snapshot(self, version: int) -> WeightSnapshot | None:
        state = self.policy.full_state()
        return None if state is None else WeightSnapshot(version, digests(state), state)

    def save(self, folder: Path) -> None:
        self.policy.save(folder / "policy")
        self.critic.save(folder)

    def load(self, folder: Path) -> None:
        self.policy.load(folder / "policy")
        self.critic.load(folder)

    def _accumulate(
        self,
        batch: ExperienceBatch,
        recall: Recall,
        credit: Credit,
        rows: list[int],
        whole: WholeStep,
        weights: LossWeights,
        warming: bool,
    ) -> torch.Tensor:
        """Backward through one minibatch, of the critic alone while it is `warming` up. Returns the
        sums of Tally.FIELDS."""
        sums = torch.zeros(len(Tally.FIELDS), dtype=torch.float64)
        for part in self._microbatches(batch, rows):
            inputs = self._inputs(batch.rows(part))
            at = Tokens.of(batch, recall, credit, part, inputs)
            shares = inputs.pick(self._shares(batch, part, whole))
            means = at.mask / whole.tokens
            # A gradient that is left behind would be part of the first step that is taken.
            with torch.set_grad_enabled(not warming):
                loss, figures = self._policy_loss(
                    inputs, at, shares, means, weights, batch.temperature
                )
            if not warming:
                self.policy.backward(loss)
            sums[:4] += torch.cat([loss.detach()[None], figures]).double().cpu()
            sums[4:] += self.critic.learn(inputs, at.values, at.returns, means)
        return sums

    def _policy_loss(
        self,
        inputs: NetworkInputs,
        at: Tokens,
        shares: torch.Tensor,
        means: torch.Tensor,
        weights: LossWeights,
        temperature: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss, its tokens weighted by `shares` [n]; approx-KL and clipped shares [3], averaged by
        `means` [n]."""
        ppo = self.stage.ppo
        logits = self._logits(self.policy.module, inputs)
        if weights.entropy:
            logprobs, entropy = token_logprobs_and_entropy(logits, inputs.tokens, temperature)
        else:
            logprobs, entropy = token_logprobs(logits, inputs.tokens, temperature), None
        terms = losses.policy_loss(
            logprobs,
            at.old_logprobs,
            at.advantages,
            clip_low=ppo.clip_low,
            clip_high=ppo.clip_high,
            dual_clip=ppo.dual_clip,
        )
        loss = terms.loss * at.weights
        if ppo.kl.placement == "loss":
            kl = kl_maths.kl_estimate(logprobs, at.ref_logprobs, ppo.kl.estimator)
            loss = loss + weights.kl * kl
        if entropy is not None:
            loss = loss - weights.entropy * entropy
        approx_kl = 0.5 * (logprobs.detach() - at.old_logprobs).square()
        figures = torch.stack([approx_kl, terms.clipped_low, terms.clipped_high])
        return (loss * shares).sum(), (figures.detach() * means).sum(dim=1)

    def _logits(self, network: Network, inputs: NetworkInputs) -> torch.Tensor:
        """[n, V] at each response token."""
        given = inputs.forward()
        found = network(**given, logits_to_keep=inputs.keep, use_cache=False)
        return inputs.select(found.logits)

    def _inputs(self, batch: ExperienceBatch) -> NetworkInputs:
        return network_inputs(batch, self.learner.layout, self.device)

    def _microbatches(self, batch: ExperienceBatch, rows: list[int]) -> list[list[int]]:
        widths = batch.widths().tolist()
        lengths = {row: len(batch.prompt_ids[row]) + widths[row] for row in rows}
        return microbatches(rows, lengths, self.learner, self.group)

    def _minibatches(self, num_rows: int, step: int, epoch: int) -> list[list[int]]:
        """This rank's rows, shuffled by (seed, step, epoch) and cut; the same count on every rank."""
        each = num_rows // self.parts
        order = np.random.default_rng([self.seed, step, epoch]).permutation(each)
        return [
            [first + row for first in range(0, num_rows, each) for row in cut.tolist()]
            for cut in np.array_split(order, self.stage.ppo.minibatches)
        ]

    def _whole_step(self, batch: ExperienceBatch, rows: list[int]) -> WholeStep:
        """What one optimiser step covers, over all ranks."""
        mask = batch.response_mask[rows]
        counts = torch.stack([mask.sum(), mask.any(dim=1).sum()]).double()
        tokens, sequences = self.group.sum(counts).clamp(min=1).tolist()
        return WholeStep(tokens, sequences)

    def _shares(self, batch: ExperienceBatch, rows: list[int], whole: WholeStep) -> torch.Tensor:
        """[b, T] weight of each token's loss."""
        return token_shares(
            batch.rows(rows).response_mask,
            self.stage.ppo.aggregation,
            tokens=whole.tokens,
            sequences=whole.sequences,
            limit=self.stage.sampling.max_new_tokens,
        )

    def _whole(self, sums: torch.Tensor) -> torch.Tensor:
        whole = self.group.sum(sums)
        if not torch.isfinite(whole).all():
            raise NonFiniteLoss(
                "the PPO loss is not finite (NaN or infinite); lower the learning rate, "
                "raise ppo.kl.coef or use precision fp32"
            )
        return whole

    def _rates(self, step: int) -> tuple[float, float]:
        total = self.stage.steps
        return (
            learning_rate(self.stage.optimizer, step - 1, total),
            learning_rate(self.stage.critic_optimizer, step - 1, total),
        )


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Of the step's loss terms beside the policy gradient."""

    kl: float
    entropy: float


@dataclass(frozen=True, slots=True)
class WholeStep:
    """Size of one optimiser step over all ranks and microbatches."""

    tokens: float
    """Response tokens that count."""
    sequences: float
    """Responses that count."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the losses need of each response token of a microbatch, [n]."""

    mask: torch.Tensor
    old_logprobs: torch.Tensor
    ref_logprobs: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(
        cls,
        batch: ExperienceBatch,
        recall: Recall,
        credit: Credit,
        rows: list[int],
        inputs: NetworkInputs,
    ) -> Tokens:
        width = inputs.shape[1]

        def pick(grid: torch.Tensor) -> torch.Tensor:
            return inputs.pick(grid[rows, :width])

        return cls(
            mask=pick(batch.response_mask),
            old_logprobs=pick(recall.old_logprobs),
            ref_logprobs=pick(recall.ref_logprobs),
            values=pick(recall.values),
            advantages=pick(credit.advantages),
            returns=pick(credit.returns),
            weights=pick(credit.weights),
        )


class Tally:
    """Running means over the minibatches of one update."""

    FIELDS = ("policy_loss", "approx_kl", "clip_low", "clip_high", "value_loss", "value_clip")

    def __init__(self) -> None:
        self._sums = torch.zeros(len(self.FIELDS), dtype=torch.float64)
        self._norms = [0.0, 0.0]
        self.count = 0
        self.last_approx_kl = 0.0

    def add(self, sums: torch.Tensor, policy_norm: float, critic_norm: float) -> None:
        if not (math.isfinite(policy_norm) and math.isfinite(critic_norm)):
            raise NonFiniteLoss("a gradient is not finite; lower the learning rate")
        self._sums += sums
        self._norms = [self._norms[0] + policy_norm, self._norms[1] + critic_norm]
        self.count += 1
        self.last_approx_kl = float(sums[1])

    def stats(
        self, policy_rate: float, critic_rate: float, epochs: float, optimizer_seconds: float
    ) -> UpdateStats:
        means = (self._sums / self.count).tolist()
        policy_loss, approx_kl, low, high, value_loss, value_clip = means
        return UpdateStats(
            policy_loss=policy_loss,
            value_loss=value_loss,
            approx_kl=approx_kl,
            clip_fraction_low=low,
            clip_fraction_high=high,
            value_clip_fraction=value_clip,
            policy_grad_norm=self._norms[0] / self.count,
            critic_grad_norm=self._norms[1] / self.count,
            learning_rate=policy_rate,
            critic_learning_rate=critic_rate,
            epochs=epochs,
            optimizer_seconds=optimizer_seconds,
        )
