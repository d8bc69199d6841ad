//! RocksDB store and read models folded from the log.
