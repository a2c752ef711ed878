"""Keys and values of responses that are under way, each in a slot of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from rlhf_service.models.ragged import Rows


@dataclass(slots=True)
class SlotCache:
    """Keys and values of every slot, layer by layer. It is given to the network as its cache."""

    slots: int
    width: int
    """Most tokens of a response with its prompt."""
    lengths: torch.Tensor
    """[slots] tokens held; 0 of slots that are free."""
    held: list[int] = field(default_factory=list)
    """The same of the live slots, which come first: known without asking a GPU."""
    keys: list[torch.Tensor] = field(default_factory=list)
    """Of each layer [slots, H, width, D]."""
    values: list[torch.Tensor] = field(default_factory=list)
    reading: tuple[Rows, torch.Tensor] | None = None
    """While prompts are read: where they lie, and which of them each new slot goes on from."""
    rows: int = 0
    """Slots that the step under way goes through."""
    most: int = 0
    """Tokens of a slot that it may attend to, the one under way included."""

    @property
    def live(self) -> int:
        """Slots in use, the first of all."""
        return len(self.held)

    @classmethod
    def empty(cls, slots: int, width: int, device: torch.device) -> SlotCache:
        return cls(slots, width, torch.zeros(slots, dtype=torch.long, device=device))

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hold what layer `layer` made of the tokens under way; what they may attend to."""
        if layer == len(self.keys):
            shape = (self.slots, key.shape[1], self.width, key.shape[3])
            # Zeros: what no token has written is masked, but must be a number.
            self.keys.append(key.new_zeros(shape))
            self.values.append(value.new_zeros(shape))
        if self.reading is not None:
            rows, source = self.reading
            fresh = slice(self.live, self.live + len(source))
            for held, new in ((self.keys[layer], key), (self.values[layer], value)):
                apart = rows.apart(new)
                held[fresh, :, : apart.shape[2]] = apart[source]
            return key, value
        at, place = torch.arange(self.rows, device=key.device), self.lengths[: self.rows]
        for held, new in ((self.keys[layer], key), (self.values[layer], value)):
            held[at, :, place] = new[:, :, 0]
        seen = (slice(self.rows), slice(None), slice(self.most))
        return self.keys[layer][seen], self.values[layer][seen]

    def get_seq_length(self, layer: int = 0) -> int:
        """What networks ask of any cache, like the next two; positions and mask are given here."""
        return self.most

    def get_query_offset(self, layer: int | None = 0) -> int:
        return 0

    def get_mask_sizes(self, new: int, layer: int | None = 0) -> tuple[int, int]:
        return self.most, 0

    def take(self, lengths: Sequence[int]) -> None:
        """The next slots hold prompts of `lengths` tokens."""
        first = self.live
        self.held += lengths
        self.lengths[first : self.live] = torch.tensor(lengths).to(self.lengths.device)

    def advance(self) -> None:
        """Every live slot holds one token more."""
        self.held = [length + 1 for length in self.held]
        self.lengths[: self.live] += 1

    def release(self, slots: Sequence[int]) -> list[tuple[int, int]]:
        """Free `slots`, filling each gap among the live ones. The moves made, as (from, to)."""
        if not slots:
            return []
        freed, kept = set(slots), self.live - len(slots)
        targets = [slot for slot in sorted(freed) if slot < kept]
        sources = [slot for slot in range(kept, self.live) if slot not in freed]
        moves = list(zip(sources, targets, strict=True))
        if moves:
            most = max(self.held[slot] for slot in sources)
            source, target = torch.tensor([sources, targets]).to(self.lengths.device)
            for layer in (*self.keys, *self.values):
                layer[target, :, :most] = layer[source, :, :most]
            self.lengths[target] = self.lengths[source]
        for old, new in moves:
            self.held[new] = self.held[old]
        self.lengths[kept : self.live] = 0
        del self.held[kept:]
        return moves

    def clear(self) -> None:
        """Free every slot."""
        self.held = []
        self.lengths.zero_()
