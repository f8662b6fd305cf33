"""Submission, jobs, buckets and logs against the services that are played here; what goes wrong on the way."""

import google.auth as google_auth
import pytest
from google.api_core import exceptions as api_errors

from luminoth.cloud import bucket as buckets
from luminoth.cloud import jobs
from luminoth.cloud.access import connect, find_credentials
from luminoth.cloud.failures import explained
from luminoth.cloud.gcp import Program, find_run, plan_evaluation, plan_resumption, plan_training, read_run, submit
from luminoth.cloud.job_body import Resources
from luminoth.cloud.logs import LogQuery, follow_logs, read_logs
from luminoth.cloud.machines import Machine
from luminoth.errors import CloudError
from tests.cloud.fake_google import DONE_BUT_500, DONE_BUT_LOST, LOST, error, error_info

RESOURCES = Resources(Machine("g2-standard-12", "NVIDIA_L4", 1))
WHEEL = ("luminoth-1.0-py3-none-any.whl", b"wheel")
CREATE = "POST .*/customJobs$"
INTERNAL = error(500, "INTERNAL", "Internal error")


@pytest.fixture
def plan(bucket_name):
    return plan_training("t1", bucket_name, "train: {}\n", Program(WHEEL), RESOURCES)


# --- Submission ------------------------------------------------------------


def test_submitting_creates_the_bucket_uploads_and_creates_the_job(google, cloud, plan, bucket_name):
    steps = []
    job = submit(cloud, plan, on_step=steps.append)
    assert [(each["displayName"], each["state"]) for each in google.jobs.values()] == [("t1", "JOB_STATE_PENDING")]
    assert (job.display_name, job.state, job.name) == ("t1", "PENDING", next(iter(google.jobs)))
    stored = {blob.name: blob.download_as_bytes() for blob in cloud.storage.list_blobs(bucket_name)}
    assert stored == dict(plan.uploads)
    assert steps[0] == f"Created the bucket gs://{bucket_name} in us-central1"
    assert steps[1] == f"Uploading gs://{bucket_name}/lumi_t1/config.yml (10 bytes)"
    assert read_run(cloud, bucket_name, "t1")["wheel"] == WHEEL[0]
    assert google.asked(CREATE)[0][2] == plan.body


@pytest.mark.parametrize(
    ("failures", "sent"),
    [
        ([INTERNAL], 2),
        ([DONE_BUT_500], 1),
        ([LOST], 2),
        ([DONE_BUT_LOST], 1),
        ([INTERNAL, LOST], 3),
        ([LOST, DONE_BUT_LOST], 2),
        ([error(503, "UNAVAILABLE", "Try again"), DONE_BUT_500], 2),
    ],
)
def test_one_job_exists_whatever_happens_to_the_request(google, cloud, plan, failures, sent):
    google.failures = [(CREATE, failure) for failure in failures]
    job = submit(cloud, plan)
    assert [job.name] == list(google.jobs)
    assert len(google.asked(CREATE)) == sent


def test_googles_own_transport_would_create_two(google, cloud, plan):
    """Why jobs are created through another one: should this fail, it may go."""
    google.failures = [(CREATE, DONE_BUT_LOST)]
    cloud.jobs.create(parent=cloud.parent, body=plan.body).execute()
    assert len(google.jobs) == 2


def test_a_second_job_that_a_late_list_has_let_happen_is_cancelled(google, cloud, plan):
    google.failures = [(CREATE, DONE_BUT_500), (r"GET .*/customJobs$", (200, {}))]
    job = jobs.create_job(cloud, plan.body)
    first, second = google.jobs.values()
    assert job.name == first["name"]
    assert (first["state"], second["state"]) == ("JOB_STATE_PENDING", "JOB_STATE_CANCELLING")


def test_after_three_failures_it_gives_up_with_what_was_uploaded(google, cloud, plan, bucket_name):
    google.failures = [(CREATE, INTERNAL)] * 3
    message = r"creating the job t1: Internal error \(status 500\); Google's side failed.*; what was uploaded stays in "
    with pytest.raises(CloudError, match=message + rf"gs://{bucket_name}/lumi_t1: --resume t1 submits it again"):
        submit(cloud, plan)
    assert not google.jobs
    assert {blob.name for blob in cloud.storage.list_blobs(bucket_name)} == set(plan.uploads)
    # As the message says.
    submit(cloud, plan_resumption("t1", "t2", bucket_name, Program(WHEEL), RESOURCES))
    assert [job["displayName"] for job in google.jobs.values()] == ["t2"]


def test_whether_it_was_created_may_stay_unknown(google, cloud, plan):
    google.failures = [(CREATE, DONE_BUT_500), *[(r"GET .*/customJobs$", INTERNAL)] * 4]
    with pytest.raises(CloudError, match=r"whether the job exists could not be found out.*before you submit again"):
        jobs.create_job(cloud, plan.body)
    assert len(google.asked(CREATE)) == 1


def test_a_refusal_is_not_repeated(google, cloud, plan):
    google.failures = [(CREATE, error(400, "INVALID_ARGUMENT", "Unsupported machine type."))]
    with pytest.raises(CloudError, match=r"creating the job t1: Unsupported machine type \(status 400\)"):
        submit(cloud, plan)
    assert len(google.asked(CREATE)) == 1


def test_an_id_is_used_once(google, cloud, plan, bucket_name):
    submit(cloud, plan)
    with pytest.raises(CloudError, match="--job-id t1: there is such a job already"):
        submit(cloud, plan)
    google.jobs.clear()
    with pytest.raises(CloudError, match="a run of that id has its files there; --resume t1 goes on with it"):
        submit(cloud, plan)


def test_a_run_is_trained_by_one_job_at_a_time(google, cloud, plan, bucket_name):
    first = submit(cloud, plan)
    again = plan_resumption("t1", "t2", bucket_name, Program(WHEEL), RESOURCES)
    with pytest.raises(CloudError, match=r"t1: t1 \(\d+\) is training it \(PENDING\)"):
        submit(cloud, again)
    assert len(google.jobs) == 1
    # An evaluation is no second writer.
    submit(cloud, plan_evaluation("t1", "e1", bucket_name, "val", Program(), RESOURCES))
    google.jobs[first.name]["state"] = "JOB_STATE_FAILED"
    submit(cloud, again)
    submit(cloud, plan_resumption("t1", "t3", bucket_name, Program(WHEEL), RESOURCES), force=True)
    assert [job["labels"]["lumi_run"] for job in google.jobs.values()] == ["t1"] * 4


def test_what_must_be_there_is_looked_for(google, cloud, plan, bucket_name):
    evaluation = plan_evaluation("t1", "e1", bucket_name, "val", Program(), RESOURCES)
    with pytest.raises(CloudError, match="there is no such bucket; name the one of the run with --bucket"):
        submit(cloud, evaluation)
    bucket, _ = buckets.ensure_bucket(cloud, bucket_name)
    with pytest.raises(CloudError, match=r"config\.yml: there is no such file; is that the run's id and bucket"):
        submit(cloud, evaluation)
    buckets.upload(bucket, "lumi_t1/config.yml", b"")
    with pytest.raises(CloudError, match=r"bootstrap\.sh: there is no such file; --rebuild uploads one"):
        submit(cloud, evaluation)
    assert not google.jobs


def test_large_files_are_uploaded(cloud, bucket_name):
    bucket, is_new = buckets.ensure_bucket(cloud, bucket_name)
    assert is_new
    assert buckets.ensure_bucket(cloud, bucket_name)[1] is False
    content = bytes(range(256)) * 40_000  # more than what is sent at once
    buckets.upload(bucket, "a/large file", content)
    assert buckets.read_file(bucket, "a/large file") == content
    assert buckets.read_file(bucket, "a/none") is None
    assert buckets.exists(bucket, "a/large file")


def test_a_bucket_of_somebody_else(cloud, bucket_name, monkeypatch):
    def taken(*_, **__):
        raise api_errors.Conflict("The requested bucket name is not available.")

    monkeypatch.setattr(cloud.storage, "create_bucket", taken)
    with pytest.raises(CloudError, match="the name is taken by another project; choose another --bucket"):
        buckets.ensure_bucket(cloud, bucket_name)


# --- Jobs ------------------------------------------------------------


def test_all_pages_are_listed_newest_first(google, cloud):
    for number in range(7):
        google.add_job(f"j{number}", labels={"lumi_kind": "train"})
    google.largest_page = 3
    assert [job.display_name for job in jobs.find_jobs(cloud)] == [f"j{number}" for number in reversed(range(7))]
    assert len(google.asked("GET .*customJobs")) == 3
    assert jobs.find_jobs(cloud, "labels.lumi_kind=eval") == []


def test_a_job_is_found_by_each_of_its_names(google, cloud):
    name = google.add_job("t1", labels={"lumi_job": "t1", "lumi_run": "r1"})
    google.add_job("other")
    number = name.rpartition("/")[2]
    assert {jobs.find_job(cloud, each).name for each in (name, number, "t1")} == {name}
    assert {find_run(cloud, each) for each in (name, number, "t1")} == {"r1"}
    assert find_run(cloud, "deleted-one") == "deleted-one"
    with pytest.raises(CloudError, match=r"The CustomJob does not exist: 5 \(status 404\)"):
        jobs.find_job(cloud, "5")
    with pytest.raises(CloudError, match="--job-id t9: there is no such job in proj-1, us-central1"):
        jobs.find_job(cloud, "t9")
    with pytest.raises(CloudError, match="has no label lumi_run"):
        find_run(cloud, list(google.jobs)[1])


def test_cancelling_and_deleting(google, cloud):
    name = google.add_job("t1")
    with pytest.raises(CloudError, match=r"t1 .* is RUNNING: only a job that is over can be deleted"):
        jobs.delete_job(cloud, jobs.get_job(cloud, name))
    jobs.cancel_job(cloud, jobs.get_job(cloud, name))
    assert google.jobs[name]["state"] == "JOB_STATE_CANCELLING"
    google.jobs[name]["state"] = "JOB_STATE_CANCELLED"
    with pytest.raises(CloudError, match=r"is over .CANCELLED.: there is nothing to cancel"):
        jobs.cancel_job(cloud, jobs.get_job(cloud, name))
    jobs.delete_job(cloud, jobs.get_job(cloud, name))
    assert not google.jobs


def test_reads_are_repeated_by_themselves(google, cloud):
    google.add_job("t1")
    google.failures = [("GET", error(503, "UNAVAILABLE", "later"))] * 3
    assert len(jobs.find_jobs(cloud)) == 1


def test_times_have_nine_digits():
    job = jobs.Job({"name": "a/1", "createTime": "2026-11-22T10:00:00.123456789Z", "endTime": "2026-11-22T10:00:01Z"})
    assert (job.ended - job.created).total_seconds() == pytest.approx(0.876544)
    assert job.started is None


def test_without_other_addresses_the_clients_lead_to_google():
    cloud = connect("proj-1", "europe-west4", google_auth.credentials.AnonymousCredentials())
    listed = (
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/proj-1/locations/europe-west4/customJobs?alt=json"
    )
    assert cloud.jobs.list(parent=cloud.parent).uri == listed
    assert cloud.log_entries.list(body={}).uri == "https://logging.googleapis.com/v2/entries:list?alt=json"


# --- Errors ------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "messages"),
    [
        (
            error(403, "PERMISSION_DENIED", "Vertex AI API has not been used in project 1 before.",
                  error_info("SERVICE_DISABLED", service="aiplatform.googleapis.com")),
            ["aiplatform.googleapis.com is not enabled", "`gcloud services enable aiplatform.googleapis.com logging"],
        ),
        (
            error(403, "PERMISSION_DENIED", "Permission denied.",
                  error_info("IAM_PERMISSION_DENIED", permission="aiplatform.customJobs.create")),
            ["missing permission aiplatform.customJobs.create; who submits needs roles/aiplatform.user"],
        ),
        ((403, {"error": {"code": 403, "message": "Forbidden"}}), ["Forbidden (status 403)", "roles/aiplatform.user"]),
        (
            error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", error_info("RATE_LIMIT_EXCEEDED", quota_metric="l4s")),
            ["quota l4s is used up or zero", "https://console.cloud.google.com/iam-admin/quotas"],
        ),
        (
            error(429, "RESOURCE_EXHAUSTED", "Resources are insufficient in region: us-central1."),
            ["try another --region or --accelerator"],
        ),
        (error(401, "UNAUTHENTICATED", "Invalid credentials."), ["gcloud auth application-default login"]),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(google, cloud, plan, answer, messages):
    google.failures = [(CREATE, answer)]
    with pytest.raises(CloudError) as raised:
        jobs.create_job(cloud, plan.body)
    text = str(raised.value)
    assert all(message in text for message in messages), text
    assert "\n" not in text
    assert len(google.asked(CREATE)) == 1


def test_a_lost_connection_is_one_line(google, cloud):
    google.failures = [("GET", LOST)] * 20
    with pytest.raises(CloudError, match=r"listing jobs in us-central1: .*connection was lost.*is there a network"):
        jobs.find_jobs(cloud)


def test_credentials_that_cannot_be_renewed(google):
    class Expired(google_auth.credentials.Credentials):
        def refresh(self, request):
            raise google_auth.exceptions.RefreshError("invalid_grant: Token has been expired or revoked.")

    cloud = connect("proj-1", "us-central1", Expired())
    for function in (jobs.find_jobs, lambda cloud: jobs.create_job(cloud, {"labels": {"lumi_job": "t1"}})):
        with pytest.raises(CloudError, match=r"expired or revoked \(invalid_grant.*application-default login"):
            function(cloud)
    with pytest.raises(CloudError, match="expired or revoked"):
        buckets.ensure_bucket(cloud, "b-expired")


def test_no_credentials(monkeypatch, tmp_path):
    def none(*_, **__):
        raise google_auth.exceptions.DefaultCredentialsError("none")

    monkeypatch.setattr("google.auth.default", none)
    with pytest.raises(CloudError, match=r"no credentials found; .* --credentials"):
        find_credentials(None)
    key = tmp_path / "key.json"
    with pytest.raises(CloudError, match=r"key\.json: cannot be read: No such file"):
        find_credentials(key)
    key.write_text('{"type": "service_account"}')
    with pytest.raises(CloudError, match=r"key\.json: is not a whole key"):
        find_credentials(key)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (api_errors.Forbidden("p does not have storage.buckets.get access"), "status 403.*storage.objectAdmin"),
        (api_errors.TooManyRequests("slow down"), "status 429.*quota"),
        (api_errors.RetryError("Timeout of 120.0s exceeded", None), "was not reached or the connection was lost"),
        (google_auth.exceptions.TransportError("no route"), r"was not reached .*\(no route\)"),
    ],
)
def test_errors_of_storage(raised, message):
    with pytest.raises(CloudError, match=f"uploading x: .*{message}"), explained("uploading x"):
        raise raised


# --- Logs ------------------------------------------------------------


def entry(second, insert_id, message, number, severity="INFO", task="workerpool0-0"):
    return {
        "timestamp": f"2026-11-22T10:00:{second:02}.5Z", "insertId": insert_id, "severity": severity,
        "resource": {"type": "ml_job", "labels": {"job_id": number, "task_name": task}}, **message,
    }  # fmt: skip


@pytest.fixture
def job(google, cloud):
    return jobs.get_job(cloud, google.add_job("t1"))


def test_lines_of_one_time_come_once_each_over_pages_and_polls(google, cloud, job, monkeypatch):
    waves = [
        [entry(1, "a", {"jsonPayload": {"message": "one\n"}}, job.number)],
        # The second wave begins at the time at which the first ended.
        [entry(1, "b", {"textPayload": "two"}, job.number), *[
            entry(2, f"{place:03}", {"jsonPayload": {"message": f"of 25: {place}"}}, job.number) for place in range(25)
        ]],
        [entry(2, "x", {"jsonPayload": {"loss": 1}}, job.number)],
    ]  # fmt: skip
    google.largest_page = 10

    def next_wave(described):
        if waves:
            google.entries += waves.pop(0)
        else:
            described["state"] = "JOB_STATE_SUCCEEDED"

    google.on_get = next_wave
    states, pauses = [], []
    monkeypatch.setattr("time.sleep", pauses.append)

    def on_state(job):
        states.append(job.state)

    lines = follow_logs(cloud, job, LogQuery(job.number), interval=15, on_state=on_state)
    expected = ["one", "two", *(f"of 25: {place}" for place in range(25)), '{"loss": 1}']
    assert [line.message for line in lines] == expected
    assert states == ["RUNNING", "SUCCEEDED"]
    # Five looks, and two more pages in the second; the second look at a quiet, ended job is the last.
    assert pauses.count(15) == 4
    assert pauses.count(1.0) == 2


def test_lines_that_come_after_the_end_are_shown(google, cloud, job):
    google.jobs[job.name]["state"] = "JOB_STATE_FAILED"
    looks = []

    def late(described):
        looks.append(1)
        if len(looks) == 2:
            google.entries.append(entry(3, "z", {"textPayload": "Traceback"}, job.number))

    google.on_get = late
    assert [line.message for line in follow_logs(cloud, job, LogQuery(job.number), interval=15)] == ["Traceback"]
    assert len(looks) == 4


def test_some_lines_are_chosen(google, cloud, job):
    google.entries = [
        entry(1, "a", {"textPayload": "early"}, job.number),
        entry(2, "b", {"textPayload": "info"}, job.number),
        entry(3, "c", {"textPayload": "bad"}, job.number, severity="ERROR"),
        entry(4, "d", {"textPayload": "of a worker"}, job.number, severity="ERROR", task="workerpool1-0"),
        entry(5, "e", {"textPayload": "of another job"}, "77"),
    ]

    def read(**chosen):
        return [line.message for line in read_logs(cloud, LogQuery(job.number, **chosen))]

    assert read() == ["early", "info", "bad", "of a worker"]
    assert read(severity="WARNING") == ["bad", "of a worker"]
    assert read(task="workerpool0-0", severity="ERROR") == ["bad"]
    moment = jobs.Job({"name": "", "createTime": "2026-11-22T10:00:02Z"}).created
    assert read(since=moment) == ["info", "bad", "of a worker"]


def test_following_survives_what_passes(google, cloud, job):
    google.jobs[job.name]["state"] = "JOB_STATE_SUCCEEDED"
    google.entries = [entry(1, "a", {"textPayload": "one"}, job.number)]
    # More than the client repeats by itself.
    google.failures = [("POST /v2/entries:list", INTERNAL)] * 5
    told = []
    lines = follow_logs(cloud, job, LogQuery(job.number), interval=15, on_failure=told.append)
    assert [line.message for line in lines] == ["one"]
    assert len(told) == 1
    google.failures = [("POST /v2/entries:list", error(403, "PERMISSION_DENIED", "No."))]
    with pytest.raises(CloudError, match=f"reading the logs of job {job.number}: No"):
        list(follow_logs(cloud, job, LogQuery(job.number), interval=15))
