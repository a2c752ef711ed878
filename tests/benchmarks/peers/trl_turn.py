"""What both of TRL's trainers share here: figures of the step under way, and waiting for turns."""

from __future__ import annotations

import os
import time
from pathlib import Path

from transformers import PreTrainedTokenizerFast, TrainerCallback

from tests.benchmarks.peers.lockstep import Turns, peak_bytes
from tests.benchmarks.peers.workload import reward


class Stopwatch:
    """Figures of the step under way."""

    def __init__(self, eos: int) -> None:
        self.eos = eos
        self.clear()

    def clear(self) -> None:
        self.generating, self.tokens, self.rewards = 0.0, 0, []

    def score(self, answers: list[list[int]]) -> list[float]:
        """The rule's score of each response."""
        scores = [reward(answer, self.eos) for answer in answers]
        self.tokens += sum(map(len, answers))
        self.rewards += scores
        return scores

    def timed(self, generate):
        """`generate`, its seconds counted."""

        def measured(*args, **settings):
            started = time.perf_counter()
            found = generate(*args, **settings)
            self.generating += time.perf_counter() - started
            return found

        return measured


class Turn(TrainerCallback):
    """Waits between TRL's steps."""

    def __init__(self, turns: Turns, watch: Stopwatch) -> None:
        self.turns, self.watch, self.logs = turns, watch, {}
        self.started, self.used = 0.0, 0.0

    def on_train_begin(self, args, state, control, **rest):
        self.wait()

    def on_log(self, args, state, control, logs=None, **rest):
        self.logs = logs or {}

    def on_step_end(self, args, state, control, **rest):
        seconds, watch = time.perf_counter() - self.started, self.watch
        self.turns.say(
            seconds=seconds,
            cpu_seconds=time.process_time() - self.used,
            phases={"generate": watch.generating, "rest": seconds - watch.generating},
            response_tokens=watch.tokens,
            reward=sum(watch.rewards) / len(watch.rewards),
            kl=self.logs.get("objective/kl"),
            peak_bytes=peak_bytes(),
        )
        self.wait()

    def wait(self):
        if not self.turns.wait():
            os._exit(0)
        self.watch.clear()
        self.started, self.used = time.perf_counter(), time.process_time()


def load_tokenizer(model: Path) -> PreTrainedTokenizerFast:
    """The folder's tokenizer, in terms that every version of transformers reads."""
    return PreTrainedTokenizerFast(
        tokenizer_file=str(model / "tokenizer.json"),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
    )
