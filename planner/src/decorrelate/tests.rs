//! Subqueries as goldens.
