"""The rules that `mixedparts verify` checks, one module for each table or kind of file."""
