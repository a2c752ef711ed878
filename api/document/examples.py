"""A request body to begin with for each operation that takes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JOB: dict[str, Any] = {
    "name": "sums",
    "seed": 0,
    "labels": {"team": "blue"},
    "model": {"type": "scratch", "architecture": "llama", "hidden_size": 128, "num_heads": 4},
    "stages": [
        {"type": "sft", "data": {"path": "/srv/data/sft.jsonl"}, "steps": 100},
        {
            "type": "grpo",
            "prompts": {"path": "/srv/data/prompts.jsonl"},
            "reward": {
                "type": "string_check",
                "operation": "eq",
                "input": "{{sample.output_text}}",
                "reference": "{{item.answer}}",
            },
            "steps": 20,
        },
    ],
}
GRADER: dict[str, Any] = {
    "type": "string_check",
    "name": "right",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}

BODIES: Mapping[str, Any] = {
    "submit_job": JOB,
    "retry_job": {"start": "checkpoint"},
    "clone_job": {"changes": {"name": "sums again", "seed": 1}},
    "check_spec": {"text": "name: sums\nmodel: {type: scratch}\nstages:\n  - type: sft\n"},
    "preflight_job": {"spec": JOB, "stage": "grpo"},
    "prepare_recipe": {"seed": 0},
    "register_model": {"id": "our-base", "path": "/srv/models/our-base"},
    "create_upload": {
        "filename": "rows.jsonl",
        "purpose": "fine-tune",
        "bytes": 268435456,
        "mime_type": "text/jsonl",
    },
    "complete_upload": {"part_ids": ["part_0af1", "part_0af2"]},
    "create_fine_tuning_job": {
        "model": "scratch",
        "training_file": "file-0123456789abcdef01234567",
        "suffix": "sums",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        "metadata": {"team": "blue"},
        "rlhf": {"model": {"hidden_size": 128}},
    },
    "create_checkpoint_permissions": {"project_ids": ["blue"]},
    "validate_grader": {"grader": GRADER},
    "run_grader": {"grader": GRADER, "model_sample": "4", "item": {"answer": "4"}},
    "create_chat_completion": {
        "model": "ft:small:rlhf:sums:job-018f",
        "messages": [{"role": "user", "content": "2+2="}],
        "max_completion_tokens": 16,
    },
    "create_completion": {"model": "job-018f", "prompt": "2+2=", "max_tokens": 8},
    "create_key": {"name": "notebook", "scopes": ["read", "write"]},
    "rotate_key": {"grace_seconds": 3600},
    "set_quota": {"cpus": 8},
    "create_webhook": {"url": "https://example.org/hooks/rlhf"},
    "post_events": {
        "events": [
            {
                "job_id": "job-018f",
                "attempt": 1,
                "producer": "a1-driver",
                "producer_seq": 1,
                "created_at": "2026-01-01T00:00:00Z",
                "event": {"type": "log", "message": "it begins"},
            }
        ]
    },
}
"""Operation → example."""

FORMS: Mapping[str, Any] = {
    "upload_file": {"file": '{"prompt": "2+2=", "completion": "4"}\n', "purpose": "fine-tune"},
    "add_upload_part": {"data": '{"prompt": "2+2=", "completion": "4"}\n'},
}
"""The same for forms."""
