"""Proves that readers, writers, threads, forks and Ctrl-C do not disturb what an index holds or answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.indexes import PLAID
from tests.indexes.plaid.collection import collection
from tests.indexes.samples import state

COLLECTION = collection()
QUERIES = COLLECTION.queries
ONE = np.ones((2, 4), dtype=np.float32)


@pytest.fixture(scope="module")
def coded():
    return PLAID(None).add_documents(COLLECTION.ids, COLLECTION.documents)


@pytest.fixture
def interruptible():
    """Ctrl-C as a shell's foreground has it: in the background SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_snapshot_stays_what_it_is(tmp_path):
    index = PLAID(tmp_path, "index").add_documents(COLLECTION.ids, COLLECTION.documents)
    snapshot = index.snapshot()
    before = snapshot(QUERIES)
    vectors = snapshot.get_documents_embeddings(5)[0].copy()
    index.remove_documents(range(800)).add_documents("new", COLLECTION.documents[0]).optimize()
    index.update_documents(["newer"], COLLECTION.documents[1:2]).optimize()
    PLAID(tmp_path, "index", override=True).add_documents("other", COLLECTION.documents[0])
    assert snapshot(QUERIES) == before
    assert snapshot.documents_ids() == COLLECTION.ids
    assert (len(snapshot), 5 in snapshot, "new" in snapshot) == (900, True, False)
    np.testing.assert_array_equal(snapshot.get_documents_embeddings(5)[0], vectors)
    assert (snapshot.generation, index.generation) == (1, 7)
    assert index.documents_ids() == ["other"]


def test_a_closed_snapshot_refuses_every_use_but_another_close(coded):
    with coded.snapshot() as snapshot:
        assert len(snapshot) == len(coded)
    snapshot.close()
    assert repr(snapshot) == "Snapshot(closed)"
    for use in (lambda: snapshot(QUERIES), lambda: len(snapshot), snapshot.documents_ids, lambda: snapshot.generation):
        with pytest.raises(InvalidInput, match="closed"):
            use()
    assert len(coded(QUERIES)) == len(QUERIES)


def test_a_retriever_takes_a_snapshot(coded):
    from serotine.retrieve import ColBERT

    assert ColBERT(coded.snapshot()).retrieve(QUERIES[:3], k=4) == coded(QUERIES[:3], k=4)


def test_threads_that_search_get_what_one_gets(coded):
    truth = coded(QUERIES)
    failures = []

    def search():
        for _ in range(5):
            if coded(QUERIES) != truth or coded(QUERIES[3])[0] != truth[3]:
                failures.append("another result")

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_readers_see_whole_commits_while_a_writer_works(tmp_path):
    """Every commit replaces all documents by ones whose vectors say which commit they are of."""
    index = PLAID(tmp_path, "index").add_documents(range(5), [0 * ONE] * 5)
    done, mixed, seen = threading.Event(), [], set()

    def read():
        reader = PLAID(tmp_path, "index")
        while not done.is_set():
            with reader.snapshot() as snapshot:
                values = {float(vectors[0, 0]) for vectors in snapshot.get_documents_embeddings(range(5))}
                scores = {hit["score"] for hit in snapshot(ONE)[0]}
            seen.update(values)
            if len(values) != 1 or scores != {8 * value for value in values}:
                mixed.append((values, scores))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for generation in range(1, 40):
        index.update_documents(range(5), [generation * ONE] * 5)
    done.set()
    for thread in threads:
        thread.join()
    assert not mixed
    assert len(seen) > 1


def test_threads_that_write_wait_for_one_another(tmp_path):
    index = PLAID(tmp_path, "index", lock_timeout_s=30)

    def write(start):
        for number in range(start, start + 10):
            index.add_documents(number, ONE)

    threads = [threading.Thread(target=write, args=(100 * number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(index.documents_ids()) == sorted(100 * n + i for n in range(3) for i in range(10))


def test_a_search_lets_other_threads_run(coded):
    """While the engine works the GIL is free: a thread that counts gets on."""
    count, done = 0, threading.Event()

    def tick():
        nonlocal count
        while not done.is_set():
            count += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    while time.perf_counter() - start < 0.5:
        coded(QUERIES * 20, recall=1)
    elapsed = time.perf_counter() - start
    done.set()
    thread.join()
    assert count > 100 * elapsed  # the sleeps alone would allow some 1,500 a second


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_an_open_index_works_in_forked_processes(tmp_path):
    index = PLAID(tmp_path, "index").add_documents(COLLECTION.ids, COLLECTION.documents)
    truth = index(QUERIES[:5])
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if index(QUERIES[:5]) == truth and len(index) == 900 else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert len(index.add_documents("later", COLLECTION.documents[0])) == 901


INTERRUPTED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background of a shell ignores it
import numpy as np
from serotine.indexes import PLAID
from serotine.indexes.plaid import writer

index = PLAID(sys.argv[1], "index", num_threads=1)
generator = np.random.default_rng(0)
block = generator.standard_normal((600, 64)).astype(np.float16)

def vectors():
    for number in range(4000):
        if number == {begin_at}:
            print("go", flush=True)
        yield block + np.float16(number % 97)
    print("{after}", flush=True)

try:
    index.{change}
except KeyboardInterrupt:
    start = time.time()
    index.add_documents("after", block[:1])  # the lock is free, the index as it was
    print("interrupted", len(index), index.generation, flush=True)
"""


@pytest.mark.parametrize(
    ("begin_at", "after", "delay_s"),
    [pytest.param(50, "read", 0.05, id="while documents are read"), pytest.param(-1, "go", 0.4, id="in the training")],
)
def test_an_interrupt_ends_a_change_soon_and_changes_nothing(tmp_path, begin_at, after, delay_s):
    index = PLAID(tmp_path, "index").add_documents("old", np.ones((2, 64)))
    before = state(index)
    code = INTERRUPTED.format(begin_at=begin_at, after=after, change="add_documents(range(4000), vectors())")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    time.sleep(delay_s)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    answer = process.stdout.read()
    assert process.wait() == 0
    assert time.monotonic() - start < 3  # 1 s is the promise; the machine may be busy with other tests
    assert answer.strip().endswith("interrupted 2 2")
    index.remove_documents("after")
    assert state(index) == before
    index.check()
    assert not list((tmp_path / "index" / "tmp").glob("*"))


def test_an_interrupt_ends_a_large_batch_of_queries_soon(coded, interruptible):
    queries = QUERIES * 5000
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        coded(queries, recall=1)
    assert time.monotonic() - start < 3
    assert len(coded(QUERIES)) == len(QUERIES)


def optimize_for_ever(index):
    while True:
        index.optimize()


def test_an_error_of_a_signal_handler_passes_through(tmp_path):
    index = PLAID(tmp_path, "index").add_documents(COLLECTION.ids, COLLECTION.documents)

    def handler(*_):
        raise TimeoutError("the caller's own alarm")

    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeoutError, match="the caller's own alarm"):
            optimize_for_ever(index)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert index.documents_ids() == COLLECTION.ids
    assert len(index.add_documents("later", COLLECTION.documents[0])) == 901
