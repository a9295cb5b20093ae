"""Questions and grounded answers.

- `questions` holds the wordings of questions.
- `answers` chooses a question, words an answer with its grounding tokens, and parses answers back.
"""
