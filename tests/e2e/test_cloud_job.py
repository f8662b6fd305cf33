"""A training in Google Cloud from its submission to its evaluation, with everything real but Google.

Services on this machine take the jobs and keep the bucket, which is a folder; the jobs' commands run as processes here.
"""

import json
import os
import re
import shutil

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from luminoth.checkpoints.folder import find_damage, read_state
from luminoth.cloud.access import LOGGING_VARIABLE, VERTEX_VARIABLE
from tests.cloud.fake_gcs import LOST, fake_gcs
from tests.cloud.fake_google import fake_google
from tests.e2e.containers import KILLED, Containers
from tests.e2e.installed import Lumi

pytestmark = pytest.mark.slow

BUCKET = "my-bucket"
CLASSES = ["bicycle", "bus", "car", "person", "traffic light", "truck"]
WHOLE = ["classes.json", "config.yml", "model.weights.h5", "state.json"]
CONFIG = """
train:
  run_name: tiny
  seed: 3
  batch_size: 2
  warmup_steps: 2
  max_steps: 6
  save_checkpoint_steps: 2
  checkpoints_max_keep: 2
  display_every_steps: 1
  save_summaries_steps: 1
  image_vis:
  wait_for_workers_secs: 100
dataset:
  image_preprocessing: {min_size: 64, max_size: 96}
model:
  base_network:
    {architecture: thin_resnet, width: 4, weights: random, fine_tune_from: null, train_batch_norm: true}
  anchors: {base_size: 32, scales: [0.5, 1], ratios: [1]}
  rpn: {num_channels: 8, proposals: {pre_nms_top_n: 50, post_nms_top_n: 10}, target: {minibatch_size: 16}}
  rcnn: {target: {minibatch_size: 8}}
"""


class Cloud:
    """Google Cloud on this machine, and someone who uses it."""

    def __init__(self, folder, google, gcs):
        self.google, self.gcs = google, gcs
        self.bucket = gcs.root / BUCKET
        self.run = self.bucket / "lumi_t1" / "tiny"
        self.disk = folder / "disk"  # where the machines have temporary files
        self.desk = folder / "desk"
        for each in (self.bucket, self.disk, self.desk):
            each.mkdir()
        services = {VERTEX_VARIABLE: google.url, LOGGING_VARIABLE: google.url, "GOOGLE_CLOUD_PROJECT": "proj-1"}
        self.lumi = Lumi(self.desk, environment={**gcs.environment, **services})
        self.containers = Containers(folder / "machines", gcs.root, gcs.environment)

    def gcp(self, *arguments, status=0):
        return self.lumi("cloud", "gcp", *arguments, "--accelerator-count", 0, status=status)

    def submit(self, *arguments):
        """Submits a job; its description, as Vertex AI has it."""
        return self.google.jobs[json.loads(self.gcp(*arguments, "--json").out)["name"]]

    def copies(self):
        """What the machines have on their disks of the bucket, or for it: copies, and TensorFlow's files of uploads."""
        return sorted(path for path in self.disk.iterdir() if path.name.startswith(("lumi-", "tmp_file_tensorflow")))

    def checkpoints(self):
        """What is in the bucket of each checkpoint."""
        return {path.name: sorted(os.listdir(path)) for path in self.run.glob("ckpt-*")}


@pytest.fixture(scope="class")
def cloud(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cloud")
    (folder / "buckets").mkdir()
    with fake_google() as google, fake_gcs(folder / "buckets") as gcs:
        cloud = Cloud(folder, google, gcs)
        yield cloud
        cloud.containers.close()


def losses(lines):
    """step -> total loss, of what a training has said."""
    found = (re.match(r"Step (\d+)/6: loss ([\d.]+)", line) for line in lines)
    return {int(each[1]): float(each[2]) for each in found if each}


class TestCloudJob:
    """In the order of the definitions; each stage needs those before it."""

    def test_submission(self, cloud):
        size = ("--width", 96, "--height", 64)
        cloud.lumi("dataset", "toytown", "--output-dir", "pascal", "--images", 12, "--seed", 1, *size)
        cloud.lumi("dataset", "transform", "--type", "pascal", "--data-dir", "pascal", "--output", "tf")
        shutil.copytree(cloud.desk / "tf", cloud.bucket / "tf")
        (cloud.desk / "config.yml").write_text(CONFIG)
        job = cloud.submit(
            "train", "-c", "config.yml", "--dataset", f"gs://{BUCKET}/tf", "--bucket", BUCKET, "--job-id", "t1",
            "--worker-count", 1, "--env", f"TMPDIR={cloud.disk}",
        )  # fmt: skip
        assert sorted(os.listdir(cloud.bucket / "lumi_t1")) == ["config.yml", "packages", "run.json"]
        assert [pool["replicaCount"] for pool in job["jobSpec"]["workerPoolSpecs"]] == ["1", "1"]
        assert job["jobSpec"]["scheduling"]["restartJobOnWorkerRestart"]

    def test_a_chief_killed_while_it_uploads_leaves_the_checkpoint_before(self, cloud):
        (job,) = cloud.google.jobs.values()
        chief, worker = cloud.containers.start(job)

        def kill_chief(method, path):
            if method == "PUT" and "/ckpt-4/model.weights.h5" in path:
                chief.kill_now()
                return LOST

        cloud.gcs.on_request = kill_chief
        cloud.first_losses = losses(chief.finish(KILLED))
        assert list(cloud.first_losses) == [1, 2, 3, 4]
        assert worker.finish(1)[-1].startswith("Error: stopped after step 4: lost the chief (localhost:")
        assert cloud.checkpoints() == {"ckpt-2": WHOLE, "ckpt-4": ["classes.json", "config.yml"]}
        # What ran was the uploaded wheel.
        for machine in ("chief-0", "worker-0"):
            place = cloud.containers.installed_in(machine)
            assert place.match(f"machines/{machine}/lib/*/site-packages/luminoth/__init__.py")
        # The worker has removed its copies; the chief could not.
        left, upload = cloud.copies()
        assert sorted(os.listdir(left)) == ["records", "runs"]
        shutil.rmtree(left)
        upload.unlink()

    def test_started_again_they_go_on_to_the_end(self, cloud):
        (job,) = cloud.google.jobs.values()
        cloud.gcs.on_request = lambda method, path: None
        cloud.gcs.requests.clear()
        chief, worker = cloud.containers.start(job)
        said = chief.finish()
        assert worker.finish()[-1] == "Worker 1: done after 6 steps"
        assert f"Resuming at step 2 (gs://{BUCKET}/lumi_t1/tiny/ckpt-2)" in said
        again = losses(said)
        assert list(again) == [3, 4, 5, 6]
        assert [again[step] for step in (3, 4)] == pytest.approx(
            [cloud.first_losses[step] for step in (3, 4)], abs=2e-3
        )
        assert cloud.gcs.asked("DELETE .*/ckpt-4/classes.json")  # the half one was removed before the new one came
        assert cloud.checkpoints() == {"ckpt-4": WHOLE, "ckpt-6": WHOLE}
        assert cloud.copies() == []

    def test_the_run_is_in_the_bucket(self, cloud):
        for path in cloud.run.glob("ckpt-*"):
            assert find_damage(path) is None
        state = read_state(cloud.run / "ckpt-6")
        assert (state["step"], state["data"]["images_seen"]) == (6, 12)
        assert json.loads((cloud.run / "classes.json").read_text()) == CLASSES
        assert f"job_dir: gs://{BUCKET}/lumi_t1" in (cloud.run / "config.yml").read_text()
        rows = [json.loads(line) for line in (cloud.run / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
        events = EventAccumulator(str(cloud.run), size_guidance={"scalars": 0}).Reload()
        points = events.Scalars("losses/total_loss")
        assert [(point.step, point.value) for point in points] == [
            (row["step"], pytest.approx(row["total_loss"], rel=1e-6)) for row in rows
        ]

    def test_evaluation(self, cloud):
        job = cloud.submit("eval", "--train-folder", f"gs://{BUCKET}/lumi_t1", "--job-id", "e1")
        (machine,) = cloud.containers.start(job)
        said = machine.finish()
        assert any(line.startswith("ckpt-6 (step 6) on val: 2 images, ") for line in said)
        assert sorted(os.listdir(cloud.run / "eval")) == ["val-6.detections.npz", "val-6.json"]
        kept = json.loads((cloud.run / "eval" / "val-6.json").read_text())
        assert (kept["split"], kept["step"], kept["images"]) == ("val", 6, 2)
        printed = dict(re.findall(r"^(\w+) +([\d.]+|-)(?: +[\d.]+ to [\d.]+| +-)? *$", "\n".join(said), re.MULTILINE))
        for name, value in {**kept["metrics"], **kept["losses"]}.items():
            assert printed[name] == ("-" if value is None else f"{value:.4f}"), name
        assert any(cloud.run.glob("eval_val/events.out.tfevents.*"))

    def test_another_job_goes_on_with_the_run(self, cloud):
        resume = ("train", "--resume", "t1", "--bucket", BUCKET, "--job-id", "t2")
        assert "is training it (PENDING)" in cloud.gcp(*resume, status=1).err[-1]
        first = next(iter(cloud.google.jobs.values()))
        first["state"] = "JOB_STATE_SUCCEEDED"
        job = cloud.submit(*resume)
        specs = [each["jobSpec"]["workerPoolSpecs"][0]["containerSpec"] for each in (first, job)]
        assert specs[1]["args"] == specs[0]["args"]
        assert specs[1]["command"] == ["bash", f"/gcs/{BUCKET}/lumi_t1/packages/t2/bootstrap.sh"]
        assert job["jobSpec"]["baseOutputDirectory"] == first["jobSpec"]["baseOutputDirectory"]
