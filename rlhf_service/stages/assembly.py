"""The parts of a policy-gradient stage on one rank."""

from __future__ import annotations

import copy
from pathlib import Path

from transformers import PreTrainedModel

from rlhf_service.ahead import Ahead, OneAtATime
from rlhf_service.data.plan import RowPlan
from rlhf_service.data.rows import read_prompts
from rlhf_service.data.tokens import encode_prompts
from rlhf_service.environment.build import build_environment
from rlhf_service.environment.turns import TurnEngine
from rlhf_service.gate import largest_difference
from rlhf_service.learner.base import Network
from rlhf_service.learner.critic import Critic, EngineCritic, NoCritic
from rlhf_service.learner.ppo import PpoLearner
from rlhf_service.models.adapter import WithoutAdapter, adapt_config
from rlhf_service.models.heads import ValueModel
from rlhf_service.models.ragged import takes_ragged, use_ragged
from rlhf_service.models.work import work_of
from rlhf_service.ports import RewardFunction, RolloutEngine
from rlhf_service.prompts import PromptSource
from rlhf_service.reward.policy import Policed
from rlhf_service.sources import InStep, RolloutSource
from rlhf_service.spec.data import DataSpec
from rlhf_service.spec.learner import LearnerSpec
from rlhf_service.spec.reward import RewardSpec, models_in
from rlhf_service.spec.stages import PpoStage
from rlhf_service.stages.context import StageContext
from rlhf_service.stages.speed import peak_of
from rlhf_service.stages.start import Start, base_folder, what_learns
from rlhf_service.step import PpoRun
from rlhf_service.throughput import StepWork


def build_run(
    context: StageContext,
    stage: PpoStage,
    field: str,
    begun: Start,
    learner: PpoLearner,
    shape: Path,
) -> PpoRun:
    """The stage's parts on this rank; its rollout engines are of the kind that `shape` describes."""
    channel = context.pools.weights(stage.max_staleness)
    source, engine, reward = drawn_from(
        stage,
        in_turns(stage, context.pools.rollouts(shape, channel), begun),
        Policed(
            context.pools.rewards(stage.reward, reward_folders(context, stage.reward)),
            stage.on_failure,
        ),
    )
    return PpoRun(
        stage=stage,
        seed=context.spec.seed,
        prompts=prompt_source(context, stage, begun, stage.prompts, f"{field}.prompts.path"),
        engine=engine,
        reward=reward,
        metrics={
            metric.name: context.pools.rewards(metric, reward_folders(context, metric))
            for metric in (stage.evaluation.metrics if stage.evaluation is not None else ())
        },
        learner=learner,
        weights=channel,
        group=context.group,
        entered=context.entered,
        work=step_work(context, learner),
        source=source,
        largest_difference=largest_difference(stage.gate, context.spec.learner.precision),
    )


def drawn_from(
    stage: PpoStage, engine: RolloutEngine, reward: RewardFunction
) -> tuple[RolloutSource, RolloutEngine, RewardFunction]:
    """Where responses come from, and the engine and the reward that all of the stage share."""
    if not stage.max_staleness:
        return InStep(), engine, reward
    shared = OneAtATime(engine, reward)
    return Ahead(stage.max_staleness), shared, shared


def step_work(context: StageContext, learner: PpoLearner) -> StepWork:
    """Of the learner's networks, beside what the ranks' devices could do."""
    critic = learner.critic
    of_critic = work_of(critic.engine.module) if isinstance(critic, EngineCritic) else None
    return StepWork(work_of(learner.policy.module), of_critic, peak_of(context))


def in_turns(stage: PpoStage, engine: RolloutEngine, begun: Start) -> RolloutEngine:
    """`engine`, talking to the stage's environment if it has one."""
    spec = stage.environment
    if spec is None:
        return engine
    return TurnEngine(engine, build_environment(spec), begun.tokenizer, spec.max_turns)


def build_learner(context: StageContext, stage: PpoStage, begun: Start) -> PpoLearner:
    """Policy, critic and reference of this rank."""
    learner = laid_out(context.spec.learner, begun.model)
    critic = build_critic(context, stage, begun)
    reference: Network
    if stage.adapter is None:
        reference = context.engines.frozen(copy.deepcopy(begun.model))
        policy = context.engines(begun.model, stage.optimizer)
    else:
        adapted = what_learns(context, stage, begun)
        policy = context.engines(adapted, stage.optimizer)
        reference = WithoutAdapter(adapted, policy.module)
    return PpoLearner(
        policy=policy,
        critic=critic,
        reference=reference,
        stage=stage,
        learner=learner,
        group=context.group,
        device=context.device,
        seed=context.spec.seed,
        parts=max(1, context.spec.resources.learner.shares // context.group.size),
    )


def laid_out(learner: LearnerSpec, network: PreTrainedModel) -> LearnerSpec:
    """`learner` with its layout settled for `network`, which attends accordingly from now on."""
    ragged = takes_ragged(network)
    if ragged:
        use_ragged(network)
    if learner.layout != "auto":
        return learner
    return learner.model_copy(update={"layout": "packed" if ragged else "padded"})


def build_critic(context: StageContext, stage: PpoStage, begun: Start) -> Critic:
    """The critic's network, from its own start or the policy's; none for methods without one."""
    if not stage.ppo.has_critic:
        return NoCritic()
    if stage.critic is not None:
        network = ValueModel.load(context.model_folder(stage.critic))
        if takes_ragged(network.trunk):
            use_ragged(network.trunk)
    elif stage.adapter is not None and context.spec.learner.zero_stage < 3:
        network = ValueModel.of(same_weights(begun.model))
    else:
        network = ValueModel.of(copy.deepcopy(begun.model))
    if stage.adapter is not None:
        base = base_folder(begun) if stage.critic is None else context.model_folder(stage.critic)
        network.adapt(stage.adapter, context.spec.seed, base)
    return EngineCritic(context.engines(network, stage.critic_optimizer), stage.ppo.value_clip)


def same_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A network of its own on the same tensors, for two adapters on one frozen base."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in model.parameters()})


def prompt_source(
    context: StageContext, stage: PpoStage, begun: Start, data: DataSpec, field: str
) -> PromptSource:
    """Prompts of a file, tokenised, in seeded epochs."""
    rows = read_prompts(data, field)
    return PromptSource(
        rows=rows,
        token_ids=encode_prompts(rows, begun.tokenizer, stage.max_prompt_length, field),
        plan=RowPlan(len(rows), stage.prompts_per_step, context.spec.seed),
    )


def shape_folder(context: StageContext, stage: PpoStage, begun: Start) -> Path:
    """Config and tokenizer for the rollout engines; weights reach them through the channel."""
    folder = context.folder.stage(stage.name) / "rollout"
    if context.group.rank == 0:
        if stage.adapter is not None:
            adapt_config(stage.adapter, begun.model, base_folder(begun)).save_pretrained(
                str(folder)
            )
        begun.model.config.save_pretrained(folder)
        if begun.model.generation_config is not None:
            begun.model.generation_config.save_pretrained(folder)
        begun.tokenizer.save_pretrained(folder)
    context.group.barrier()
    return folder


def reward_folders(context: StageContext, reward: RewardSpec) -> dict[str, Path]:
    """Stage → folder, for the reward models that the reward refers to."""
    models = [model for _, model in models_in(reward, "")]
    return {m.stage: context.folder.stage_model(m.stage) for m in models if m.type == "stage"}
