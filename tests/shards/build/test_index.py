"""The rows of the tables, as they are typed, have the columns of the files."""

from medshards.shards.build import index


def test_typed_rows_have_the_columns_of_the_schemas() -> None:
    assert set(index.IndexRow.__annotations__) == set(index.INDEX_SCHEMA.names)
    assert set(index.AnnotationRow.__annotations__) == set(index.ANNOTATION_SCHEMA.names)
