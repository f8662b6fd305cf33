"""What is decided without a network: names, machines, the wheel, the request."""

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import luminoth
from luminoth.cloud import names
from luminoth.cloud.access import check_region, find_project, service_description
from luminoth.cloud.gcp import Program, plan_evaluation, plan_resumption, plan_training
from luminoth.cloud.job_body import Resources, check_body, parse_environment
from luminoth.cloud.machines import Machine, choose_machine, warn_of_machine
from luminoth.cloud.packaging import bootstrap_script, build_wheel, read_wheel
from luminoth.errors import CloudArgumentError, CloudError
from tests.cloud.fake_google import VERTEX, check

NOW = datetime(2026, 10, 31, 17, 45, tzinfo=UTC)
L4 = Machine("g2-standard-12", "NVIDIA_L4", 1)
CPU = Machine("n1-standard-8", None, 0)
WHEEL = ("luminoth-1.0-py3-none-any.whl", b"wheel")


# --- Names ------------------------------------------------------------


def test_ids_and_addresses():
    assert names.new_job_id("train", NOW) == "train_20261031_174500"
    assert names.default_bucket("example.com:my-project", "us-central1") == "lumi-example-com-my-project-us-central1"
    assert names.split_address("gs://my-bucket/a/b/", "--dataset") == ("my-bucket", "a/b")
    assert names.parse_run("gs://my-bucket/lumi_train_1/", "-") == ("my-bucket", "train_1")
    assert names.parse_run("lumi_train_1", "-") == names.parse_run("train_1", "-") == (None, "train_1")
    assert names.parse_resource("projects/p/locations/r/customJobs/12") == ("p", "r", "12")


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (names.check_lumi_id, ("Train-1", "--job-id"), "--job-id Train-1: accepted: a small letter"),
        (names.check_lumi_id, ("t" * 64, "--job-id"), "63 at most"),
        (names.check_job_reference, ("a/b",), "--job-id a/b: accepted: a job's number"),
        (names.check_project, ("My Project",), "'My Project': accepted: a project's id"),
        (names.check_bucket, ("Bucket",), "--bucket Bucket: accepted"),
        (names.split_address, ("tf/", "--dataset"), "--dataset tf/: accepted: an address in a bucket"),
        (names.parse_run, ("gs://my-bucket/other", "--train-folder"), "accepted: the folder of a run"),
        (names.parse_duration, ("7", "--timeout"), "--timeout 7: accepted: a number with s, m, h or d"),
        (names.parse_duration, ("0d", "--timeout"), "--timeout 0d"),
        (names.parse_duration, ("1" * 30 + "d", "--timeout"), "is too long"),
        (names.parse_since, ("yesterday", NOW), "--since yesterday: accepted"),
        (check_region, ("mars",), "--region mars: Vertex AI is in africa-south1, .*us-central1"),
        (parse_environment, (["A B=1"],), "--env A B=1: accepted: NAME=VALUE"),
    ],
)
def test_wrong_names_are_refused_with_what_is_accepted(function, arguments, message):
    with pytest.raises(CloudArgumentError, match=message):
        function(*arguments)


def test_durations_and_moments():
    assert names.parse_duration("1.5h", "-") == timedelta(minutes=90)
    assert names.parse_since("2h", NOW) == datetime(2026, 10, 31, 15, 45, tzinfo=UTC)
    assert names.parse_since("2026-10-31T10:00", NOW) == datetime(2026, 10, 31, 10, tzinfo=UTC)
    assert names.parse_since("2026-10-31T10:00+02:00", NOW) == datetime(2026, 10, 31, 8, tzinfo=UTC)


def test_the_project_is_found_in_this_order(tmp_path):
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"type": "service_account", "project_id": "of-the-key"}))
    both = {"GOOGLE_CLOUD_PROJECT": "google-cloud", "GCLOUD_PROJECT": "gcloud-one"}
    assert find_project("stated-one", key, both) == "stated-one"
    assert find_project(None, key, both) == "google-cloud"
    assert find_project(None, key, {"GCLOUD_PROJECT": "gcloud-one"}) == "gcloud-one"
    assert find_project(None, key, {}) == "of-the-key"
    with pytest.raises(CloudArgumentError, match="name it with --project, or set GOOGLE_CLOUD_PROJECT"):
        find_project(None, None, {})
    key.write_text("{}")
    with pytest.raises(CloudError, match=r"key\.json: is not a service account's key"):
        find_project(None, key, {})


# --- Machines ------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "chosen"),
    [
        ((None, None, None), L4),
        ((None, None, 0), CPU),
        (("g2-standard-48", None, None), Machine("g2-standard-48", "NVIDIA_L4", 4)),
        (("a3-ultragpu-8g", None, None), Machine("a3-ultragpu-8g", "NVIDIA_H200_141GB", 8)),
        (("n1-standard-8", "nvidia_tesla_t4", None), Machine("n1-standard-8", "NVIDIA_TESLA_T4", 1)),
        (("n1-standard-8", None, None), CPU),
        ((None, "NVIDIA_H100_80GB", 4), Machine("a3-highgpu-4g", "NVIDIA_H100_80GB", 4)),
        ((None, "NVIDIA_B200", None), Machine("a4-highgpu-8g", "NVIDIA_B200", 8)),
        (("new-machine", "NVIDIA_L4", 3), Machine("new-machine", "NVIDIA_L4", 3)),
    ],
)
def test_the_machine_follows_from_what_is_stated(stated, chosen):
    assert choose_machine(*stated) == chosen


def test_doubtful_machines_are_warned_of_and_not_refused():
    assert warn_of_machine(L4) is None
    assert warn_of_machine(CPU) is None
    assert warn_of_machine(Machine("n2-standard-4", None, 0)) is None
    assert "not in Luminoth's table" in warn_of_machine(Machine("new-machine", "NVIDIA_L4", 3))
    assert "known with 1 x NVIDIA_L4, not with 2 x" in warn_of_machine(Machine("g2-standard-12", "NVIDIA_L4", 2))
    assert "always has an accelerator" in warn_of_machine(Machine("g2-standard-12", None, 0))


@pytest.mark.parametrize("stated", [("ct5lp-hightpu-4t", None, None), (None, "TPU_V5_LITEPOD", 1)])
def test_tpus_are_refused(stated):
    with pytest.raises(CloudArgumentError, match="TPUs are not supported"):
        choose_machine(*stated)


def test_a_count_needs_an_accelerator():
    with pytest.raises(CloudArgumentError, match="of which accelerator"):
        choose_machine("n1-standard-8", None, 2)
    with pytest.raises(CloudArgumentError, match="no machine is known for that"):
        choose_machine(None, "NVIDIA_L4", 3)


# --- The wheel ------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel():
    return build_wheel()


def test_the_wheel_holds_this_package_and_says_so(wheel, tmp_path):
    name, content = wheel
    assert name == f"luminoth-{luminoth.__version__}-py3-none-any.whl"
    archive = zipfile.ZipFile(io.BytesIO(content))
    held = set(archive.namelist())
    root = Path(luminoth.__file__).parent
    assert {"luminoth/cloud/bootstrap.sh", "luminoth/cli/main.py", "luminoth/checkpoints/remote_index.json"} <= held
    assert not [each for each in held if "__pycache__" in each]
    assert archive.read("luminoth/cloud/gcp.py") == (root / "cloud" / "gcp.py").read_bytes()

    info = f"luminoth-{luminoth.__version__}.dist-info"
    record = csv.reader(io.StringIO(archive.read(f"{info}/RECORD").decode()))
    rows = {path: (digest, size) for path, digest, size in record}
    assert set(rows) == held
    for path in held - {f"{info}/RECORD"}:
        data = archive.read(path)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        assert rows[path] == (f"sha256={digest}", str(len(data))), path

    archive.extractall(tmp_path)
    installed = PathDistribution(tmp_path / info)
    assert [(each.name, each.value) for each in installed.entry_points] == [("lumi", "luminoth.cli.main:main")]
    assert "gpu" in installed.metadata.get_all("Provides-Extra")
    assert any(each.startswith("tensorflow[and-cuda]") and 'extra == "gpu"' in each for each in installed.requires)
    assert any(re.match(r"h5py\b", each) for each in installed.requires)


def test_the_same_files_are_the_same_wheel(wheel):
    assert build_wheel() == wheel


@pytest.mark.slow
def test_pip_installs_the_wheel_and_it_runs(wheel, tmp_path):
    path = tmp_path / wheel[0]
    path.write_bytes(wheel[1])
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", target, path], check=True, capture_output=True)
    # As Google's own images run it: as a module.
    done = subprocess.run(
        [sys.executable, "-m", "luminoth.cli", "--version"],
        env={**os.environ, "PYTHONPATH": str(target)}, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"lumi, version {luminoth.__version__}\n"


def test_a_wheel_that_is_named(tmp_path):
    path = tmp_path / "luminoth-2.0-py3-none-any.whl"
    with pytest.raises(CloudArgumentError, match="cannot be read: No such file"):
        read_wheel(path)
    path.write_bytes(b"no wheel")
    with pytest.raises(CloudArgumentError, match="is damaged: not a ZIP file"):
        read_wheel(path)
    with pytest.raises(CloudArgumentError, match=r"accepted: a wheel of Luminoth"):
        read_wheel(tmp_path / "other-2.0-py3-none-any.whl")
    with zipfile.ZipFile(path, "w"):
        pass
    assert read_wheel(path) == (path.name, path.read_bytes())


def test_bootstrap_installs_the_wheel_beside_it_and_becomes_lumi(tmp_path):
    """With a `python` and a `lumi` that only write down how they are called."""
    packages, programs = tmp_path / "gcs" / "my bucket", tmp_path / "bin"
    packages.mkdir(parents=True)
    programs.mkdir()
    script = packages / "bootstrap.sh"
    script.write_bytes(bootstrap_script())
    calls = tmp_path / "calls"
    (programs / "python").write_text(f'#!/bin/bash\n[ "$1" = - ] && echo /a/nvidia/x/lib || echo "$@" >> {calls}\n')
    (programs / "lumi").write_text(f'#!/bin/bash\necho "lumi $$ $LD_LIBRARY_PATH $@" >> {calls}\nexit 7\n')
    for program in programs.iterdir():
        program.chmod(0o755)

    def run(**environment):
        kept = {"PATH": f"{programs}:{os.environ['PATH']}", **environment}
        return subprocess.Popen(
            ["bash", script, "train", "-c", "gs://b/a c.yml"], env=kept, stderr=subprocess.PIPE, text=True
        )

    process = run()
    assert "there must be one wheel" in process.communicate()[1]
    assert process.returncode == 1
    (packages / "luminoth-1.0-py3-none-any.whl").touch()
    process = run(LUMI_EXTRA="[gpu]")
    process.communicate()
    assert process.returncode == 7  # lumi's own
    install, started = calls.read_text().splitlines()
    assert install.startswith("-m pip install")
    assert install.endswith(f"{packages}/luminoth-1.0-py3-none-any.whl[gpu]")
    # The shell is gone: signals reach lumi.
    assert started == f"lumi {process.pid} /a/nvidia/x/lib:/usr/local/nvidia/lib64 train -c gs://b/a c.yml"


# --- The request ------------------------------------------------------------


def test_the_request_of_a_training():
    resources = Resources(L4, timeout=timedelta(hours=12), strategy="spot", service_account="a@p.iam", disk_gb=200)
    plan = plan_training("t1", "b-1", "train: {}\n", Program(WHEEL, environment={"A": "b=c"}), resources)
    assert plan.body == {
        "displayName": "t1",
        "labels": {"lumi_kind": "train", "lumi_job": "t1", "lumi_run": "t1"},
        "jobSpec": {
            "workerPoolSpecs": [
                {
                    "machineSpec": {
                        "machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1
                    },
                    "diskSpec": {"bootDiskSizeGb": 200},
                    "containerSpec": {
                        "imageUri": "python:3.12-slim",
                        "command": ["bash", "/gcs/b-1/lumi_t1/packages/t1/bootstrap.sh"],
                        "args": ["train", "-c", "gs://b-1/lumi_t1/config.yml"],
                        "env": [{"name": "LUMI_EXTRA", "value": "[gpu]"}, {"name": "A", "value": "b=c"}],
                    },
                    "replicaCount": "1",
                }
            ],
            "scheduling": {"timeout": "43200s", "strategy": "SPOT"},
            "baseOutputDirectory": {"outputUriPrefix": "gs://b-1/lumi_t1"},
            "serviceAccount": "a@p.iam",
        },
    }  # fmt: skip
    assert list(plan.uploads) == [
        "lumi_t1/config.yml", "lumi_t1/run.json", f"lumi_t1/packages/t1/{WHEEL[0]}", "lumi_t1/packages/t1/bootstrap.sh"
    ]  # fmt: skip
    assert json.loads(plan.uploads["lumi_t1/run.json"])["machine"] == "g2-standard-12 with 1 x NVIDIA_L4"


def test_workers_are_a_second_pool_and_start_again_together():
    spec = plan_training("t1", "b-1", "", Program(WHEEL), Resources(CPU, workers=3)).body["jobSpec"]
    assert [pool["replicaCount"] for pool in spec["workerPoolSpecs"]] == ["1", "3"]
    assert spec["workerPoolSpecs"][0]["containerSpec"] == spec["workerPoolSpecs"][1]["containerSpec"]
    assert spec["workerPoolSpecs"][0]["machineSpec"] == {"machineType": "n1-standard-8"}
    assert "env" not in spec["workerPoolSpecs"][0]["containerSpec"]  # no CUDA on a CPU
    assert spec["scheduling"]["restartJobOnWorkerRestart"] is True


def test_other_images():
    plan = plan_training("t1", "b-1", "", Program(image="gcr.io/x/y"), Resources(L4))
    (pool,) = plan.body["jobSpec"]["workerPoolSpecs"]
    command = ["train", "-c", "gs://b-1/lumi_t1/config.yml"]
    assert pool["containerSpec"] == {"imageUri": "gcr.io/x/y", "command": ["lumi"], "args": command}
    assert list(plan.uploads) == ["lumi_t1/config.yml", "lumi_t1/run.json"]
    plan = plan_training("t1", "b-1", "", Program(WHEEL, prebuilt="g/tf"), Resources(L4))
    (pool,) = plan.body["jobSpec"]["workerPoolSpecs"]
    assert pool["pythonPackageSpec"] == {
        "executorImageUri": "g/tf", "packageUris": [f"gs://b-1/lumi_t1/packages/t1/{WHEEL[0]}"],
        "pythonModule": "luminoth.cli", "args": command,
    }  # fmt: skip


def test_resuming_keeps_the_run_and_uploads_packages_of_its_own():
    plan = plan_resumption("t1", "t2", "b-1", Program(WHEEL), Resources(L4))
    assert plan.body["labels"] == {"lumi_kind": "train", "lumi_job": "t2", "lumi_run": "t1"}
    container = plan.body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
    assert container["args"] == ["train", "-c", "gs://b-1/lumi_t1/config.yml"]
    assert container["command"][1] == "/gcs/b-1/lumi_t1/packages/t2/bootstrap.sh"
    assert list(plan.required) == ["lumi_t1/config.yml"]
    assert "lumi_t1/config.yml" not in plan.uploads


def test_an_evaluation_uses_what_the_training_installed():
    plan = plan_evaluation("t1", "e1", "b-1", "test", Program(), Resources(L4))
    container = plan.body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
    assert container["args"] == ["eval", "-c", "gs://b-1/lumi_t1/config.yml", "--split", "test"]
    assert container["command"][1] == "/gcs/b-1/lumi_t1/packages/t1/bootstrap.sh"
    assert plan.body["labels"] == {"lumi_kind": "eval", "lumi_job": "e1", "lumi_run": "t1"}
    assert not plan.uploads
    assert list(plan.required) == ["lumi_t1/config.yml", "lumi_t1/packages/t1/bootstrap.sh"]


def test_an_accelerator_that_does_not_exist_is_refused_with_those_that_do():
    machine = Machine("new-machine", "NVIDIA_L5", 1)
    message = r"workerPoolSpecs\[0\]\.machineSpec\.acceleratorType is 'NVIDIA_L5'; accepted: .*NVIDIA_L4"
    with pytest.raises(CloudArgumentError, match=message):
        plan_training("t1", "b-1", "", Program(WHEEL), Resources(machine))


SCHEMA = "GoogleCloudAiplatformV1CustomJob"
ANY_VALUE = st.none() | st.booleans() | st.sampled_from([5, 1.5, "x", "5", "SPOT", [], {}, ["x"], {"x": "y"}])


def is_accepted(function, *arguments):
    try:
        function(*arguments)
    except (ValueError, CloudArgumentError):
        return False
    return True


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"state": "JOB_STATE_RUNNING"}, "CustomJob.state is 'JOB_STATE_RUNNING'; accepted: nothing: Google sets it"),
        ({"jobSpec": {"workerPools": []}}, r"jobSpec\.workerPools is \[\]; accepted: .*workerPoolSpecs"),
        ({"jobSpec": {"workerPoolSpecs": {}}}, "accepted: a list"),
        ({"jobSpec": []}, "accepted: a mapping"),
        ({"labels": {"lumi_run": 1}}, r"labels\.lumi_run is 1; accepted: a value of type string"),
        ({"jobSpec": {"workerPoolSpecs": [{"replicaCount": "x"}]}}, "accepted: a whole number"),
        ({"jobSpec": {"workerPoolSpecs": [{"diskSpec": {"bootDiskSizeGb": True}}]}}, "a value of type integer"),
        ({"jobSpec": {"scheduling": {"strategy": "LOUD"}}}, "'LOUD'; accepted: .*SPOT"),
    ],
)
def test_bodies_that_google_would_refuse_are_refused_here(part, message):
    assert not is_accepted(check, VERTEX, {"$ref": SCHEMA}, part)
    with pytest.raises(CloudArgumentError, match=message):
        check_body(service_description("aiplatform", "v1"), SCHEMA, part)


@given(st.integers(0, 30), ANY_VALUE)
def test_one_value_of_a_request_replaced_is_judged_as_the_reference_does(place, value):
    body = plan_training("t1", "b-1", "", Program(WHEEL), Resources(L4, workers=1)).body
    slots = list(_slots(body))
    holder, name = slots[place % len(slots)]
    holder[name] = value
    expected = is_accepted(check, VERTEX, {"$ref": SCHEMA}, body)
    assert is_accepted(check_body, service_description("aiplatform", "v1"), SCHEMA, body) == expected


def _slots(tree):
    """(container, key) of all values in nested mappings and lists."""
    for name, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, name
        if isinstance(value, (dict, list)):
            yield from _slots(value)
