//! `pg_settings`: the run-time settings with the session's values.

use super::super::rows::Rows;
use super::super::snapshot::Snapshot;

pub fn fill(snapshot: &Snapshot, rows: &mut Rows) {
    for setting in &snapshot.settings {
        rows.push([
            ("name", setting.name.as_str().into()),
            ("setting", setting.value.as_str().into()),
            ("category", "Settings".into()),
            ("short_desc", setting.description.into()),
            ("context", setting.context.into()),
            ("vartype", setting.kind.into()),
            ("source", if setting.value == setting.reset_value { "default" } else { "session" }.into()),
            ("boot_val", setting.reset_value.as_str().into()),
            ("reset_val", setting.reset_value.as_str().into()),
        ]);
    }
}
