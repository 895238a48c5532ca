import pytest

from trainer.preflight import batch_search


def search(fixed_bytes, bytes_per_example, available_bytes, first_size):
    tried = []

    def needed_bytes(size):
        tried.append(size)
        needed = fixed_bytes + bytes_per_example * size
        return needed if needed <= available_bytes else None

    return batch_search.find(needed_bytes, first_size, available_bytes, fixed_bytes), tried


@pytest.mark.parametrize("first_size", [1, 8, 64, 100, 392, 400, 408, 4096])
def test_finds_the_largest_multiple_of_eight(first_size):
    found, tried = search(fixed_bytes=1000, bytes_per_example=10, available_bytes=5050, first_size=first_size)
    assert found.per_replica_batch_size == 400
    assert found.num_compilations == len(tried)
    assert all(size % 8 == 0 for size in tried)
    assert len(set(tried)) == len(tried), "no size is compiled twice"


def test_few_compilations_when_memory_grows_evenly():
    found, _ = search(fixed_bytes=1000, bytes_per_example=10, available_bytes=5050, first_size=64)
    assert found.num_compilations == 3


def test_memory_that_grows_unevenly():
    def needed_bytes(size):
        needed = 1000 + (size if size < 100 else 100 * size)
        return needed if needed <= 50_500 else None

    found = batch_search.find(needed_bytes, 64, available_bytes=50_500, fixed_bytes=1000)
    assert found.per_replica_batch_size == 488


@pytest.mark.parametrize("first_size", [64, 1200])
def test_few_compilations_when_the_compiler_makes_room_near_the_limit(first_size):
    tried = []

    def needed_bytes(size):
        tried.append(size)
        return min(10 * size, 5900 + size / 100) if size <= 1100 else None

    found = batch_search.find(needed_bytes, first_size, available_bytes=6000, fixed_bytes=0)
    assert 1090 < found.per_replica_batch_size <= 1100
    assert found.num_compilations == len(set(tried)) <= 13


def test_nothing_fits():
    found, _ = search(fixed_bytes=1000, bytes_per_example=10, available_bytes=1010, first_size=64)
    assert found.per_replica_batch_size == 0
