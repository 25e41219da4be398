"""The paper's side: published numbers, tables and figures."""
