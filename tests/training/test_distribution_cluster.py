"""TF_CONFIG, how workers find one another, and how a batch is divided among them."""

import json
import socket
import threading

import pytest
import tensorflow as tf

from luminoth.config import config_from_dict
from luminoth.errors import ConfigError, WorkerError
from luminoth.training.workers.cluster import read_cluster
from luminoth.training.workers.rendezvous import is_listening, meet
from luminoth.training.workers.strategy import Workers, join_workers, make_strategy

HOSTS = ["host0:2222", "host1:2222", "host2:2222"]


def tf_config(cluster, kind=None, index=0, **more):
    task = {} if kind is None else {"task": {"type": kind, "index": index}}
    return json.dumps({"cluster": cluster, **task, **more})


def test_the_chief_comes_first():
    cluster = {"worker": HOSTS[1:], "master": HOSTS[:1]}
    for kind, index, place in (("master", 0, 0), ("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)):
        found = read_cluster(tf_config(cluster, kind, index, environment="cloud", job={"scale": 1}))
        assert (found.addresses, found.index) == (tuple(HOSTS), place)
        assert json.loads(found.to_json()) == {
            "cluster": {"chief": HOSTS[:1], "worker": HOSTS[1:]},
            "task": {"type": "chief" if kind == "master" else kind, "index": index},
        }


def test_without_a_chief_worker_0_is_it():
    found = read_cluster(tf_config({"worker": HOSTS}, "worker", "2"))  # some services write the index as text
    assert (found.addresses, found.index) == (tuple(HOSTS), 2)


@pytest.mark.parametrize("text", [None, "", " ", "{}", '{"cluster": {}}', tf_config({"chief": HOSTS[:1]}, "chief")])
def test_one_machine_is_no_cluster(text):
    assert read_cluster(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{cluster", r"TF_CONFIG: is not JSON \(.*\); accepted: as in \{\"cluster\""),
        ("[1]", "TF_CONFIG: is no mapping"),
        ('{"cluster": [1]}', "TF_CONFIG: cluster is no mapping"),
        (tf_config({"worker": "host0:2222"}, "worker"), 'cluster.worker is "host0:2222"; accepted: a list of'),
        (tf_config({"worker": ["host0"]}, "worker"), r'cluster.worker is \["host0"\]; accepted: a list .* "host:port"'),
        (tf_config({"chief": HOSTS[:2]}, "chief"), "cluster.chief has 2 addresses; accepted: one"),
        (tf_config({"worker": HOSTS[:1] * 2}, "worker"), "names an address twice: host0:2222, host0:2222"),
        (tf_config({"worker": HOSTS, "ps": HOSTS[:1]}, "worker"), "cluster.ps: there are no parameter servers"),
        (tf_config({"worker": HOSTS}), "has a cluster, but no task.type"),
        (tf_config({"worker": HOSTS}, "evaluator"), "task.type: evaluator: .*eval_every_steps.*lumi eval --watch"),
        (tf_config({"worker": HOSTS}, "chief"), "task.type: 'chief' is not in the cluster; accepted: worker"),
        (tf_config({"worker": HOSTS}, "worker", 3), "task.index: 3 is out of range; .* accepted: 0 to 2"),
        (tf_config({"worker": HOSTS}, "worker", "x"), "task.index: 'x' is out of range"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ConfigError, match=message):
        read_cluster(text)


def free_addresses(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("", 0))
    addresses = [f"localhost:{probe.getsockname()[1]}" for probe in probes]
    for probe in probes:
        probe.close()
    return addresses


def meet_in_threads(addresses, timeout=20.0, of_worker=None):
    """What each of the workers raises, or None."""
    outcomes = [None] * len(addresses)

    def run(index):
        try:
            meet(of_worker or addresses if index else addresses, index, timeout=timeout, name="TF_CONFIG")
        except (ConfigError, WorkerError) as error:
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(addresses))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_workers_meet():
    addresses = free_addresses(3)
    assert meet_in_threads(addresses) == [None] * 3
    assert not is_listening(addresses[0])  # TensorFlow may have the port now


def test_who_has_not_come_is_named():
    addresses = free_addresses(2)
    with pytest.raises(WorkerError, match=rf"worker 1 \({addresses[1]}\) of TF_CONFIG has not come within 0.1 s"):
        meet(addresses, 0, timeout=0.1, name="TF_CONFIG")
    with pytest.raises(WorkerError, match=rf"the chief of TF_CONFIG \({addresses[0]}\) has not answered within 0.1 s"):
        meet(addresses, 1, timeout=0.1, name="TF_CONFIG")


def test_a_port_in_use_is_named():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} of this worker's address localhost:{port} cannot"):
            meet([f"localhost:{port}", *free_addresses(1)], 0, timeout=1, name="TF_CONFIG")


def test_workers_with_other_addresses_are_refused():
    addresses = free_addresses(2)
    others = [addresses[0], *free_addresses(1)]
    chief, _ = meet_in_threads(addresses, timeout=3.0, of_worker=others)
    assert str(chief) == (
        f"TF_CONFIG: worker 1 has the addresses {', '.join(others)}, the chief has {', '.join(addresses)}; they must "
        "be the same on all workers"
    )


def train_section(**keys):
    return config_from_dict({"train": keys}).train


class Devices:
    """A strategy's number of replicas."""

    def __init__(self, count):
        self.num_replicas_in_sync = count


def test_batches_are_divided_or_multiplied():
    workers = Workers(Devices(4))
    assert workers.divide_batch(train_section(batch_size=8)).batch_size == 8
    per_replica = workers.divide_batch(train_section(batch_size=8, batch_size_per="replica"))
    assert (per_replica.batch_size, per_replica.batch_size_per) == (32, "global")
    with pytest.raises(ConfigError, match=r"train.batch_size: 6 images cannot be divided among 4 devices"):
        workers.divide_batch(train_section(batch_size=6))


def test_one_device_where_there_is_no_other(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for choice in ("auto", "one_device", "mirrored"):
        workers = join_workers(train_section(strategy=choice))
        assert (workers.count, workers.index, workers.replicas, workers.is_chief) == (1, 0, 1, True)
    assert make_strategy() is tf.distribute.get_strategy()
    with pytest.raises(ConfigError, match=r"train.strategy: multi_worker, but .* TF_CONFIG names no other machine"):
        join_workers(train_section(strategy="multi_worker"))
    monkeypatch.setenv("TF_CONFIG", "{")
    assert join_workers(train_section(strategy="one_device")).count == 1
    with pytest.raises(ConfigError, match="TF_CONFIG: is not JSON"):
        join_workers(train_section())


def test_devices_in_words():
    train = train_section(batch_size=8, accumulate_steps=2)
    assert "; 2 of the batch's 8 images on each device; 2 batches a step" in Workers(Devices(4)).describe(train)
    assert Workers(tf.distribute.get_strategy(), note="1 of 2").describe(train_section()).endswith("cores (1 of 2)")
