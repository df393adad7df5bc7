"""The as-of offline store: Feast's point-in-time join, on DuckDB and NumPy, exact also where rows arrive late.

| file | holds |
|---|---|
| `store` | the Feast `OfflineStore` and its settings |
| `asking` | the rows to join: times made one, keys, the question without rows |
| `question` | what is asked of one feature view, in the names of its source |
| `sources` | where a source's Parquet files lie, which of them count, what columns they have |
| `session` | a DuckDB connection that keeps to its memory and spills to disk |
| `join` | the as-of join of one view |
| `leaders` | which reading leads at each row, in one pass over readings that need not fit into memory |
| `latest` | the latest rows of each entity, and all rows, between two times |
| `retrieval` | what Feast gets back: frames, Arrow, saved data sets |
| `writing` | Parquet written whole or not at all |
"""
