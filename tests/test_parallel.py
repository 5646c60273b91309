"""Several processes train one model: the ring, the shards, the resume, and one real torchrun."""

import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from recsys_lab.limits import parallel, processes
from recsys_lab.models.autoencoder import Autoencoder

TINY = parallel.Settings(width=4, batch=8, users=20, lr=0.02)  # three steps an epoch: 8, 8, 4
OPTIONS = ["--width", "4", "--batch", "8", "--users", "20", "--lr", "0.02", "--every", "4"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    return parallel.train(TINY, tmp_path_factory.mktemp("alone"), steps=12)


# ---- who has which rows -----------------------------------------------------------------------
@pytest.mark.parametrize("world", [1, 2, 3, 7, 30])
def test_shards_share_nothing_and_leave_nothing_out(world):
    parts = [processes.shard(np.arange(23), rank, world) for rank in range(world)]
    assert sorted(np.concatenate(parts)) == list(range(23))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_what_a_user_draws_does_not_depend_on_who_holds_him():
    split = parallel.holdout_per_user(parallel.load_movielens(), 0.25, seed=0)
    batches = parallel.Batches(split, replace(TINY, batch=32, users=0))
    users = batches.users(5)
    rows, kept = batches.draw(users, 5)
    for rank in range(3):
        again = batches.draw(processes.shard(users, rank, 3), 5)
        assert torch.equal(again[0], rows[rank::3]) and torch.equal(again[1], kept[rank::3])
    assert not torch.equal(batches.draw(users, 6)[1], kept), "every step hides other clicks"
    hidden = 1 - (kept > 0).sum() / rows.sum()
    assert abs(hidden - 0.5) < 0.1 and set(kept[rows == 0].tolist()) == {0.0}


def test_an_epoch_holds_every_user_once_in_an_order_of_its_own():
    split = parallel.holdout_per_user(parallel.load_movielens(), 0.25, seed=0)
    batches = parallel.Batches(split, TINY)
    epochs = [np.concatenate([batches.users(3 * e + s) for s in range(3)]) for e in range(2)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert list(epochs[0]) != list(epochs[1]) and len(batches.users(2)) == 4


# ---- adding up --------------------------------------------------------------------------------
@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [5, 12, 31])
def test_the_ring_adds_up_and_sends_what_the_paper_says(world, length, monkeypatch):
    """Threads in place of processes, queues in place of sockets."""
    mine, sent = threading.local(), [0] * world
    mail = {(a, b): queue.Queue() for a in range(world) for b in range(world)}

    class Waiting:
        def __init__(self, wait=lambda: None):
            self.wait = wait

    def isend(part, to):
        sent[mine.rank] += len(part)
        mail[mine.rank, to].put(part.clone())
        return Waiting()

    def irecv(part, source):
        place = mail[source, mine.rank]
        return Waiting(lambda: part.copy_(place.get(timeout=10)))

    monkeypatch.setattr(processes, "me", lambda: (mine.rank, world))
    monkeypatch.setattr(processes.dist, "isend", isend)
    monkeypatch.setattr(processes.dist, "irecv", irecv)
    vectors = [
        torch.randn(length, generator=torch.Generator().manual_seed(r)) for r in range(world)
    ]
    total = torch.stack(vectors).sum(0)

    def work(rank):
        mine.rank = rank
        processes.ring_all_reduce(vectors[rank])

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert all(torch.allclose(vector, total, atol=1e-6) for vector in vectors)
    assert sum(sent) == 2 * (world - 1) * length


# ---- training ---------------------------------------------------------------------------------
def test_the_loss_is_the_mean_over_clicks_of_ordinary_training(alone):
    """An independent loop: one cross-entropy a click, torch's own mean."""
    split = parallel.holdout_per_user(parallel.load_movielens(), 0.25, seed=0)
    batches = parallel.Batches(split, TINY)
    torch.manual_seed(TINY.seed)
    network = Autoencoder(n_factors=TINY.width, dropout=0).build(split.train)
    optimizer = torch.optim.AdamW(network.parameters(), lr=TINY.lr, weight_decay=TINY.l2)
    for step in range(6):
        rows, kept = batches.draw(batches.users(step), step)
        user, item = rows.nonzero().T
        loss = functional.cross_entropy(network(functional.normalize(rows) * kept)[user], item)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert abs(loss.item() - alone["losses"][step]) < 1e-4
    assert alone["losses"][-1] < alone["losses"][0]
    assert alone["shards"][0][1] == 20


def test_a_run_that_was_stopped_goes_on(alone, tmp_path):
    first = parallel.train(TINY, tmp_path, steps=5, every=100)
    rest = parallel.train(TINY, tmp_path, steps=12)
    assert (first["resumed"], rest["resumed"]) == (0, 5) and len(rest["seconds"]) == 7
    assert rest["losses"] == alone["losses"] and rest["shards"] == alone["shards"]
    assert not list(tmp_path.glob("*.part"))


# torchrun's own agent and restart; its processes are forked, so that all share one import of torch
AGENT = """
import sys
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from recsys_lab.limits import parallel

meet = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
how = LaunchConfig(1, 1, 2, run_id="a test", max_restarts=1, monitor_interval=0.1,
                   start_method="fork", **meet)
codes = elastic_launch(how, parallel.main)(sys.argv[1:])
sys.exit(max(codes.values()))
"""


def test_two_processes_of_which_one_is_killed_give_the_curve_of_one(alone, tmp_path):
    told = ["--out", str(tmp_path), *OPTIONS, "--steps", "12", "--sync", "ring", "--kill-at", "7"]
    one_thread = os.environ | dict.fromkeys(processes.THREADS, "1")
    command = [sys.executable, "-c", AGENT, *told]
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "exitcode: " in done.stderr, "nobody was killed"  # the one, or the one it left alone
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["world"], result["resumed"]) == (2, 4)  # a checkpoint after every fourth step
    assert np.abs(np.subtract(result["losses"], alone["losses"])).max() < 1e-4
    sums = np.sum(result["shards"], axis=0)
    assert len(result["shards"]) == 2 and sums[1] == 20
    assert abs(sums[0] - alone["shards"][0][0]) < 0.05  # float32 weights differ by a rounding


def test_launch_starts_so_many_processes_of_one_thread(tmp_path, monkeypatch):
    """A module that imports no torch: what is tried here is torchrun's command line."""
    (tmp_path / "says_who.py").write_text(
        "import os, sys\n"
        "with open(f'{sys.argv[1]}/{os.environ[\"RANK\"]}', 'w') as file:\n"
        "    told = os.environ['WORLD_SIZE'], os.environ['OMP_NUM_THREADS'], *sys.argv[2:]\n"
        "    print(*told, file=file)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = processes.launch(2, "says_who", str(tmp_path), "--a word")
    assert done.returncode == 0, done.stderr[-2000:]
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["2 1 --a word\n"] * 2


# ---- what goes wrong --------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options, words",
    [
        (["--sync", "star"], "choose a multiple of 1, and one of"),
        (["--batch", "10"], "batch 8 there, 10 here. Delete it, or take another folder"),
    ],
)
def test_the_command_line_names_the_remedy(options, words, tmp_path, capsys):
    assert parallel.main(["--out", str(tmp_path), *OPTIONS, "--steps", "1"]) == 0
    assert parallel.main(["--out", str(tmp_path), *OPTIONS, "--steps", "2", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_batch_that_cannot_be_shared_and_a_broken_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"is no checkpoint .* Delete it"):
        parallel.train(TINY, tmp_path, steps=1)
    monkeypatch.setattr(parallel, "me", lambda: (0, 3))
    with pytest.raises(ValueError, match=r"batch 8 for 3 processes.*multiple of 3"):
        parallel.train(TINY, tmp_path, steps=1)


def test_a_torch_without_distributed_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes.dist, "is_available", lambda: False)
    assert parallel.main(["--out", str(tmp_path)]) == 2
    assert "without torch.distributed" in capsys.readouterr().err
    monkeypatch.delenv("WORLD_SIZE")
    assert parallel.main(["--out", str(tmp_path), *OPTIONS, "--steps", "1"]) == 0


def test_help_shows_how_to_start_it(capsys):
    with pytest.raises(SystemExit) as stop:
        parallel.main(["--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert "torchrun --standalone --nproc-per-node 2" in said and "--batch" in said
