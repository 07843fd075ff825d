"""The record of a sweep: its journal, and the state that follows from it."""
