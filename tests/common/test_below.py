"""A folder's part of a mapping by paths is what copying it out would give."""

from hypothesis import given
from hypothesis import strategies as st

from medshards.common.below import Below

paths = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(paths, st.integers()), st.sampled_from(["", "a/", "a/b/", "ab/", "a/a/"]))
def test_a_view_is_the_copy(files: dict[str, int], base: str) -> None:
    copy = {path[len(base) :]: value for path, value in files.items() if path.startswith(base)}
    view = Below(files, base)
    assert list(view.items()) == list(copy.items())
    assert len(view) == len(copy)
    assert all(path in view and view[path] == value for path, value in copy.items())
    assert [path in view for path in files] == [path in copy for path in files]
