"""What `import mixedparts` offers beside `load_dataset`: build, verify, view, and show a row."""
