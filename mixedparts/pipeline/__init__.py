"""The stages of a build, from the plan to the finished folder."""
