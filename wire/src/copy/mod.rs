//! COPY text and CSV.
