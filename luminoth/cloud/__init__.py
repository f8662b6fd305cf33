"""Training and evaluation in Google Cloud: what `lumi cloud gcp` does, as a library.

    names.py      ids, labels, addresses, durations
    machines.py   which machine has which accelerator
    access.py     project, credentials, clients
    failures.py   Google's errors in one line, with what to do
    packaging.py  the wheel of this Luminoth, and bootstrap.sh, which starts it in a container
    bucket.py     files in a bucket
    job_body.py   the request for a job, checked against Google's own schema
    jobs.py       jobs: create once, find, list, cancel, delete
    logs.py       what a job writes, as it comes
    gcp.py        from a configuration to a job: plan, then submit

Google's libraries are imported in function bodies: they are an extra (`gcp`), and planning a job needs few of them.
"""
