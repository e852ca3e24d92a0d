//! The memory that queries may use, all together.

use datafusion::error::Result;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use std::sync::Arc;

/// A runtime whose queries share `mebibytes` of memory fairly. Sorts and aggregations that need more spill to the
/// system's folder for temporary files; what cannot spill fails with `53200`.
pub fn query_memory(mebibytes: usize) -> Result<Arc<RuntimeEnv>> {
    let pool = FairSpillPool::new(mebibytes << 20);
    RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc()
}
