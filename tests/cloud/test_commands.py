"""The commands: what they print, their exit status, what they refuse."""

import json
import socket

import pytest
import yaml

from luminoth.cloud.access import VERTEX_VARIABLE
from luminoth.config import config_from_dict
from tests.cloud.fake_google import DONE_BUT_500, error, error_info

DATASET = ("--dataset", "gs://data/tf")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yml"
    path.write_text("model: {network: {num_classes: 3}}\ntrain: {batch_size: 2}\n")
    return path


@pytest.fixture
def no_network(monkeypatch):
    """Fails whoever looks for a network or for credentials."""

    def refuse(*_, **__):
        raise AssertionError("a network or credentials were looked for")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("google.auth.default", refuse)


def gcp(lumi, *arguments):
    return lumi("cloud", "gcp", *arguments)


# --- Without a network ------------------------------------------------------------


@pytest.mark.usefixtures("no_network")
def test_a_dry_run_shows_uploads_configuration_and_request(lumi, config):
    arguments = ("train", "-c", config, *DATASET, "--project", "my-project", "--job-id", "t1", "-o", "train.seed=7")
    status, out, err = gcp(lumi, *arguments, "--dry-run", "--json")
    assert (status, err) == (0, "Machine: g2-standard-12 with 1 x NVIDIA_L4\n")
    shown = json.loads(out)
    bucket = "gs://lumi-my-project-us-central1"
    assert shown["parent"] == "projects/my-project/locations/us-central1"
    assert [address.rpartition("/")[0] for address in shown["uploads"]] == [
        f"{bucket}/lumi_t1", f"{bucket}/lumi_t1", f"{bucket}/lumi_t1/packages/t1", f"{bucket}/lumi_t1/packages/t1"
    ]  # fmt: skip
    container = shown["request"]["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
    assert container["args"] == ["train", "-c", f"{bucket}/lumi_t1/config.yml"]
    merged = config_from_dict(yaml.safe_load(shown["config"]))
    assert (merged.dataset.dir, merged.train.job_dir, merged.train.run_name) == (
        "gs://data/tf",
        f"{bucket}/lumi_t1",
        "t1",
    )
    assert (merged.train.batch_size, merged.train.seed, merged.model.network.num_classes) == (2, 7, 3)

    status, out, _ = gcp(lumi, *arguments, "--dry-run")
    assert status == 0
    assert out.startswith(f"Uploads:\n  {bucket}/lumi_t1/config.yml (")
    request = out.partition("Request to create a job in projects/my-project/locations/us-central1:\n")[2]
    assert json.loads(request) == shown["request"]


@pytest.mark.usefixtures("no_network")
def test_dry_runs_of_the_other_jobs(lumi):
    place = ("--project", "my-project", "--dry-run", "--json")
    _, out, _ = gcp(lumi, "train", "--resume", "t1", "--job-id", "t2", *place)
    assert json.loads(out)["request"]["labels"] == {"lumi_kind": "train", "lumi_job": "t2", "lumi_run": "t1"}
    for name in ("eval", "evaluate"):
        _, out, _ = gcp(lumi, name, "--train-folder", "gs://my-bucket/lumi_t1", "--split", "test", *place)
        args = json.loads(out)["request"]["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
        assert args == ["eval", "-c", "gs://my-bucket/lumi_t1/config.yml", "--split", "test"]
    status, out, _ = gcp(lumi, "eval", "--train-folder", "t1", "--bucket", "my-bucket", *place[:-1])
    assert status == 0
    assert "  gs://my-bucket/lumi_t1/packages/t1/bootstrap.sh must be there already\n" in out


@pytest.mark.usefixtures("no_network")
def test_training_from_a_checkpoint_takes_one_that_the_job_can_get(lumi, config, tmp_path):
    config.write_text("train: {batch_size: 2}\n")
    arguments = ("train", "-c", config, *DATASET, "--project", "my-project", "--dry-run", "--json")
    status, out, _ = gcp(lumi, *arguments, "-o", "train.from_checkpoint=toytown")
    assert status == 0
    shown = json.loads(out)
    assert shown["request"]["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"][-1] == "--yes"
    from luminoth.checkpoints.folder import read_checkpoint_config
    from luminoth.checkpoints.store import find_checkpoint

    backbone = read_checkpoint_config(find_checkpoint("toytown")).model.base_network.architecture
    assert yaml.safe_load(shown["config"])["model"]["base_network"]["architecture"] == backbone
    status, _, err = gcp(lumi, *arguments, "-o", f"train.from_checkpoint={find_checkpoint('toytown')}")
    assert status == 2
    assert "is on this machine only; accepted: the gs:// address of a checkpoint or run, or the alias" in err


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "Missing option '-c'"),
        (["train", "-c", "CONFIG"], "no data set: name the records' address with --dataset gs://BUCKET/FOLDER"),
        (["train", "-c", "CONFIG", "--dataset", "tf"], "dataset.dir tf: accepted: an address in a bucket"),
        (["train", "-c", "CONFIG", *DATASET, "--region", "mars"], "--region mars: Vertex AI is in"),
        (["train", "-c", "CONFIG", *DATASET, "--accelerator", "TPU_V3"], "TPUs are not supported"),
        (["train", "-c", "CONFIG", *DATASET, "--timeout", "7"], "--timeout 7: accepted"),
        (["train", "-c", "CONFIG", *DATASET, "--env", "A"], "--env A: accepted: NAME=VALUE"),
        (["train", "-c", "CONFIG", *DATASET, "--image", "a", "--prebuilt", "b"], "--image brings its own Luminoth"),
        (["train", "-c", "CONFIG", *DATASET, "--force"], "--force goes with --resume"),
        (["train", "-c", "CONFIG", "--resume", "t1"], "--resume goes on with the run's own configuration"),
        (["train", "--resume", "12", "--dry-run"], "--resume 12: accepted: a small letter"),
        (["eval", "--train-folder", "gs://a-bucket/lumi_t1", "--bucket", "b-bucket"], "leave one of them out"),
        (["eval", "--train-folder", "T"], "--train-folder T: accepted"),
        (["logs", "--job-id", "A B"], "--job-id A B: accepted: a job's number"),
        (["logs", "--job-id", "1", "--since", "x"], "--since x: accepted"),
        (["logs", "--job-id", "1", "--polling-interval", "1"], "--polling-interval"),
        (["jobs", "--project", "My Project"], "project 'My Project': accepted"),
    ],
)
def test_wrong_usage_ends_before_anything_is_asked(lumi, config, monkeypatch, arguments, message):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    status, out, err = gcp(lumi, *(str(config) if each == "CONFIG" else each for each in arguments))
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("--scale-tier", "--machine-type, --accelerator and --worker-count"),
        ("--master-type", "--machine-type"),
        ("--worker-type", "--machine-type"),
        ("--parameter-server-type", "there are no parameter servers"),
        ("--parameter-server-count", "--worker-count"),
        ("--service-account-json", "--credentials"),
    ],
)
def test_luminoths_options_name_what_took_their_place(lumi, option, instead):
    status, out, err = gcp(lumi, "train", option, "x")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"Error: {option} ")
    assert instead in err


def test_gc_is_gcp(lumi):
    status, out, err = lumi("cloud", "gc", "train", "-c", "config.yml")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "`lumi cloud gcp --help`" in err


def test_without_googles_libraries_it_says_how_to_install_them(lumi, monkeypatch):
    from luminoth.cloud.access import service_description

    service_description.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "googleapiclient.discovery_cache", None)
    status, _, err = gcp(lumi, "jobs", "--project", "my-project")
    assert status == 1
    assert '`pip install ".[gcp]"`' in err


# --- With the services ------------------------------------------------------------


def end_after(google, looks, state, **more):
    """A job's state becomes another one at that look."""

    def count(job):
        google.looks = getattr(google, "looks", 0) + 1
        if google.looks == looks:
            job.update(state=f"JOB_STATE_{state}", **more)

    google.on_get = count


def test_training_and_following(lumi, google, config, bucket_name):
    end_after(google, 2, "SUCCEEDED")
    arguments = ("train", "-c", config, *DATASET, "--bucket", bucket_name, "--job-id", "t1")
    google.failures = [("POST .*/customJobs$", DONE_BUT_500)]
    status, out, err = gcp(lumi, *arguments, "--follow")
    (job,) = google.jobs.values()
    assert (status, out) == (0, f"t1: {job['name']}\n")
    number = job["name"].rpartition("/")[2]
    lines = err.splitlines()
    assert lines[0] == "Machine: g2-standard-12 with 1 x NVIDIA_L4"
    assert lines[1] == f"Created the bucket gs://{bucket_name} in us-central1"
    assert lines[-4:] == [
        f"Files of the run: gs://{bucket_name}/lumi_t1",
        f"https://console.cloud.google.com/vertex-ai/locations/us-central1/training/{number}?project=proj-1",
        "t1: PENDING",
        "t1: SUCCEEDED",
    ]

    status, out, err = gcp(lumi, *arguments)
    assert (status, out) == (1, "")
    assert "--job-id t1: there is such a job already" in err
    status, out, err = gcp(lumi, "train", "--resume", number, "--bucket", bucket_name, "--job-id", "t2", "--json")
    assert status == 0
    assert json.loads(out)["labels"] == {"lumi_kind": "train", "lumi_job": "t2", "lumi_run": "t1"}
    cpu = ("--accelerator-count", "0")
    status, out, err = gcp(lumi, "train", "--resume", "t1", "--bucket", bucket_name, "--job-id", "t3", *cpu)
    assert status == 1
    assert (
        "Warning: the run began on g2-standard-12 with 1 x NVIDIA_L4; this job asks for n1-standard-8, CPU only" in err
    )
    assert "is training it (PENDING)" in err

    google.looks = 0
    end_after(google, 1, "FAILED", error={"code": 3, "message": "The replica workerpool0-0 exited with 1."})
    status, _, err = gcp(lumi, "eval", "--train-folder", f"gs://{bucket_name}/lumi_t1", "--job-id", "e1", "--follow")
    assert status == 3
    assert err.splitlines()[-1] == "e1: FAILED: The replica workerpool0-0 exited with 1."
    assert [each["labels"]["lumi_kind"] for each in google.jobs.values()] == ["train", "train", "eval"]


def test_errors_of_google_are_one_line(lumi, google, caplog):
    details = error_info("SERVICE_DISABLED", service="aiplatform.googleapis.com")
    google.failures = [("GET", error(403, "PERMISSION_DENIED", "It is disabled.", details))]
    status, out, err = gcp(lumi, "jobs")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "`gcloud services enable aiplatform.googleapis.com" in err
    assert not caplog.records  # of Google's client, which warns of every refusal


@pytest.fixture
def three_jobs(google):
    ours = {"lumi_kind": "train", "lumi_run": "t1"}
    started, ended = "2026-11-22T10:02:00Z", "2026-11-22T11:03:04.5Z"
    output = {"jobSpec": {"baseOutputDirectory": {"outputUriPrefix": "gs://b/lumi_t1"}}}
    return [
        google.add_job("t1", "SUCCEEDED", {**ours, "lumi_job": "t1"}, startTime=started, endTime=ended, **output),
        google.add_job("not ours"),
        google.add_job("t2", "RUNNING", {**ours, "lumi_job": "t2"}),
    ]


def test_jobs_are_listed(lumi, three_jobs):
    status, out, _ = gcp(lumi, "jobs")
    header, _, *rows = (line.split() for line in out.splitlines())
    assert (status, header) == (0, ["ID", "NAME", "STATE", "CREATED", "DURATION"])
    numbers = [name.rpartition("/")[2] for name in three_jobs]
    assert rows == [
        [numbers[2], "t2", "RUNNING", "2026-11-22", "10:02:00", "UTC"],
        [numbers[0], "t1", "SUCCEEDED", "2026-11-22", "10:00:00", "UTC", "1:01:04"],
    ]
    names = [[job["displayName"] for job in json.loads(gcp(lumi, "jobs", "--json", *more)[1])]
             for more in (["--all"], ["--running"], ["--limit", "1"])]  # fmt: skip
    assert names == [["t2", "not ours", "t1"], ["t2"], ["t2"]]
    assert "1 older ones are not shown (--limit)" in gcp(lumi, "jobs", "--limit", "1")[2]
    status, out, err = gcp(lumi, "jobs", "--region", "europe-west4")
    assert (status, out, err) == (0, "", "No jobs in proj-1, europe-west4\n")


def test_a_job_is_described_cancelled_and_deleted(lumi, google, three_jobs):
    number = three_jobs[0].rpartition("/")[2]
    _, out, _ = gcp(lumi, "describe", "--job-id", "t1")
    facts = dict(line.split(":", 1) for line in out.splitlines())
    assert {name: facts[name].strip() for name in ("Resource", "State", "Run", "Duration", "Files")} == {
        "Resource": three_jobs[0], "State": "SUCCEEDED", "Run": "t1", "Duration": "1:01:04", "Files": "gs://b/lumi_t1"
    }  # fmt: skip
    assert json.loads(gcp(lumi, "describe", "--job-id", number, "--json")[1]) == google.jobs[three_jobs[0]]
    status, out, err = gcp(lumi, "cancel", "--job-id", "t2")
    assert (status, out) == (0, f"t2 ({three_jobs[2].rpartition('/')[2]}): CANCELLING\n")
    status, _, err = gcp(lumi, "delete", "--job-id", "t2")
    assert status == 1
    assert "is CANCELLING: only a job that is over can be deleted" in err
    # A full name says itself in which project and region the job is.
    status, out, err = gcp(lumi, "delete", "--job-id", three_jobs[0], "--project", "other-project")
    assert (status, out, err) == (0, f"t1 ({number}): DELETED\n", "The files stay: gs://b/lumi_t1\n")
    assert list(google.jobs) == three_jobs[1:]


def test_logs_are_shown(lumi, google, three_jobs):
    number = three_jobs[2].rpartition("/")[2]
    google.entries = [
        {
            "timestamp": f"2026-11-22T10:03:0{second}.000000001Z", "insertId": str(second), "severity": severity,
            "resource": {"labels": {"job_id": number, "task_name": task}}, "textPayload": f"line {second}",
        }
        for second, severity, task in zip(
            (1, 2, 3), ("INFO", "INFO", "ERROR"), ("service", "workerpool0-0", "workerpool0-0"), strict=True
        )
    ]  # fmt: skip
    status, out, err = gcp(lumi, "logs", "--job-id", "t2", "--no-follow")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "2026-11-22 10:03:01  service  line 1",
        "2026-11-22 10:03:02  workerpool0-0  line 2",
        "2026-11-22 10:03:03  workerpool0-0  line 3",
    ]
    chosen = ("--severity", "error", "--since", "2026-11-22T10:03:02", "--no-follow", "--json")
    assert json.loads(gcp(lumi, "logs", "--job-id", number, *chosen)[1])["message"] == "line 3"
    end_after(google, 3, "CANCELLED")
    status, out, err = gcp(lumi, "logs", "--job-id", "t2", "--task", "service")
    assert (status, out, err) == (3, "2026-11-22 10:03:01  service  line 1\n", "t2: RUNNING\nt2: CANCELLED\n")


def test_interrupting_says_that_the_job_goes_on(lumi, google, three_jobs, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    status, _, err = gcp(lumi, "logs", "--job-id", "t2")
    assert status == 130
    assert "The job goes on; `lumi cloud gcp cancel --job-id " in err


def test_offline_nothing_is_asked(lumi, google, monkeypatch):
    monkeypatch.setenv("LUMI_OFFLINE", "1")
    assert gcp(lumi, "jobs") == (1, "", "Error: LUMI_OFFLINE is set, so Google Cloud is not asked\n")
    assert not google.requests


def test_an_interrupted_submission_says_how_to_find_out(lumi, google, config, bucket_name, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    google.failures = [("POST .*/customJobs$", DONE_BUT_500)]
    monkeypatch.setattr("time.sleep", interrupt)
    status, _, err = gcp(lumi, "train", "-c", config, *DATASET, "--bucket", bucket_name, "--job-id", "t1")
    assert status == 130
    assert "`lumi cloud gcp jobs` shows whether t1 was created" in err


def test_unreachable_services(lumi, google, monkeypatch):
    monkeypatch.setenv(VERTEX_VARIABLE, "http://127.0.0.1:9")
    status, out, err = gcp(lumi, "jobs")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "listing jobs in us-central1: Google Cloud was not reached" in err
