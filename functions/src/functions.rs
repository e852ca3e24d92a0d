//! The list of scalar and window functions: DataFusion's where they agree with Postgres, ours where they do not.

use datafusion::logical_expr::{ScalarUDF, WindowUDF};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// A family of functions.
type Family = fn() -> Vec<ScalarUDF>;

/// Our functions. To add one: an entry in its family's list.
pub const FUNCTIONS: &[Family] = &[
    crate::math::functions,
    crate::bits::functions,
    crate::text::functions,
    crate::text::plain_functions,
    crate::text::byte_functions,
    crate::regex::functions,
    crate::similar::functions,
    crate::datetime::functions,
    crate::calendar::functions,
    crate::date_format::functions,
    crate::json_functions::functions,
    crate::number_format::functions,
    crate::system::functions,
    crate::clock::functions,
    crate::sets::functions,
    crate::arrays::functions,
    crate::subquery::functions,
    crate::rows::functions,
    crate::casts::functions,
    crate::event_windows::functions,
    crate::look_up::functions,
    crate::watermark::functions,
    crate::windows::functions,
];

/// Every scalar function; of two with a name the later counts.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    static ALL: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
        let mut all = datafusion::functions::all_default_functions();
        all.extend(datafusion::functions_nested::all_default_nested_functions());
        let lenient = all.iter().filter(|function| crate::lenient::NAMES.contains(&function.name()));
        let lenient: Vec<_> = lenient.cloned().map(crate::lenient::Lenient::new).map(ScalarUDF::from).collect();
        all.extend(lenient.into_iter().map(Arc::new));
        all.extend(FUNCTIONS.iter().flat_map(|family| family()).map(Arc::new));
        all
    });
    ALL.clone()
}

/// Every window function.
pub fn window_functions() -> Vec<Arc<WindowUDF>> {
    let all = datafusion::functions_window::all_default_window_functions();
    all.into_iter()
        .map(crate::retyped::ranked)
        .chain(crate::event_windows::window_functions())
        .chain(crate::windows::window_functions())
        .collect()
}

/// The scalar function of a name that this crate is sure to have.
pub fn named(name: &str) -> Arc<ScalarUDF> {
    static BY_NAME: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
        let mut by_name = HashMap::new();
        for function in scalar_functions() {
            for alias in function.aliases() {
                by_name.insert(alias.clone(), function.clone());
            }
            by_name.insert(function.name().to_owned(), function.clone());
        }
        by_name
    });
    // The names come from this crate's own planners; each is covered by the expression tests.
    BY_NAME[name].clone()
}
