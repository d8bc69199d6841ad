//! How much memory and how many threads the store may use.

use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options, SliceTransform, WriteBufferManager};
use tol_runtime::store::Table;

/// Budgets of the store. All tables share them.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Block cache, bytes; holds index and filter blocks too.
    pub cache_bytes: usize,
    /// All memtables together, bytes.
    pub write_buffer_bytes: usize,
    /// Open files kept.
    pub open_files: i32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, write_buffer_bytes: 64 << 20, open_files: 512 }
    }
}

impl StoreOptions {
    /// The database's options, and those of each table.
    pub(super) fn build(&self) -> (Options, impl Fn(Table) -> Options) {
        let cache = Cache::new_lru_cache(self.cache_bytes);
        let buffers = WriteBufferManager::new_write_buffer_manager(self.write_buffer_bytes, false);
        let mut database = Options::default();
        database.create_if_missing(true);
        database.create_missing_column_families(true);
        database.set_write_buffer_manager(&buffers);
        database.set_atomic_flush(true);
        // A torn tail is cut off: the cache is then behind, which the log heals.
        database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        database.set_max_open_files(self.open_files);
        database.set_max_background_jobs(2);
        if let Ok(mut environment) = rocksdb::Env::new() {
            // Compactions yield to whoever answers requests; flushes do not, writers wait for them.
            environment.lower_thread_pool_cpu_priority();
            database.set_env(&environment);
        }
        database.set_max_total_wal_size(self.write_buffer_bytes as u64 * 2);
        database.set_keep_log_file_num(3);
        database.set_bytes_per_sync(1 << 20);
        let write_buffer = self.write_buffer_bytes;
        let family = move |table: Table| {
            let mut blocks = BlockBasedOptions::default();
            blocks.set_block_cache(&cache);
            blocks.set_block_size(8 << 10);
            blocks.set_cache_index_and_filter_blocks(true);
            blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
            blocks.set_format_version(5);
            blocks.set_bloom_filter(10.0, false);
            blocks.set_whole_key_filtering(true);
            // In pieces: the cache is split among threads, and a filter of a million keys as one block is larger than such a share of it. It
            // would be read from disk for every look-up.
            blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
            blocks.set_partition_filters(true);
            blocks.set_metadata_block_size(4 << 10);
            blocks.set_pin_top_level_index_and_filter(true);
            let mut options = Options::default();
            options.set_block_based_table_factory(&blocks);
            options.set_compression_type(DBCompressionType::Lz4);
            options.set_write_buffer_size((write_buffer / 2).max(1 << 20));
            options.set_max_write_buffer_number(3);
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(0.02);
            options.set_level_compaction_dynamic_level_bytes(true);
            if table == Table::Rows {
                // Generation and partition: see `generation.rs`.
                options.set_prefix_extractor(SliceTransform::create_fixed_prefix(crate::generation::ROW_PREFIX));
            }
            options
        };
        (database, family)
    }
}
