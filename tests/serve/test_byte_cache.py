"""The cache of the server: limited in bytes and in publications."""

from stormcell.serve.byte_cache import ByteCache


def test_byte_cache_drops_the_publication_used_longest_ago():
    cache = ByteCache(limit=100, publications=2)
    cache.put("a", "picture", b"1")
    cache.put("b", "picture", b"22")
    assert cache.get("a", "picture") == b"1"
    cache.put("c", "picture", b"333")
    assert [cache.get(name, "picture") for name in "abc"] == [b"1", None, b"333"]
    assert cache.size == 4


def test_byte_cache_drops_the_string_used_longest_ago_within_a_publication():
    cache = ByteCache(limit=4)
    cache.put("a", 1, b"11")
    cache.put("a", 2, b"22")
    assert cache.get("a", 1) == b"11"
    cache.put("a", 3, b"33")
    assert [cache.get("a", key) for key in (1, 2, 3)] == [b"11", None, b"33"]


def test_byte_cache_replaces_a_string_and_keeps_none_above_the_limit():
    cache = ByteCache(limit=4)
    cache.put("a", 1, b"11")
    cache.put("a", 1, b"111")
    assert cache.size == 3
    cache.put("a", 2, b"22222")
    assert (cache.get("a", 1), cache.get("a", 2), cache.size) == (None, None, 0)
