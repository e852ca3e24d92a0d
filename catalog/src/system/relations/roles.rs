//! `pg_roles`, `pg_authid`, `pg_user`, `pg_shadow`: the roles that there are to know of. Each may do everything.

use super::super::cell::Cell;
use super::super::rows::Rows;
use super::super::snapshot::Snapshot;

pub fn roles(snapshot: &Snapshot, rows: &mut Rows) {
    for role in snapshot.roles() {
        rows.push([
            ("oid", snapshot.role_oid(role).into()),
            ("rolname", role.into()),
            ("rolsuper", true.into()),
            ("rolinherit", true.into()),
            ("rolcreaterole", true.into()),
            ("rolcreatedb", true.into()),
            ("rolcanlogin", true.into()),
            ("rolconnlimit", (-1).into()),
            ("rolpassword", "********".into()),
        ]);
    }
}

pub fn authid(snapshot: &Snapshot, rows: &mut Rows) {
    for role in snapshot.roles() {
        rows.push([
            ("oid", snapshot.role_oid(role).into()),
            ("rolname", role.into()),
            ("rolsuper", true.into()),
            ("rolinherit", true.into()),
            ("rolcreaterole", true.into()),
            ("rolcreatedb", true.into()),
            ("rolcanlogin", true.into()),
            ("rolconnlimit", (-1).into()),
            ("rolpassword", Cell::Null),
        ]);
    }
}

pub fn users(snapshot: &Snapshot, rows: &mut Rows) {
    for role in snapshot.roles() {
        rows.push([
            ("usename", role.into()),
            ("usesysid", snapshot.role_oid(role).into()),
            ("usecreatedb", true.into()),
            ("usesuper", true.into()),
            ("passwd", "********".into()),
        ]);
    }
}
