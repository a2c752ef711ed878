"""The Engine port on DeepSpeed ZeRO."""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist

from rlhf_service.errors import StorageError
from rlhf_service.learner.backend import BACKENDS
from rlhf_service.learner.compiled import compiling
from rlhf_service.learner.without import without
from rlhf_service.learner.zero import clips_itself, deepspeed_config, frozen_config
from rlhf_service.models.adapter import learnt_names
from rlhf_service.models.precision import dtype_of
from rlhf_service.spec.learner import LearnerSpec, OptimizerSpec

with without("mlflow"):  # imported for DeepSpeed's autotuner, and as large as all of DeepSpeed
    import deepspeed
    from deepspeed.checkpoint import ds_to_universal
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

# Of names that DeepSpeed still calls, at every exchange of every step.
warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)

TAG = "state"
OPTIMIZERS = "*_optim_states.pt"
"""Where DeepSpeed keeps each rank's part of the master weights and of Adam: ZeRO 1 to 3."""
REGROUPED = ".regrouped"
"""Folder of a checkpoint while another number of ranks loads it; hidden, so that nobody copies it."""
GATHERED = 2**28
"""Numbers that every rank has gathered at once, while one of them takes the whole network."""


class DeepSpeedEngine:
    """One network under DeepSpeed."""

    def __init__(
        self, module: torch.nn.Module, optimizer: OptimizerSpec, learner: LearnerSpec
    ) -> None:
        trained = [p for p in module.parameters() if p.requires_grad]
        self._learnt = learnt_names(module)
        on_gpu = trained[0].is_cuda and not learner.offload_optimizer
        adam = torch.optim.AdamW(
            trained,
            lr=optimizer.learning_rate,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
            fused=on_gpu or None,  # one kernel for all tensors
        )
        self._engine, *_ = deepspeed.initialize(
            model=module,
            optimizer=adam,
            config=deepspeed_config(learner, optimizer),
            dist_init_required=False,
        )
        self._zero3 = learner.zero_stage == 3
        self._own_norm: float | None = None
        if clips_itself(learner):
            # Runs when the gradient is whole (reduced over ranks) and not applied yet.
            adam.register_step_pre_hook(lambda *_: self._clip(trained, optimizer.max_grad_norm))

    @property
    def module(self) -> torch.nn.Module:
        network: torch.nn.Module = self._engine
        return network

    def backward(self, loss: torch.Tensor) -> None:
        # DeepSpeed averages over ranks; the whole loss is the sum of the ranks' parts.
        self._engine.backward(loss * self._engine.dp_world_size)

    def step(self, learning_rate: float) -> float:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        norm = self._engine.get_global_grad_norm() if self._own_norm is None else self._own_norm
        return float(norm)

    def full_state(self) -> dict[str, torch.Tensor] | None:
        module, learnt = self._engine.module, self._learnt
        state = {
            name: tensor
            for name, tensor in module.state_dict(keep_vars=True).items()
            if learnt is None or name in learnt
        }
        mine = dist.get_rank() == 0
        if not self._zero3:
            return {name: tensor.detach() for name, tensor in state.items()} if mine else None
        found: dict[str, torch.Tensor] = {}
        for some in in_parts(state, GATHERED):
            with deepspeed.zero.GatheredParameters(list(some.values()), modifier_rank=None):
                if mine:  # what was gathered vanishes with the context
                    found |= {name: tensor.detach().clone() for name, tensor in some.items()}
        return found if mine else None

    def save(self, folder: Path) -> None:
        try:
            self._engine.save_checkpoint(
                str(folder),
                tag=TAG,
                save_latest=False,
                exclude_frozen_parameters=self._learnt is not None,
            )
        except (OSError, RuntimeError) as fault:
            if not of_writing(fault):
                raise
            raise StorageError(
                f"checkpoint {folder} could not be written: {fault}; free some space and resume"
            ) from fault

    def load(self, folder: Path) -> None:
        if parts(folder) in (0, dist.get_world_size()):
            self._load(folder)
            return
        with regrouped(folder) as whole:
            # Where DeepSpeed looks when it loads; at other times it has no say.
            self._engine._config.load_universal_checkpoint = True
            try:
                self._load(whole)
            finally:
                self._engine._config.load_universal_checkpoint = False

    def close(self) -> None:
        release(self._engine)

    def _load(self, folder: Path) -> None:
        path, _ = self._engine.load_checkpoint(
            str(folder), tag=TAG, load_module_strict=self._learnt is None
        )
        if path is None:
            raise StorageError(
                f"checkpoint {folder} has no state for this engine; delete the folder"
            )

    def _clip(self, parameters: list[torch.nn.Parameter], max_norm: float) -> None:
        self._own_norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))


def release(engine: deepspeed.DeepSpeedEngine) -> None:
    """Let go of what an engine holds. Caches of DeepSpeed's have the networks of ZeRO 3 for as long as
    the process lives, so these leave their tensors."""
    engine.destroy()
    if engine.zero_optimization_stage() < 3:
        return
    if engine.basic_optimizer is not None:
        engine.basic_optimizer.state.clear()
        engine.basic_optimizer.param_groups.clear()
    vars(engine.optimizer).clear()
    for parameter in engine.module.parameters():
        for tensor in (parameter, parameter.ds_tensor):
            tensor.data = tensor.data.new_empty(0)


def in_parts(state: dict[str, torch.Tensor], most: int) -> Iterator[dict[str, torch.Tensor]]:
    """Tensors in order, together as long as they have `most` numbers; a larger one is alone."""
    part: dict[str, torch.Tensor] = {}
    held = 0
    for name, tensor in state.items():
        size = getattr(tensor, "ds_numel", tensor.numel())
        if part and held + size > most:
            yield part
            part, held = {}, 0
        part[name] = tensor
        held += size
    if part:
        yield part


def of_writing(fault: OSError | RuntimeError) -> bool:
    """Whether a file could not be written. Else another rank was lost in one of the exchanges that
    saving makes, after which the group starts again.
    """
    frames = traceback.walk_tb(fault.__traceback__)
    writer = torch.serialization.__file__
    return isinstance(fault, OSError) or any(f.f_code.co_filename == writer for f, _ in frames)


def parts(folder: Path) -> int:
    """Ranks among which the optimiser's state was cut up; 0 when each had it whole."""
    return len(list((folder / TAG).glob(OPTIMIZERS)))


@contextlib.contextmanager
def regrouped(folder: Path) -> Iterator[Path]:
    """The checkpoint in a form that any number of ranks can load: DeepSpeed's universal one, beside
    it for as long as that takes. Collective.
    """
    whole = folder / REGROUPED
    if dist.get_rank() == 0:
        shutil.rmtree(whole, ignore_errors=True)
        try:
            make_universal(folder / TAG, whole / TAG)
        except OSError as fault:
            raise StorageError(
                f"checkpoint {folder} could not be written anew for {dist.get_world_size()} ranks: "
                f"{fault}; free as much space as it takes and resume"
            ) from fault
    dist.barrier()
    yield whole
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(whole, ignore_errors=True)


def make_universal(given: Path, made: Path) -> None:
    """What DeepSpeed's command line does, in this process and without a word."""
    made.mkdir(parents=True)
    # It takes paths for patterns, and ours may hold characters that mean something in those.
    with tempfile.TemporaryDirectory() as plain:
        source, target = Path(plain, "given"), Path(plain, "made")
        source.symlink_to(given.absolute())
        target.symlink_to(made.absolute())
        words = argparse.Namespace(
            input_folder=str(source),
            output_folder=str(target),
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,
        )
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            ds_to_universal.main(words)


def gathered(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that ranks saved in parts under ZeRO-3, whole and in fp32."""
    found: dict[str, torch.Tensor] = get_fp32_state_dict_from_zero_checkpoint(
        str(folder), tag=TAG, exclude_frozen_parameters=True
    )
    return found


@dataclass(frozen=True, slots=True)
class DeepSpeedEngines:
    """EngineFactory of one rank. Needs torch.distributed to be initialised."""

    learner: LearnerSpec
    device: torch.device
    _made: list[deepspeed.DeepSpeedEngine] = field(default_factory=list, init=False, repr=False)

    def __call__(self, module: torch.nn.Module, optimizer: OptimizerSpec) -> DeepSpeedEngine:
        engine = DeepSpeedEngine(self._placed(module), optimizer, self.learner)
        self._made.append(engine._engine)
        return engine

    def frozen(self, module: torch.nn.Module) -> torch.nn.Module:
        network = self._placed(module).eval().requires_grad_(False)
        if self.learner.zero_stage < 3:
            return network
        engine, *_ = deepspeed.initialize(
            model=network, config=frozen_config(self.learner), dist_init_required=False
        )
        engine.eval()  # it answers nothing
        self._made.append(engine)
        frozen: torch.nn.Module = engine
        return frozen

    def close(self) -> None:
        for engine in self._made:
            release(engine)
        self._made.clear()

    def _placed(self, module: torch.nn.Module) -> torch.nn.Module:
        """On the device, in the job's precision, with DeepSpeed's communication begun."""
        if not deepspeed.comm.is_initialized():
            with compiling():
                deepspeed.init_distributed(dist_backend=BACKENDS[self.device.type], verbose=False)
        return module.to(self.device, dtype_of(self.learner.precision))
