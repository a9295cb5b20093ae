"""The rules that `mixedparts verify` checks, by the table that they are about."""
