"""Questions and grounded answers.

- `questions` has the wordings of questions.
- `answers` chooses a question, words an answer with its grounding tokens, and parses answers back.
"""
