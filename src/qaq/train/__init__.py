"""SUBSET + settings -> CHECKPOINT: completion-only fine-tuning with TRL's SFTTrainer.

recipe.py  batch size and learning rate for this share of the data; how a batch is split. Loads nothing heavy
rows.py    pairs -> token rows under max_length, with a line for each row dropped or cut. Loads no torch
record.py  what a step leaves behind: training.jsonl and the progress line
fit.py     the worker: `python -m qaq.train REQUEST`; torch and TRL are imported here only
"""
