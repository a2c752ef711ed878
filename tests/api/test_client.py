"""The command line, both clients and the live view against the real service behind a socket."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from api.settings import Settings
from rlhf_service.cli.app import app
from rlhf_service.client import AsyncClient, Client, Forbidden, NotFound, NotSignedIn
from rlhf_service.client.live.view import LiveView
from rlhf_service.events import AlarmRaised, StageStarted
from rlhf_service.job import JobStatus
from rlhf_service.testing_launcher import FakeLauncher
from tests.api.served import served, until
from tests.api.tuning import model_folder
from tests.api.world import step

runner = CliRunner()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    settings = Settings(
        storage=folder / "storage",
        reconcile_interval=0.05,
        sse_poll=0.05,
        cancel_grace=0.0,
        leftover_grace=0.0,
        data_roots=(folder,),
    )
    with served(settings, FakeLauncher(cpus=16)) as made:
        yield made


@pytest.fixture(autouse=True)
def signed_in(service, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("RLHF_URL", service.root)
    monkeypatch.setenv("RLHF_API_KEY", service.key)


@pytest.fixture
def client(service):
    with Client() as made:
        yield made


def spec(service, name: str = "sums") -> dict:
    path = service.settings.storage.parent / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "2+2=", "completion": "4"}) + "\n")
    stage = {"type": "sft", "data": {"path": str(path)}, "steps": 10, "batch_size": 2}
    model = {"type": "scratch", "hidden_size": 8, "num_heads": 1}
    return {"name": name, "model": model, "stages": [stage]}


def rlhf(*words: str, code: int = 0) -> str:
    ran = runner.invoke(app, list(words))
    assert ran.exit_code == code, ran.output
    return ran.output


def test_a_job_from_file_to_end_by_the_command_line(service, client, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(spec(service, "by-hand")))
    assert "nothing wrong" in rlhf("check", "job.json")
    job = rlhf("submit", "job.json", "--key", "k1").strip()
    assert rlhf("submit", "job.json", "--key", "k1").strip() == job
    submission = service.submitted(job)
    service.say(job, StageStarted(stage="sft", kind="sft", steps=10), step(1), step(2, loss=1.5))
    service.launcher.attempts[submission].log = "one\ntwo\nthree\n"
    assert rlhf("logs", job) == "one\ntwo\nthree\n"
    assert rlhf("logs", job, "-n", "1") == "three\n"
    assert "loss 1.500" in rlhf("metrics", job)
    assert [point["step"] for point in json.loads(rlhf("metrics", job, "--json"))] == [1, 2]
    assert json.loads(rlhf("jobs", "--json", "--search", "by-hand"))[0]["id"] == job
    assert json.loads(rlhf("job", job))["status"] == "running"
    assert [json.loads(line)["event"]["type"] for line in rlhf("events", job).splitlines()][
        -1
    ] == "step"
    folder = service.settings.folder(job)
    folder.model.mkdir(parents=True)
    (folder.model / "weights.bin").write_bytes(bytes(range(256)))
    assert [f["path"] for f in json.loads(rlhf("artefacts", job, "model", "--json"))] == [
        "model/weights.bin"
    ]
    rlhf("download", job, "--out", "here")
    assert (tmp_path / "here/model/weights.bin").read_bytes() == bytes(range(256))
    assert "has no file 'none'" in rlhf("download", job, "none", code=1)
    assert json.loads(rlhf("checkpoints", job, "--json")) == []
    rlhf("cancel", job)
    assert client.jobs.wait(job).status is JobStatus.CANCELLED
    assert rlhf("logs", job, "-f", "-n", "2") == "two\nthree\n"
    assert rlhf("watch", job, code=1).count("cancelled")
    assert json.loads(rlhf("events", job, "-f").splitlines()[-1])["event"]["status"] == "cancelled"
    assert "by-hand" in rlhf("report", job) or (tmp_path / f"{job}-report.html").exists()


def test_a_draft_with_faults_names_file_and_line(service, tmp_path):
    (tmp_path / "job.yaml").write_text("name: x\nmodel: {type: scratch}\nstages: []\nsteps: 1\n")
    told = rlhf("check", "job.yaml", code=1)
    assert "job.yaml:4: steps: there is no such field" in told


def test_a_folder_is_named_by_its_path_from_here(service, client, tmp_path, monkeypatch):
    root = service.settings.storage.parent
    model_folder(root / "mine" / "ours")
    monkeypatch.chdir(root / "mine")
    for name, path in (("ours", "ours"), ("same", str(root / "mine" / "ours"))):
        assert rlhf("register-model", name, path).strip() == name
        assert client.models.get(name).path == str(root / "mine" / "ours")
        client.models.delete(name)
    assert "no-such-folder" in rlhf("register-model", "none", "no-such-folder", code=1)


def test_quotas_and_the_audit_log(service):
    made = json.loads(
        rlhf("quotas", "set", "team-a", "--gpus", "4", "--running-jobs", "2", "--json")
    )
    assert (made[0]["gpus"], made[0]["cpus"], made[0]["own"]) == (4.0, None, True)
    assert "0 / 4" in rlhf("quotas", "list") and "0 / ∞" in rlhf("quotas", "list")
    assert not json.loads(rlhf("quotas", "reset", "team-a", "--json"))[0]["own"]
    entries = json.loads(rlhf("audit", "--json", "-n", "2"))
    assert [entry["action"] for entry in entries] == ["reset_quota", "set_quota"]
    assert {entry["object_id"] for entry in entries} == {"team-a"}
    assert rlhf("audit", "--action", "set_quota").count("team-a") == 1


def test_a_plan_and_a_copy_with_changes(service, client, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(spec(service, "planned")))
    plan = json.loads(rlhf("plan", "job.json", "--json"))
    assert [stage["stage"] for stage in plan["stages"]] == ["sft"]
    assert client.drafts.plan(spec(service)).stages[0].steps == 10
    assert "the job reserves no GPU" in rlhf("plan", "job.json", "--gpu", "H100")
    told = rlhf("plan", "job.json")
    assert "memory" in told and "learner" in told and "how long it takes is not known" in told
    for words, says in (
        (("--gpu", "none"), "no GPU 'none'"),
        (("--profile", "no.json"), "no.json"),
    ):
        assert says in rlhf("plan", "job.json", *words, code=1)
    (tmp_path / "wrong.yaml").write_text("name: x\nmodel: {type: scratch}\nstages: []\n")
    assert "stages" in rlhf("plan", "wrong.yaml", code=1)
    job = rlhf("submit", "job.json").strip()
    assert client.jobs.plan(job)["plan"]["stages"][0]["steps"] == 10
    copy = rlhf("clone", job, "--set", "seed=7", "--set", "name=other").strip()
    assert (client.jobs.get(copy).spec["seed"], client.jobs.get(copy).name) == (7, "other")
    for one in (job, copy):
        client.jobs.cancel(one)
        assert client.jobs.wait(one).status is JobStatus.CANCELLED
    again = client.jobs.retry(copy, "beginning")
    assert again.spec["seed"] == 7
    client.jobs.cancel(again.id)
    rlhf("delete", job, "--yes")
    with pytest.raises(NotFound):
        client.jobs.get(job)


def test_webhooks(service):
    hook, secret = rlhf("webhooks", "create", "https://hooks.example.org/x").split()
    assert secret
    [listed] = json.loads(rlhf("webhooks", "list", "--json"))
    assert listed["id"] == hook and "secret" not in listed
    assert json.loads(rlhf("webhooks", "deliveries", hook, "--json")) == []
    rlhf("webhooks", "delete", hook)
    assert json.loads(rlhf("webhooks", "list", "--json")) == []


def test_keys_files_and_lists(service, tmp_path):
    old = json.loads(rlhf("keys", "create", "old", "--scope", "read", "--days", "9", "--json"))
    assert old["scopes"] == ["read"] and old["expires_at"] > old["created_at"]
    fresh = rlhf("keys", "rotate", old["id"]).strip()
    with Client(service.root, fresh) as reader:
        assert reader.me().scopes == ["read"]
        with pytest.raises(Forbidden):
            reader.keys.create("more")
    with Client(service.root, old["secret"]) as former, pytest.raises(NotSignedIn):
        former.me()
    secret = rlhf("keys", "create", "laptop").strip()
    keys = json.loads(rlhf("keys", "list", "--json"))
    [made] = [key for key in keys if key["name"] == "laptop"]
    with Client(service.root, secret) as other:
        assert other.jobs.list(limit=1) is not None
    rlhf("keys", "revoke", made["id"])
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    file, path = rlhf("files", "upload", "a.jsonl").split()
    assert path.endswith(".jsonl") or file in path
    assert json.loads(rlhf("files", "list", "--json"))[0]["id"] == file
    rlhf("files", "get", file, "--out", "b.jsonl")
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    rlhf("files", "delete", file)
    assert {"calculator"} < {recipe["name"] for recipe in json.loads(rlhf("recipes", "--json"))}
    assert json.loads(rlhf("models", "--json")) == []
    assert json.loads(rlhf("api", "get", "/v1/jobs?limit=1"))["object"] == "list"
    assert "there is no job" in rlhf("job", "job-none", code=1)


def test_logs_are_followed_across_attempts_until_the_job_ends(service, client):
    job = client.jobs.create(spec(service)).id
    attempt = service.launcher.attempts[service.submitted(job)]
    attempt.log = "one\n"
    pieces: list[str] = []
    for piece in client.jobs.follow_log(job):
        pieces.append(piece)
        if len(pieces) == 1:
            attempt.log += "two\n"
        if "two" in "".join(pieces) and not client.jobs.get(job).status.is_terminal:
            client.jobs.cancel(job)
    assert "".join(pieces) == "one\ntwo\n"


def test_the_asynchronous_client_sees_the_same_job(service, client):
    job = client.jobs.create(spec(service)).id
    service.begin(job)
    service.say(job, step(1))

    async def see() -> list[int]:
        async with AsyncClient() as other:
            seen = []
            async for stored in other.jobs.stream(job):
                seen.append(stored.seq)
                if stored.event.type == "step":
                    await other.jobs.cancel(job)
            assert (await other.jobs.wait(job)).status is JobStatus.CANCELLED
            return seen

    seen = asyncio.run(see())
    assert seen == [stored.seq for stored in client.jobs.events(job)]


def test_a_watched_job_is_drawn_again_until_it_ends(service, client):
    job = client.jobs.create(spec(service, "<b>bold</b>"))
    drawn: list[str] = []
    view = job.watch()
    view.draw_by(drawn.append)
    service.begin(job.id)
    advice = "<script>alert(1)</script>"
    alarm = AlarmRaised(stage="sft", step=1, alarm="x", value=1, threshold=0, advice=advice)
    service.say(job.id, step(1), step(2, loss=1.0), alarm)
    until(lambda: view.picture.alarms)
    client.jobs.cancel(job.id)
    assert view.wait(20) is JobStatus.CANCELLED
    until(lambda: drawn and "cancelled" in drawn[-1])
    assert "2 / 10" in drawn[-1] and "<svg" in drawn[-1] and "loss <b>1.000</b>" in drawn[-1]
    assert "<script>" not in drawn[-1] and "<b>bold" not in drawn[-1]
    assert "&lt;b&gt;bold" in job._repr_html_()
    assert "cancelled" in repr(view)


def test_a_view_of_no_job_says_so(service, client):
    view = LiveView(client.address, "job-none")
    assert view.wait(20) is None
    assert "there is no job" in view._repr_html_()
