"""config.json → Shape, for the architectures whose arithmetic is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlhf_service.planning.shape import Linear, Shape
from rlhf_service.spec.model import ScratchModel

Config = Mapping[str, Any]


class UnknownShape(Exception):
    """The arithmetic of this network is not known; says why."""


def shape_of(config: Config) -> Shape:
    """The shape that a Hugging Face configuration describes. Raises UnknownShape."""
    kind = str(config.get("model_type"))
    if kind not in READERS:
        raise UnknownShape(
            f"the arithmetic of model type {kind!r} is not known; known: {', '.join(sorted(READERS))}"
        )
    try:
        shape = READERS[kind](config)
    except KeyError as missing:
        raise UnknownShape(f"its config.json has no {missing}") from None
    except (TypeError, ValueError, ZeroDivisionError) as fault:
        raise UnknownShape(f"its config.json makes no sense: {fault}") from None
    if min(shape.layers, shape.width, shape.vocab, shape.inner) < 1:
        raise UnknownShape("its config.json gives a size below 1")
    return shape


def scratch_shape(spec: ScratchModel, vocab: int | None = None) -> Shape:
    """What `models/build.py` makes of `spec`; `vocab` is its tokenizer's size when known."""
    vocab = spec.vocab_size if vocab is None else vocab
    common = {"vocab_size": vocab, "hidden_size": spec.hidden_size, "tie_word_embeddings": True}
    common |= {"num_hidden_layers": spec.num_layers, "num_attention_heads": spec.num_heads}
    if spec.architecture == "gpt2":
        named = {"n_embd": spec.hidden_size, "n_layer": spec.num_layers, "n_head": spec.num_heads}
        return _gpt2({"vocab_size": vocab, "n_positions": spec.context_length, **named})
    common["max_position_embeddings"] = spec.context_length
    if spec.architecture == "lstm":
        return _lstm(common)
    return _llama(common | {"intermediate_size": 8 * spec.hidden_size // 3 // 8 * 8})


def _llama(config: Config) -> Shape:
    """Rotary positions, RMSNorm, gated feed-forward; and the relatives that differ in biases only."""
    kind = str(config.get("model_type", "llama"))
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    heads = int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    size = int(config.get("head_dim") or width // heads)
    qwen2 = kind == "qwen2"
    biased = qwen2 or bool(config.get("attention_bias", False))
    mlp_bias = bool(config.get("mlp_bias", False))
    vocab = int(config["vocab_size"])
    return Shape(
        family="llama",
        model_type=kind,
        layers=int(config["num_hidden_layers"]),
        width=width,
        inner=inner,
        heads=heads,
        kv_heads=kv_heads,
        head_size=size,
        vocab=vocab,
        context=_optional(config, "max_position_embeddings"),
        block=(
            Linear(name="q_proj", inputs=width, outputs=heads * size, bias=biased),
            Linear(name="k_proj", inputs=width, outputs=kv_heads * size, bias=biased),
            Linear(name="v_proj", inputs=width, outputs=kv_heads * size, bias=biased),
            Linear(name="o_proj", inputs=heads * size, outputs=width, bias=biased and not qwen2),
            Linear(name="gate_proj", inputs=width, outputs=inner, bias=mlp_bias),
            Linear(name="up_proj", inputs=width, outputs=inner, bias=mlp_bias),
            Linear(name="down_proj", inputs=inner, outputs=width, bias=mlp_bias),
        ),
        block_vectors=2 * width + (2 * size if kind == "qwen3" else 0),
        embeddings=vocab * width,
        final=width,
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def _gpt2(config: Config) -> Shape:
    width, layers, heads = (int(config[name]) for name in ("n_embd", "n_layer", "n_head"))
    inner = int(config.get("n_inner") or 4 * width)
    vocab, context = int(config["vocab_size"]), int(config["n_positions"])
    return Shape(
        family="gpt2",
        model_type="gpt2",
        layers=layers,
        width=width,
        inner=inner,
        heads=heads,
        kv_heads=heads,
        head_size=width // heads,
        vocab=vocab,
        context=context,
        block=(
            Linear(name="c_attn", inputs=width, outputs=3 * width, bias=True),
            Linear(name="c_proj", inputs=width, outputs=width, bias=True),
            Linear(name="c_fc", inputs=width, outputs=inner, bias=True),
            Linear(name="c_proj", inputs=inner, outputs=width, bias=True),
        ),
        block_vectors=4 * width,
        embeddings=(vocab + context) * width,
        final=2 * width,
        tied=bool(config.get("tie_word_embeddings", True)),
    )


def _lstm(config: Config) -> Shape:
    """models/lstm.py: a layer is four gates of the input and four of the state, two biases each."""
    width, vocab = int(config["hidden_size"]), int(config["vocab_size"])
    return Shape(
        family="lstm",
        model_type="rlhf_lstm",
        layers=int(config["num_hidden_layers"]),
        width=width,
        inner=4 * width,
        heads=0,
        kv_heads=0,
        head_size=0,
        vocab=vocab,
        context=_optional(config, "max_position_embeddings"),
        block=(
            Linear(name="weight_ih", inputs=width, outputs=4 * width, bias=True),
            Linear(name="weight_hh", inputs=width, outputs=4 * width, bias=True),
        ),
        block_vectors=0,
        embeddings=vocab * width,
        final=0,
        tied=bool(config.get("tie_word_embeddings", True)),
    )


def _bert(config: Config) -> Shape:
    kind = str(config.get("model_type"))
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    heads, vocab = int(config["num_attention_heads"]), int(config["vocab_size"])
    context, types = int(config["max_position_embeddings"]), int(config.get("type_vocab_size", 2))
    names = ("query", "key", "value", "dense")
    return Shape(
        family="encoder",
        model_type=kind,
        layers=int(config["num_hidden_layers"]),
        width=width,
        inner=inner,
        heads=heads,
        kv_heads=heads,
        head_size=width // heads,
        vocab=vocab,
        # RoBERTa counts positions from behind its padding id.
        context=context - 2 if kind == "roberta" else context,
        block=(
            *(Linear(name=name, inputs=width, outputs=width, bias=True) for name in names),
            Linear(name="dense", inputs=width, outputs=inner, bias=True),
            Linear(name="dense", inputs=inner, outputs=width, bias=True),
        ),
        block_vectors=4 * width,
        embeddings=(vocab + context + types + 2) * width,
        final=0,
        pooler=Linear(name="dense", inputs=width, outputs=width, bias=True)
        if kind == "bert"
        else None,
    )


def _optional(config: Config, name: str) -> int | None:
    value = config.get(name)
    return None if value is None else int(value)


READERS: Mapping[str, Callable[[Config], Shape]] = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
    "gpt2": _gpt2,
    "rlhf_lstm": _lstm,
    "bert": _bert,
    "roberta": _bert,
}
